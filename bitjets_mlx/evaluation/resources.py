"""What a voice costs: bytes on disk, and time and memory of a fresh process that speaks."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from bitjets_mlx.audio.files import read_audio
from bitjets_mlx.config import AudioConfig
from bitjets_mlx.errors import BitjetsError

SENTENCE = "The quick brown fox jumps over the lazy dog, and runs into the deep forest."
PACKAGE_PARENT = Path(__file__).resolve().parents[2]


class ColdStart(NamedTuple):
    """From starting Python to a sentence written: seconds, its length in seconds, peak memory in bytes."""

    seconds: float
    audio_seconds: float
    peak_memory: int


def file_sizes(folder: Path) -> dict[str, int]:
    """Bytes of every file in a voice folder, by name."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}


def cold_start(voice: Path, speaker: str, tries: int = 3) -> ColdStart:
    """The quickest of a few runs of `python -m bitjets_mlx.generate`, each a new process.

    The first sample is there when the file is: a short text is one sentence, spoken as a whole.
    """
    with tempfile.TemporaryDirectory() as folder:
        return min(_generate(voice, speaker, Path(folder) / "out.wav") for _ in range(tries))


def _generate(voice: Path, speaker: str, output: Path) -> ColdStart:
    command = [sys.executable, "-m", "bitjets_mlx.generate", "--voice", str(voice), "--speaker", speaker]
    command += ["--text", SENTENCE, "--output", str(output)]
    path = os.pathsep.join(filter(None, [str(PACKAGE_PARENT), os.environ.get("PYTHONPATH")]))
    with tempfile.TemporaryFile() as errors:
        began = time.perf_counter()
        process = subprocess.Popen(
            command, env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.DEVNULL, stderr=errors
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)  # it was waited for here, not by Popen
        if process.returncode:
            errors.seek(0)
            said = errors.read().decode(errors="replace").strip().splitlines()
            raise BitjetsError(f"`generate` failed with {voice}: {said[-1] if said else 'it said nothing'}")
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss
    audio_seconds = len(read_audio(output)) / AudioConfig().sample_rate
    return ColdStart(seconds, audio_seconds, usage.ru_maxrss * unit)
