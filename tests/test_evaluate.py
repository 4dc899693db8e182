"""The evaluate command, on a tiny voice and on recordings made of harmonics."""

import json
import re
import struct
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from tiny_voice import HARMONIC, SPEAKERS, tiny_voice, vocoder_run

from bitjets_mlx import evaluate, samples
from bitjets_mlx.audio.files import read_audio
from bitjets_mlx.data.features import extract
from bitjets_mlx.data.prepared import Clip, PreparedData, measure_statistics, write_prepared
from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.evaluation import judges, resources, sentences, texts
from bitjets_mlx.pack import vocoder_part, write_parts
from bitjets_mlx.text import phonemize
from bitjets_mlx.text.symbols import SYMBOLS

CLIPS = [
    ("anna", "a1", "Yes.", "validation"),
    ("anna", "a1_take2", "Yes!", "validation"),
    ("anna", "a2", "No.", "validation"),
    ("anna", "a3", "Go on.", "train"),
    ("ben", "b1", "Oh.", "validation"),
    ("ben", "b2", "Well.", "validation"),
]


def syllables(pitch: float, seed: int) -> np.ndarray:
    """Half a second to a second of harmonics that come and go."""
    time = np.arange(int((0.6 + 0.05 * seed) * 22050)) / 22050
    phase = 2 * np.pi * np.cumsum(pitch * (1 + 0.1 * np.sin(2 * np.pi * 2 * time))) / 22050
    voice = sum(np.sin(k * phase) / k for k in range(1, 20)) * 0.2 * np.maximum(0, np.sin(2 * np.pi * 3 * time))
    return (voice + 0.001 * np.random.default_rng(seed).normal(size=len(time))).astype(np.float32)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared folder of six clips by two speakers."""
    folder = tmp_path_factory.mktemp("prepared")
    clips, features = [], []
    for number, (speaker, name, text, split) in enumerate(CLIPS):
        one = extract(syllables(200.0 if speaker == "anna" else 120.0, number))
        path = f"features/{speaker}/{name}.npz"
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        arrays: dict[str, Any] = {**vars(one), "audio": np.round(one.audio * 32768).astype(np.int16)}
        np.savez(folder / path, **arrays)
        clips.append(Clip(name, speaker, text, tuple(phonemize(text)), split, len(one.mel), len(one.audio), path))
        features.append((speaker, one))
    write_prepared(folder, SPEAKERS, SYMBOLS, measure_statistics(features, SPEAKERS, (1.0, 1.0)), clips)
    return folder


@pytest.fixture(scope="module")
def voice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_voice(tmp_path_factory.mktemp("voice"))


@pytest.fixture
def no_judges(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where no judge is installed: their networks take longer to load than a tiny voice to be measured."""
    monkeypatch.setattr(judges, "lacking", lambda *names: list(names))
    monkeypatch.setattr(judges, "recognizer", lambda: "")
    monkeypatch.setattr(resources, "cold_start", lambda *_: resources.ColdStart(1.0, 1.0, 1))


def options(voice: Path, prepared: Path, *more: str) -> list[str]:
    return ["--voice", str(voice), "--data", str(prepared), "--workers", "1", *more]


