"""A slice of the fuzzing in the suite, and the fuzzer itself held to what it promises. See `scripts/fuzz.sh`."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from fuzz import NAMES, fuzz

HERE = Path(__file__).resolve().parent
PATHS = [str(HERE), str(HERE.parent), str(HERE.parents[1])]
SLICE = 25  # inputs for each format


@pytest.mark.slow
def test_a_slice_of_every_format(tmp_path: Path) -> None:
    result = fuzz(SLICE, NAMES, seed=1, keep=tmp_path)
    assert not result.failures, "\n".join(result.failures.values())
    for name, counts in result.counts.items():
        assert counts.total() == SLICE and counts["refused"], name
    read = [name for name, counts in result.counts.items() if counts["read"]]
    assert len(read) >= 8, read  # what is made is not mere noise


READERS = {
    "raises('BitjetsError', 'fetch it again.')": "None",
    "raises('BitjetsError', '')": "BitjetsError outside",
    "raises('TypeError', 'no')": "TypeError outside",
    "raises('MemoryError', '')": "MemoryError outside",
    "os.system('touch canary')": "Foreign outside",
    "subprocess.run(['touch', 'canary'])": "Foreign outside",
    "open(path.parent.parent / 'canary', 'w')": "Foreign outside",
    "open(path.parent / 'inside', 'w').close()": "None",
    "pickle.loads(pickle.dumps(Path))": "Foreign outside",
    "socket.create_connection(('127.0.0.1', 9))": "Foreign outside",
    "bytearray(400 << 20).find(b'x')": "memory",
}
CODE = """
import os, pickle, socket, subprocess, sys
from pathlib import Path
sys.path[:0] = {paths!r}
import worker
from bitjets_mlx import errors
def raises(kind, text):
    raise (getattr(errors, kind, None) or getattr(__builtins__, kind))(text)
sys.addaudithook(worker.watch)
path = Path({folder!r}, "file")
path.write_bytes(b"x")
for code in {readers!r}:
    print(worker.outcome(worker.Format(None, eval("lambda path: " + code)), path).get("kind"), flush=True)
worker.SECONDS = 1
worker.outcome(worker.Format(None, lambda path: spin()), path)
"""
SPIN = "def spin():\n    while True: pass\n"


def test_what_counts_as_a_failure(tmp_path: Path) -> None:
    """Anything but silence and a sentence; and an input that never ends takes the process with it, not the machine."""
    (tmp_path / "input").mkdir()
    code = SPIN + CODE.format(paths=PATHS, folder=str(tmp_path / "input"), readers=list(READERS))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.stdout.splitlines() == list(READERS.values()), done.stderr
    assert done.returncode == -signal.SIGXCPU, done.stderr
    assert not (tmp_path / "canary").exists()


def test_every_format_is_named_in_the_same_order() -> None:
    code = f"import sys; sys.path[:0] = {PATHS!r}; import worker; print(*worker.FORMATS)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert tuple(done.stdout.split()) == NAMES
