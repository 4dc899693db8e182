"""A fully quantized ternary layer in training, with straight-through gradients."""

import ctypes
from typing import cast

import mlx.core as mx
import numpy as np

from bitjets_mlx.native import loader
from bitjets_mlx.native.loader import addresses, on_host
from bitjets_mlx.ternary import matmul
from bitjets_mlx.ternary.matmul import RMS_EPS, convolve, packed_conv1d
from bitjets_mlx.ternary.quantize import (
    ACTIVATION_EPS,
    WEIGHT_EPS,
    fake_quantized_activations,
    fake_quantized_weights,
)


def quantized_layer(
    x: mx.array, gain: mx.array, weight: mx.array, bias: mx.array, mask: mx.array, relu: bool
) -> mx.array:
    """RMSNorm, int8 activations, ternary convolution, bias, ReLU, in the backend's way.

    x (B, T, I), gain (I,), weight (O, K, I), bias (O,), mask (B, T, 1) -> (B, T, O).
    """
    if x.dtype == mx.float32 and matmul.backend() != "metal" and (kernels := loader.here("training")):
        return layer_kernels(kernels, x, gain, weight, bias, mask, relu)
    return layer_plain(x, gain, weight, bias, mask, relu)


def rms_norm(x: mx.array, gain: mx.array, mask: mx.array) -> mx.array:
    """RMSNorm over the last axis: x (B, T, I), gain (I,), mask (B, T, 1) -> (B, T, I), zero where the mask is."""
    return mx.fast.rms_norm(x, gain.astype(x.dtype), RMS_EPS) * mask.astype(x.dtype)


def quantized_conv1d(x: mx.array, weight: mx.array) -> mx.array:
    """The product of such a layer: (B, T, I), (O, K, I) -> (B, T, O). On GPUs but Apple's a plain one is as fast."""
    if matmul.backend() == "metal":
        return packed_conv1d(x, weight)
    return convolve(fake_quantized_activations(x), fake_quantized_weights(weight))


def layer_plain(x: mx.array, gain: mx.array, weight: mx.array, bias: mx.array, mask: mx.array, relu: bool) -> mx.array:
    """`quantized_layer` in MLX; the reference, where its product is the plain one."""
    out = quantized_conv1d(rms_norm(x, gain, mask), weight) + bias.astype(x.dtype)
    return mx.maximum(out, 0.0) if relu else out


def layer_kernels(
    kernels: ctypes.CDLL, x: mx.array, gain: mx.array, weight: mx.array, bias: mx.array, mask: mx.array, relu: bool
) -> mx.array:
    """`quantized_layer` by matrix products and C (`training_layer.c`), its gradient by hand.

    MLX's CPU backend runs an operation at a time, each a pass over memory, and what automatic differentiation makes of
    normalization and quantization is dozens of them. This runs at once, outside MLX's graph, in the thread that calls
    (`training.shards` has one for every core).
    """
    batch, frames, inputs = x.shape
    outputs, taps, _ = weight.shape
    sizes, rows = (batch, frames, inputs, taps), batch * frames
    columns = np.empty((rows, taps * inputs), dtype=np.float32)  # quantized activations, as the convolution sees them
    trits = np.empty((outputs, taps * inputs), dtype=np.float32)  # times beta
    inverse = np.empty(rows, dtype=np.float32)  # of the root mean squares

    @mx.custom_function
    def layer(x: mx.array, gain: mx.array, weight: mx.array, bias: mx.array) -> mx.array:
        given = on_host(x, gain, mask)
        latent, added = on_host(weight, bias)
        kernels.bitjets_norm_columns(*addresses(*given, columns, inverse), *sizes, RMS_EPS, ACTIVATION_EPS)
        kernels.bitjets_quantize_weights(*addresses(latent, trits), latent.size, WEIGHT_EPS)
        out = columns @ trits.T
        kernels.bitjets_bias(*addresses(out, added), rows, outputs, relu)
        return mx.array(out.reshape(batch, frames, outputs))

    @layer.vjp
    def layer_vjp(
        primals: list[mx.array], cotangent: mx.array, output: mx.array
    ) -> tuple[mx.array, mx.array, mx.array, mx.array]:
        behind, values, x, gain = on_host(cotangent, output, *primals[:2])
        before, bias_gradient = np.empty_like(behind), np.zeros(outputs, dtype=np.float32)
        kernels.bitjets_bias_gradient(*addresses(behind, values, before, bias_gradient), rows, outputs, relu)
        before = before.reshape(rows, outputs)
        weight_gradient = before.T @ columns  # (O, K I)
        np.matmul(before, trits, out=columns)
        x_gradient, gain_gradient = np.empty(x.shape, dtype=np.float32), np.zeros(inputs, dtype=np.float32)
        kernels.bitjets_norm_columns_gradient(*addresses(columns, x, gain, inverse, x_gradient, gain_gradient), *sizes)
        gradients = x_gradient, gain_gradient, weight_gradient.reshape(weight.shape), bias_gradient
        return cast(tuple[mx.array, mx.array, mx.array, mx.array], tuple(map(mx.array, gradients)))

    return cast(mx.array, layer(x, gain, weight, bias))
