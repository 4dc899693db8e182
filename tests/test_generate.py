"""The generate command, run as people run it: every flag, and every kind of bad input."""

import hashlib
import json
import os
import re
import resource
import shutil
import signal
import stat
import subprocess
import sys
import time
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from tiny_voice import HIFIGAN, tiny_voice

import bitjets_mlx
from bitjets_mlx import load_voice
from bitjets_mlx.voice.weights_file import read_weights

TEXT = "Hello there."
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}


@pytest.fixture(scope="module")
def voice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_voice(tmp_path_factory.mktemp("voice"))


def generate(voice: Path, *arguments: Any, cwd: Path, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bitjets_mlx.generate", "--voice", str(voice), *map(str, arguments)]
    environment = {**ENVIRONMENT, **options.pop("env", {})}
    options = {"input": "", **options}
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, check=False, **options)


def spoken(path: Path) -> np.ndarray:
    """The samples of a WAV file, after a look at its format."""
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 22050)
        return np.frombuffer(file.readframes(file.getnframes()), "<i2")


def said(voice: Path, cwd: Path, *arguments: Any, name: str = "x.wav") -> np.ndarray:
    done = generate(voice, "--text", TEXT, "--output", name, *arguments, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return spoken(cwd / name)


def refused(voice: Path, *arguments: Any, cwd: Path, **options: Any) -> str:
    """The sentence of a failing command, which must leave nothing behind."""
    before = sorted(cwd.rglob("*"))
    done = generate(voice, *arguments, cwd=cwd, **options)
    assert done.returncode != 0 and "Traceback" not in done.stderr
    assert sorted(cwd.rglob("*")) == before
    errors = [line for line in done.stderr.splitlines() if "error: " in line]
    assert len(errors) == 1
    return errors[0]


# -- what it writes --------------------------------------------------------------------------------------------------


def test_it_writes_what_the_voice_speaks_and_says_where(voice: Path, tmp_path: Path) -> None:
    done = generate(voice, "--text", TEXT, cwd=tmp_path)
    assert done.returncode == 0 and done.stderr == ""
    samples = spoken(tmp_path / "out.wav")
    assert np.array_equal(samples, np.round(load_voice(voice).speak(TEXT) * 32767).astype(np.int16))
    assert f"{tmp_path / 'out.wav'}: {len(samples) / 22050:.2f} s of speech in " in done.stdout
    assert re.search(r"\(real-time factor \d+\.\d+\)", done.stdout)
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.wav"]


def test_text_comes_from_a_file_or_standard_input_too(voice: Path, tmp_path: Path) -> None:
    expected = said(voice, tmp_path)
    (tmp_path / "text.txt").write_text("\ufeff" + TEXT + "\n", encoding="utf-8")
    for arguments, options in (
        (["--file", "text.txt"], {}),
        (["--file", "-"], {"input": TEXT}),
        ([], {"input": TEXT}),
    ):
        done = generate(voice, *arguments, "--output", "y.wav", cwd=tmp_path, **options)
        assert done.returncode == 0, done.stderr
        assert np.array_equal(spoken(tmp_path / "y.wav"), expected)


def test_every_control_reaches_the_voice(voice: Path, tmp_path: Path) -> None:
    speaks = load_voice(voice).speak
    lexicon = tmp_path / "lexicon.txt"
    lexicon.write_text("hello  G UH1 D\n")
    for arguments, expected in (
        (["--speaker", "ben"], speaks(TEXT, speaker="ben")),
        (["--speed", "1.3"], speaks(TEXT, speed=1.3)),
        (["--pitch", "+2"], speaks(TEXT, pitch=2.0)),
        (["--pitch", "-2"], speaks(TEXT, pitch=-2.0)),
        (["--energy", "1.2"], speaks(TEXT, energy=1.2)),
        (["--seed", "7"], speaks(TEXT, seed=7)),
        (["--lexicon", lexicon], speaks(TEXT, lexicon={"hello": ["G", "UH1", "D"]})),
    ):
        samples = said(voice, tmp_path, *arguments)
        assert np.array_equal(samples, np.round(expected * 32767).astype(np.int16)), arguments
        assert not np.array_equal(samples, np.round(speaks(TEXT) * 32767).astype(np.int16)), arguments


def test_seed_0_is_the_default(voice: Path, tmp_path: Path) -> None:
    assert np.array_equal(said(voice, tmp_path), said(voice, tmp_path, "--seed", "0", name="y.wav"))


def test_another_vocoder(voice: Path, tmp_path: Path) -> None:
    other = tiny_voice(tmp_path / "other", HIFIGAN)
    samples = said(voice, tmp_path, "--vocoder", other)
    expected = load_voice(voice, vocoder=other).speak(TEXT)
    assert np.array_equal(samples, np.round(expected * 32767).astype(np.int16))


def test_text_is_a_plain_argument_and_speakers_have_any_case(voice: Path, tmp_path: Path) -> None:
    done = generate(voice, TEXT, "--speaker", "BEN", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    expected = load_voice(voice).speak(TEXT, "ben")
    assert np.array_equal(spoken(tmp_path / "out.wav"), np.round(expected * 32767).astype(np.int16))


@pytest.mark.parametrize(("suffix", "kind"), [(".flac", "FLAC"), (".ogg", "OGG"), (".MP3", "MP3")])
def test_the_suffix_says_what_is_written(voice: Path, tmp_path: Path, suffix: str, kind: str) -> None:
    done = generate(voice, TEXT, "--output", f"x{suffix}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    expected = load_voice(voice).speak(TEXT)
    with soundfile.SoundFile(tmp_path / f"x{suffix}") as file:
        assert (file.format, file.samplerate, file.channels) == (kind, 22050, 1)
        samples = file.read(dtype="float32")
    assert abs(len(samples) - len(expected)) < 3000  # an MP3 has whole frames
    if kind == "FLAC":
        assert np.abs(samples - expected).max() < 1 / 30000
    assert np.corrcoef(samples[: len(expected)], expected[: len(samples)])[0, 1] > (0.9 if kind != "MP3" else -1)


@pytest.mark.parametrize("raw", [False, True])
def test_sound_goes_to_standard_output(voice: Path, tmp_path: Path, raw: bool) -> None:
    given = [TEXT, "--output", "-", *["--raw"] * raw]
    command = [sys.executable, "-m", "bitjets_mlx", "generate", "--voice", str(voice), *given]
    done = subprocess.run(command, capture_output=True, cwd=tmp_path, env=ENVIRONMENT, check=False)
    assert done.returncode == 0 and b"real-time factor" in done.stderr and not list(tmp_path.iterdir())
    expected = np.round(load_voice(voice).speak(TEXT) * 32767).astype("<i2").tobytes()
    assert done.stdout[0 if raw else 44 :] == expected
    assert raw or done.stdout[:4] == b"RIFF"


def test_pauses_are_as_asked_for(voice: Path, tmp_path: Path) -> None:
    text, model = "One.\n\nTwo. Three.", load_voice(voice)
    sentences = model.sentences(text)
    for arguments, pauses in (
        (["--sentence-pause", "1"], [1.0, 1.0]),
        (["--paragraph-pause", "2"], [2.0, None]),
        (["--sentence-pause", "1", "--paragraph-pause", "2"], [2.0, 1.0]),
    ):
        done = generate(voice, text, *arguments, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        expected = np.concatenate([samples for _, samples in model.utterances(sentences, pauses=pauses)])
        assert np.array_equal(spoken(tmp_path / "out.wav"), np.round(expected * 32767).astype(np.int16))


def test_voices_and_version_are_listed(voice: Path, tmp_path: Path) -> None:
    assert "duo" in generate(voice, "--list-voices", cwd=tmp_path).stdout.split()
    assert generate(voice, "--version", cwd=tmp_path).stdout == f"bitjets-mlx {bitjets_mlx.__version__}\n"


def test_nobody_reading_the_messages_does_not_stop_it(voice: Path, tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "bitjets_mlx.generate", "--voice", str(voice), TEXT]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, cwd=tmp_path, env=ENVIRONMENT, check=False)
    os.close(writer)
    assert done.returncode == 0 and done.stderr == b"" and len(spoken(tmp_path / "out.wav")) > 1000


@pytest.mark.parametrize(
    ("shell", "code", "message"),
    [
        ("{} <&- ", 1, "there is no text to speak"),
        ("{} 'Hello there.' >&- ", 0, ""),
        ("{} 'Hello there.' 2>&- ", 0, ""),
        ("PYTHONIOENCODING=ascii {} 'Hello.' --output n\N{LATIN SMALL LETTER E WITH ACUTE}.wav", 0, ""),
        ("{} 'Hello there. How are you?' --output - | head -c 10 >/dev/null; test ${{PIPESTATUS[0]}} = 141", 0, ""),
    ],
)
def test_closed_and_narrow_streams(voice: Path, tmp_path: Path, shell: str, code: int, message: str) -> None:
    command = f"'{sys.executable}' -m bitjets_mlx.generate --voice '{voice}'"
    line = ["bash", "-c", shell.format(command)]
    done = subprocess.run(line, capture_output=True, text=True, cwd=tmp_path, env=ENVIRONMENT, check=False)
    assert done.returncode == code and message in done.stderr and "Traceback" not in done.stderr, done.stderr


def test_batch_writes_one_file_a_line(voice: Path, tmp_path: Path) -> None:
    lines = "Hello there.\n\nHow are you? Fine.\n"
    done = generate(voice, "--batch", "--output", "many", cwd=tmp_path, input=lines)
    assert done.returncode == 0, done.stderr
    assert sorted(file.name for file in (tmp_path / "many").iterdir()) == ["0001.wav", "0003.wav"]
    expected = load_voice(voice).speak("How are you? Fine.")
    assert np.array_equal(spoken(tmp_path / "many" / "0003.wav"), np.round(expected * 32767).astype(np.int16))
    assert done.stdout.count("real-time factor") == 2


def test_list_speakers(voice: Path, tmp_path: Path) -> None:
    done = generate(voice, "--list-speakers", cwd=tmp_path)
    assert done.stdout.split() == ["anna", "ben"] and not list(tmp_path.iterdir())


def test_plot_draws_a_picture(voice: Path, tmp_path: Path) -> None:
    said(voice, tmp_path, "--plot", "mel.png")
    picture = (tmp_path / "mel.png").read_bytes()
    assert picture.startswith(b"\x89PNG") and len(picture) > 10_000


def test_play_calls_the_player_that_is_there(voice: Path, tmp_path: Path) -> None:
    programs, heard = tmp_path / "bin", tmp_path / "heard"
    programs.mkdir()
    for code in (0, 1):
        player = programs / "paplay"
        player.write_text(f'#!/bin/sh\nprintf %s "$1" > "{heard}"\nexit {code}\n')
        player.chmod(player.stat().st_mode | stat.S_IXUSR)
        done = generate(voice, "--text", TEXT, "--play", cwd=tmp_path, env={"PATH": str(programs)})
        assert heard.read_text() == "out.wav" and done.returncode == code
    assert "paplay could not play out.wav" in done.stderr
    nobody = generate(voice, "--text", TEXT, "--play", cwd=tmp_path, env={"PATH": str(tmp_path)})
    assert nobody.returncode == 1 and "no program to play sound" in nobody.stderr


def test_warnings_are_one_line_each(tmp_path: Path) -> None:
    mute = tiny_voice(tmp_path / "mute", None)
    done = generate(mute, "--text", f"{TEXT} \N{SNOWMAN}", cwd=tmp_path)
    assert done.returncode == 0 and len(spoken(tmp_path / "out.wav")) > 1000
    lines = done.stderr.splitlines()
    assert all(line.startswith("warning: ") for line in lines)
    assert any("Griffin-Lim" in line for line in lines) and any("\N{SNOWMAN}" in line for line in lines)


def test_it_replaces_an_older_file(voice: Path, tmp_path: Path) -> None:
    (tmp_path / "x.wav").write_bytes(b"RIFF, an old one")
    assert len(said(voice, tmp_path)) > 1000


# -- what it refuses -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--text", ""], "error: "),
        (["--text", "\N{GRINNING FACE} \N{PARTY POPPER}"], "error: "),
        (["--text", "..."], "error: "),
        ([], "error: "),  # nothing on standard input
        (["--file", "none.txt"], "none.txt cannot be read"),
        (["--text", TEXT, "--speaker", "carl"], "no speaker 'carl'"),
        (["--text", TEXT, "--speed", "0"], "speed is 0.0"),
        (["--text", TEXT, "--speed", "fast"], "invalid float value"),
        (["--text", TEXT, "--pitch", "nan"], "pitch is nan"),
        (["--text", TEXT, "--energy", "-1"], "energy is -1.0"),
        (["--text", TEXT, "--seed", "-1"], "seed is -1"),
        (["--text", TEXT, "--lexicon", "none"], "cannot read the lexicon"),
        (["--text", TEXT, "--output", "no/folder/x.wav"], "no folder no/folder"),
        (["--text", TEXT, "--output", "folder.wav"], "is a folder"),
        (["--text", TEXT, "--output", "x.xyz"], "take one of wav, flac, ogg, mp3"),
        (["--text", TEXT, "--output", "x"], "has no suffix of a sound file"),
        (["--text", TEXT, "--plot", "x.xyz"], "end it in .png"),
        (["--text", TEXT, "--raw"], "give --output - with it"),
        (["--text", TEXT, "--output", "-", "--play"], "give a file as --output"),
        (["--text", TEXT, "--sentence-pause", "-1"], "is not from 0 to 60 seconds"),
        (["--nonsense"], "--help lists the options"),
        ([TEXT, "--text", TEXT], "not allowed with"),
        ([TEXT, "--voice", "nobody"], "there is no voice 'nobody': take duo"),
        (["--text", TEXT, "--plot", "no/x.png"], "no folder no"),
        (["--text", TEXT, "--vocoder", "."], "has no config.json"),
        (["--text", TEXT, "--file", "x"], "not allowed with"),
        (["--text", TEXT, "--batch"], "give a folder as --output"),
        (["--text", "\n", "--batch", "--output", "many"], "no text to speak"),
    ],
)
def test_bad_arguments_get_one_sentence(voice: Path, tmp_path: Path, arguments: list[str], message: str) -> None:
    (tmp_path / "folder.wav").mkdir()
    assert message in refused(voice, *arguments, cwd=tmp_path)


def test_what_is_there_and_no_sound_is_not_written_over(voice: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.wav").write_text("mine")
    assert "holds something else" in refused(voice, TEXT, "--output", "thesis.wav", cwd=tmp_path)
    assert len(said(voice, tmp_path, "--overwrite", name="thesis.wav")) > 1000
    (tmp_path / "null.wav").symlink_to("/dev/null")
    assert "is a device" in refused(voice, TEXT, "--output", "null.wav", cwd=tmp_path)
    (tmp_path / "text.wav").write_text("RIFF is a word.")
    message = refused(voice, "--file", "text.wav", "--output", "text.wav", "--overwrite", cwd=tmp_path)
    assert "is read from" in message


def test_batch_speaks_what_it_can_and_names_the_rest(voice: Path, tmp_path: Path) -> None:
    lines = "Fine.\n\N{GRINNING FACE}\nGood.\n"
    done = generate(voice, "--batch", "--output", "many", cwd=tmp_path, input=lines)
    assert done.returncode == 1 and "1 lines were not spoken: line 2: " in done.stderr
    assert sorted(file.name for file in (tmp_path / "many").iterdir()) == ["0001.wav", "0003.wav"]
    only = refused(voice, "--batch", "--output", "none", cwd=tmp_path, input="\N{GRINNING FACE}\n")
    assert "line 1: " in only


def test_a_text_that_is_no_text(voice: Path, tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_bytes(b"\xff\xfe\x00\xd8")
    assert "is not UTF-8 text" in refused(voice, "--file", "x.txt", cwd=tmp_path)


def test_bad_voices(voice: Path, tmp_path: Path) -> None:
    assert "has no config.json" in refused(tmp_path / "none", "--text", TEXT, cwd=tmp_path)
    for file, damage, message in (
        ("acoustic.safetensors", lambda data: data[: len(data) // 2], "damaged"),
        ("vocoder.safetensors", lambda data: data[:-1], "damaged"),
        ("vocoder.safetensors", lambda data: data[:-1] + bytes([data[-1] ^ 1]), "sha256 differs"),
        ("acoustic.safetensors", lambda _: (voice / "vocoder.safetensors").read_bytes(), "sha256 differs"),
    ):
        broken = tmp_path / "broken"
        shutil.copytree(voice, broken)
        (broken / file).write_bytes(damage((broken / file).read_bytes()))
        assert message in refused(broken, "--text", TEXT, cwd=tmp_path)
        shutil.rmtree(broken)


def test_a_nan_weight(voice: Path, tmp_path: Path) -> None:
    """Put into the file byte by byte, with the sha256 made right: only the check for NaN can find it."""
    broken = tmp_path / "broken"
    shutil.copytree(voice, broken)
    data = bytearray((broken / "vocoder.safetensors").read_bytes())
    assert len(read_weights(broken / "vocoder.safetensors")) > 5
    data[-2:] = np.array([np.nan], np.float16).tobytes()
    (broken / "vocoder.safetensors").write_bytes(data)
    config = json.loads((broken / "config.json").read_text())
    config["files"]["vocoder.safetensors"] = hashlib.sha256(data).hexdigest()
    (broken / "config.json").write_text(json.dumps(config))
    assert "NaN" in refused(broken, "--text", TEXT, cwd=tmp_path)


def test_a_full_disk(voice: Path, tmp_path: Path) -> None:
    """A limit on the size of files stands for a full disk: writing fails half-way."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    (tmp_path / "out.wav").write_text("RIFF, the old one")
    message = refused(voice, "--text", TEXT, cwd=tmp_path, preexec_fn=limit)
    assert "too large" in message.lower()
    assert (tmp_path / "out.wav").read_text() == "RIFF, the old one"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_stopped_run_leaves_nothing(voice: Path, tmp_path: Path, number: signal.Signals) -> None:
    text = "This is a sentence that goes on for some time. " * 2500
    command = [sys.executable, "-m", "bitjets_mlx.generate", "--voice", str(voice), "--output", "x.wav", "--text", text]
    with subprocess.Popen(
        command, cwd=tmp_path, env=ENVIRONMENT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    ) as process:
        deadline = time.monotonic() + 60
        while not list(tmp_path.iterdir()) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert list(tmp_path.iterdir()), "it never began to write"
        process.send_signal(number)
        assert process.stderr is not None
        message = process.stderr.read().strip()
        assert (process.wait(60), message) == (128 + number, "stopped")
    assert not list(tmp_path.iterdir())
