"""BitJETS, read from top to bottom: encoder -> variance adaptor -> Gaussian upsampling -> decoder -> mel, F0, voicing.

JETS (arXiv:2203.16852) with ternary FFT blocks and predictors (BitNet b1.58, arXiv:2402.17764); with the fields of
`AcousticConfig` that say so, the full-precision JETS of ESPnet. Everything in here is in normalized units (mel per
band, log F0 and energy per speaker); `Voice` knows the statistics.
"""

from typing import NamedTuple

import mlx.core as mx
import mlx.nn as nn

from bitjets_mlx.acoustic.aligner import Aligner
from bitjets_mlx.acoustic.blocks import Embedding, FftBlock, layer_norm, sinusoids, split_key
from bitjets_mlx.acoustic.variance import VariancePredictor
from bitjets_mlx.config import AcousticConfig
from bitjets_mlx.ops.upsampling import upsample
from bitjets_mlx.ternary.layers import Amount
from bitjets_mlx.ternary.matmul import RMS_EPS


class Variance(NamedTuple):
    """What the predictors output, one number per token: each (B, N). Durations as log(frames + 1)."""

    log_durations: mx.array
    pitch: mx.array
    energy: mx.array


class Frames(NamedTuple):
    """What the decoder outputs, one row per frame: mel (B, T, 80), log_f0 (B, T), voicing logits (B, T).

    A model without a mel projection (`config.mel`) has its states (B, T, D) in place of the mel, and no F0.
    """

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
        feed_forward = config.feed_forward, config.decoder_feed_forward or config.feed_forward
        self.encoder = [FftBlock(config, feed_forward[0], config.dropout) for _ in range(config.encoder_layers)]
        self.duration, self.pitch, self.energy = (
            VariancePredictor(config, shape, config.predictor_dropout) for shape in config.predictors
        )
        self.pitch_embedding = _variance_embedding(config)
        self.energy_embedding = _variance_embedding(config)
        self.decoder = [FftBlock(config, feed_forward[1], config.decoder_dropout) for _ in range(config.decoder_layers)]
        if config.norm == "rms":
            self.final_gain = mx.ones((width,))
        else:
            self.encoder_norm, self.decoder_norm = layer_norm(width), layer_norm(width)
        if config.mel:
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
        if "encoder_norm" in self:
            x = self.encoder_norm(x)
        speaker = self.speaker_embedding(speakers)[:, None]  # (B, 1, D)
        return (x + speaker.astype(self.dtype)) * mask.astype(self.dtype)

    def predict_variance(
        self,
        tokens: mx.array,
        speakers: mx.array,
        states: mx.array,
        mask: mx.array,
        amount: Amount = None,
        key: mx.array | None = None,
    ) -> Variance:
        """tokens (B, N), speakers (B,), their states (B, N, D) -> durations, pitch and energy.

        The encoder overfits to the training sentences, and with it pitch, which text determines only loosely. A pitch
        predictor that reads the phonemes themselves generalizes better.
        """
        keys = split_key(key, 3)
        tune = states
        if self.config.pitch_reads == "phonemes":
            tune = (self.embedding(tokens) + self.speaker_embedding(speakers)[:, None]).astype(self.dtype)  # (B, N, D)
        return Variance(
            self.duration(states, mask, amount, keys[0]),
            self.pitch(tune, mask, amount, keys[1]),
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
        x = upsample(states, durations, mask, frames, self.config.frame_centre, self.training)  # (B, T, D)
        x = ((x + self.position_scale[1] * sinusoids(frames, self.config.width)) * frame_mask).astype(self.dtype)
        for block, block_key in zip(self.decoder, split_key(key, len(self.decoder)), strict=True):
            x = block(x, frame_mask, amount, block_key)
        x = x.astype(mx.float32)
        x = self.decoder_norm(x) if "decoder_norm" in self else mx.fast.rms_norm(x, self.final_gain, RMS_EPS)
        if not self.config.mel:
            nothing = mx.zeros(x.shape[:2])
            return Frames(x * frame_mask, nothing, nothing)
        out = self.projection(x) * frame_mask  # (B, T, 82)
        n_mels = self.config.n_mels
        return Frames(out[..., :n_mels], out[..., n_mels], out[..., n_mels + 1])


def whole_durations(log_durations: mx.array, mask: mx.array, speed: float = 1.0, least: int = 1) -> mx.array:
    """Predicted log(frames + 1) (B, N) -> whole frames (B, N): at least `least` per token, 0 beyond the end."""
    frames = mx.maximum(mx.round((mx.exp(log_durations) - 1.0) / speed), float(least))
    silent = mx.sum(frames * mask[..., 0], axis=1, keepdims=True) == 0  # only where `least` is 0
    return mx.where(silent, 1.0, frames) * mask[..., 0]


def length_mask(lengths: mx.array, size: int) -> mx.array:
    """(B,) -> (B, size, 1): ones inside, zeros beyond each length."""
    return (mx.arange(size)[None, :] < lengths[:, None]).astype(mx.float32)[..., None]


def _variance_embedding(config: AcousticConfig) -> nn.Module:
    """One number per token -> (B, N, D)."""
    if config.variance_kernel == 1:
        return nn.Linear(1, config.width)
    return nn.Conv1d(1, config.width, config.variance_kernel, padding=config.variance_kernel // 2)
