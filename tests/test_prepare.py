"""`python -m bitjets_mlx.prepare` on small made-up corpora: what it writes, refuses, and survives."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
import soundfile

from bitjets_mlx import prepare
from bitjets_mlx.audio.pitch import extract_pitch
from bitjets_mlx.audio.spectrogram import log_mel, magnitude
from bitjets_mlx.data import features
from bitjets_mlx.data.prepared import PreparedData
from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.folders import locked

WORDS = ("the", "old", "man", "went", "to", "his", "house", "and", "saw", "a", "small", "bird", "while", "it", "rained")


def babble(seed: int, level: float, seconds: float = 1.5) -> np.ndarray:
    """A gliding buzz with pauses, between two short silences."""
    random = np.random.default_rng(seed)
    samples = int(seconds * 22050)
    time_ = np.arange(samples) / 22050
    phase = 2 * np.pi * np.cumsum(random.uniform(120, 220) * 2 ** (0.3 * np.sin(2 * np.pi * time_))) / 22050
    buzz = sum(np.sin(h * phase) / h for h in range(1, 12)) * (np.sin(2 * np.pi * 3 * time_) > -0.7)
    return (level * buzz + 3e-4 * random.normal(size=samples)).astype(np.float32)


def make_speaker(folder: Path, seed: int, level: float, count: int = 12) -> Path:
    (folder / "wavs").mkdir(parents=True)
    random, lines = np.random.default_rng(seed), []
    for index in range(count):
        sentence = " ".join(random.choice(WORDS, 5)) + "."
        lines.append(f"clip{index:02d}|{sentence}\n")
        soundfile.write(folder / "wavs" / f"clip{index:02d}.wav", babble(seed + index, level), 22050)
    lines[1] = lines[1].split("|")[0] + "|" + lines[0].split("|")[1].upper()  # a second take of the first sentence
    (folder / "metadata.csv").write_text("".join(lines))
    return folder


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("corpora")
    return {"anna": make_speaker(folder / "anna", 100, 0.05), "bob": make_speaker(folder / "bob", 200, 0.2)}


def arguments(corpora: dict[str, Path], out: Path, *more: str) -> list[str]:
    speakers = [word for name, folder in corpora.items() for word in ("--speaker", f"{name}={folder}")]
    return [*speakers, "--out", str(out), "--workers", "1", "--validation", "2", "--no-plot", *more]


@pytest.fixture(scope="module")
def prepared(corpora: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("prepared") / "data"
    prepare.main([word for word in arguments(corpora, out) if word != "--no-plot"])
    return out


def test_prepared_folder(prepared: Path) -> None:
    data = PreparedData(prepared)
    assert data.speakers == ("anna", "bob")
    assert len(data.clips) == 24
    assert (prepared / "checks.png").stat().st_size > 10_000
    assert json.loads((prepared / "manifest.json").read_text())["clips"] == 24
    assert {clip.speaker for clip in data.split("validation")} == {"anna", "bob"}
    assert len(data.split("train")) + len(data.split("validation")) == len(data.split("all")) == 24
    first, second = (next(c for c in data.clips if (c.speaker, c.id) == ("anna", f"clip0{i}")) for i in (0, 1))
    assert first.split == second.split  # two takes of one sentence
    assert first.phonemes[0] == first.phonemes[-1] == " "
    assert set(first.phonemes) <= set(data.symbols)
    with pytest.raises(BitjetsError, match="no split"):
        data.split("test")


def test_features_are_what_the_audio_rooms_compute(prepared: Path) -> None:
    data = PreparedData(prepared)
    clip = data.clips[3]
    loaded = data.load(clip)
    assert loaded.mel.shape == (clip.frames, 80) and loaded.mel.dtype == np.float32
    assert loaded.log_f0.shape == loaded.voiced.shape == loaded.energy.shape == (clip.frames,)
    assert loaded.audio.shape == (clip.samples,) == (clip.frames * 256,)
    assert loaded.audio.dtype == loaded.log_f0.dtype == loaded.energy.dtype == np.float32
    assert loaded.voiced.dtype == bool and 0.3 < loaded.voiced.mean() <= 1
    sound = mx.array(loaded.audio)[None]
    np.testing.assert_allclose(loaded.mel, np.array(log_mel(sound)[0]), atol=1e-5)
    norm = np.linalg.norm(np.array(magnitude(sound)[0]), axis=-1)
    np.testing.assert_allclose(loaded.energy, np.log(norm), atol=1e-5)
    f0, voiced = extract_pitch(loaded.audio)
    assert (voiced == loaded.voiced).all()
    np.testing.assert_allclose(loaded.log_f0, np.log(f0), atol=1e-5)


def test_statistics(prepared: Path) -> None:
    data = PreparedData(prepared)
    train = [(clip.speaker, data.load(clip)) for clip in data.split("train")]
    mel = np.concatenate([one.mel for _, one in train])
    np.testing.assert_allclose(data.statistics.mel_mean, mel.mean(axis=0), rtol=1e-3)
    np.testing.assert_allclose(data.statistics.mel_std, mel.std(axis=0), rtol=1e-3)
    for index, speaker in enumerate(data.speakers):
        own = [one for name, one in train if name == speaker]
        pitch = np.concatenate([one.log_f0[one.voiced] for one in own])
        energy = np.concatenate([one.energy for one in own])
        assert data.statistics.log_f0_mean[index] == pytest.approx(pitch.mean(), rel=1e-4)
        assert data.statistics.log_f0_std[index] == pytest.approx(pitch.std(), rel=1e-3)
        assert data.statistics.energy_mean[index] == pytest.approx(energy.mean(), rel=1e-3)
        assert data.statistics.energy_std[index] == pytest.approx(energy.std(), rel=1e-3)
    anna, bob = data.statistics.gain
    assert anna / bob == pytest.approx(4.0, rel=0.1)  # bob speaks four times as loud


def changed(folder: Path) -> dict[str, int]:
    paths = (path for path in sorted((folder / "features").rglob("*.npz")) if not path.name.startswith("."))
    return {str(path): path.stat().st_mtime_ns for path in paths}


def test_second_run_extracts_nothing_but_looks_phonemes_up_again(corpora: dict[str, Path], prepared: Path) -> None:
    before, clips = changed(prepared), (prepared / "clips.jsonl").read_bytes()
    (prepared / "lexicon.txt").write_text("house K AE1 T\n")
    prepare.main(arguments(corpora, prepared, "--lexicon", str(prepared / "lexicon.txt")))
    assert changed(prepared) == before
    assert (prepared / "clips.jsonl").read_bytes() != clips
    prepare.main(arguments(corpora, prepared))
    assert (prepared / "clips.jsonl").read_bytes() == clips


def test_damaged_and_stale_features_are_made_again(
    corpora: dict[str, Path], prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = changed(prepared)
    damaged = sorted(before)[5]
    whole = Path(damaged).read_bytes()
    for bad in (whole[:5000], b"", b"PK", whole[: len(whole) // 3] + b"\0" + whole[len(whole) // 3 + 1 :]):
        Path(damaged).write_bytes(bad)
        with pytest.raises(BitjetsError, match=r"damaged: run .*prepare"):
            features.load_features(Path(damaged))
    with pytest.raises(BitjetsError, match=r"damaged: run .*prepare"):
        data = PreparedData(prepared)
        data.load(next(clip for clip in data.clips if damaged.endswith(clip.features)))
    prepare.main(arguments(corpora, prepared))
    now = changed(prepared)
    assert [path for path in now if now[path] != before[path]] == [damaged]
    monkeypatch.setattr(features, "FEATURES_VERSION", features.FEATURES_VERSION + 1)
    prepare.main(arguments(corpora, prepared))
    after = changed(prepared)
    assert all(after[path] != now[path] for path in now)


def test_hostile_clips_are_left_out_and_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_speaker(tmp_path / "eve", 300, 0.1, count=14)
    wavs = folder / "wavs"
    good = (wavs / "clip00.wav").read_bytes()
    (wavs / "clip01.wav").unlink()
    (wavs / "clip02.wav").write_bytes(b"")
    (wavs / "clip03.wav").write_bytes(good[: len(good) // 2])
    soundfile.write(wavs / "clip04.wav", np.zeros(0, np.float32), 22050)
    soundfile.write(wavs / "clip05.wav", np.full(30000, np.nan, np.float32), 22050, subtype="FLOAT")
    soundfile.write(wavs / "clip06.wav", np.zeros(30000, np.float32), 22050)
    soundfile.write(wavs / "clip07.wav", babble(1, 0.1)[:2000], 22050)
    soundfile.write(wavs / "clip08.wav", np.clip(20 * babble(1, 0.1), -1, 1), 22050)
    soundfile.write(wavs / "clip09.wav", np.stack([babble(1, 0.1)] * 2, axis=1), 44100)
    lines = (folder / "metadata.csv").read_text().splitlines()
    lines[10] = "clip10|" + "a very long text for a very short recording " * 20
    lines[11] = "clip11|\U0001f600 \U0001f601"
    (folder / "metadata.csv").write_text("\n".join(lines))
    prepare.main(arguments({"eve": folder}, tmp_path / "out"))
    with open(tmp_path / "out" / "checks.csv") as file:
        rows = {row["id"]: row for row in csv.DictReader(file)}
    assert [name for name, row in rows.items() if row["used"] == "yes"] == ["clip00", "clip09", "clip12", "clip13"]
    for name, words in {
        "clip01": "no file",
        "clip02": "empty",
        "clip03": "truncated",
        "clip04": "no samples",
        "clip05": "NaN",
        "clip06": "silent",
        "clip07": "too short",
        "clip08": "clipped",
        "clip09": "resampled from 44100 Hz; 2 channels",
        "clip10": "do not fit",
    }.items():
        assert words in rows[name]["findings"], name
    assert rows["clip11"]["findings"]
    assert "10 clips left out" in capsys.readouterr().out
    assert len(PreparedData(tmp_path / "out").clips) == 4


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--speaker", "anna"], "is not NAME=DIR"),
        (["--speaker", "a/b=x"], "is not NAME=DIR"),
        (["--speaker", "anna=nowhere"], "no folder"),
        (["--speaker", "anna=x", "--speaker", "anna=y"], "same name"),
        (["--speaker", "anna=x", "--validation", "-1"], "must not be negative"),
    ],
)
def test_bad_command_lines(tmp_path: Path, options: list[str], words: str) -> None:
    with pytest.raises(BitjetsError, match=words):
        prepare.main([*options, "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    folder = make_speaker(tmp_path / "eve", 300, 0.1, count=3)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    for out in (tmp_path / "out", folder):
        with pytest.raises(BitjetsError, match="holds something else"):
            prepare.main(arguments({"eve": folder}, out))
    assert [entry.name for entry in (tmp_path / "out").iterdir()] == ["thesis.txt"]
    with locked(tmp_path / "new"), pytest.raises(BitjetsError, match="is in use by process"):
        prepare.main(arguments({"eve": folder}, tmp_path / "new"))


def test_nothing_usable(tmp_path: Path) -> None:
    folder = make_speaker(tmp_path / "eve", 300, 0.0, count=3)
    with pytest.raises(BitjetsError, match="None of eve's 3 recordings can be used: silent"):
        prepare.main(arguments({"eve": folder}, tmp_path / "out"))
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_opening_what_is_not_prepared(tmp_path: Path, prepared: Path) -> None:
    with pytest.raises(BitjetsError, match=r"bitjets_mlx\.prepare"):
        PreparedData(tmp_path)
    manifest = (prepared / "manifest.json").read_text()
    values = json.loads(manifest)
    for broken in (
        *("{", "[]", "{}", "[" * 10**5, manifest.replace('"format": 1', '"format": 99')),
        *(json.dumps(values | change) for change in ({"clips": "many"}, {"speakers": 3}, {"statistics": []})),
    ):
        (tmp_path / "manifest.json").write_text(broken)
        with pytest.raises(BitjetsError, match="run `python -m"):
            PreparedData(tmp_path)
    (tmp_path / "manifest.json").write_text(manifest)
    lines = (prepared / "clips.jsonl").read_text().splitlines(keepends=True)
    clip = json.loads(lines[0])
    changed = (
        {"features": "../../x.npz"}, {"features": "/x.npz"}, {"id": "../x"}, {"speaker": "nobody"}, {"frames": -1},
        {"frames": "9"}, {"phonemes": "HH"}, {"split": "test"}, {"text": None},
    )  # fmt: skip
    worse = ["".join([json.dumps(clip | change) + "\n", *lines[1:]]) for change in changed]
    for broken in ("", "".join(lines[:-1]), "".join(lines)[:-50], *worse):
        (tmp_path / "clips.jsonl").write_text(broken)
        with pytest.raises(BitjetsError, match="run `python -m"):
            PreparedData(tmp_path)


def run(command: list[str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "bitjets_mlx.prepare", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
        start_new_session=True,
    )


def test_command_fails_with_one_sentence(tmp_path: Path) -> None:
    process = run(["--speaker", f"anna={tmp_path / 'none'}", "--out", str(tmp_path / "out")])
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors.startswith("error: There is no folder") and errors.count("\n") == 1
    assert not output and not (tmp_path / "out").exists()


@pytest.mark.slow
def test_parallel_equals_serial_and_a_killed_run_goes_on(
    corpora: dict[str, Path], prepared: Path, tmp_path: Path
) -> None:
    command = arguments(corpora, tmp_path / "out")
    command[command.index("--workers") + 1] = "2"
    process = run(command)
    deadline = time.monotonic() + 120
    while process.poll() is None and not changed_or_none(tmp_path / "out") and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)  # the command only: its workers must notice and end
    process.communicate(timeout=60)  # returns when nobody holds the pipes any more
    done = changed_or_none(tmp_path / "out")
    assert not (tmp_path / "out" / "manifest.json").exists()
    again = run(command)
    again.communicate(timeout=300)
    assert again.returncode == 0
    now = changed(tmp_path / "out")
    assert len(now) == 24 and all(now[path] == done[path] for path in done)
    assert (tmp_path / "out" / "clips.jsonl").read_bytes() == (prepared / "clips.jsonl").read_bytes()
    assert not list((tmp_path / "out").rglob(".*"))  # nothing of what the killed one was writing
    ours, theirs = PreparedData(tmp_path / "out"), PreparedData(prepared)
    assert ours.statistics.log_f0_mean == theirs.statistics.log_f0_mean
    for mine, other in zip(ours.clips, theirs.clips, strict=True):
        for name, value in vars(ours.load(mine)).items():  # matrix products differ in the last bits with the threads
            np.testing.assert_allclose(value, getattr(theirs.load(other), name), atol=1e-4, err_msg=name)


def changed_or_none(folder: Path) -> dict[str, int]:
    return changed(folder) if (folder / "features").is_dir() else {}
