"""Gaussian upsampling of tokens to frames (JETS, arXiv:2203.16852, 2.1; Non-Attentive Tacotron, arXiv:2010.04301, 3.2).

Frame t is a mixture of tokens weighted by exp(-delta (t - c_n)^2), c_n being the center of token n.
"""

import ctypes

import mlx.core as mx
import numpy as np

from bitjets_mlx.native import loader
from bitjets_mlx.native.loader import addresses, as_numpy
from bitjets_mlx.native.processor import kernel_threads
from bitjets_mlx.ops.attention import MASKED

DELTA = 0.1


def upsample(
    tokens: mx.array, durations: mx.array, mask: mx.array, frames: int, first: float, gradients: bool
) -> mx.array:
    """tokens (B, N, D); durations (B, N) in frames, zero beyond the end; mask (B, N, 1) -> (B, frames, D).

    `first` is where in a frame its time is counted: ESPnet takes its beginning, 0. `gradients`: whether there must be a
    gradient.
    """
    centers = mx.cumsum(durations, axis=1) - durations / 2  # (B, N)
    if not gradients and (kernels := loader.here("speaking")):
        return upsample_speaking(kernels, tokens, centers, mask, frames, first)
    return upsample_plain(tokens, centers, mask, frames, first)


def upsample_plain(tokens: mx.array, centers: mx.array, mask: mx.array, frames: int, first: float) -> mx.array:
    """The reference, in MLX: tokens (B, N, D), centers (B, N), mask (B, N, 1) -> (B, frames, D)."""
    times = mx.arange(frames, dtype=mx.float32)[None, :, None] + first
    scores = -DELTA * mx.square(times - centers[:, None, :])  # (B, T, N)
    scores = scores + ((mask - 1.0) * -MASKED).transpose(0, 2, 1)
    return mx.softmax(scores, axis=-1).astype(tokens.dtype) @ tokens


def upsample_speaking(
    kernels: ctypes.CDLL,
    tokens: mx.array,
    centers: mx.array,
    mask: mx.array,
    frames: int,
    first: float,
    threads: int = 0,
) -> mx.array:
    """In C, on all cores (`upsampling.c`): centers ascending, mask with zeros at the end. Evaluates its inputs."""
    batch, count, width = tokens.shape
    if centers.shape != (batch, count) or mask.shape != (batch, count, 1):
        raise ValueError(f"tokens {tokens.shape}, centers {centers.shape} and mask {mask.shape} do not fit")
    given = [as_numpy(tokens), as_numpy(centers), as_numpy(mask)]
    out = np.empty((batch, frames, width), dtype=np.float32)
    pointers = addresses(*given, out)
    kernels.bitjets_upsampling(*pointers, batch, count, width, frames, DELTA, first, threads or kernel_threads())
    return mx.array(out).astype(tokens.dtype)
