"""The C sources as libraries, compiled on first use into the user's cache."""

import ctypes
import functools
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from bitjets_mlx.native.processor import cpu_flags

SOURCES = Path(__file__).parent / "sources"


def compiled_library(name: str, source: str, flags: tuple[str, ...] = ()) -> Path:
    """A C source as a shared library in the user's cache, compiled on first use.

    OSError where there is no compiler, CalledProcessError where it refuses.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bitjets_mlx"
    built_for = [source, *flags, os.uname().machine, *sorted(cpu_flags())]
    target = cache / f"{name}-{hashlib.sha256(repr(built_for).encode()).hexdigest()[:16]}.so"
    if target.exists():
        return target
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise OSError("no C compiler")
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        built = Path(scratch) / target.name
        command = [compiler, "-O2", *flags, "-shared", "-fPIC", "-x", "c", "-", "-o", str(built)]
        subprocess.run([*command, "-lm"], input=source.encode(), check=True, capture_output=True)
        built.replace(target)
    return target


# Sums may be reordered for vector instructions. (-ffast-math would change the whole process.)
KERNEL_FLAGS = (
    "-O3",
    "-march=native",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fno-signed-zeros",
    "-fassociative-math",
)


def kernel_library(name: str, sources: Sequence[Path], flags: tuple[str, ...]) -> ctypes.CDLL | None:
    """C files, one after the other, as a loaded library; None where it cannot be compiled."""
    try:
        source = "\n".join(path.read_text(encoding="utf-8") for path in sources)
        return ctypes.CDLL(str(compiled_library(name, source, flags)))
    except (OSError, subprocess.CalledProcessError):
        return None


@functools.cache
def training_kernels(source: Path) -> ctypes.CDLL | None:
    """Loops of training that MLX's CPU backend has none for, compiled on first use; None where no compiler is.

    On Linux only, where that backend is what a machine without a CUDA card trains on. Functions return an int, or
    nothing.
    """
    return kernel_library(source.stem, [source], KERNEL_FLAGS) if sys.platform.startswith("linux") else None


def pointer(array: Any) -> ctypes.c_void_p:
    """Where the numbers of a row-major numpy array lie, for a C function; keeps the array alive."""
    return cast(ctypes.c_void_p, array.ctypes.data_as(ctypes.c_void_p))
