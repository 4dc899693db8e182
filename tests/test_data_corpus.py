"""Reading a speaker's folder, choosing validation sentences, and judging recordings."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from bitjets_mlx.data import checks
from bitjets_mlx.data.checks import Inspection, inspect, judge_pace, speaker_gains, speech_bounds
from bitjets_mlx.data.corpus import Utterance, choose_validation, read_corpus, sentence_key
from bitjets_mlx.errors import BitjetsError


def make_corpus(folder: Path, metadata: str | bytes) -> Path:
    (folder / "wavs").mkdir(parents=True)
    data = metadata.encode() if isinstance(metadata, str) else metadata
    (folder / "metadata.csv").write_bytes(data)
    return folder


def test_two_and_three_columns(tmp_path: Path) -> None:
    folder = make_corpus(tmp_path / "a", "\ufeffx1|Two.\nx2|3.|Three.\n\nx-3.b|Vier, fünf|\n")
    (folder / "wavs" / "x2.flac").touch()
    utterances = read_corpus("anna", folder)
    assert [(one.id, one.text, one.path.name) for one in utterances] == [
        ("x1", "Two.", "x1.wav"),
        ("x2", "Three.", "x2.flac"),
        ("x-3.b", "Vier, fünf", "x-3.b.wav"),
    ]
    assert {one.speaker for one in utterances} == {"anna"}


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ("", "is empty"),
        ("\n\n", "is empty"),
        (b"x1|\xff\xfe\n", "not UTF-8"),
    ],
)
def test_bad_metadata(tmp_path: Path, metadata: str | bytes, words: str) -> None:
    folder = make_corpus(tmp_path / "a", metadata)
    with pytest.raises(BitjetsError, match=words) as caught:
        read_corpus("anna", folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("x2", "line 2 is not `id|text`"),
        ("x2|One.|One.|One.", "line 2 is not `id|text`"),
        ("x2|", "line 2 is not `id|text`"),
        ("|One.", "line 2 is not `id|text`"),
        ("../../x2|One.", "line 2 is not `id|text`"),
        ("..|One.", "line 2 is not `id|text`"),
        ("x2,One.", "line 2 has commas: separate id and text by |"),
        ("x1|Two.", "line 2 repeats the id x1"),
        ("X1.wav|Two.", "line 2 repeats the id X1"),
        (f"{'x' * 300}|Two.", "line 2 has an id of more than 150 bytes"),
    ],
)
def test_a_bad_line_keeps_itself_out_and_nothing_else(tmp_path: Path, line: str, words: str) -> None:
    first, bad, last = read_corpus("anna", make_corpus(tmp_path / "a", f"x1|One.\n{line}\nx3|Three.\n"))
    assert (first.id, last.id) == ("x1", "x3") and not first.fault and not last.fault
    assert words in bad.fault
    assert inspect(bad, 0.4, 10.0).faults == [bad.fault]


@pytest.mark.parametrize(
    ("name", "file", "found"),
    [
        ("clip 1", "wavs/clip 1.wav", "clip_1"),
        ("sub/u1", "wavs/sub/u1.wav", "sub_u1"),
        ("sub/u1", "sub/u1.flac", "sub_u1"),
        ("wavs/u1.wav", "wavs/u1.wav", "u1"),
        ("./wavs/u1.wav", "wavs/u1.wav", "u1"),
        ("u1", "wavs/u1.WAV", "u1"),
        ("U1", "wavs/u1.wav", "U1"),
        ("u1", "wavs/u1.mp3", "u1"),
        ("u1.ogg", "wavs/u1.ogg", "u1"),
        ("u.1", "wavs/u.1.wav", "u.1"),
        ("u1", "u1.wav", "u1"),
    ],
)
def test_usual_ways_of_writing_metadata(tmp_path: Path, name: str, file: str, found: str) -> None:
    folder = make_corpus(tmp_path / "a", f"{name}|One.\n")
    (folder / file).parent.mkdir(exist_ok=True)
    (folder / file).touch()
    (utterance,) = read_corpus("anna", folder)
    assert (utterance.id, utterance.path, utterance.fault) == (found, folder / file, "")


def test_missing_parts(tmp_path: Path) -> None:
    with pytest.raises(BitjetsError, match=r"no folder .* anna"):
        read_corpus("anna", tmp_path / "none")
    with pytest.raises(BitjetsError, match=r"no metadata\.csv"):
        read_corpus("anna", tmp_path)
    (tmp_path / "metadata.csv").write_text("x|y\n")
    with pytest.raises(BitjetsError, match="no folder `wavs`"):
        read_corpus("anna", tmp_path)


def sentences(speaker: str, count: int, takes: int = 1) -> list[Utterance]:
    return [
        Utterance(speaker, f"{i}_{take}", f"Sentence number {i}{'.' * take}", Path("x"))
        for i in range(count)
        for take in range(takes)
    ]


def test_validation_is_by_sentence_and_stable() -> None:
    few = sentences("a", 300, takes=3)
    chosen = choose_validation(few, 20)
    assert len(chosen) == 20
    assert chosen == choose_validation(list(reversed(few)), 20)
    assert chosen != choose_validation(few, 20, seed=1)
    held_out = [one for one in few if sentence_key(one.text) in chosen]
    assert len(held_out) == 60  # all takes
    more = choose_validation(sentences("a", 310), 20)
    assert len(chosen & more) >= 17  # new sentences move few old ones


def test_validation_counts() -> None:
    assert len(choose_validation(sentences("a", 1072), None)) == 50
    assert len(choose_validation(sentences("a", 360), None)) == 25
    assert len(choose_validation(sentences("a", 30), None)) == 10  # never more than a third
    assert len(choose_validation(sentences("a", 200), 0.1)) == 20
    assert len(choose_validation(sentences("a", 200), 0)) == 0
    both = [*sentences("a", 200), Utterance("b", "1", "Something else", Path("x"))]
    assert len(choose_validation(both, 10)) == 10


def test_sentence_shared_by_speakers_falls_on_one_side() -> None:
    utterances = sentences("a", 100) + sentences("b", 40)
    chosen = choose_validation(utterances, 10)
    for one in utterances:
        assert (sentence_key(one.text) in chosen) == (sentence_key(one.text.upper() + "!") in chosen)


def speech(seconds: float = 2.0, rate: int = 22050, level: float = 0.1, silence: float = 0.0) -> np.ndarray:
    """A buzz with pauses, and silence at both ends."""
    time = np.arange(int(seconds * rate)) / rate
    buzz = (
        level * sum(np.sin(2 * np.pi * 150 * h * time) / h for h in range(1, 9)) * (np.sin(2 * np.pi * 2 * time) > -0.5)
    )
    noise = 1e-4 * np.random.default_rng(0).normal(size=len(time) + 2 * int(silence * rate))
    return (noise + np.pad(buzz, int(silence * rate))).astype(np.float32)


def inspected(folder: Path, audio: np.ndarray, rate: int = 22050, text: str = "Some words to say.") -> Inspection:
    path = folder / "a.wav"
    soundfile.write(path, audio, rate, subtype="FLOAT")
    return inspect(Utterance("anna", "a", text, path), shortest=0.4, longest=10.0)


def test_good_recording(tmp_path: Path) -> None:
    item = inspected(tmp_path, speech())
    assert not item.faults and not item.notes
    assert item.seconds == pytest.approx(2.0, abs=1e-3)
    assert (item.start, item.end) == (0, 44100)
    assert item.pace == pytest.approx(9.0, abs=0.1)


@pytest.mark.parametrize(
    ("audio", "words"),
    [
        (np.zeros(44100, np.float32), "silent"),
        (np.full(44100, 0.3, np.float32) * 0 + 1e-4, "silent"),
        (np.clip(10 * speech(), -1, 1), "clipped"),
        (speech(0.2), "too short"),
        (speech(12.0), "too long"),
        (np.full(44100, np.nan, np.float32), "NaN"),
        (np.zeros(0, np.float32), "no samples|cannot be read"),
        (speech()[:100], "too short"),
    ],
)
def test_faults(tmp_path: Path, audio: np.ndarray, words: str) -> None:
    faults = inspected(tmp_path, audio).faults
    assert len(faults) == 1
    assert any(word in faults[0] for word in words.split("|"))


def test_missing_and_broken_files_are_faults(tmp_path: Path) -> None:
    assert "no file" in inspect(Utterance("anna", "a", "x", tmp_path / "a.wav"), 0.4, 10).faults[0]
    (tmp_path / "a.wav").write_bytes(b"RIFF nonsense")
    assert inspect(Utterance("anna", "a", "x", tmp_path / "a.wav"), 0.4, 10).faults


def test_decoder_that_crashes_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object) -> None:
        raise ZeroDivisionError("decoder bug")

    monkeypatch.setattr(checks, "read_audio_as_recorded", crash)
    assert inspected(tmp_path, speech()).faults == ["unreadable (ZeroDivisionError: decoder bug)"]


def test_notes(tmp_path: Path) -> None:
    assert inspected(tmp_path, speech(rate=44100), 44100).notes == ["resampled from 44100 Hz"]
    stereo = np.stack([speech(), speech()], axis=1)
    assert inspected(tmp_path, stereo).notes == ["2 channels mixed to one"]
    item = inspected(tmp_path, speech(silence=1.0))
    assert "silence trimmed (0.88 s at the start, 0.88 s at the end)" in item.notes[0]
    peaks = speech()
    peaks[1000:1010] = 1.0
    assert "clipped in places" in inspected(tmp_path, peaks).notes[0]


@pytest.mark.parametrize("silence", [0.0, 0.03, 0.05, 0.1])
def test_short_silence_is_kept(silence: float) -> None:
    audio = speech(silence=silence)
    start, end = speech_bounds(checks.frame_rms(audio), len(audio))
    assert start == 0 and len(audio) - end < 256


def test_long_silence_is_trimmed_but_speech_never() -> None:
    audio = speech(silence=0.8)
    start, end = speech_bounds(checks.frame_rms(audio), len(audio))
    first, last = int(0.8 * 22050), len(audio) - int(0.8 * 22050)
    assert first - 0.15 * 22050 < start < first - 0.05 * 22050
    assert last + 0.05 * 22050 < end < last + 0.15 * 22050


def fake(
    speaker: str, name: int, seconds: float = 3.0, characters: int = 45, loud: float = 0.1, peak: float = 0.3
) -> Inspection:
    rms = np.full(100, loud, np.float32)
    return Inspection(
        speaker, str(name), seconds, end=int(seconds * 22050), characters=characters, peak=peak, frame_rms=rms
    )


def test_wrong_transcript_stands_out() -> None:
    random = np.random.default_rng(0)
    items = [fake("a", i, characters=int(45 * random.normal(1, 0.1))) for i in range(50)]
    items += [fake("a", 50, characters=150), fake("a", 51, characters=10), fake("a", 52, characters=75)]
    judge_pace(items)
    assert [item.id for item in items if item.faults] == ["50", "51"]
    assert "text and audio do not fit" in items[50].faults[0]
    assert [item.id for item in items if item.notes] == ["52"]


def test_gains_match_levels_without_clipping() -> None:
    quiet = [fake("quiet", i, loud=0.05, peak=0.2) for i in range(20)]
    loud = [fake("loud", i, loud=0.2, peak=0.9) for i in range(20)]
    gains = speaker_gains(quiet + loud, ["quiet", "loud"])
    assert gains[0] * 0.05 == pytest.approx(gains[1] * 0.2, rel=1e-3)
    assert gains[0] * 0.2 <= 0.99 and gains[1] * 0.9 <= 0.99
    spiky = [fake("spiky", i, loud=0.05, peak=0.9) for i in range(20)]
    gains = speaker_gains(spiky + loud, ["spiky", "loud"])
    assert gains[0] * 0.9 == pytest.approx(0.99)
    assert gains[0] * 0.05 == pytest.approx(gains[1] * 0.2, rel=1e-3)
    assert checks.clip_gain(2.0, peak=0.9) == pytest.approx(1.1)
    assert checks.clip_gain(2.0, peak=0.1) == 2.0
