"""Ternary layers for speaking on an x86-64 CPU, in C (`native/sources/layer.c`).

MLX's CPU backend would need a dozen single-threaded passes over the activations and an fp32 product for what
`bit_conv1d` does in one pass with int8 instructions. It runs at once, outside MLX's graph, on all cores; nothing but
waiting for a core is lost where others want them too (`threads.c`).
"""

import ctypes

import mlx.core as mx
import numpy as np

from bitjets_mlx.native.loader import addresses, as_numpy, library
from bitjets_mlx.native.processor import kernel_threads

BLOCK, GROUP = 16, 4  # output channels and inputs that the kernel takes at once


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
    threads: int = 0,
    kernels: ctypes.CDLL | None = None,
) -> mx.array:
    """As `matmul.bit_conv1d`; codes as `blocked` orders them. Evaluates its inputs.

    `threads` and `kernels` in place of the best ones. ValueError where shapes do not fit.
    """
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
    kernels, threads = kernels or _kernels(), threads or kernel_threads()
    given = [as_numpy(x), as_numpy(mask), as_numpy(gain), np.asarray(codes), as_numpy(beta), as_numpy(bias)]
    added = None if residual is None else as_numpy(residual)
    out = np.empty((batch, frames, outputs), dtype=np.float32)
    scratch = np.empty(threads * kernels.bitjets_layer_scratch(inputs, taps), dtype=np.uint8)
    kernels.bitjets_layer(
        *addresses(*given),
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
    given = [as_numpy(x), as_numpy(mask), as_numpy(gain)]
    _kernels().bitjets_quantize(*addresses(*given), batch * frames, inputs, eps, *addresses(q, inverse))
    return q[..., :inputs], inverse


def _kernels() -> ctypes.CDLL:
    kernels = library("speaking")
    assert kernels is not None, "packed for the C kernels, which are not here"
    return kernels
