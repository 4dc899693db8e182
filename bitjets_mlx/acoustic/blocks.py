"""The feed-forward Transformer (FFT) block of FastSpeech (arXiv:1905.09263, section 3.1), ternary."""

import functools
import math
from typing import cast

import mlx.core as mx
import mlx.nn as nn

from bitjets_mlx.config import AcousticConfig
from bitjets_mlx.ops.attention import attention
from bitjets_mlx.ternary.layers import Amount, BitConv1d, BitLinear

LAYER_NORM_EPS = 1e-12


def sinusoids(length: int, width: int) -> mx.array:
    """Positional encoding (length, width): sines in even columns, cosines in odd ones (arXiv:1706.03762, 3.5)."""
    return _sinusoid_table(1 << (length - 1).bit_length(), width)[:length]


@functools.cache
def _sinusoid_table(length: int, width: int) -> mx.array:
    """Sines are slow on a CPU, so they are kept: for a power of two, since every utterance has a length of its own."""
    positions = mx.arange(length, dtype=mx.float32)[:, None]
    rates = mx.exp(mx.arange(0, width, 2, dtype=mx.float32) * (-math.log(10000.0) / width))
    angles = positions * rates  # (length, width / 2)
    table = mx.stack([mx.sin(angles), mx.cos(angles)], axis=-1).reshape(length, width)
    mx.eval(table)
    return table


class Embedding(nn.Embedding):
    """nn.Embedding with a gradient that is the same bits every time.

    MLX's own adds rows up with atomics on a GPU, in no fixed order, and a resumed run would not repeat its updates.
    """

    def __call__(self, x: mx.array) -> mx.array:
        """Indices (...) -> rows of the table (..., D)."""

        @mx.custom_function
        def rows(table: mx.array) -> mx.array:
            return table[x]

        @rows.vjp
        def rows_vjp(table: mx.array, cotangent: mx.array, _: mx.array) -> mx.array:
            one_hot = (x.reshape(-1)[:, None] == mx.arange(table.shape[0])).astype(cotangent.dtype)  # (count, V)
            return one_hot.T @ cotangent.reshape(-1, table.shape[1])  # (V, D)

        return cast(mx.array, rows(self.weight))


def dropout(x: mx.array, rate: float, key: mx.array | None) -> mx.array:
    """Inverted dropout from an explicit key, so that a resumed run repeats it; no key, no dropout."""
    if key is None or rate == 0.0:
        return x
    return x * (mx.random.bernoulli(1.0 - rate, x.shape, key=key).astype(x.dtype) / (1.0 - rate))


def split_key(key: mx.array | None, parts: int) -> list[mx.array | None]:
    """`parts` independent keys, or as many Nones."""
    return [None] * parts if key is None else list(mx.random.split(key, parts))


def precision(config: AcousticConfig) -> tuple[bool, bool, int]:
    """`ternary`, `norm` and `bits` of every BitLinear and BitConv1d."""
    return config.ternary, config.norm == "rms", config.weight_bits


class SelfAttention(nn.Module):
    """Multi-head self-attention with ternary projections."""

    def __init__(self, config: AcousticConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.qkv = BitLinear(config.width, 3 * config.width, *precision(config))
        self.out = BitLinear(config.width, config.width, *precision(config))

    def __call__(self, x: mx.array, mask: mx.array, amount: Amount, residual: mx.array | None = None) -> mx.array:
        """x (B, T, D), mask (B, T, 1) -> (B, T, D)."""
        qkv = self.qkv(x, mask, amount)  # (B, T, 3 D)
        return self.out(attention(qkv, mask, self.heads, self.training), mask, amount, None, residual)


class FftBlock(nn.Module):
    """Self-attention, then a convolutional feed-forward layer; both residuals additive, x + F(x).

    RMSNorm sits inside every ternary layer; with `config.norm` "layer" (JETS of ESPnet) LayerNorm before the two.
    """

    def __init__(self, config: AcousticConfig, feed_forward: int, dropout: float) -> None:
        super().__init__()
        width = config.width
        self.attention = SelfAttention(config)
        self.expand = BitConv1d(width, feed_forward, config.kernel, *precision(config))
        self.contract = BitConv1d(feed_forward, width, config.contract_kernel, *precision(config))
        if config.norm != "rms":
            self.attention_norm, self.feed_forward_norm = layer_norm(width), layer_norm(width)
        self.dropout = dropout

    def __call__(self, x: mx.array, mask: mx.array, amount: Amount = None, key: mx.array | None = None) -> mx.array:
        """x (B, T, D), mask (B, T, 1) -> (B, T, D). What lies beyond each utterance's end is for nobody to read."""
        first, second = split_key(key, 2)
        normed = self.attention_norm(x) if "attention_norm" in self else x
        if key is None:  # no dropout comes between: the layers add the residual themselves
            x = self.attention(normed, mask, amount, x)
        else:
            x = x + dropout(self.attention(normed, mask, amount), self.dropout, first)
        normed = self.feed_forward_norm(x) if "feed_forward_norm" in self else x
        hidden = self.expand(normed, mask, amount, "relu")  # (B, T, F)
        if key is None:
            x = self.contract(hidden, mask, amount, None, x)
        else:
            x = x + dropout(self.contract(hidden, mask, amount), self.dropout, second)
        return x  # every layer masks what it reads


def layer_norm(width: int) -> nn.LayerNorm:
    """LayerNorm as ESPnet has it."""
    return nn.LayerNorm(width, eps=LAYER_NORM_EPS)
