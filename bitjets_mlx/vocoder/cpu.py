"""Vocoders on a CPU under Linux: the C kernels of `native/sources/`, compiled on first use into the user's cache.

MLX's CPU backend runs an operation at a time, on one core but for matrix products, and convolutions that are dilated or
transposed slowly. The kernels do whole stages on pieces of time that stay in the cache, side by side on all cores. They
are for speaking alone: no gradients. The plain form of what they compute is `hifigan.py` and `harmonic.py`.
"""

import ctypes
import functools
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_flatten

from bitjets_mlx.native.build import SOURCES, kernel_library
from bitjets_mlx.native.processor import cpu_cores

NAMES = ("convolution.c", "hifigan.c", "harmonic.c")
FLAGS = ("-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math")
BLOCK = 8  # outputs that a packed weight holds side by side

_POINTER, _INT, _LONG = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64
_SIGNATURES = {
    "bitjets_hifigan_work": (_LONG, [_POINTER, _LONG]),
    "bitjets_hifigan_stage": (None, [_POINTER] * 3 + [_LONG] * 4 + [_POINTER, _LONG, _POINTER]),
    "bitjets_hifigan_pre": (None, [_POINTER] * 2 + [_LONG] + [_INT] * 3 + [_LONG] * 2 + [_POINTER, _LONG]),
    "bitjets_harmonic_tables": (_LONG, [_POINTER]),
    "bitjets_harmonic_work": (_LONG, [_POINTER, _LONG]),
    "bitjets_harmonic": (None, [_POINTER] * 4 + [_INT] * 2 + [_POINTER] * 2),
}


@functools.cache
def library(*options: str) -> ctypes.CDLL | None:
    """The compiled kernels, or None where there is no C compiler. `options` are more flags for it."""
    loaded = kernel_library("vocoder", [SOURCES / name for name in NAMES], (*FLAGS, *options))
    if loaded is None:
        return None
    for name, (result, arguments) in _SIGNATURES.items():
        getattr(loaded, name).restype = result
        getattr(loaded, name).argtypes = arguments
    return loaded


def available() -> bool:
    """Whether the kernels run here: a C compiler on first use, nothing more."""
    return library() is not None


def side_by_side(jobs: Sequence[Callable[[], None]]) -> None:
    """Run all jobs, as many at a time as there are cores; C code runs without Python's lock."""
    if len(jobs) == 1:
        jobs[0]()
        return
    for done in [_threads().submit(job) for job in jobs]:
        done.result()


@functools.cache
def _threads() -> ThreadPoolExecutor:
    os.register_at_fork(after_in_child=_threads.cache_clear)  # a forked process has none of them
    return ThreadPoolExecutor(cpu_cores())


class Packed:
    """A model's weights as its kernel reads them, packed again when the model has others."""

    def __init__(self, pack: Callable[[Mapping[str, mx.array]], Any]) -> None:
        self._pack, self._arrays, self._packed = pack, [], None  # type: ignore[var-annotated]

    def of(self, model: nn.Module) -> Any:
        """What `pack` made of the model's weights."""
        weights = dict(tree_flatten(model.parameters()))
        arrays = list(weights.values())
        if len(arrays) != len(self._arrays) or any(a is not b for a, b in zip(arrays, self._arrays, strict=True)):
            self._packed, self._arrays = self._pack(weights), arrays
        return self._packed


def pieces(total: int, longest: int, multiple: int = 1) -> list[tuple[int, int]]:
    """Cut 0 to `total` into pieces about as long as each other, as many as fill the cores, at multiples of a number."""
    cores = cpu_cores()
    count = -(-total // longest)
    count = -(-count // cores) * cores
    length = -(-total // (count * multiple)) * multiple
    return [(begin, min(begin + length, total)) for begin in range(0, total, length)]


def packed(weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """A convolution (O, K, I) and bias (O,) as the kernels read them: (ceil(O / 8), I, K, 8), then the bias; flat."""
    outputs, taps, inputs = weight.shape
    blocks = -(-outputs // BLOCK)
    padded = np.zeros((blocks * BLOCK, taps, inputs), dtype=np.float32)
    padded[:outputs] = weight
    biases = np.zeros(blocks * BLOCK, dtype=np.float32)
    biases[:outputs] = bias
    order = padded.reshape(blocks, BLOCK, taps, inputs).transpose(0, 3, 2, 1)
    return np.concatenate([order.reshape(-1), biases])


def room(count: int) -> np.ndarray:
    """float32 (count,), of any value, at the beginning of a line of the cache."""
    buffer = np.empty(count + 16, dtype=np.float32)
    skip = -(buffer.ctypes.data // 4) % 16
    return buffer[skip : skip + count]


def zeros(count: int) -> np.ndarray:
    """Zeros (count,), float32, at the beginning of a line of the cache."""
    array = room(count)
    array.fill(0.0)
    return array


def row_stride(count: int) -> int:
    """As in convolution.c: whole vectors, and no multiple of two lines of the cache."""
    return 16 * (-(-count // 16) | 1)


def as_numpy(array: mx.array) -> np.ndarray:
    """float32 and row-major, without a copy where it is so already."""
    return np.ascontiguousarray(np.asarray(array.astype(mx.float32)))
