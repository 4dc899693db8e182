"""A ternary convolution whose activation scale looks at a whole utterance, as the PyTorch BitJETS has it."""

import math

import mlx.core as mx
import numpy as np

from bitjets_mlx.ternary.layers import Amount, TernaryLayer
from bitjets_mlx.ternary.matmul import convolve
from bitjets_mlx.ternary.quantize import ACTIVATION_EPS, ACTIVATION_MAX, WEIGHT_EPS, blend
from bitjets_mlx.torch_import.torch_order import mean_magnitude


class UtteranceBitConv1d(TernaryLayer):
    """Quantize -> ternary convolution over time, "same" zero padding, no bias, no norm.

    `by_channel`: gamma (B, 1, C) is each channel's largest |x| over time, and output channel c is rescaled by the gamma
    of input channel c. Otherwise gamma (B, 1, 1) is that of the whole utterance. Packed weights are taken up by
    `freeze_trits`, as in `BitConv1d`.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, by_channel: bool) -> None:
        super().__init__()
        if by_channel and inputs != outputs:
            raise ValueError("scales by channel need as many outputs as inputs")
        self.weight = mx.random.normal((outputs, kernel, inputs)) / math.sqrt(inputs * kernel)
        self.ternary, self.by_channel = True, by_channel

    def __call__(self, x: mx.array, mask: mx.array, amount: Amount = None) -> mx.array:
        """x (B, T, C), mask (B, T, 1) with zeros beyond each utterance's end -> (B, T, O)."""
        x = x * mask
        axes = 1 if self.by_channel else (1, 2)
        gamma = mx.maximum(mx.max(mx.abs(x), axis=axes, keepdims=True), ACTIVATION_EPS)
        scaled = x * ACTIVATION_MAX / gamma
        integers = mx.round(mx.clip(scaled, -128.0, 127.0))
        trits, beta = self.trits()
        if not self.training:
            return convolve(integers, trits) * (beta * gamma / ACTIVATION_MAX)
        # Straight through: forward the quantized values, backward as if they were not.
        integers = _warmed(scaled, scaled + mx.stop_gradient(integers - scaled), amount)
        weight = _warmed(self.weight, self.weight + mx.stop_gradient(trits * beta - self.weight), amount)
        return convolve(integers, weight) * (gamma / ACTIVATION_MAX)

    def trits(self) -> tuple[mx.array, mx.array]:
        """(trits (O, K, I), beta): the frozen ones, or those of the latent weights."""
        if "beta" in self:
            return self.weight, self.beta
        return clamped_ternary_weights(self.weight)

    def trits_of(self, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """`clamped_ternary_weights` of (O, K, I) on the host, beta to the last bit as PyTorch has it."""
        magnitude = mean_magnitude(weight.transpose(0, 2, 1))  # there a weight is (O, I, K)
        beta = max(magnitude, np.float32(WEIGHT_EPS))
        return np.rint(np.clip(weight / beta, -1.0, 1.0)).astype(np.int8), np.array(beta)

    def freeze_trits(self, trits: np.ndarray, beta: mx.array) -> None:
        """Hold these trits, as they are."""
        self.weight, self.beta = mx.array(trits.astype(np.float32)), beta


def _warmed(full: mx.array, quantized: mx.array, amount: Amount) -> mx.array:
    if amount is None:
        return quantized
    return full if isinstance(amount, float) and amount == 0.0 else blend(full, quantized, mx.array(amount))


def clamped_ternary_weights(weight: mx.array) -> tuple[mx.array, mx.array]:
    """`ternary_weights` as PyTorch BitJETS has it: beta = max(mean|W|, 1e-5), trits = round(clip(W / beta, -1, 1))."""
    beta = mx.maximum(mx.mean(mx.abs(weight)), WEIGHT_EPS)
    return mx.round(mx.clip(weight / beta, -1.0, 1.0)), beta
