"""BitLinear and BitConv1d: RMSNorm, then int8 activations, then ternary weights (BitNet, arXiv:2310.11453, 2.1)."""

import math

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from bitjets_mlx.ternary.matmul import PackedWeight, bit_conv1d, convolve, packed
from bitjets_mlx.ternary.quantize import (
    blend,
    fake_integer_weights,
    fake_quantized_activations,
    fake_quantized_weights,
    ternary_weights,
)
from bitjets_mlx.ternary.training import quantized_conv1d, quantized_layer, rms_norm

# How far quantization is warmed in: an array blends; 0.0 and None are the cheap ends, "not at all" and "fully".
Amount = mx.array | float | None


class TernaryLayer(nn.Module):
    """A layer whose latent weights (O, K, I) are stored and spoken with as trits, if it is `ternary`."""

    ternary: bool

    def trits_of(self, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(trits, beta ()) of latent weights (O, K, I), in the arithmetic of this layer."""
        trits, beta = ternary_weights(mx.array(weight))
        return np.array(trits), np.array(beta, dtype=np.float32)

    def freeze_trits(self, trits: np.ndarray, beta: mx.array) -> None:
        """Hold these trits (O, K, I) and never derive beta again; the layer cannot be trained any more."""
        raise NotImplementedError


class BitConv1d(TernaryLayer):
    """RMSNorm ("SubLN") -> quantize -> ternary convolution over time with "same" zero padding, stride 1.

    In training (`self.training`) the latent weights are quantized on the fly; `amount` blends from full precision (0)
    to quantized (1, or None). Otherwise the products are exact integer sums (`bit_conv1d`), and a voice that was
    loaded from packed weights holds trits (`freeze_trits`) instead of latent weights. `ternary=False` is the same
    layer in full precision, or with `bits` in training's form of int8 activations and integer weights; `norm=False` one
    without RMSNorm. The products have the type of `x`; what quantization measures is always fp32.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, ternary: bool = True, norm: bool = True, bits: int = 0
    ) -> None:
        super().__init__()
        if kernel % 2 == 0:
            raise ValueError("the kernel must be odd, so that the output is as long as the input")
        if norm:
            self.gain = mx.ones((inputs,))
        self.weight = mx.random.normal((outputs, kernel, inputs)) / math.sqrt(inputs * kernel)
        self.bias = mx.zeros((outputs,))
        self.ternary, self.bits = ternary, bits

    def __call__(
        self,
        x: mx.array,
        mask: mx.array,
        amount: Amount = None,
        activation: str | None = None,
        residual: mx.array | None = None,
        dropped: float = 0.0,
    ) -> mx.array:
        """x (B, T, I), mask (B, T, 1) with zeros beyond each utterance's end -> (B, T, O).

        `activation` ("relu") and `residual` (B, T, O), which is added last, cost nothing where the kernels run.
        `dropped` is the fraction of `x` that dropout zeroed in training. The rest has a larger RMS, by which RMSNorm
        divides; unless the gain makes up for that, outputs without dropout are larger than those in training (the
        variance shift of Li et al., arXiv:1801.05134).
        """
        gain = self.gain if "gain" in self else None
        if self.ternary and not self.training:
            return bit_conv1d(x, mask, gain, self._packed_weight(), self.bias, activation, residual)
        relu = activation == "relu"
        if gain is not None and dropped:
            gain = gain / math.sqrt(1.0 - dropped)
        if self.ternary and gain is not None and amount is None:
            out = quantized_layer(x, gain, self.weight, self.bias, mask, relu)
        else:
            x = x * mask.astype(x.dtype) if gain is None else rms_norm(x, gain, mask)
            out = self._train(x, amount) if self.ternary else self._full_precision(x)
            out = out + self.bias.astype(x.dtype)
            out = mx.maximum(out, 0.0) if relu else out
        return out if residual is None else residual + out

    def _full_precision(self, x: mx.array) -> mx.array:
        if not self.bits:
            return convolve(x, self.weight)
        return convolve(fake_quantized_activations(x), fake_integer_weights(self.weight, self.bits))

    def _train(self, x: mx.array, amount: Amount) -> mx.array:
        if isinstance(amount, float) and amount == 0.0:
            return convolve(x, self.weight)
        if amount is None:
            return quantized_conv1d(x, self.weight)
        blended = mx.array(amount)
        activations = blend(x, fake_quantized_activations(x), blended)
        return convolve(activations, blend(self.weight, fake_quantized_weights(self.weight), blended))

    def _packed_weight(self) -> PackedWeight:
        """The weights of a packed voice, or what the latent ones would be, in fp32."""
        if "packed" in self:
            return self.packed
        trits, beta = ternary_weights(self.weight)
        return PackedWeight("blas", trits.transpose(1, 0, 2), beta)  # (K, O, I)

    def freeze_trits(self, trits: np.ndarray, beta: mx.array) -> None:
        """Hold these trits (O, K, I), packed for the backend of this machine."""
        self.pop("weight", None)
        self.packed = packed(trits, beta, normed="gain" in self)


class BitLinear(BitConv1d):
    """A BitConv1d of kernel 1: a linear layer over the last axis."""

    def __init__(self, inputs: int, outputs: int, ternary: bool = True, norm: bool = True, bits: int = 0) -> None:
        super().__init__(inputs, outputs, 1, ternary, norm, bits)
