"""Training's form of RMSNorm and int8 quantisation for MLX's CPU backend on Linux.

That backend runs an operation at a time, and what automatic differentiation makes of a chain of small ones is many
passes over memory. Here the gradient is written by hand, in few passes, with sums as matrix products. `rms_norm_plain`
and `fake_quantised_activations` are the reference and what other devices run.
"""

import sys
from typing import cast

import mlx.core as mx

from bitjets_mlx.ternary.matmul import RMS_EPS
from bitjets_mlx.ternary.quantise import ACTIVATION_EPS, ACTIVATION_MAX

# 1.5 x 2^23: float32 holds nothing but whole numbers there, so adding it rounds, half to even. `mx.round` is scalar.
ROUNDER = 12582912.0


def prefers_fused(x: mx.array) -> bool:
    """Whether the forms of this file are the faster ones for `x`: float32 on the CPU backend of Linux."""
    return sys.platform.startswith("linux") and mx.default_device() == mx.Device(mx.cpu) and x.dtype == mx.float32


def round_small(x: mx.array) -> mx.array:
    """`mx.round` for float32 of magnitude below 2^22."""
    return (x + ROUNDER) - ROUNDER


def rms_norm_plain(x: mx.array, gain: mx.array, mask: mx.array) -> mx.array:
    """RMSNorm over the last axis: x (B, T, I), gain (I,), mask (B, T, 1) -> (B, T, I), zero where the mask is."""
    return mx.fast.rms_norm(x, gain.astype(x.dtype), RMS_EPS) * mask.astype(x.dtype)


def rms_norm_fused(x: mx.array, gain: mx.array, mask: mx.array) -> mx.array:
    """`rms_norm_plain`, then `fake_quantised_activations`, whose gradient goes straight through."""

    @mx.custom_function
    def normalise(x: mx.array, gain: mx.array) -> tuple[mx.array, mx.array]:
        rows = mx.square(x).reshape(-1, x.shape[-1])  # (B T, I)
        means = rows @ mx.full((x.shape[-1], 1), 1.0 / x.shape[-1])  # (B T, 1)
        inverse = mx.rsqrt(means + RMS_EPS).reshape(mask.shape) * mask  # (B, T, 1)
        return _fake_int8(x * inverse * gain), inverse

    @normalise.vjp
    def normalise_vjp(
        primals: list[mx.array], cotangents: list[mx.array], outputs: list[mx.array]
    ) -> tuple[mx.array, mx.array]:
        (x, gain), dy, inverse = primals, cotangents[0], outputs[1]
        width = x.shape[-1]
        product = (dy * x).reshape(-1, width)  # (B T, I)
        gain_gradient = (inverse.reshape(1, -1) @ product).reshape(width)
        along = (product @ gain[:, None]).reshape(mask.shape)  # (B, T, 1): how far dy points along x
        return dy * gain * inverse - x * (along * inverse * inverse * inverse / width), gain_gradient

    activations, _ = cast(tuple[mx.array, mx.array], normalise(x, gain))
    return activations


def _fake_int8(x: mx.array) -> mx.array:
    """`int8_activations` divided by their scale again; no value is beyond its row's largest, so nothing to clip."""
    scale = ACTIVATION_MAX / mx.maximum(mx.max(mx.abs(x), axis=-1, keepdims=True), ACTIVATION_EPS)  # (..., 1)
    return round_small(x * scale) / scale