@pytest.mark.slow
def test_the_command_keeps_what_it_spoke_and_writes_the_table(
    voice: Path, prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept, file = tmp_path / "kept", tmp_path / "table.json"
    evaluate.main(options(voice, prepared, "--output", str(kept), "--json", str(file)))
    printed = capsys.readouterr().out
    result = json.loads(file.read_text())
    for label in (
        "copy synthesis",
        "Distill-MOS",
        "mel-cepstral distortion, dB",
        "PESQ-WB",
        "real-time factor",
        "cold start",
    ):
        assert label in printed
    anna, ben = result["speakers"]["anna"], result["speakers"]["ben"]
    assert (anna["clips"], anna["sentences"], ben["clips"], ben["sentences"]) == (3, 2, 2, 2)
    for row in (anna, ben):
        assert row["mcd_db"] > 1.0
        assert 1.0 <= row["copy_pesq_wb"] <= 4.65
    assert {row["id"] for row in result["clips"]} == {"a1", "a1_take2", "a2", "b1", "b2"}
    for row in result["clips"]:
        folder = kept / row["speaker"]
        frames = next(clip.frames for clip in PreparedData(prepared).clips if clip.id == row["id"])
        assert len(read_audio(folder / f"{row['id']}.copy.wav")) == frames * 256
        assert len(read_audio(folder / f"{row['id']}.wav")) > 2000
    assert (kept / "anna" / "a1.wav").read_bytes() == (kept / "anna" / "a1_take2.wav").read_bytes()
    assert result["folder_bytes"] == sum(path.stat().st_size for path in voice.iterdir())
    assert {"real_time_factor", "first_sample_from_cold_start_seconds", "peak_memory_mb"} <= result.keys()
    for columns in result["judges"].values():
        assert list(columns) == ["recordings", "copy synthesis", "synthesis"]
        assert columns["synthesis"]["added_points"] == pytest.approx(
            columns["synthesis"]["word_errors_percent"] - columns["recordings"]["word_errors_percent"]
        )


@pytest.mark.slow
@pytest.mark.usefixtures("no_judges")
def test_the_same_numbers_every_time(voice: Path, prepared: Path, tmp_path: Path) -> None:
    tables = []
    for number in range(2):
        file = tmp_path / f"{number}.json"
        evaluate.main(options(voice, prepared, "--split", "all", "--json", str(file)))
        table = json.loads(file.read_text())
        tables.append((table["speakers"], table["clips"], table["judges"]))
    assert tables[0] == tables[1]
    assert tables[0][0]["anna"]["clips"] == 4  # with the training clip


@pytest.mark.usefixtures("no_judges")
def test_a_vocoder_folder_gets_the_vocoders_measures(
    prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "vocoder"
    write_parts(folder, None, vocoder_part(vocoder_run(tmp_path / "run", HARMONIC)))
    file = tmp_path / "table.json"
    evaluate.main(options(folder, prepared, "--limit", "1", "--json", str(file)))
    row = json.loads(file.read_text())["speakers"]["anna"]
    assert set(row) == {"clips", "sentences", "copy_pesq_wb", "copy_stoi", "copy_mel_l1"}
    assert (row["clips"], row["sentences"]) == (2, 1)  # both takes of the one sentence
    assert "MCD" not in capsys.readouterr().out


def test_a_voice_without_vocoder_is_measured_with_griffin_lim(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_judges: None
) -> None:
    monkeypatch.setattr(judges, "recognizer", lambda: "one that is sure")
    monkeypatch.setattr(judges, "recognize", lambda *_: "yes")
    file = tmp_path / "table.json"
    with pytest.warns(UserWarning, match="Griffin-Lim"):
        evaluate.main(options(tiny_voice(tmp_path, None), prepared, "--limit", "1", "--json", str(file)))
    result = json.loads(file.read_text())
    assert [row["word_errors_percent"] for row in result["judges"]["anna"].values()] == [0.0] * 3
    assert result["speakers"]["anna"]["copy_mel_l1"] < 1.0


@pytest.mark.usefixtures("no_judges")
def test_texts_are_judged_without_recordings(voice: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, table, kept = tmp_path / "texts.tsv", tmp_path / "table.json", tmp_path / "kept"
    file.write_text("first\tbook\tIs it so?\n\nsecond\tIt is.\n")
    given = ["--voice", str(voice), "--texts", str(file), "--speaker", "ben", "--workers", "1"]
    evaluate.main([*given, "--json", str(table), "--output", str(kept)])
    result = json.loads(table.read_text())
    assert result["judges"].keys() == {"ben"} and result["judges"]["ben"]["synthesis"]["sentences"] == 2
    assert [(row["id"], row["text"]) for row in result["clips"]] == [("first", "Is it so?"), ("second", "It is.")]
    assert {path.relative_to(kept).as_posix() for path in kept.rglob("*.wav")} == {"ben/first.wav", "ben/second.wav"}
    assert "diagnostics" not in capsys.readouterr().out


def test_texts_are_lines_or_columns(tmp_path: Path) -> None:
    file = tmp_path / "texts.txt"
    file.write_text("One two.\n\nThree.\n")
    assert texts.read_texts(file) == [texts.Line("00001", "One two."), texts.Line("00003", "Three.")]


@pytest.mark.parametrize("content", ["", "a\tOne.\na\tTwo.\n", "../a\tOne.\n"])
def test_texts_that_name_no_files_are_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "texts.tsv"
    file.write_text(content)
    with pytest.raises(BitjetsError, match="id, tab, sentence"):
        texts.read_texts(file)


Damage = Callable[[list[str], Path, pytest.MonkeyPatch], list[str]]


def without_package(given: list[str], _: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setitem(sys.modules, "pesq", None)
    return given


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (without_package, r"pip install -r requirements-quality\.txt"),
        (lambda given, folder, _: [*given, "--voice", str(folder / "none")], "not a voice folder"),
        (lambda given, folder, _: [*given, "--data", str(folder)], "no prepared data"),
        (lambda given, folder, _: [*given, "--speaker", "carl"], "no speaker 'carl': take anna or ben"),
        (lambda given, folder, _: [*given, "--texts", str(folder)], "either --data PREPARED"),
        (lambda given, folder, _: [*given, "--json", str(folder / "none" / "x.json")], "no folder"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(
    voice: Path, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Damage, sentence: str
) -> None:
    given = change(options(voice, prepared), tmp_path, monkeypatch)
    with pytest.raises(BitjetsError, match=sentence):
        evaluate.main(given)


def test_clips_of_strangers_are_refused(voice: Path, prepared: Path, tmp_path: Path) -> None:
    data = PreparedData(prepared)
    strangers = tmp_path / "strangers"
    strangers.mkdir()
    (strangers / "features").symlink_to(prepared / "features")
    statistics = measure_statistics([("carl", data.load(data.clips[0]))], ["carl"], [1.0])
    clip = data.clips[0]
    renamed = Clip(clip.id, "carl", clip.text, clip.phonemes, "validation", clip.frames, clip.samples, clip.features)
    write_prepared(strangers, ["carl"], SYMBOLS, statistics, [renamed])
    with pytest.raises(BitjetsError, match=r"no clip of a speaker of this voice \(anna, ben\)"):
        evaluate.main(options(voice, strangers))


def test_a_broken_voice_is_named_with_what_generate_said(tmp_path: Path) -> None:
    with pytest.raises(BitjetsError, match=r"`generate` failed with .*not a voice folder"):
        resources.cold_start(tmp_path / "none", "anna", tries=1)


def test_recordings_are_taken_back_to_their_own_level(prepared: Path, tmp_path: Path) -> None:
    data = PreparedData(prepared)
    data.statistics = replace(data.statistics, gain=(2.0, 1.0))
    first = sentences.group_takes(data.clips, data, tmp_path, spoken=False)[0]
    assert (first.speaker, first.gain) == ("anna", 2.0)
    given, recorded = data.load(data.clips[0]), sentences.load_as_recorded(first.takes[0], first.gain)
    np.testing.assert_allclose(recorded.audio * 2, given.audio, atol=1e-7)
    loud = given.mel > -6
    np.testing.assert_allclose(recorded.mel[loud], given.mel[loud] - np.log(2), atol=1e-3)


def test_sizes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"123")
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "b").write_bytes(b"12345")
    assert resources.file_sizes(tmp_path) == {"a": 3, "deeper/b": 5}


# -- samples to listen to ------------------------------------------------------------------------------------------


def test_samples_are_a_page_that_plays_its_own_files(voice: Path, prepared: Path, tmp_path: Path) -> None:
    folder = tmp_path / "samples"
    folder.mkdir()
    (folder / "old.ogg").write_text("of an earlier voice")
    given = ["--voice", str(voice), "--data", str(prepared), "--out", str(folder), "--sentences", "2"]
    with pytest.raises(BitjetsError, match=r"holds old\.ogg"):
        samples.main(given)
    samples.main([*given, "--overwrite"])
    html = (folder / "index.html").read_text()
    sounds, pictures = re.findall(r'<audio[^>]* src="([^"]+)"', html), re.findall(r'<img src="([^"]+)"', html)
    assert len(sounds) == len(pictures) == 2 * 2 * 2  # speakers, sentences, recording and synthesis
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert files == {*sounds, *pictures, "index.html"}
    assert "http" not in html and "Well." in html and "Go on." not in html  # nothing from elsewhere, or trained on
    natural = soundfile.read(folder / "ben" / "01.natural.ogg")[0]
    clip = next(clip for clip in PreparedData(prepared).clips if clip.id == "b1")
    assert len(natural) / 48000 == pytest.approx(clip.samples / 22050, abs=0.02)
    recorded = sentences.load_as_recorded(
        sentences.group_takes([clip], PreparedData(prepared), tmp_path, spoken=False)[0].takes[0], 1.0
    ).audio
    assert np.sqrt(np.mean(natural**2)) == pytest.approx(np.sqrt(np.mean(recorded**2)), rel=0.1)
    width, height = struct.unpack(">II", (folder / pictures[0]).read_bytes()[16:24])
    assert height == 80 and width > 40


@pytest.mark.parametrize(
    ("more", "sentence"),
    [(["--sentences", "9"], "give --sentences 2 or less"), (["--data", "/none"], "no prepared data")],
)
def test_samples_that_cannot_be_are_refused_and_nothing_is_left(
    voice: Path, prepared: Path, tmp_path: Path, more: list[str], sentence: str
) -> None:
    given = ["--voice", str(voice), "--data", str(prepared), "--out", str(tmp_path / "samples"), *more]
    with pytest.raises(BitjetsError, match=sentence):
        samples.main(given)
    assert not list(tmp_path.iterdir())
