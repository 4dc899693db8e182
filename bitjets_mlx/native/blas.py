"""A fast BLAS for MLX's CPU backend on Linux.

MLX's Linux CPU wheel links a reference BLAS (2-5 GFLOP/s a core). Symbols of a library that was loaded globally before
`mlx.core` take precedence over it, so importing this package, before MLX, loads an OpenBLAS: the system's, or the one
inside numpy's wheel, and a stub that gives its functions their standard names. The stub is compiled when matrices are
first multiplied, and found in the cache from then on; where it is still to be made, MLX is imported in such a way that
it looks functions up when it calls them. `BITJETS_BLAS=off` turns all this off. On other systems nothing happens.
"""

import contextlib
import ctypes
import functools
import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bitjets_mlx.native.build import BuildError, load, load_built, say_slower
from bitjets_mlx.native.processor import cpu_flags

SYSTEM = "libopenblas.so.0"
STUB = """
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


REFERENCE = "MLX's reference BLAS"
LATE = f"{REFERENCE} (mlx was imported first)"


@functools.cache
def fast_blas() -> str:
    """See to it that MLX's products are fast, before the first of them, and say in one line how."""
    name, renamed = load_openblas()
    if name == REFERENCE:
        say_slower("numpy's wheel brings no OpenBLAS here; install libopenblas0")
    if name == LATE:
        say_slower("mlx was imported before bitjets_mlx; import bitjets_mlx first")
    if renamed:
        try:
            load("blas", STUB, mode=ctypes.RTLD_GLOBAL)
        except BuildError as error:
            say_slower(str(error))
            return REFERENCE
    return name


@functools.cache
def load_openblas() -> tuple[str, bool]:
    """Load an OpenBLAS, and its stub if that lies in the cache: what importing does. Nothing is compiled.

    Returns its name, or that of what MLX has, and whether it needs the stub.
    """
    if not sys.platform.startswith("linux"):
        return "the system's own (not Linux)", False
    if os.environ.get("BITJETS_BLAS", "").lower() == "off":
        return f"{REFERENCE} (BITJETS_BLAS=off)", False
    if "mlx.core" in sys.modules:
        return LATE, False
    with _fitting_kernels():
        for path, name, renamed in (
            (SYSTEM, f"system {SYSTEM}", False),
            *((str(path), f"numpy's {path.name}", True) for path in _numpy_libraries()),
        ):
            try:
                ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)
            except OSError:
                continue
            if renamed and load_built("blas", STUB, mode=ctypes.RTLD_GLOBAL) is None:
                _import_mlx_lazily()
            return name, renamed
    return REFERENCE, False


def _import_mlx_lazily() -> None:
    """Python has the linker look up all functions at once, which would be those of the reference BLAS."""
    flags = sys.getdlopenflags()
    sys.setdlopenflags(os.RTLD_LAZY)
    try:
        importlib.import_module("mlx.core")
    finally:
        sys.setdlopenflags(flags)


@contextlib.contextmanager
def _fitting_kernels() -> Iterator[None]:
    """OpenBLAS takes its AVX2 kernels on AMD processors it does not know; with AVX-512 they are half as fast.

    It reads the variable when it is loaded.
    """
    unknown = {"sse4a", "avx512f", "avx512dq", "avx512bw", "avx512vl", "avx512cd"} <= cpu_flags()  # only AMD has sse4a
    if not unknown or "OPENBLAS_CORETYPE" in os.environ:
        yield
        return
    os.environ["OPENBLAS_CORETYPE"] = "SKYLAKEX"
    try:
        yield
    finally:
        del os.environ["OPENBLAS_CORETYPE"]


@functools.cache
def _numpy_libraries() -> list[Path]:
    """The OpenBLAS inside numpy's Linux wheel."""
    spec = importlib.util.find_spec("numpy")
    folder = Path(spec.origin).parent.parent / "numpy.libs" if spec and spec.origin else Path()
    return sorted(folder.glob("libscipy_openblas64_*.so"))


def set_blas_threads(threads: int) -> None:
    """How many threads one matrix product may use, of MLX's BLAS and of numpy's (OpenBLAS only).

    Training on the CPU backend runs shards of a batch on streams of their own, one thread each.
    """
    fast_blas()
    for function in _blas_functions("set_num_threads"):
        function(ctypes.c_int(threads))


def _blas_functions(name: str) -> list[Any]:
    """OpenBLAS's function of that name, of every copy in this process: MLX's and numpy's need not be the same."""
    names = (f"scipy_openblas_{name}64_", f"openblas_{name}")
    libraries = [ctypes.CDLL(None), *(ctypes.CDLL(str(path)) for path in _numpy_libraries())]
    return [getattr(library, name) for library in libraries for name in names if hasattr(library, name)]


@contextlib.contextmanager
def one_blas_thread() -> Iterator[None]:
    """Inside, a matrix product uses one thread (OpenBLAS only), of the fast BLAS if there is one.

    The products of speaking are so small that more threads gain little on an idle machine, and on a busy one their
    waiting for each other makes everything tens of times slower.
    """
    fast_blas()
    before = max((function() for function in _blas_functions("get_num_threads")), default=1)
    if before > 1:
        set_blas_threads(1)
    try:
        yield
    finally:
        if before > 1:
            set_blas_threads(before)


load_openblas()
