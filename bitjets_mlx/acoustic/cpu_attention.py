"""Attention for MLX's CPU backend on Linux, where `exp` is scalar: 12 ns an element, most of a softmax.

`attention_plain` is the reference and what other devices run.
"""

import math
from typing import cast

import mlx.core as mx

from bitjets_mlx.ternary.cpu_training import ROUNDER

# Powers of two of numbers below are taken as 2^-90, 1e-27 of a row's largest: nothing in float32, yet never subnormal.
LOWEST = -90.0
# 2^f for f in [-1/2, 1/2], highest degree first: the polynomial of least relative error, 1e-7.
EXP2 = (1.32764725e-3, 9.67554096e-3, 5.55071309e-2, 2.40221202e-1, 6.93146944e-1, 1.0)


def attention_plain(query: mx.array, key: mx.array, value: mx.array, bias: mx.array) -> mx.array:
    """softmax(q k^T + bias) v: query (already scaled), key, value (B, H, T, D), bias (B, 1, 1, T) -> (B, H, T, D)."""
    scores = query @ key.swapaxes(-1, -2) + bias  # (B, H, T, T), fp32
    return mx.softmax(scores, axis=-1).astype(value.dtype) @ value


def exp2_nonpositive(x: mx.array) -> mx.array:
    """2^x of x <= 0 in additions and multiplications, which are vectorised; relative error below 3e-7."""
    x = mx.maximum(x, LOWEST)
    shifted = x + ROUNDER  # its low bits are round(x)
    rest = x - (shifted - ROUNDER)  # in [-1/2, 1/2]
    power = EXP2[0] * rest + EXP2[1]
    for coefficient in EXP2[2:]:
        power = power * rest + coefficient
    exponent = mx.left_shift(shifted.view(mx.int32), mx.array(23))  # ROUNDER's own bits are shifted out
    return (exponent + power.view(mx.int32)).view(mx.float32)


def attention_fused(query: mx.array, key: mx.array, value: mx.array, bias: mx.array) -> mx.array:
    """`attention_plain` with the gradient of FlashAttention (arXiv:2205.14135, appendix B.2), softmax never divided."""

    scaled = mx.stop_gradient(query) * math.log2(math.e)
    scores = scaled @ mx.stop_gradient(key).swapaxes(-1, -2) + bias  # (B, H, T, T)
    powers = exp2_nonpositive(scores - mx.max(scores, axis=-1, keepdims=True))
    totals = powers @ mx.ones((powers.shape[-1], 1))  # (B, H, T, 1): a matrix product is the fastest sum

    @mx.custom_function
    def attend(query: mx.array, key: mx.array, value: mx.array) -> mx.array:
        return (powers @ value) / totals

    @attend.vjp
    def attend_vjp(
        primals: list[mx.array], cotangent: mx.array, result: mx.array
    ) -> tuple[mx.array, mx.array, mx.array]:
        query, key, value = primals
        shared = cotangent / totals  # (B, H, T, D)
        along = mx.sum(shared * result, axis=-1, keepdims=True)  # (B, H, T, 1)
        gradient = powers * (shared @ value.swapaxes(-1, -2) - along)  # (B, H, T, T), of the scores
        return gradient @ key, gradient.swapaxes(-1, -2) @ query, powers.swapaxes(-1, -2) @ shared

    return cast(mx.array, attend(query, key, value))
