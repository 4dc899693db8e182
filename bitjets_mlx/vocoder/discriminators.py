"""Discriminators for vocoder training: waveforms in, (scores, layer outputs) of each out.

The small default is built for a CPU, of matrix products: three spectrogram discriminators that cut the complex STFT
into frequency bands (a cheap relative of UnivNet's, Jang et al. 2021, section 2.2) and five of HiFi-GAN's period
discriminators (Kong et al. 2020, section 2.3). Also HiFi-GAN's full-size set. Plain weights: no weight normalization.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import mlx.core as mx
import mlx.nn as nn

from bitjets_mlx.audio.spectrogram import stft_parts
from bitjets_mlx.config import DiscriminatorConfig
from bitjets_mlx.ops.convolution import conv1d, grouped_conv1d
from bitjets_mlx.vocoder.hifigan import SLOPE, leaky_relu, uniform_weight

Judgement = tuple[mx.array, list[mx.array]]  # scores, and the output of every layer (the scores among them)
WAVEFORM_GAIN = 5.0  # brings speech, of RMS 0.1 to 0.2 where loud, near unit variance
FIRST_SCORES = 0.1  # of their scale: training begins at chance and not above it


def he_normal(shape: Sequence[int], fan_in: int) -> mx.array:
    """He initialization for leaky ReLU (He et al. 2015, section 2.2): every layer keeps the variance of its inputs.

    With PyTorch's default, which keeps a third of it, the scores of these discriminators begin and stay near zero, and
    the loss at chance.
    """
    return math.sqrt(2.0 / (1.0 + SLOPE * SLOPE) / fan_in) * mx.random.normal(tuple(shape))


class Convolution(nn.Module):
    """Weight (O, K, I / groups) and bias of a convolution along time."""

    def __init__(
        self, inputs: int, outputs: int, size: int, stride: int = 1, padding: int = 0, groups: int = 1
    ) -> None:
        super().__init__()
        self.weight = uniform_weight((outputs, size, inputs // groups), inputs // groups * size)
        self.bias = mx.zeros((outputs,))
        self._stride, self._padding, self._groups = stride, padding, groups

    def __call__(self, x: mx.array) -> mx.array:
        """(B, S, I) -> (B, L, O)."""
        if self._groups == 1:
            return conv1d(x, self.weight, self._stride, self._padding) + self.bias
        return grouped_conv1d(x, self.weight, self._stride, self._padding, self._groups) + self.bias


class BandConvolution(nn.Module):
    """A convolution along time with its own weights for each of G frequency bands: (G, K * I, O)."""

    def __init__(self, bands: int, inputs: int, outputs: int, size: int = 3) -> None:
        super().__init__()
        self.weight = he_normal((bands, size * inputs, outputs), inputs * size)
        self.bias = mx.zeros((bands, 1, outputs))
        self._size = size

    def __call__(self, x: mx.array) -> mx.array:
        """(G, B, T, I) -> (G, B, T, O)."""
        bands, batch, frames, _ = x.shape
        x = mx.pad(x, [(0, 0), (0, 0), (self._size // 2, self._size // 2), (0, 0)])
        columns = mx.concatenate([x[:, :, k : k + frames] for k in range(self._size)], axis=-1)  # (G, B, T, K*I)
        y = columns.reshape(bands, batch * frames, -1) @ self.weight + self.bias  # (G, B*T, O)
        return y.reshape(bands, batch, frames, -1)


class BandDiscriminator(nn.Module):
    """Convolutions along time over the complex STFT, cut into frequency bands: matrix products of a good size."""

    def __init__(self, n_fft: int, bands: int, channels: int) -> None:
        super().__init__()
        self._n_fft, self._bands = n_fft, bands
        widths = [n_fft // bands, channels, channels, channels]
        self.layers = [BandConvolution(bands, a, b) for a, b in pairwise(widths)]
        self.score = BandConvolution(bands, channels, 1)
        self.score.weight = FIRST_SCORES * self.score.weight

    def __call__(self, audio: mx.array) -> Judgement:
        """(B, S) -> scores (G, B, T, 1) and features."""
        real, imaginary = (part[..., :-1] for part in stft_parts(audio, self._n_fft, self._n_fft // 4))
        # Square root of the magnitude, nearer to loudness; the phase stays.
        scale = mx.rsqrt(mx.sqrt(real * real + imaginary * imaginary + 1e-6))
        x = mx.stack([real * scale, imaginary * scale], axis=-1)  # (B, T, n_fft/2, 2)
        x = x.reshape(*x.shape[:2], self._bands, -1).transpose(2, 0, 1, 3)  # (G, B, T, n_fft/G)
        return _judge(x, self.layers, self.score)


class PeriodDiscriminator(nn.Module):
    """1-D convolutions over every p-th sample."""

    def __init__(self, period: int, channels: Sequence[int]) -> None:
        super().__init__()
        self._period = period
        widths = [1, *channels]
        self.layers = [Convolution(a, b, 5, stride=3, padding=2) for a, b in pairwise(widths)]
        self.layers.append(Convolution(widths[-1], widths[-1], 5, padding=2))
        self.score = Convolution(widths[-1], 1, 3, padding=1)
        for layer in [*self.layers, self.score]:
            layer.weight = he_normal(layer.weight.shape, math.prod(layer.weight.shape[1:]))
        self.layers[0].weight = WAVEFORM_GAIN * self.layers[0].weight
        self.score.weight = FIRST_SCORES * self.score.weight

    def __call__(self, audio: mx.array) -> Judgement:
        """(B, S) -> scores (B * p, L, 1) and features."""
        batch, samples = audio.shape
        missing = -samples % self._period
        if missing:  # reflect
            audio = mx.concatenate([audio, audio[:, -2 : -missing - 2 : -1]], axis=1)
        x = audio.reshape(batch, -1, self._period).transpose(0, 2, 1)  # (B, p, S/p)
        return _judge(x.reshape(batch * self._period, -1, 1), self.layers, self.score)


class ScaleDiscriminator(nn.Module):
    """Grouped 1-D convolutions over the waveform, averaged down by 2 `halvings` times."""

    def __init__(self, halvings: int) -> None:
        super().__init__()
        self._halvings = halvings
        shapes = (  # inputs, outputs, size, stride, groups
            (1, 128, 15, 1, 1),
            (128, 128, 41, 2, 4),
            (128, 256, 41, 2, 16),
            (256, 512, 41, 4, 16),
            (512, 1024, 41, 4, 16),
            (1024, 1024, 41, 1, 16),
            (1024, 1024, 5, 1, 1),
        )
        self.layers = [Convolution(i, o, k, s, k // 2, g) for i, o, k, s, g in shapes]
        self.score = Convolution(1024, 1, 3, padding=1)

    def __call__(self, audio: mx.array) -> Judgement:
        """(B, S) -> scores (B, L, 1) and features."""
        x = audio[..., None]  # (B, S, 1)
        for _ in range(self._halvings):
            x = _halve(x)
        return _judge(x, self.layers, self.score)


def _halve(x: mx.array) -> mx.array:
    """Mean of four samples every two, zero-padded by 2, as torch's AvgPool1d(4, 2, 2): (B, S, 1) -> (B, S//2+1, 1)."""
    x = mx.pad(x, [(0, 0), (2, 2), (0, 0)])
    last = x.shape[1] - 3
    return 0.25 * (x[:, :last:2] + x[:, 1 : last + 1 : 2] + x[:, 2 : last + 2 : 2] + x[:, 3 : last + 3 : 2])


def _judge(x: mx.array, layers: Sequence[nn.Module], score: nn.Module) -> Judgement:
    features = []
    for layer in layers:
        x = leaky_relu(layer(x), SLOPE)
        features.append(x)
    x = score(x)
    return x, [*features, x]


class Discriminators(nn.Module):
    """Every discriminator of a configuration, called on the same waveform."""

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        self.members: list[nn.Module] = [
            BandDiscriminator(n_fft, config.bands, config.band_channels) for n_fft in config.band_sizes
        ]
        self.members += [PeriodDiscriminator(period, config.period_channels) for period in config.periods]
        self.members += [ScaleDiscriminator(halvings) for halvings in range(config.scales)]

    def __call__(self, audio: mx.array) -> tuple[list[mx.array], list[list[mx.array]]]:
        """(B, S) -> scores and features, one list entry per discriminator."""
        judgements = [member(audio) for member in self.members]
        return [scores for scores, _ in judgements], [features for _, features in judgements]
