"""A fast BLAS for MLX's CPU backend on Linux.

MLX's Linux CPU wheel links a reference BLAS (2-5 GFLOP/s a core). Symbols of a library that was loaded globally
before `mlx.core` take precedence over it, so this module, imported before MLX, loads an OpenBLAS: the system's, or
the one inside numpy's wheel through a stub of four functions that is compiled once into the user's cache.
`BITJETS_BLAS=off` turns it off. On other systems nothing happens.
"""

import contextlib
import ctypes
import ctypes.util
import functools
import importlib.util
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bitjets_mlx.native.build import compiled_library
from bitjets_mlx.native.processor import cpu_flags

_STUB = """
#include <stdint.h>
/* numpy's OpenBLAS has 64-bit sizes and prefixed names; MLX calls the standard ones. */
#define FORWARD(NAME, TARGET, REAL) \\
  void TARGET(int, int, int, int64_t, int64_t, int64_t, REAL, const REAL *, int64_t, const REAL *, int64_t, REAL, \\
              REAL *, int64_t); \\
  void NAME(int order, int ta, int tb, int m, int n, int k, REAL alpha, const REAL *a, int lda, const REAL *b, \\
            int ldb, REAL beta, REAL *c, int ldc) { \\
    TARGET(order, ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc); \\
  }
FORWARD(cblas_sgemm, scipy_cblas_sgemm64_, float)
FORWARD(cblas_dgemm, scipy_cblas_dgemm64_, double)
"""


@functools.cache
def fast_blas() -> str:
    """Load a fast BLAS, once, and say in one line which one it is, or why there is none."""
    if not sys.platform.startswith("linux"):
        return "the system's own (not Linux)"
    if os.environ.get("BITJETS_BLAS", "").lower() == "off":
        return "MLX's reference BLAS (BITJETS_BLAS=off)"
    if "mlx.core" in sys.modules:
        warnings.warn(
            "mlx was imported before bitjets_mlx, so its slow reference BLAS stays: import bitjets_mlx first.",
            stacklevel=2,
        )
        return "MLX's reference BLAS (mlx was imported first)"
    _choose_kernels()
    system = ctypes.util.find_library("openblas")
    if system:
        try:
            ctypes.CDLL(system, mode=ctypes.RTLD_GLOBAL)
            return f"system {system}"
        except OSError:
            pass  # listed but not loadable: numpy's own is next
    return _numpy_openblas()


def _choose_kernels() -> None:
    """OpenBLAS takes its AVX2 kernels on AMD processors it does not know; with AVX-512 they are half as fast."""
    if {"sse4a", "avx512f", "avx512dq", "avx512bw", "avx512vl", "avx512cd"} <= cpu_flags():  # only AMD has sse4a
        os.environ.setdefault("OPENBLAS_CORETYPE", "SKYLAKEX")  # read when the library loads


def _numpy_openblas() -> str:
    """Load numpy's OpenBLAS and the stub that gives its functions their standard names."""
    libraries = _numpy_libraries()
    if not libraries:
        return _hint("numpy's wheel brings no OpenBLAS here; install libopenblas0")
    try:
        ctypes.CDLL(str(libraries[0]), mode=ctypes.RTLD_GLOBAL)
        ctypes.CDLL(str(compiled_library("blas", _STUB)), mode=ctypes.RTLD_GLOBAL)
    except (OSError, subprocess.CalledProcessError) as error:
        return _hint(f"numpy's OpenBLAS could not be used ({error}); install libopenblas0 or a C compiler")
    return f"numpy's {libraries[0].name}"


@functools.cache
def _numpy_libraries() -> list[Path]:
    """The OpenBLAS inside numpy's Linux wheel."""
    spec = importlib.util.find_spec("numpy")
    folder = Path(spec.origin).parent.parent / "numpy.libs" if spec and spec.origin else Path()
    return sorted(folder.glob("libscipy_openblas64_*.so"))


def _hint(reason: str) -> str:
    print(f"hint: matrix products will be slow: {reason}.", file=sys.stderr)
    return "MLX's reference BLAS"


def set_blas_threads(threads: int) -> None:
    """How many threads one matrix product may use, of MLX's BLAS and of numpy's (OpenBLAS only).

    Training on the CPU backend runs shards of a batch on streams of their own, one thread each.
    """
    for function in _blas_functions("set_num_threads"):
        function(ctypes.c_int(threads))


def _blas_functions(name: str) -> list[Any]:
    """OpenBLAS's function of that name, of every copy in this process: MLX's and numpy's need not be the same."""
    names = (f"scipy_openblas_{name}64_", f"openblas_{name}")
    libraries = [ctypes.CDLL(None), *(ctypes.CDLL(str(path)) for path in _numpy_libraries())]
    return [getattr(library, name) for library in libraries for name in names if hasattr(library, name)]


@contextlib.contextmanager
def one_blas_thread() -> Iterator[None]:
    """Inside, a matrix product uses one thread (OpenBLAS only).

    The products of speaking are so small that more threads gain little on an idle machine, and on a busy one their
    waiting for each other makes everything tens of times slower.
    """
    before = max((function() for function in _blas_functions("get_num_threads")), default=1)
    if before > 1:
        set_blas_threads(1)
    try:
        yield
    finally:
        if before > 1:
            set_blas_threads(before)


fast_blas()
