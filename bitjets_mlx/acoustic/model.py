"""BitJETS, read from top to bottom: encoder -> variance adaptor -> Gaussian upsampling -> decoder -> mel, F0, voicing.

JETS (arXiv:2203.16852) with ternary FFT blocks and predictors (BitNet b1.58, arXiv:2402.17764). Everything in here is
in normalised units (mel per band, log F0 and energy per speaker); `Voice` knows the statistics.
"""

from typing import NamedTuple

import mlx.core as mx
import mlx.nn as nn

from bitjets_mlx.acoustic.aligner import Aligner
from bitjets_mlx.acoustic.blocks import Embedding, FftBlock, sinusoids, split_key
from bitjets_mlx.acoustic.variance import VariancePredictor, gaussian_upsampling
from bitjets_mlx.config import AcousticConfig
from bitjets_mlx.ternary.layers import Amount
from bitjets_mlx.ternary.matmul import RMS_EPS


class Variance(NamedTuple):
    """What the predictors say, one number a token: each (B, N). Durations as log(frames + 1)."""

    log_durations: mx.array
    pitch: mx.array
    energy: mx.array


class Frames(NamedTuple):
    """What the decoder says, a row a frame: mel (B, T, 80), log_f0 (B, T), voicing logits (B, T)."""

    mel: mx.array
    log_f0: mx.array
    voicing: mx.array


class BitJets(nn.Module):
    """The acoustic model. `aligner` is there while training and absent from a voice.

    `dtype` is that of the activations of encoder, predictors and decoder (bfloat16 for `train --bf16`). Weights, heads,
    norms' sums, softmax and the aligner, which subtracts nearly equal numbers, are fp32 all the same.
    """

    def __init__(self, config: AcousticConfig, with_aligner: bool = False, dtype: mx.Dtype = mx.float32) -> None:
        super().__init__()
        width = config.width
        self.config, self.dtype = config, dtype
        self.embedding = Embedding(config.symbols, width)
        self.speaker_embedding = Embedding(config.speakers, width)
        self.position_scale = mx.full((2,), 0.3)  # encoder, decoder
        self.encoder = [_block(config, config.dropout) for _ in range(config.encoder_layers)]
        self.duration = _predictor(config)
        self.pitch = _predictor(config)
        self.energy = _predictor(config)
        self.pitch_embedding = nn.Linear(1, width)
        self.energy_embedding = nn.Linear(1, width)
        self.decoder = [_block(config, config.decoder_dropout) for _ in range(config.decoder_layers)]
        self.final_gain = mx.ones((width,))
        self.projection = nn.Linear(width, config.n_mels + 2)
        if with_aligner:
            self.aligner = Aligner(config.symbols, config.n_mels, width, config.aligner_width)

    def encode(
        self,
        tokens: mx.array,
        speakers: mx.array,
        mask: mx.array,
        amount: Amount = None,
        key: mx.array | None = None,
    ) -> mx.array:
        """tokens (B, N), speakers (B,), mask (B, N, 1) -> states (B, N, D)."""
        x = self.embedding(tokens) + self.position_scale[0] * sinusoids(tokens.shape[1], self.config.width)
        x = (x * mask).astype(self.dtype)  # (B, N, D)
        for block, block_key in zip(self.encoder, split_key(key, len(self.encoder)), strict=True):
            x = block(x, mask, amount, block_key)
        speaker = self.speaker_embedding(speakers)[:, None]  # (B, 1, D)
        return (x + speaker.astype(self.dtype)) * mask.astype(self.dtype)

    def predict_variance(
        self, states: mx.array, mask: mx.array, amount: Amount = None, key: mx.array | None = None
    ) -> Variance:
        """states (B, N, D) -> durations, pitch and energy."""
        keys = split_key(key, 3)
        return Variance(
            self.duration(states, mask, amount, keys[0]),
            self.pitch(states, mask, amount, keys[1]),
            self.energy(states, mask, amount, keys[2]),
        )

    def decode(
        self,
        states: mx.array,
        variance: Variance,
        durations: mx.array,
        mask: mx.array,
        frame_mask: mx.array,
        amount: Amount = None,
        key: mx.array | None = None,
    ) -> Frames:
        """states (B, N, D), pitch and energy of `variance`, durations (B, N) in frames, masks (B, N, 1), (B, T, 1)."""
        states = states + self.pitch_embedding(variance.pitch[..., None]).astype(self.dtype)
        states = states + self.energy_embedding(variance.energy[..., None]).astype(self.dtype)  # (B, N, D)
        frames = frame_mask.shape[1]
        x = gaussian_upsampling(states, durations, mask, frames)  # (B, T, D)
        x = ((x + self.position_scale[1] * sinusoids(frames, self.config.width)) * frame_mask).astype(self.dtype)
        for block, block_key in zip(self.decoder, split_key(key, len(self.decoder)), strict=True):
            x = block(x, frame_mask, amount, block_key)
        x = mx.fast.rms_norm(x.astype(mx.float32), self.final_gain, RMS_EPS)
        out = self.projection(x) * frame_mask  # (B, T, 82)
        n_mels = self.config.n_mels
        return Frames(out[..., :n_mels], out[..., n_mels], out[..., n_mels + 1])


def whole_durations(log_durations: mx.array, mask: mx.array, speed: float = 1.0) -> mx.array:
    """Predicted log(frames + 1) (B, N) -> whole frames (B, N): at least 1 a token, 0 beyond the end."""
    frames = mx.round((mx.exp(log_durations) - 1.0) / speed)
    return mx.maximum(frames, 1.0) * mask[..., 0]


def length_mask(lengths: mx.array, size: int) -> mx.array:
    """(B,) -> (B, size, 1): ones inside, zeros beyond each length."""
    return (mx.arange(size)[None, :] < lengths[:, None]).astype(mx.float32)[..., None]


def _block(config: AcousticConfig, dropout: float) -> FftBlock:
    return FftBlock(config.width, config.heads, config.feed_forward, config.kernel, dropout, config.ternary)


def _predictor(config: AcousticConfig) -> VariancePredictor:
    return VariancePredictor(
        config.width,
        config.predictor_width,
        config.predictor_layers,
        config.predictor_kernel,
        config.predictor_dropout,
        config.ternary,
    )
