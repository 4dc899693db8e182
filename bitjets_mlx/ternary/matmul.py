"""The one function through which every ternary layer goes, `bit_conv1d`. Backends are chosen here and nowhere else.

    metal   2-bit codes in memory, this project's kernels (metal.py)
    cuda    2-bit codes in memory, MLX's own 2-bit product, which is exact the way it is called here
    cpu     int8 in memory, a small C kernel that is compiled once (cpu.py)
    blas    fp32 in memory, ordinary matrix products: where nothing else is there, and what the others must equal

The best one there is is taken; the environment variable BITJETS_TERNARY names another. All give the same integer sums.
The convolution's taps are scaled one by one, since every input frame has its own activation scale
(y[t] = beta sum_j (xq[t+j] . Wt_j) / s[t+j]). The sums inside the brackets are integers and exact in fp32.
"""

import os
from typing import Any, cast

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.native import loader
from bitjets_mlx.ternary import cpu, metal
from bitjets_mlx.ternary.packing import pack_codes
from bitjets_mlx.ternary.quantize import int8_activations, ternary_weights

RMS_EPS = 1e-6
BACKENDS = ("metal", "cuda", "cpu", "blas")
VARIABLE = "BITJETS_TERNARY"


def backend() -> str:
    """The backend that ternary layers use here. BitjetsError where the one asked for does not exist."""
    wanted = os.environ.get(VARIABLE, "").lower()
    if not wanted:
        return next(name for name in BACKENDS if available(name))
    if wanted not in BACKENDS:
        raise BitjetsError(f"{VARIABLE} is {wanted!r}: take one of {', '.join(BACKENDS)}.")
    if not available(wanted):
        there = ", ".join(name for name in BACKENDS if available(name))
        raise BitjetsError(f"{VARIABLE} asks for {wanted}, which is not here: take one of {there}, or unset it.")
    return wanted


def available(name: str) -> bool:
    """Whether a backend can run on the default device."""
    on_gpu = mx.default_device().type == mx.DeviceType.gpu
    if name == "metal":
        return on_gpu and mx.metal.is_available()
    if name == "cuda":
        return on_gpu and mx.cuda.is_available()
    return name == "blas" or loader.here("speaking") is not None


class PackedWeight(nn.Module):
    """Trits as one backend multiplies them, and their scale; they cannot be trained.

    codes: of metal and cuda (K, O, W) uint32, W = ceil(I / 32) * 2; of cpu (K, ceil(O / 16), ceil(I / 4), 16, 4) uint8;
    of blas (K, O, I) fp32. beta: () or (O,).
    """

    def __init__(self, backend: str, codes: mx.array, beta: mx.array) -> None:
        super().__init__()
        self.backend, self.codes, self.beta = backend, codes, beta


def packed(trits: np.ndarray, beta: mx.array, normed: bool = True) -> PackedWeight:
    """Trits (O, K, I) for the current backend; for blas where no RMSNorm comes before, which no kernel does without."""
    chosen = backend() if normed else "blas"
    trits = trits.transpose(1, 0, 2)  # (K, O, I): a tap's weights lie together, and no product needs a copy
    if chosen in ("metal", "cuda"):
        return PackedWeight(chosen, mx.array(pack_codes(trits)), beta)
    if chosen == "cpu":
        return PackedWeight(chosen, mx.array(cpu.blocked(trits)), beta)
    return PackedWeight(chosen, mx.array(trits.astype(np.float32)), beta)


def bit_conv1d(
    x: mx.array,
    mask: mx.array,
    gain: mx.array | None,
    weight: PackedWeight,
    bias: mx.array,
    activation: str | None = None,
    residual: mx.array | None = None,
) -> mx.array:
    """A whole ternary layer for inference: RMSNorm, int8 quantization, ternary convolution, activation, residual.

    x (B, T, I); mask (B, T, 1); gain (I,), or None for no RMSNorm; bias (O,); activation None or "relu"; residual
    (B, T, O), which is added last. Returns (B, T, O) of x's type. Stride 1 and "same" zero padding; a kernel of 1 is a
    linear layer.
    """
    codes, beta = weight.codes, weight.beta
    if weight.backend == "cpu" and gain is not None:
        return cpu.bit_conv1d(x, mask, gain, codes, beta, bias, RMS_EPS, activation, residual)
    if weight.backend == "metal" and gain is not None:
        integers, inverse_scale = metal.quantize(x, gain, mask, RMS_EPS)
        return metal.product(integers, inverse_scale, codes, beta, bias, activation, residual, dtype=x.dtype)
    normed = (x if gain is None else mx.fast.rms_norm(x, gain.astype(x.dtype), RMS_EPS)) * mask.astype(x.dtype)
    whole, scale = int8_activations(normed.astype(mx.float32))
    sums = tap_sums_of_codes(whole, codes) if weight.backend == "cuda" else tap_sums(whole, codes)
    out = (scaled_taps(sums, scale, bias.shape[0]) * beta).astype(x.dtype) + bias.astype(x.dtype)
    if activation == "relu":
        out = mx.maximum(out, 0.0)
    return out if residual is None else residual + out


