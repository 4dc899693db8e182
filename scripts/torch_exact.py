"""The acoustic model and its PyTorch twin without a rounding that depends on an order, for scripts/compare_forward.py.

An activation in the middle between two integers falls to the side that the last bit of a float decides, and two
programs that sum in different orders do not agree on that bit. Here both compute what lies between the ternary layers
in fp64 and round it to fp32, by the same functions, and the twin's ternary layers take integers and multiply and add
as the C kernel does. What is left to differ is the kernel's own work, which then has to be right to the bit.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import torch
import torch.nn.functional as F
import torch_voice
from torch import Tensor
from torch_voice import BitConv1d, FftBlock

from bitjets_mlx.acoustic import blocks, model
from bitjets_mlx.ternary.matmul import RMS_EPS


def quantized(layer: BitConv1d, x: Tensor) -> tuple[Tensor, Tensor]:
    """RMSNorm and int8 quantization in fp64: x (T, I) -> whole numbers (T, I) and 1 / s (T, 1), fp32."""
    wide = x.double()
    norm = 1.0 / torch.sqrt(wide.square().mean(-1, keepdim=True) + float(np.float32(RMS_EPS)))
    wide = wide * layer.gain.double()  # exact: two floats
    scale = 127.0 / (wide.abs().amax(-1, keepdim=True) * norm).clamp(min=torch_voice.ACTIVATION_EPS)
    return (wide * (norm * scale)).round().float(), (1.0 / scale).float()


def ternary_layer(layer: BitConv1d, x: Tensor) -> Tensor:
    """A ternary layer as the C kernel rounds it: x (T, I) -> (T, O)."""
    whole, inverse = quantized(layer, x)
    beta = layer.weight.abs().amax()
    trits = (layer.weight / beta).round().view(len(layer.weight), layer.taps, -1)  # (O, K, I)
    length, reach = len(x), layer.taps // 2
    whole, inverse = (F.pad(part, (0, 0, reach, reach)) for part in (whole, inverse))  # (T + K - 1, ...)
    total = torch.zeros(length, len(trits))
    for tap in range(layer.taps):
        sums = whole[tap : tap + length] @ trits[:, tap].T  # integers below 2^24: exact in any order
        total = multiplied_and_added(sums, inverse[tap : tap + length], total)
    return multiplied_and_added(total, beta, layer.bias)


def multiplied_and_added(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """a b + c, rounded once, as a fused instruction does: the product of two floats is exact in fp64."""
    return (a.double() * b.double() + c.double()).float()


def attention(qkv: Tensor, heads: int) -> Tensor:
    """Self-attention in fp64: (T, 3 D) -> (T, D)."""
    length, width = qkv.shape
    query, key, value = qkv.double().view(1, length, 3, heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
    mixed = F.scaled_dot_product_attention(query, key, value)  # (1, H, T, D / H)
    return mixed.transpose(1, 2).reshape(length, width // 3).float()


def upsampled(tokens: Tensor, centres: Tensor, frames: int, first: float) -> Tensor:
    """Gaussian upsampling in fp64: tokens (N, D), centres (N,) -> (frames, D)."""
    times = torch.arange(frames, dtype=torch.float64)[:, None] + first
    weights = torch.softmax((times - centres).square() * -torch_voice.UPSAMPLING_DELTA, dim=-1)
    return (weights @ tokens.double()).float()


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """x W^T + b in fp64: (..., I), (O, I), (O,) -> (..., O)."""
    return (x.double() @ weight.double().T + bias.double()).float()


@contextmanager
def exact() -> Iterator[None]:
    """Inside, our acoustic model and the twin compute like this."""

    def tensor(array: Any) -> Tensor:
        return torch.from_numpy(np.array(array))

    def our_attention(qkv: mx.array, mask: mx.array, heads: int, gradients: bool) -> mx.array:
        return mx.array(attention(tensor(qkv[0]), heads).numpy())[None]

    def our_upsampling(
        tokens: mx.array, durations: mx.array, mask: mx.array, frames: int, first: float, gradients: bool
    ) -> mx.array:
        centers = tensor(mx.cumsum(durations, axis=1) - durations / 2)
        return mx.array(upsampled(tensor(tokens[0]), centers[0], frames, first).numpy())[None]

    def our_linear(layer: nn.Linear, x: mx.array) -> mx.array:
        return mx.array(linear(tensor(x), tensor(layer.weight), tensor(layer.bias)).numpy())

    def our_sinusoids(length: int, width: int) -> mx.array:
        return mx.array(torch_voice.sinusoids(length, width).numpy())

    def their_block(block: FftBlock, x: Tensor) -> Tensor:
        x = x + block.out(attention(block.qkv(x), block.heads))
        return x + block.contract(block.expand(x).relu())

    def their_upsampling(tokens: Tensor, durations: Tensor, frames: int) -> Tensor:
        return upsampled(tokens, durations.cumsum(0) - durations / 2, frames, 0.5)

    with ExitStack() as changed:
        for owner, name, function in (
            (blocks, "attention", our_attention),
            (model, "upsample", our_upsampling),
            (nn.Linear, "__call__", our_linear),
            (model, "sinusoids", our_sinusoids),
            (BitConv1d, "__call__", ternary_layer),
            (FftBlock, "__call__", their_block),
            (torch_voice, "upsampled", their_upsampling),
            (torch_voice.F, "linear", linear),
        ):
            changed.enter_context(patch.object(owner, name, function))
        yield
