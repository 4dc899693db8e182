"""Ternary layers on an x86-64 CPU: the C kernel `kernels/cpu.c`, compiled on first use into the user's cache.

MLX's CPU backend would need a dozen single-threaded passes over the activations and an fp32 product for what the
kernel does in one pass with int8 instructions. It runs at once, outside MLX's graph, on one core: the layers of a voice
are so small that waiting for other cores costs more than they bring.
"""

import ctypes
import functools
import platform as machine
import subprocess
from pathlib import Path

import mlx.core as mx
import numpy as np

from bitjets_mlx.platform import KERNEL_FLAGS, compiled_library, cpu_flags

SOURCE = Path(__file__).parent / "kernels" / "cpu.c"
FLAGS = (*KERNEL_FLAGS, "-ffinite-math-only")  # nothing here is NaN
BLOCK, GROUP = 16, 4  # output channels and inputs that the kernel takes at once


def available() -> bool:
    """Whether the kernel runs here: an x86-64 processor with AVX2, and a C compiler (on first use)."""
    return library() is not None


@functools.cache
def library(*options: str) -> ctypes.CDLL | None:
    """The compiled kernel, or None where it cannot be had. `options` are more flags for the compiler."""
    if machine.machine() not in ("x86_64", "AMD64") or "avx2" not in cpu_flags():
        return None
    try:
        loaded = ctypes.CDLL(str(compiled_library("layer", SOURCE.read_text(encoding="utf-8"), (*FLAGS, *options))))
    except (OSError, subprocess.CalledProcessError):
        return None
    loaded.bitjets_instructions.restype = ctypes.c_char_p
    loaded.bitjets_layer.restype = None
    loaded.bitjets_layer.argtypes = [
        *[ctypes.c_void_p] * 8,
        *[ctypes.c_int] * 6,
        ctypes.c_float,
        *[ctypes.c_void_p] * 3,
    ]
    return loaded


def blocked(trits: np.ndarray) -> np.ndarray:
    """Trits (K, O, I) -> codes w + 1 in the kernel's order (K, ceil(O / 16), ceil(I / 4), 16, 4) uint8."""
    taps, outputs, inputs = trits.shape
    blocks, groups = -(-outputs // BLOCK), -(-inputs // GROUP)
    codes = np.ones((taps, blocks * BLOCK, groups * GROUP), dtype=np.uint8)
    codes[:, :outputs, :inputs] = trits + 1
    return np.ascontiguousarray(codes.reshape(taps, blocks, BLOCK, groups, GROUP).transpose(0, 1, 3, 2, 4))


def bit_conv1d(
    x: mx.array,
    mask: mx.array,
    gain: mx.array,
    codes: mx.array,
    beta: mx.array,
    bias: mx.array,
    eps: float,
    activation: str | None = None,
    residual: mx.array | None = None,
    options: tuple[str, ...] = (),
) -> mx.array:
    """As `matmul.bit_conv1d`; codes as `blocked` orders them. Evaluates its inputs."""
    batch, frames, inputs = x.shape
    taps, outputs = codes.shape[0], bias.shape[0]
    expected = (taps, -(-outputs // BLOCK), -(-inputs // GROUP), BLOCK, GROUP)
    if (
        codes.shape != expected
        or taps % 2 == 0
        or gain.shape != (inputs,)
        or mask.shape != (batch, frames, 1)
        or (beta.size != 1 and beta.shape != (outputs,))
        or (residual is not None and residual.shape != (batch, frames, outputs))
        or activation not in (None, "relu")
    ):
        raise ValueError(f"x {x.shape}, mask {mask.shape}, gain {gain.shape}, codes {codes.shape}: shapes do not fit")
    kernel = library(*options)
    assert kernel is not None, "held for the CPU kernel, which is not here"
    given = [_numpy(x), _numpy(mask), _numpy(gain), np.asarray(codes), _numpy(beta), _numpy(bias)]
    added = None if residual is None else _numpy(residual)
    out = np.empty((batch, frames, outputs), dtype=np.float32)
    rows, width = frames + taps - 1, expected[2] * GROUP
    q, sums, inverse = np.empty((rows, width), np.int8), np.empty(rows, np.int32), np.empty(rows, np.float32)
    shared = [array.ctypes.data for array in given[2:]]
    for row in range(batch):
        kernel.bitjets_layer(
            given[0][row].ctypes.data,
            given[1][row].ctypes.data,
            *shared,
            None if added is None else added[row].ctypes.data,
            out[row].ctypes.data,
            frames,
            inputs,
            outputs,
            taps,
            beta.size > 1,
            activation == "relu",
            eps,
            q.ctypes.data,
            sums.ctypes.data,
            inverse.ctypes.data,
        )
    return mx.array(out).astype(x.dtype)


def _numpy(array: mx.array) -> np.ndarray:
    """fp32 and row-major, without a copy where it is so already."""
    return np.ascontiguousarray(np.asarray(array.astype(mx.float32)))
