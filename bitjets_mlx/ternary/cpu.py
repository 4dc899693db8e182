"""Speaking on an x86-64 CPU: C kernels (`native/sources/`), compiled on first use into the user's cache.

MLX's CPU backend would need a dozen single-threaded passes over the activations and an fp32 product for what
`bit_conv1d` does in one pass with int8 instructions, and its softmax is scalar. The kernels run at once, outside MLX's
graph, on all cores; nothing but waiting for a core is lost where others want them too (`threads.c`).
"""

import ctypes
import functools
import platform as machine
from typing import Any

import mlx.core as mx
import numpy as np

from bitjets_mlx.native.build import KERNEL_FLAGS, SOURCES, kernel_library
from bitjets_mlx.native.processor import cpu_cores, cpu_flags

NAMES = ("threads", "layer", "attention", "upsampling")  # threads first: the others use it
FLAGS = (*KERNEL_FLAGS, "-ffinite-math-only", "-pthread")  # nothing here is NaN
BLOCK, GROUP = 16, 4  # output channels and inputs that the kernel takes at once


_ARRAY, _INT, _SIZE = ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t
_FUNCTIONS: tuple[tuple[str, Any, list[Any]], ...] = (  # name, result, arguments
    ("bitjets_instructions", ctypes.c_char_p, []),
    ("bitjets_layer_scratch", _SIZE, [_INT] * 2),
    ("bitjets_layer", None, [_ARRAY] * 8 + [_INT] * 7 + [ctypes.c_float, _ARRAY, _INT]),
    ("bitjets_quantize", None, [_ARRAY] * 3 + [_INT] * 2 + [ctypes.c_float, _ARRAY, _ARRAY]),
    ("bitjets_attention_scratch", _SIZE, [_INT] * 5),
    ("bitjets_attention", None, [_ARRAY] * 3 + [_INT] * 4 + [_ARRAY, _INT]),
    ("bitjets_upsampling", None, [_ARRAY] * 4 + [_INT] * 4 + [ctypes.c_float] * 2 + [_INT]),
)


def available() -> bool:
    """Whether the kernel runs here: an x86-64 processor with AVX2, and a C compiler (on first use)."""
    return library() is not None


@functools.cache
def library(*options: str) -> ctypes.CDLL | None:
    """The compiled kernel, or None where it cannot be had. `options` are more flags for the compiler."""
    if machine.machine() not in ("x86_64", "AMD64") or "avx2" not in cpu_flags():
        return None
    loaded = kernel_library("speaking", [SOURCES / f"{name}.c" for name in NAMES], (*FLAGS, *options))
    if loaded is None:
        return None
    for name, result, arguments in _FUNCTIONS:
        function = getattr(loaded, name)
        function.restype, function.argtypes = result, arguments
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
    threads: int = 0,
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
    kernel, threads = _library(*options), threads or _threads()
    given = [_numpy(x), _numpy(mask), _numpy(gain), np.asarray(codes), _numpy(beta), _numpy(bias)]
    added = None if residual is None else _numpy(residual)
    out = np.empty((batch, frames, outputs), dtype=np.float32)
    scratch = np.empty(threads * kernel.bitjets_layer_scratch(inputs, taps), dtype=np.uint8)
    kernel.bitjets_layer(
        *[array.ctypes.data for array in given],
        None if added is None else added.ctypes.data,
        out.ctypes.data,
        batch,
        frames,
        inputs,
        outputs,
        taps,
        beta.size > 1,
        activation == "relu",
        eps,
        scratch.ctypes.data,
        threads,
    )
    return mx.array(out).astype(x.dtype)


def quantize(x: mx.array, mask: mx.array, gain: mx.array, eps: float) -> tuple[np.ndarray, np.ndarray]:
    """The integers that `bit_conv1d` multiplies, int8 (B, T, I), and 1 / s (B, T); for tests and comparisons."""
    batch, frames, inputs = x.shape
    q = np.empty((batch, frames, -(-inputs // GROUP) * GROUP), dtype=np.int8)
    inverse = np.empty((batch, frames), dtype=np.float32)
    given = [_numpy(x), _numpy(mask), _numpy(gain)]
    pointers = [array.ctypes.data for array in given]
    _library().bitjets_quantize(*pointers, batch * frames, inputs, eps, q.ctypes.data, inverse.ctypes.data)
    return q[..., :inputs], inverse


def self_attention(
    qkv: mx.array, mask: mx.array, heads: int, options: tuple[str, ...] = (), threads: int = 0
) -> mx.array:
    """softmax(q k^T / sqrt(D / H)) v of every head: qkv (B, T, 3 D), mask (B, T, 1) -> (B, T, D). Evaluates its inputs.

    The columns of qkv are queries, keys, values, head by head. Frames that the mask leaves out are not attended to.
    """
    batch, frames, width = qkv.shape
    if width % (3 * heads) or mask.shape != (batch, frames, 1):
        raise ValueError(f"qkv {qkv.shape}, mask {mask.shape} and {heads} heads do not fit")
    kernel, threads, depth = _library(*options), threads or _threads(), width // (3 * heads)
    given = [_numpy(qkv), _numpy(mask)]
    out = np.empty((batch, frames, width // 3), dtype=np.float32)
    scratch = np.empty(kernel.bitjets_attention_scratch(batch, frames, heads, depth, threads), dtype=np.float32)
    pointers = [array.ctypes.data for array in (*given, out)]
    kernel.bitjets_attention(*pointers, batch, frames, heads, depth, scratch.ctypes.data, threads)
    return mx.array(out).astype(qkv.dtype)


def gaussian_upsampling(
    tokens: mx.array,
    centres: mx.array,
    mask: mx.array,
    frames: int,
    delta: float,
    first: float,
    options: tuple[str, ...] = (),
    threads: int = 0,
) -> mx.array:
    """Mixtures of tokens, weighted by exp(-delta (t - centre)^2), t = first, first + 1, ...: -> (B, frames, D).

    tokens (B, N, D), centres (B, N) ascending, mask (B, N, 1) with zeros at the end. Evaluates its inputs.
    """
    batch, count, width = tokens.shape
    if centres.shape != (batch, count) or mask.shape != (batch, count, 1):
        raise ValueError(f"tokens {tokens.shape}, centres {centres.shape} and mask {mask.shape} do not fit")
    given = [_numpy(tokens), _numpy(centres), _numpy(mask)]
    out = np.empty((batch, frames, width), dtype=np.float32)
    pointers = [array.ctypes.data for array in (*given, out)]
    _library(*options).bitjets_upsampling(*pointers, batch, count, width, frames, delta, first, threads or _threads())
    return mx.array(out).astype(tokens.dtype)


def _library(*options: str) -> ctypes.CDLL:
    kernel = library(*options)
    assert kernel is not None, "held for the CPU kernels, which are not here"
    return kernel


@functools.cache
def _threads() -> int:
    """More would find nothing to do in layers this small."""
    return min(cpu_cores(), 8)


def _numpy(array: mx.array) -> np.ndarray:
    """fp32 and row-major, without a copy where it is so already."""
    return np.ascontiguousarray(np.asarray(array.astype(mx.float32)))
