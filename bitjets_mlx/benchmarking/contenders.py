"""Who takes part in `benchmark voice`, and how each is started; what is not installed says so by name."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.evaluation.memory import peak_memory

SPEAKER = Path(__file__).with_name("speaker.py")
WAV_HEADER = 44
Found = dict[str, Any]


@dataclass(frozen=True)
class Contender:
    """`kind`: of `speaker.py`, or "program" for a command that speaks to standard output, started anew each time.

    `missing` says what to install; then nothing else counts. `bytes`: the voice on disk.
    """

    name: str
    kind: str = ""
    missing: str = ""
    job: dict[str, Any] = field(default_factory=dict)
    command: tuple[str, ...] = ()
    bytes: int = 0


def program(name: str, package: str, command: tuple[str, ...]) -> Contender:
    """A speech synthesizer on the PATH; `command` without the text, which comes last."""
    path = shutil.which(command[0])
    if path is None:
        return Contender(name, missing=f"not installed ({package})")
    return Contender(name, "program", command=(path, *command[1:]), bytes=_program_bytes(Path(path)))


def _program_bytes(path: Path) -> int:
    """The binary, libraries named like it, and espeak-ng's data folder."""
    linked = _output("ldd", path) if shutil.which("ldd") else ""
    stem = path.name.split("-")[0]
    files = {path.resolve()} | {
        Path(place).resolve() for place in re.findall(r"=> (\S+)", linked) if stem in Path(place).name
    }
    folder = re.search(r"Data at: (\S+)", _output(str(path), "--version"))
    if folder:
        files |= {file for file in Path(folder[1]).rglob("*") if file.is_file()}
    return sum(file.stat().st_size for file in files)


def _output(*command: str | Path) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def run(contender: Contender, texts: list[str], first: int, repeat: int) -> Found:
    """One round of a contender: cold seconds, peak memory in bytes, and of every text first, rtf, audio_seconds."""
    if contender.kind == "program":
        return _run_program(contender, texts, first)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "job.json"
        path.write_text(json.dumps({**contender.job, "texts": texts, "first": first, "repeat": repeat}))
        with tempfile.TemporaryFile() as errors:
            began = time.perf_counter()
            process = subprocess.Popen(
                [sys.executable, str(SPEAKER), contender.kind, str(path)], stdout=subprocess.PIPE, stderr=errors
            )
            assert process.stdout is not None
            line = process.stdout.readline()
            cold = time.perf_counter() - began
            rest = process.stdout.read()
            process.stdout.close()
            process.wait()
            if process.returncode or not line or not rest:
                errors.seek(0)
                raise failed(contender.name, errors.read().decode(errors="replace"))
    return {"cold": cold, **json.loads(rest)}


def failed(name: str, errors: str) -> BitjetsError:
    """The error of a process, by its last words."""
    lines = errors.strip().splitlines()
    return BitjetsError(f"{name} failed: {lines[-1] if lines else 'no message'}")


def _run_program(contender: Contender, texts: list[str], first: int) -> Found:
    """Every text in a process of its own, after one that fills the disk's cache; `first` is what counts as cold."""
    _say(contender, texts[0])
    spoken = [_say(contender, text) for text in texts]
    rows = [{"first": None, "rtf": whole / audio, "audio_seconds": audio} for _, whole, audio in spoken]
    memory = max(peak_memory([*contender.command, text]) for text in texts)
    return {"cold": spoken[first][0], "memory": memory, "texts": rows, "parts": {}, "processor": {}, "weight_bytes": 0}


def _say(contender: Contender, text: str) -> tuple[float, float, float]:
    """Seconds until the first samples, until the last, and seconds of speech."""
    began = time.perf_counter()
    process = subprocess.Popen([*contender.command, text], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    output = os.read(process.stdout.fileno(), 65536)
    while output and len(output) <= WAV_HEADER:
        output += os.read(process.stdout.fileno(), 65536)
    first = time.perf_counter() - began
    output += process.stdout.read()
    process.stdout.close()
    process.wait()
    whole = time.perf_counter() - began
    if process.returncode or len(output) <= WAV_HEADER or output[:4] != b"RIFF":
        raise BitjetsError(f"{contender.name} failed: {' '.join(contender.command)} gave no WAV file.")
    rate, width = int.from_bytes(output[24:28], "little"), int.from_bytes(output[32:34], "little")
    return first, whole, (len(output) - WAV_HEADER) / width / rate
