"""Training's form of a ternary layer for MLX's CPU backend on Linux: matrix products, and C (`training_layer.c`).

That backend runs an operation at a time, each a pass over memory, and what automatic differentiation makes of
normalization and quantization is dozens of them. Here the layer and its gradient are written by hand. They run at once,
outside MLX's graph, in the thread that calls (`training.shards` has one for every core). `layer_plain` is the reference
and what runs everywhere else.
"""

import ctypes
import sys
from pathlib import Path
from typing import cast

import mlx.core as mx
import numpy as np

from bitjets_mlx.native.build import SOURCES, pointer, training_kernels
from bitjets_mlx.ternary.matmul import RMS_EPS, convolve
from bitjets_mlx.ternary.quantize import (
    ACTIVATION_EPS,
    WEIGHT_EPS,
    fake_quantized_activations,
    fake_quantized_weights,
)

SOURCE = SOURCES / "training_layer.c"


def prefers_kernels(x: mx.array, source: Path = SOURCE) -> bool:
    """Whether C is there and right for `x`: float32 on the CPU backend of Linux."""
    on_cpu = sys.platform.startswith("linux") and mx.default_device() == mx.Device(mx.cpu)
    return on_cpu and x.dtype == mx.float32 and training_kernels(source) is not None


def on_host(*arrays: mx.array) -> list[np.ndarray]:
    """Evaluated, as numpy sees them, row-major. (numpy would evaluate them too, but keep the interpreter's lock.)"""
    mx.eval(arrays)
    return [np.ascontiguousarray(np.asarray(array)) for array in arrays]


def rms_norm_plain(x: mx.array, gain: mx.array, mask: mx.array) -> mx.array:
    """RMSNorm over the last axis: x (B, T, I), gain (I,), mask (B, T, 1) -> (B, T, I), zero where the mask is."""
    return mx.fast.rms_norm(x, gain.astype(x.dtype), RMS_EPS) * mask.astype(x.dtype)


def layer_plain(x: mx.array, gain: mx.array, weight: mx.array, bias: mx.array, mask: mx.array, relu: bool) -> mx.array:
    """RMSNorm, int8 activations, ternary convolution, bias, ReLU; straight-through gradients.

    x (B, T, I), gain (I,), weight (O, K, I), bias (O,), mask (B, T, 1) -> (B, T, O).
    """
    activations = fake_quantized_activations(rms_norm_plain(x, gain, mask))
    out = convolve(activations, fake_quantized_weights(weight)) + bias.astype(x.dtype)
    return mx.maximum(out, 0.0) if relu else out


def layer_kernels(
    x: mx.array, gain: mx.array, weight: mx.array, bias: mx.array, mask: mx.array, relu: bool
) -> mx.array:
    """`layer_plain`, its gradient by hand."""
    kernels = training_kernels(SOURCE)
    assert kernels is not None, "asked for kernels that are not here"
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
        kernels.bitjets_norm_columns(
            *map(pointer, (*given, columns, inverse)), *sizes, ctypes.c_float(RMS_EPS), ctypes.c_float(ACTIVATION_EPS)
        )
        kernels.bitjets_quantize_weights(
            pointer(latent), pointer(trits), ctypes.c_long(latent.size), ctypes.c_float(WEIGHT_EPS)
        )
        out = columns @ trits.T
        kernels.bitjets_bias(pointer(out), pointer(added), ctypes.c_long(rows), outputs, int(relu))
        return mx.array(out.reshape(batch, frames, outputs))

    @layer.vjp
    def layer_vjp(
        primals: list[mx.array], cotangent: mx.array, output: mx.array
    ) -> tuple[mx.array, mx.array, mx.array, mx.array]:
        behind, values, x, gain = on_host(cotangent, output, *primals[:2])
        before, bias_gradient = np.empty_like(behind), np.zeros(outputs, dtype=np.float32)
        kernels.bitjets_bias_gradient(
            *map(pointer, (behind, values, before, bias_gradient)), ctypes.c_long(rows), outputs, int(relu)
        )
        before = before.reshape(rows, outputs)
        weight_gradient = before.T @ columns  # (O, K I)
        np.matmul(before, trits, out=columns)
        x_gradient, gain_gradient = np.empty(x.shape, dtype=np.float32), np.zeros(inputs, dtype=np.float32)
        kernels.bitjets_norm_columns_gradient(
            *map(pointer, (columns, x, gain, inverse, x_gradient, gain_gradient)), *sizes
        )
        gradients = x_gradient, gain_gradient, weight_gradient.reshape(weight.shape), bias_gradient
        return cast(tuple[mx.array, mx.array, mx.array, mx.array], tuple(map(mx.array, gradients)))

    return cast(mx.array, layer(x, gain, weight, bias))
