"""HiFi-GAN generator V1, V2 and V3 (Kong et al. 2020, section 2.2), after github.com/jik876/hifi-gan.

Parameters are named as there: conv_pre, ups.i, resblocks.n.convs1.k and convs2.k (V3: convs.k), conv_post. Weight
normalization is for the reader of checkpoints to fold; here are plain weights.
"""

import math

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from bitjets_mlx.config import HifiganConfig
from bitjets_mlx.native.hifigan import PackedHifigan
from bitjets_mlx.native.loader import as_numpy
from bitjets_mlx.native.vocoder import Packed
from bitjets_mlx.ops.convolution import conv_transpose1d, same_conv1d, settled

SLOPE = 0.1
LAST_SLOPE = 0.01  # the original calls leaky_relu without a slope there, and trained with torch's default


def leaky_relu(x: mx.array, slope: float) -> mx.array:
    """max(x, slope x), for slopes below 1."""
    return mx.maximum(x, slope * x)


def uniform_weight(shape: tuple[int, ...], fan_in: int) -> mx.array:
    """PyTorch's default, with which the original begins: its N(0, 0.01) is overwritten by weight normalization.

    From that one the generator would begin below the mel loss's floor, where there is no gradient.
    """
    bound = 1.0 / math.sqrt(fan_in)
    return mx.random.uniform(-bound, bound, shape)


class Convolution(nn.Module):
    """Same-length convolution with weight (O, K, I) and bias (O,)."""

    def __init__(self, inputs: int, outputs: int, size: int, dilation: int = 1) -> None:
        super().__init__()
        self.weight = uniform_weight((outputs, size, inputs), inputs * size)
        self.bias = mx.zeros((outputs,))
        self._dilation = dilation

    def __call__(self, x: mx.array) -> mx.array:
        """(B, S, I) -> (B, S, O)."""
        return same_conv1d(x, self.weight, self._dilation) + self.bias


class Upsampling(nn.Module):
    """Transposed convolution with weight (O, K, I) and bias (O,), `stride` times as long."""

    def __init__(self, inputs: int, outputs: int, size: int, stride: int) -> None:
        super().__init__()
        self.weight = uniform_weight((outputs, size, inputs), outputs * size)
        self.bias = mx.zeros((outputs,))
        self._stride, self._padding = stride, (size - stride) // 2

    def __call__(self, x: mx.array) -> mx.array:
        """(B, S, I) -> (B, stride * S, O)."""
        return conv_transpose1d(x, self.weight, self._stride, self._padding) + self.bias


class ResBlock1(nn.Module):
    """Pairs of a dilated and a plain convolution, each pair with a residual (V1, V2)."""

    def __init__(self, channels: int, size: int, dilations: tuple[int, ...]) -> None:
        super().__init__()
        self.convs1 = [Convolution(channels, channels, size, dilation) for dilation in dilations]
        self.convs2 = [Convolution(channels, channels, size) for _ in dilations]

    def __call__(self, x: mx.array) -> mx.array:
        """(B, S, C) -> (B, S, C)."""
        for first, second in zip(self.convs1, self.convs2, strict=True):
            x = settled(x + second(leaky_relu(first(leaky_relu(x, SLOPE)), SLOPE)), gradients=self.training)
        return x


class ResBlock2(nn.Module):
    """Dilated convolutions, each with a residual (V3)."""

    def __init__(self, channels: int, size: int, dilations: tuple[int, ...]) -> None:
        super().__init__()
        self.convs = [Convolution(channels, channels, size, dilation) for dilation in dilations]

    def __call__(self, x: mx.array) -> mx.array:
        """(B, S, C) -> (B, S, C)."""
        for convolution in self.convs:
            x = settled(x + convolution(leaky_relu(x, SLOPE)), gradients=self.training)
        return x


class HifiganGenerator(nn.Module):
    """Log-mel spectrogram to samples."""

    def __init__(self, config: HifiganConfig) -> None:
        super().__init__()
        self.config = config
        block: type[ResBlock1] | type[ResBlock2] = ResBlock1 if config.resblock == "1" else ResBlock2
        channels = config.upsample_initial_channel
        self.conv_pre = Convolution(config.n_mels, channels, 7)
        self.ups = []
        self.resblocks = []
        for rate, size in zip(config.upsample_rates, config.upsample_kernel_sizes, strict=True):
            self.ups.append(Upsampling(channels, channels // 2, size, rate))
            channels //= 2
            shapes = zip(config.resblock_kernel_sizes, config.resblock_dilation_sizes, strict=True)
            self.resblocks += [block(channels, kernel, dilations) for kernel, dilations in shapes]
        self.conv_post = Convolution(channels, 1, 7)
        self._in_c = Packed(lambda kernels, weights: PackedHifigan(kernels, config, weights))

    def __call__(
        self, mel: mx.array, log_f0: mx.array | None = None, voiced: mx.array | None = None, seed: int = 0
    ) -> mx.array:
        """(B, T, 80) -> (B, T * 256); log_f0, voiced and seed are for other vocoders and change nothing."""
        generator = self._in_c.of(self)
        return self.plain(mel) if generator is None else mx.array(np.stack([generator(row) for row in as_numpy(mel)]))

    def plain(self, mel: mx.array) -> mx.array:
        """The same in MLX, with gradients: (B, T, 80) -> (B, T * 256)."""
        x = self.conv_pre(mel)  # (B, T, C)
        kernels = len(self.config.resblock_kernel_sizes)
        for i, upsample in enumerate(self.ups):
            x = upsample(leaky_relu(x, SLOPE))  # (B, rate * S, C / 2)
            blocks = self.resblocks[i * kernels : (i + 1) * kernels]
            total = blocks[0](x)
            for block in blocks[1:]:
                total = total + block(x)
            x = total / kernels
        x = self.conv_post(leaky_relu(x, LAST_SLOPE))  # (B, S, 1)
        return mx.tanh(x[..., 0])  # (B, S)
