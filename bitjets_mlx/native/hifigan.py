"""HiFi-GAN's generator through the C kernels: weights packed once, then a stage after the other, piece by piece."""

import ctypes
from collections.abc import Mapping
from typing import NamedTuple

import mlx.core as mx
import numpy as np

from bitjets_mlx.config import HifiganConfig
from bitjets_mlx.native import vocoder
from bitjets_mlx.native.loader import as_numpy
from bitjets_mlx.native.threads import side_by_side

MARGIN = 64  # zeros before and behind every row
PIECE = 49152  # activations of a piece: six buffers of them stay in a core's cache
SHORTEST = 512  # samples; what a piece computes twice is some 60 samples
FRAMES = 256  # of a piece of conv_pre


class Stage(NamedTuple):
    """What the kernel wants to know of a stage, and its weights."""

    shape: np.ndarray
    weights: np.ndarray
    outputs: int
    rate: int


class PackedHifigan:
    """The weights of a generator as the kernels read them."""

    def __init__(self, kernels: ctypes.CDLL, config: HifiganConfig, parameters: Mapping[str, mx.array]) -> None:
        self.kernels = kernels
        weights = {name: as_numpy(leaf) for name, leaf in parameters.items()}
        self.channels, self.mels = config.upsample_initial_channel, config.n_mels
        self.pre = _convolution(weights, "conv_pre")
        self.stages = [_stage(config, weights, i) for i in range(len(config.upsample_rates))]

    def __call__(self, mel: np.ndarray) -> np.ndarray:
        """Log mel (T, 80) -> samples (T * 256,)."""
        frames = len(mel)
        given = _rows(self.mels, frames)
        given[:, MARGIN : MARGIN + frames] = mel.T
        x = _rows(self.channels, frames)

        def pre(piece: tuple[int, int]) -> None:
            self.kernels.bitjets_hifigan_pre(
                self.pre.ctypes.data, _at(given), given.shape[1], self.mels, self.channels, 7, *piece,
                _at(x), x.shape[1],
            )  # fmt: skip

        side_by_side(pre, vocoder.pieces(frames, FRAMES))
        total = frames
        for stage in self.stages:
            total *= stage.rate
            x = _run(self.kernels, stage, x, total, last=stage is self.stages[-1])
        return np.tanh(x[0, MARGIN : MARGIN + total])


def _run(kernels: ctypes.CDLL, stage: Stage, x: np.ndarray, total: int, last: bool) -> np.ndarray:
    out = _rows(1 if last else stage.outputs, total)
    shape = stage.shape.ctypes.data

    def run(piece: tuple[int, int]) -> None:
        begin, end = piece
        work = vocoder.scratch(kernels.bitjets_hifigan_work(shape, end - begin))
        kernels.bitjets_hifigan_stage(
            shape, stage.weights.ctypes.data, _at(x), x.shape[1], total, begin, end, _at(out), out.shape[1],
            work.ctypes.data,
        )  # fmt: skip

    longest = max(SHORTEST, PIECE // stage.outputs)
    side_by_side(run, vocoder.pieces(total, longest, stage.rate))
    return out


def _rows(channels: int, samples: int) -> np.ndarray:
    """Zeros (channels, margin + samples + margin)."""
    stride = vocoder.row_stride(samples + 2 * MARGIN)
    return vocoder.zeros(channels * stride + MARGIN)[: channels * stride].reshape(channels, stride)


def _at(rows: np.ndarray) -> int:
    """Where the first sample lies."""
    return int(rows.ctypes.data + 4 * MARGIN)


def _convolution(weights: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    return vocoder.packed(weights[f"{name}.weight"], weights[f"{name}.bias"])


def _stage(config: HifiganConfig, weights: Mapping[str, np.ndarray], index: int) -> Stage:
    rate, size = config.upsample_rates[index], config.upsample_kernel_sizes[index]
    weight, bias = weights[f"ups.{index}.weight"], weights[f"ups.{index}.bias"]  # (O, K, I)
    outputs, _, inputs = weight.shape
    parts = [vocoder.packed(phase, bias) for phase in _phases(weight, rate)]
    kinds = list(zip(config.resblock_kernel_sizes, config.resblock_dilation_sizes, strict=True))
    last = index + 1 == len(config.upsample_rates)
    per_step = 2 if config.resblock == "1" else 1
    shape = [inputs, outputs, rate, size, len(kinds), per_step, int(last)]
    for number, (kernel, dilations) in enumerate(kinds):
        shape += [kernel, len(dilations), *dilations]
        prefix = f"resblocks.{index * len(kinds) + number}"
        for step in range(len(dilations)):
            names = ("convs1", "convs2") if per_step == 2 else ("convs",)
            parts += [_convolution(weights, f"{prefix}.{name}.{step}") for name in names]
    if last:
        parts.append(_convolution(weights, "conv_post"))
    flat = vocoder.zeros(sum(map(len, parts)))
    flat[:] = np.concatenate(parts)
    return Stage(np.array(shape, dtype=np.int32), flat, outputs, rate)


def _phases(weight: np.ndarray, rate: int) -> list[np.ndarray]:
    """A transposed convolution (O, K, I) as one convolution a phase, (O, ceil(K / rate), I), the latest frame last."""
    outputs, size, inputs = weight.shape
    taps = -(-size // rate)
    padded = np.zeros((outputs, taps * rate, inputs), dtype=np.float32)
    padded[:, :size] = weight
    by_tap = padded.reshape(outputs, taps, rate, inputs)[:, ::-1]  # tap j sees the frame j before: the oldest first
    return [by_tap[:, :, (phase + (size - rate) // 2) % rate] for phase in range(rate)]
