"""A vocoder with few bits per weight: all matrices and kernels but the last layer's, trained through the rounding."""

from typing import Any, cast

import mlx.core as mx
from mlx.utils import tree_map_with_path

from bitjets_mlx.ternary.quantize import WEIGHT_EPS, fake_integer_weights

Tree = Any
TERNARY = 1.58
LAST_LAYERS = ("output.weight", "conv_post.weight")  # of the harmonic vocoder and of HiFi-GAN


def quantized(weights: Tree, bits: float) -> Tree:
    """A generator's weights at `bits` (8, 4 or 1.58, which is ternary), with a straight-through gradient; 0: as given.

    A scale an output channel: channels of a vocoder differ far more than those of a ternary layer, whose inputs are
    normalized.
    """

    def leaf(name: str, weight: mx.array) -> mx.array:
        if weight.ndim < 2 or name in LAST_LAYERS:
            return weight
        return fake_ternary_rows(weight) if bits == TERNARY else fake_integer_weights(weight, round(bits))

    return tree_map_with_path(leaf, weights) if bits else weights


def fake_ternary_rows(weight: mx.array) -> mx.array:
    """Absmean quantization (BitNet b1.58, arXiv:2402.17764) with a beta an output channel: (O, ...) -> (O, ...)."""

    @mx.custom_function
    def quantize(weight: mx.array) -> mx.array:
        beta = mx.mean(mx.abs(weight), axis=list(range(1, weight.ndim)), keepdims=True)  # (O, 1, ...)
        return mx.clip(mx.round(weight / (beta + WEIGHT_EPS)), -1.0, 1.0) * beta

    @quantize.vjp
    def quantize_vjp(primal: mx.array, cotangent: mx.array, output: mx.array) -> mx.array:
        return cotangent

    return cast(mx.array, quantize(weight))
