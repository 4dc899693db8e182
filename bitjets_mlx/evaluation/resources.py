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
from bitjets_mlx.evaluation.memory import peak_memory

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
    """The quickest of a few runs of `python -m bitjets_mlx.generate`, each a new process, and the memory of one more.

    The first sample is there when the file is: a short text is one sentence, spoken as a whole.
    """
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "out.wav"
        command = [sys.executable, "-m", "bitjets_mlx.generate", "--voice", str(voice), "--speaker", speaker]
        command += ["--text", SENTENCE, "--output", str(output)]
        path = os.pathsep.join(filter(None, [str(PACKAGE_PARENT), os.environ.get("PYTHONPATH")]))
        environment = {**os.environ, "PYTHONPATH": path}
        try:
            memory = peak_memory(command, environment)
        except BitjetsError as error:
            raise BitjetsError(f"`generate` failed with {voice}: {error}") from None
        taken = []
        for _ in range(tries):
            began = time.perf_counter()
            subprocess.run(command, env=environment, capture_output=True, check=True)
            taken.append(time.perf_counter() - began)
        return ColdStart(min(taken), len(read_audio(output)) / AudioConfig().sample_rate, memory)
