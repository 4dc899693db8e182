"""The voice in weights/: its size, what its files hold, and that each of its speakers really speaks."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bitjets_mlx import load_vocoder, load_voice
from bitjets_mlx.acoustic.model import BitJets
from bitjets_mlx.audio.pitch import extract_pitch
from bitjets_mlx.evaluation.memory import peak_memory
from bitjets_mlx.ternary.packing import packed_size
from bitjets_mlx.voice import Voice
from bitjets_mlx.voice.arrays import named_arrays, ternary_layers
from bitjets_mlx.voice.folder import read_trainable
from bitjets_mlx.voice.voice_config import read_config
from bitjets_mlx.voice.weights_file import read_weights

REPOSITORY = Path(__file__).resolve().parents[1]
FOLDER = REPOSITORY / "weights" / "duo"
SISTER = REPOSITORY / "weights" / "duo_trainable"
TEXT = "Generative AI on the edge is the future."
MEBI = 1 << 20

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="weights/duo is not in this checkout")


@pytest.fixture(scope="module")
def voice() -> Voice:
    return load_voice(FOLDER)


def size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def test_it_is_as_small_as_promised() -> None:
    assert (FOLDER / "acoustic.safetensors").stat().st_size < 1_000_000
    assert size(FOLDER) <= 3_000_000 and size(SISTER) <= 10_000_000


def test_its_acoustic_model_is_ternary_and_stored_as_base_3() -> None:
    config = read_config(FOLDER)
    assert config.acoustic is not None and config.acoustic.ternary
    model = BitJets(config.acoustic)
    layers = ternary_layers(model)
    parameters = named_arrays(model.parameters())
    ternary = sum(layer.weight.size for layer in layers.values())
    assert ternary >= 2_000_000 and ternary >= 0.9 * sum(array.size for array in parameters.values())
    for name, array in parameters.items():
        inside = name.startswith(("encoder.", "decoder.", "duration.", "pitch.", "energy."))
        if inside and array.ndim > 1 and ".head." not in name:
            assert name.removesuffix(".weight") in layers, name
    stored = read_weights(FOLDER / "acoustic.safetensors")
    for name, layer in layers.items():
        trits = stored[f"{name}.trits"]
        assert trits.dtype == np.uint8 and trits.shape == (packed_size(layer.weight.size),)
        values, counts = np.unique(trits, return_counts=True)
        assert values.max() <= 242 and len(values) > 100 and counts.max() < 0.5 * trits.size


def test_the_sister_can_be_trained_on() -> None:
    weights = named_arrays(read_trainable(SISTER))
    assert any(name.startswith("aligner.") for name in weights)
    latent = np.array(weights["encoder.0.expand.weight"])
    assert len(np.unique(latent)) > 1000  # latent weights, not trits


@pytest.mark.parametrize("speaker", ["kathleen", "lj"])
def test_each_speaker_speaks(voice: Voice, speaker: str) -> None:
    audio = voice.speak(TEXT, speaker=speaker)
    seconds = len(audio) / voice.sample_rate
    assert 2.0 < seconds < 6.0
    frames = audio[: len(audio) // 256 * 256].reshape(-1, 256)
    level = 20 * np.log10(np.sqrt(np.mean(frames**2, axis=1)) + 1e-6)
    assert -35 < np.percentile(level, 90) < -6  # neither silent nor clipped
    assert level[0] < -30 and level[-1] < -40  # neither end is cut
    f0, voiced = extract_pitch(audio)
    assert 0.3 < voiced.mean() < 0.97 and 0.08 < np.std(np.log(f0[voiced])) < 0.45  # not monotonous
    said = voice.predict(TEXT, speaker=speaker)
    both = voiced[1 : 1 + len(said.f0)][: len(said.f0)] & said.voiced[: len(voiced) - 1]
    heard = f0[1 : 1 + len(said.f0)][both]
    assert np.median(np.abs(12 * np.log2(heard / said.f0[: len(both)][both]))) < 0.5  # semitones


def test_the_speakers_are_two(voice: Voice) -> None:
    mean = [np.log(voice.predict(TEXT, speaker=name).f0).mean() for name in voice.speakers]
    assert voice.speakers == ("kathleen", "lj") and abs(mean[0] - mean[1]) > 0.1


@pytest.mark.parametrize("text", ["Yes!", "Why?", "I.", "A b c.", "Hmm, well; so: then - there!", "3.50!"])
def test_short_and_odd_sentences_are_neither_silent_nor_endless(voice: Voice, text: str) -> None:
    for speaker in voice.speakers:
        p = voice.predict(text, speaker=speaker)
        assert 0.15 < len(p.mel) * 256 / voice.sample_rate < 1.0 + 0.2 * len(p.phonemes)
        assert p.voiced.any() and np.abs(voice.speak(text, speaker=speaker)).max() > 0.02


def test_pitch_control_is_heard(voice: Voice) -> None:
    def median(semitones: float) -> float:
        f0, voiced = extract_pitch(voice.speak(TEXT, speaker="lj", pitch=semitones))
        return float(np.median(np.log2(f0[voiced])))

    assert 12 * (median(3.0) - median(0.0)) == pytest.approx(3.0, abs=0.7)
    assert 12 * (median(-3.0) - median(0.0)) == pytest.approx(-3.0, abs=0.7)


def test_energy_control_is_heard(voice: Voice) -> None:
    levels = [np.sqrt(np.mean(voice.speak(TEXT, energy=energy) ** 2)) for energy in (1.0, 1.5)]
    assert levels[1] / levels[0] == pytest.approx(1.5, rel=0.15)


def test_its_vocoder_stands_alone(voice: Voice) -> None:
    p = voice.predict(TEXT)
    audio = load_vocoder(FOLDER)(p.mel, f0=p.f0, voiced=p.voiced)
    assert np.array_equal(audio, voice.speak(phonemes=list(p.phonemes)))


def test_the_command_speaks_with_it_by_default(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bitjets_mlx.generate", "--text", TEXT, "--output", str(tmp_path / "x.wav")]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and (tmp_path / "x.wav").stat().st_size > 80_000
    assert str(FOLDER) in done.stdout


@pytest.mark.slow
def test_five_thousand_words_fit_into_a_gigabyte(tmp_path: Path) -> None:
    sentence = "The birch canoe slid on the smooth planks, and we talked of the side show in the circus. "
    (tmp_path / "long.txt").write_text(sentence * (5000 // len(sentence.split()) + 1))
    arguments = ["--file", str(tmp_path / "long.txt"), "--output", str(tmp_path / "long.wav")]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    assert peak_memory([sys.executable, "-m", "bitjets_mlx.generate", *arguments], environment) < 1_000_000_000
    assert (tmp_path / "long.wav").stat().st_size > 2 * 22050 * 60 * 20  # more than twenty minutes


def test_its_card_says_what_it_must_and_no_more() -> None:
    card = (FOLDER / "README.md").read_text()
    for heading in ("## Files", "## Data, license, machine", "## Training", "## Measured"):
        assert heading in card
    assert "CC0" in card and "public domain" in card and "updates" in card and "hours" in card
    assert "Not recorded" not in card and "Not measured" not in card
    for text in (card, (FOLDER / "config.json").read_text(), (SISTER / "README.md").read_text()):
        assert not re.search(r"(?<![\w.])/(home|root|Users|work|tmp|mnt)/", text)  # no path of a machine
    assert json.loads((FOLDER / "config.json").read_text())["speakers"] == ["kathleen", "lj"]
