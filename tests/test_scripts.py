"""The shell scripts: set-up from nothing, offline; repair; one clear sentence where something is missing.

Requirements files without a package stand for the real ones, so that no test needs the network; the packages come
from the environment that runs the tests.
"""

import json
import os
import re
import shutil
import site
import subprocess
import sys
import wave
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tiny_training import sound
from tiny_voice import tiny_voice

from bitjets_mlx import load_vocoder
from bitjets_mlx.config import HIFIGAN_VERSIONS

REPOSITORY = Path(__file__).resolve().parents[1]
REQUIREMENTS = ("requirements-speak.txt", "requirements.txt", "requirements-serve.txt", "requirements-dev.txt")
SCRIPTS = ("setup.sh", "speak.sh", "test.sh", "train_hifigan.sh")
BASH = shutil.which("bash") or "/bin/bash"


@pytest.fixture(scope="module")
def voice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_voice(tmp_path_factory.mktemp("voice"))


@pytest.fixture
def repository(tmp_path: Path, voice: Path) -> Path:
    """A copy of the repository's scripts, with a tiny voice, in a path with a space."""
    root = tmp_path / "a repository"
    shutil.copytree(REPOSITORY / "scripts", root / "scripts")
    shutil.copytree(REPOSITORY / ".ci", root / ".ci")
    shutil.copytree(REPOSITORY / "bitjets_mlx", root / "bitjets_mlx", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(voice, root / "weights" / "duo")
    for name in REQUIREMENTS:
        (root / name).write_text("# nothing\n")
    return root


def run(command: Iterable[object], cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    base = sys.base_prefix + "/bin/python3"
    known = {"BITJETS_PYTHON": base, "PYTHONPATH": site.getsitepackages()[0], "PIP_NO_INDEX": "1"}
    return subprocess.run(
        [*map(str, command)],
        cwd=cwd,
        env={**os.environ, **known, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def sourced(repository: Path, lines: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run shell lines with setup.sh read in."""
    script = f'set -u\nroot="$PWD"\n. scripts/setup.sh\n{lines}\n'
    return run([BASH, "-c", script], repository, **environment)


def stub_python(repository: Path, body: str) -> Path:
    """An environment whose Python is a shell script, with all stamps in place."""
    python = repository / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    (repository / ".venv" / "lib" / "python3.12" / "site-packages" / "pip").mkdir(parents=True)
    python.write_text(f"#!/bin/sh\n{body}\n")
    python.chmod(0o755)
    for name in REQUIREMENTS:
        shutil.copy(repository / name, repository / ".venv" / f".installed-{name}")
    return python


@pytest.mark.slow
def test_speak_from_nothing_then_again_at_once(repository: Path, tmp_path: Path) -> None:
    here = tmp_path / "some folder"
    here.mkdir()
    first = run([repository / "scripts" / "speak.sh", "Hello there."], here)
    assert first.returncode == 0, first.stderr
    assert "making .venv" in first.stderr and "installing requirements-speak.txt" in first.stderr
    assert f"{here / 'out.wav'}: " in first.stdout and "real-time factor" in first.stdout
    with wave.open(str(here / "out.wav")) as file:
        assert (file.getsampwidth(), file.getframerate(), file.getnchannels()) == (2, 22050, 1)
        length = file.getnframes()
    again = run([repository / "scripts" / "speak.sh", "Hello there.", "--speed", "2"], here)
    assert again.returncode == 0 and again.stderr == ""  # nothing is made or installed again
    with wave.open(str(here / "out.wav")) as file:
        assert file.getnframes() < length  # further flags reach the command

    # A changed requirements file is installed, and only that.
    (repository / "requirements-speak.txt").write_text("# nothing, but changed\n")
    changed = run([repository / "scripts" / "speak.sh", "Hello."], here)
    assert changed.returncode == 0 and "installing" in changed.stderr and "making" not in changed.stderr

    # An environment left over from a killed installation, or broken in another way, is made anew.
    marker = repository / ".venv" / ".installing"
    for damage in (
        marker.touch,
        lambda: (repository / ".venv" / "bin" / "python").unlink(),
        lambda: [shutil.rmtree(pip) for pip in (repository / ".venv").glob("lib/python3*/site-packages/pip")],
    ):
        damage()
        mended = sourced(repository, "set_up requirements.txt")
        assert mended.returncode == 0 and "making .venv" in mended.stderr, mended.stderr
        assert not marker.exists()


def test_no_text_is_said_before_anything_is_made(repository: Path) -> None:
    done = run([repository / "scripts" / "speak.sh"], repository)
    assert done.returncode == 1 and done.stderr.startswith("error: there is no text")
    assert not (repository / ".venv").exists()


def test_no_python(repository: Path) -> None:
    done = sourced(repository, "usable_python() { return 1; }\nset_up requirements.txt", BITJETS_PYTHON="")
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: no Python 3.10 to 3.14 with venv was found: install one")
    done = sourced(repository, "set_up requirements.txt", BITJETS_PYTHON="/nowhere/python")
    assert done.returncode == 1 and "BITJETS_PYTHON is /nowhere/python, which is no Python" in done.stderr


def test_a_python_that_does_not_do_is_passed_over(repository: Path, tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("python3.12", "python3.13"):  # a shim without a version behind it
        (programs / name).write_text("#!/bin/sh\nexit 127\n")
        (programs / name).chmod(0o755)
    (programs / "python3.11").symlink_to(sys.executable)
    only = f"{programs}:/usr/bin:/bin"
    done = sourced(repository, "find_python", PATH=only, HOME=str(tmp_path), PYENV_ROOT=str(tmp_path))
    assert done.returncode == 0 and os.access(done.stdout.strip(), os.X_OK)
    assert done.stdout.strip() not in (str(programs / "python3.12"), str(programs / "python3.13"))
    refused = sourced(repository, f'usable_python "{programs}/python3.12"')
    assert refused.returncode != 0


@pytest.mark.parametrize(
    ("complaint", "sentence"),
    [
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "disk is full"),
        ("NewConnectionError: Failed to establish a new connection: name resolution", "is there a network?"),
        ("ERROR: Could not find a version that satisfies the requirement mlx", "install.log says why"),
    ],
)
def test_an_installation_that_fails_says_why(repository: Path, complaint: str, sentence: str) -> None:
    stub_python(repository, f'case "$*" in *install*) echo "{complaint}"; exit 1;; esac')
    (repository / "requirements.txt").write_text("something-new\n")
    done = sourced(repository, "set_up requirements.txt")
    error = done.stderr.splitlines()[-1]
    assert done.returncode == 1 and error.startswith("error: ") and sentence in error
    assert not (repository / ".venv" / ".installing").exists()
    # Nothing says that it was installed, so the next run takes it up again.
    assert (repository / ".venv" / ".installed-requirements.txt").read_text() == "# nothing\n"


def test_no_network(repository: Path) -> None:
    """The real pip against a port where nobody listens."""
    (repository / "requirements.txt").write_text("some-package-or-other\n")
    nowhere = {"PIP_NO_INDEX": "0", "PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_CONFIG_FILE": os.devnull}
    done = sourced(repository, "set_up requirements.txt", **nowhere)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: the packages of requirements.txt could not be fetched")


@pytest.mark.parametrize("failing", ["ruff check", "ruff format", "mypy", "pytest", "nothing"])
def test_ci_runs_every_check_and_passes_on_what_failed(repository: Path, failing: str) -> None:
    stub_python(repository, f'echo "$*" >> calls\ncase "$*" in *"{failing}"*) exit 3;; esac')
    done = run([repository / ".ci" / "run"], repository)
    calls = (repository / "calls").read_text().splitlines()
    wanted = ("-m ruff check", "-m ruff format --check", "-m mypy", "-m pytest")
    assert all(any(call.startswith(check) for call in calls) for check in wanted)
    assert done.returncode == (0 if failing == "nothing" else 1)


@pytest.mark.slow
def test_train_hifigan_for_real(repository: Path, tmp_path: Path) -> None:
    """Two updates of a V3, prepared, trained, exported, measured; again, and there is nothing left to train."""
    for package in ("pesq", "pystoi", "pocketsphinx"):
        pytest.importorskip(package)
    random = np.random.default_rng(0)
    for speaker in ("anna", "ben"):
        wavs = tmp_path / "speech" / speaker / "wavs"
        wavs.mkdir(parents=True)
        lines = [f"clip{number}|Hello there, number {number}.\n" for number in range(4)]
        (wavs.parent / "metadata.csv").write_text("".join(lines))
        for number in range(4):
            soundfile.write(wavs / f"clip{number}.wav", sound(1.0 + 0.2 * number, 150.0, random), 22050)
    work = tmp_path / "work"
    flags = ("--updates", "2", "--batch-size", "2", "--segment-frames", "16", "--log-every", "1")
    script = repository / "scripts" / "train_hifigan.sh"
    for _ in range(2):
        done = run([script, tmp_path / "speech", work, *flags], repository)
        assert done.returncode == 0, done.stderr
    assert "discriminators: small" in done.stderr and "resumed" in done.stderr
    line = json.loads((work / "hifigan" / "log.jsonl").read_text().splitlines()[-1])
    assert line["update"] == 2 and 1.0 <= line["validation_pesq"] <= 4.64
    assert (work / "hifigan" / "report" / "losses.png").read_bytes()[:4] == b"\x89PNG"
    assert "copy pesq wb" in (work / "hifigan_voice" / "README.md").read_text()
    vocoder = load_vocoder(work / "hifigan_voice")
    assert vocoder.model is not None and vocoder.model.config == HIFIGAN_VERSIONS["V3"]
    generated = [sys.executable, "-m", "bitjets_mlx.generate", "--voice", repository / "weights" / "duo"]
    options = ("--vocoder", work / "hifigan_voice", "--text", "Hello.", "--output", tmp_path / "out.wav")
    done = run([*generated, *options], repository)
    assert done.returncode == 0 and (tmp_path / "out.wav").exists(), done.stderr


def test_train_hifigan_names_what_is_missing(repository: Path, tmp_path: Path) -> None:
    script = repository / "scripts" / "train_hifigan.sh"
    assert "scripts/train_hifigan.sh SPEECH WORK" in run([script, tmp_path], repository).stderr
    (tmp_path / "speech").mkdir()
    done = run([script, tmp_path / "speech", tmp_path / "work"], repository)
    assert done.returncode == 1 and "has no folder with a metadata.csv" in done.stderr


def test_scripts_keep_to_bash_3_2_and_bsd_tools() -> None:
    newer = (
        r"mapfile|readarray|declare -A|local -n|readlink -f|realpath|\$\{\w+(,,|\^\^|@)|\|&|&>>|sed -i|grep -P|sort -V"
    )
    for name in SCRIPTS:
        text = (REPOSITORY / "scripts" / name).read_text()
        assert re.search(newer, text) is None, name
        assert subprocess.run([BASH, "-n", REPOSITORY / "scripts" / name], check=False).returncode == 0
    for script in ("scripts/speak.sh", "scripts/test.sh", "scripts/train_hifigan.sh", ".ci/run"):
        assert os.access(REPOSITORY / script, os.X_OK)