# -- plain products ------------------------------------------------------------------------------------------------


def ternary_conv1d(integers: mx.array, scale: mx.array, trits: mx.array, beta: mx.array) -> mx.array:
    """The reference: a ternary convolution of quantized activations.

    integers (B, T, I) whole numbers of int8 size; scale (B, T, 1) as `int8_activations` gives it;
    trits (O, K, I) in {-1, 0, 1}, K odd; beta () or (O,). Returns (B, T, O).
    """
    return scaled_taps(tap_sums(integers, trits.transpose(1, 0, 2)), scale, trits.shape[0]) * beta


def tap_sums(integers: mx.array, trits: mx.array) -> mx.array:
    """integers (B, T, I), trits (K, O, I) -> integer sums, one group per tap (B, T, K O)."""
    return integers @ trits.reshape(-1, trits.shape[-1]).T


def tap_sums_of_codes(integers: mx.array, codes: mx.array) -> mx.array:
    """integers (B, T, I) fp32, codes (K, O, W) uint32 -> (B, T, K O), by MLX's 2-bit product.

    With scale 1 and bias -1 its weights are exactly the trits, and fp32 activations keep its sums exact.
    """
    taps, outputs, words = codes.shape
    inputs = 16 * words
    padded = mx.pad(integers, [(0, 0), (0, 0), (0, inputs - integers.shape[-1])])
    rows = codes.reshape(taps * outputs, words)
    group = next(size for size in (128, 64, 32) if inputs % size == 0)
    ones = mx.ones((taps * outputs, inputs // group))
    return mx.quantized_matmul(padded, rows, ones, -ones, transpose=True, group_size=group, bits=2)


def scaled_taps(sums: mx.array, scale: mx.array, outputs: int) -> mx.array:
    """Sums of every tap over the scale of the frame it saw: (B, T, K O), (B, T, 1) -> (B, T, O)."""
    taps = sums.shape[-1] // outputs
    scaled = sums / scale
    return scaled if taps == 1 else _shift_and_add(scaled, taps, outputs)


def _shift_and_add(taps_out: mx.array, taps: int, outputs: int) -> mx.array:
    """Frame t gathers tap j from frame t + j - K // 2: (B, T, K O) -> (B, T, O)."""
    length, reach = taps_out.shape[1], taps // 2
    padded = mx.pad(taps_out, [(0, 0), (reach, reach), (0, 0)])  # (B, T + K - 1, K O)
    total = padded[:, 0:length, :outputs]
    for tap in range(1, taps):
        total = total + padded[:, tap : tap + length, tap * outputs : (tap + 1) * outputs]
    return total


def convolve(x: mx.array, weight: mx.array) -> mx.array:
    """Convolution as one matrix product over side-by-side frames: (B, T, I), (O, K, I) -> (B, T, O)."""
    outputs, taps, inputs = weight.shape
    if taps > 1:
        length, reach = x.shape[1], taps // 2
        padded = mx.pad(x, [(0, 0), (reach, reach), (0, 0)])  # (B, T + K - 1, I)
        x = mx.concatenate([padded[:, tap : tap + length] for tap in range(taps)], axis=-1)  # (B, T, K I)
    return x @ weight.astype(x.dtype).reshape(outputs, taps * inputs).T


# -- training ------------------------------------------------------------------------------------------------------


def packed_conv1d(x: mx.array, weight: mx.array) -> mx.array:
    """The convolution of training on Metal: both operands are quantized, (B, T, I), (O, K, I) -> (B, T, O).

    Its gradient is the straight-through one: that of `convolve` at the quantized operands.
    """
    return cast(mx.array, _packed_conv1d(x, weight))


@mx.custom_function
def _packed_conv1d(x: mx.array, weight: mx.array) -> mx.array:
    inputs = x.shape[-1]
    whole, scale = int8_activations(x.astype(mx.float32))
    trits, beta = ternary_weights(weight)
    fill = -inputs % metal.INPUT_GROUP
    integers = mx.pad(whole, [(0, 0), (0, 0), (0, fill)]).astype(mx.int8).view(mx.uint32)  # four to a word
    codes = mx.pad(trits + 1.0, [(0, 0), (0, 0), (0, fill)], constant_values=1.0).astype(mx.uint32)
    places = mx.left_shift(mx.array(1, mx.uint32), mx.arange(0, 32, 2, dtype=mx.uint32))
    words = (codes.reshape(*codes.shape[:2], -1, 16) * places).sum(axis=-1)  # (O, K, W)
    return metal.product(integers, 1.0 / scale[..., 0], words.transpose(1, 0, 2), beta, dtype=x.dtype)


@_packed_conv1d.vjp
def _packed_conv1d_vjp(
    primals: tuple[mx.array, mx.array], cotangent: mx.array, _: mx.array
) -> tuple[mx.array, mx.array]:
    x, weight = primals
    whole, scale = int8_activations(x.astype(mx.float32))
    trits, beta = ternary_weights(weight)
    operands = [(whole / scale).astype(x.dtype), trits * beta]
    gradients: Any = mx.vjp(convolve, operands, [cotangent])[1]
    return gradients[0], gradients[1]
