"""No command reaches for the network: each runs in a namespace without one, where the system has these, and watched.

An attempt ends the process, so that no library can catch it and go on.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tiny_training import ROOT, begin_run, quick_environment, sound, tiny_data
from tiny_voice import acoustic_run, tiny_voice, vocoder_run

GUARD = """
import os, runpy, sys

def watch(event, arguments):
    named = event.startswith(("socket.getaddrinfo", "socket.gethostby", "urllib.", "http.client", "ftplib."))
    sent = event in ("socket.connect", "socket.sendto", "socket.sendmsg") and isinstance(arguments[1], tuple)
    if named or sent:
        sys.stderr.write(f"the network: {event} {arguments}")
        os._exit(99)

sys.addaudithook(watch)
sys.argv[:] = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


def without_network() -> list[str]:
    """The command that takes the network away, or nothing where there is none."""
    command = ["unshare", "-r", "-n"]
    if not shutil.which("unshare"):
        return []
    return [] if subprocess.run([*command, "true"], capture_output=True, check=False).returncode else command


def run(folder: Path, module: str, *arguments: object) -> "subprocess.CompletedProcess[str]":
    command = [*without_network(), sys.executable, "-c", GUARD, module, *map(str, arguments)]
    environment = quick_environment()
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def succeeds(folder: Path, name: str, *arguments: object) -> None:
    done = run(folder, f"bitjets_mlx.{name}", *arguments)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "code",
    ["socket.create_connection(('127.0.0.1', 9))", "urllib.request.urlopen('http://127.0.0.1:9')"],
)
def test_the_guard_holds(tmp_path: Path, code: str) -> None:
    (tmp_path / "reaches_out.py").write_text(f"import socket, urllib.request\ntry: {code}\nexcept Exception: pass\n")
    done = run(tmp_path, "reaches_out")
    assert done.returncode == 99 and "the network" in done.stderr


def test_speaking(tmp_path: Path) -> None:
    voice = tiny_voice(tmp_path / "voices")
    succeeds(tmp_path, "generate", "Hello, it is 5:30.", "--voice", voice, "--output", tmp_path / "said.wav")


@pytest.mark.slow
def test_preparing_training_packing_and_converting(tmp_path: Path) -> None:
    (tmp_path / "corpus" / "wavs").mkdir(parents=True)
    lines = []
    for number in range(3):
        samples = sound(1.2, 150.0, np.random.default_rng(number))
        soundfile.write(tmp_path / "corpus" / "wavs" / f"u{number}.wav", samples, 22050)
        lines.append(f"u{number}|Hello there, number {number}.\n")
    (tmp_path / "corpus" / "metadata.csv").write_text("".join(lines))
    out = tmp_path / "prepared"
    succeeds(tmp_path, "prepare", "--speaker", f"anna={tmp_path / 'corpus'}", "--out", out, "--workers", 2)
    data = tiny_data(tmp_path / "tiny", train=4, validation=1)
    begin_run(tmp_path / "run", data, "acoustic", updates=2, batch_size=2, accumulate=1)
    succeeds(tmp_path, "train", "--stage", "acoustic", "--data", data.folder, "--out", tmp_path / "run", "--resume")
    acoustic, vocoder = acoustic_run(tmp_path / "acoustic"), vocoder_run(tmp_path / "vocoder")
    succeeds(tmp_path, "pack", "--acoustic", acoustic, "--vocoder", vocoder, "--output", tmp_path / "packed")
    checkpoint = ROOT / "tests" / "data" / "torch" / "bitjets_late.pth"
    succeeds(tmp_path, "convert", checkpoint, "--output", tmp_path / "converted")
