"""Quantization of BitNet b1.58 (arXiv:2402.17764, section 2) and its straight-through gradient.

Rounding is half to even everywhere, which is what `mx.round` and `numpy.rint` do.
"""

from typing import cast

import mlx.core as mx

WEIGHT_EPS = 1e-5
ACTIVATION_EPS = 1e-5
ACTIVATION_MAX = 127.0


def ternary_weights(weight: mx.array) -> tuple[mx.array, mx.array]:
    """Absmean quantization: `weight` of any shape -> (trits in {-1, 0, 1} of the same shape and type, beta ()).

    beta = mean|W|; trits = clip(round(W / (beta + 1e-5)), -1, 1).
    """
    beta = mx.mean(mx.abs(weight))
    trits = mx.clip(mx.round(weight / (beta + WEIGHT_EPS)), -1.0, 1.0)
    return trits, beta


def int8_activations(x: mx.array) -> tuple[mx.array, mx.array]:
    """Absmax quantization per token: `x` (..., K) -> (integers in [-128, 127] as floats (..., K), s (..., 1)).

    s = 127 / max(|x|, 1e-5) over the last axis; x is about integers / s.
    """
    scale = ACTIVATION_MAX / mx.maximum(mx.max(mx.abs(x), axis=-1, keepdims=True), ACTIVATION_EPS)  # (..., 1)
    return mx.clip(mx.round(x * scale), -128.0, 127.0), scale


def fake_quantized_weights(weight: mx.array) -> mx.array:
    """Ternary weights times beta, with a straight-through gradient: what training multiplies with."""
    return cast(mx.array, _fake_weights(weight))


def fake_integer_weights(weight: mx.array, bits: int) -> mx.array:
    """Weights (O, ...) as whole multiples of a step an output channel, with a straight-through gradient.

    `bits` bits, symmetric: the largest weight of a channel is 2^(bits - 1) - 1 steps.
    """
    largest = 2.0 ** (bits - 1) - 1.0

    @mx.custom_function
    def quantize(weight: mx.array) -> mx.array:
        axes = list(range(1, weight.ndim))
        step = mx.maximum(mx.max(mx.abs(weight), axis=axes, keepdims=True), WEIGHT_EPS) / largest  # (O, 1, ...)
        return mx.round(weight / step) * step

    quantize.vjp(_straight_through)
    return cast(mx.array, quantize(weight))


def fake_quantized_activations(x: mx.array) -> mx.array:
    """int8 activations divided by their scale, with a straight-through gradient."""
    return cast(mx.array, _fake_activations(x))


@mx.custom_function
def _fake_weights(weight: mx.array) -> mx.array:
    trits, beta = ternary_weights(weight)
    return trits * beta


@mx.custom_function
def _fake_activations(x: mx.array) -> mx.array:
    integers, scale = int8_activations(x.astype(mx.float32))  # x s in bfloat16 would round twice
    return (integers / scale).astype(x.dtype)


def _straight_through(primal: mx.array, cotangent: mx.array, output: mx.array) -> mx.array:
    return cotangent


_fake_weights.vjp(_straight_through)
_fake_activations.vjp(_straight_through)


def blend(full: mx.array, quantized: mx.array, amount: mx.array) -> mx.array:
    """Quantization warm-in: full precision at amount 0, exactly the quantized values at amount 1."""
    return ((1.0 - amount) * full + amount * quantized).astype(full.dtype)
