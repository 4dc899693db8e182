"""The convolutional BitJETS that reads characters, as its PyTorch original computes it.

    embedding -> ternary conv blocks -> LayerNorm -> durations -> repeat -> linear -> ternary conv blocks -> mel

Checkpoints of it exist from two generations of one training code, with the same keys and other arithmetic. early: ReLU;
an activation scale for every channel over all time, and output channel c is rescaled by that of input channel c. late:
leaky ReLU of slope 0.1; one scale for the whole utterance. Either way the scale looks at all frames, so that what is
beyond an utterance's end must be zero, and a part of an utterance does not sound like the whole.

The log mel is in torchaudio's convention and not normalized. Pitch, energy and F0 are not predicted.
"""

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from bitjets_mlx.acoustic.aligner import Aligner
from bitjets_mlx.acoustic.blocks import Embedding
from bitjets_mlx.acoustic.model import Frames, Variance
from bitjets_mlx.config import CharacterConfig
from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.ternary.layers import Amount
from bitjets_mlx.torch_import.torch_order import layer_norm, linear
from bitjets_mlx.torch_import.utterance import UtteranceBitConv1d

LAYER_NORM_EPS = 1e-5
SLOPES = {"early": 0.0, "late": 0.1}
MEL_CENTRE, MEL_SPREAD = -6.0, 2.5  # of the raw log mels, roughly: the aligner wants them normalized


class LayerNorm(nn.Module):
    """LayerNorm; of a voice that speaks to the last bit as PyTorch has it, since int8 rounding follows."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight, self.bias = mx.ones((width,)), mx.zeros((width,))

    def __call__(self, x: mx.array) -> mx.array:
        """(..., D) -> (..., D)."""
        if self.training:
            return mx.fast.layer_norm(x, self.weight, self.bias, LAYER_NORM_EPS)
        return mx.array(layer_norm(np.array(x), np.array(self.weight), np.array(self.bias), LAYER_NORM_EPS))


class Linear(nn.Linear):
    """A projection; of a voice that speaks to the last bit as PyTorch has it."""

    def __call__(self, x: mx.array) -> mx.array:
        """(..., I) -> (..., O)."""
        if self.training:
            return super().__call__(x)
        return mx.array(linear(np.array(x), np.array(self.weight), np.array(self.bias)))


class NormedConv(nn.Module):
    """LayerNorm, then a ternary convolution."""

    def __init__(self, width: int, kernel: int, generation: str) -> None:
        super().__init__()
        self.norm = LayerNorm(width)
        self.conv = UtteranceBitConv1d(width, width, kernel, by_channel=generation == "early")

    def __call__(self, x: mx.array, mask: mx.array, amount: Amount) -> mx.array:
        """x (B, T, D), mask (B, T, 1) -> (B, T, D)."""
        return self.conv(self.norm(x), mask, amount)


class DurationPredictor(nn.Module):
    """Normed convolutions with ReLU and no residual, then a linear head."""

    def __init__(self, width: int, layers: int, kernel: int, generation: str) -> None:
        super().__init__()
        self.layers = [NormedConv(width, kernel, generation) for _ in range(layers)]
        self.head = nn.Linear(width, 1)

    def __call__(self, x: mx.array, mask: mx.array, amount: Amount) -> mx.array:
        """x (B, N, D) -> (B, N)."""
        for layer in self.layers:
            x = mx.maximum(layer(x, mask, amount), 0.0)
        return self.head(x)[..., 0] * mask[..., 0]


class RawMelAligner(Aligner):
    """The aligner, for log mels that are not normalized."""

    def __call__(
        self, tokens: mx.array, mel: mx.array, token_mask: mx.array, frame_mask: mx.array, prior: mx.array
    ) -> mx.array:
        """As `Aligner`."""
        return super().__call__(tokens, (mel - MEL_CENTRE) / MEL_SPREAD, token_mask, frame_mask, prior)


class CharacterJets(nn.Module):
    """The model, with the methods of `acoustic.model.BitJets`. Speakers and dropout keys change nothing."""

    def __init__(self, config: CharacterConfig, with_aligner: bool = False, dtype: mx.Dtype = mx.float32) -> None:
        super().__init__()
        if config.generation not in SLOPES:
            raise ValueError(f"generation {config.generation!r} is neither early nor late")
        if dtype != mx.float32:
            raise BitjetsError("the character-level model is computed in float32 only: leave --bf16 out.")
        self.config, self.dtype = config, dtype
        width, inner, generation = config.width, config.decoder_width, config.generation
        self.embedding = Embedding(config.symbols, width)
        self.encoder = [NormedConv(width, config.kernel, generation) for _ in range(config.encoder_layers)]
        self.encoder_norm = LayerNorm(width)
        self.duration = DurationPredictor(width, config.predictor_layers, config.predictor_kernel, generation)
        self.input = Linear(width, inner)
        self.decoder = [NormedConv(inner, config.kernel, generation) for _ in range(config.decoder_layers)]
        self.decoder_norm = LayerNorm(inner)
        self.projection = nn.Linear(inner, config.n_mels)
        if with_aligner:
            self.aligner = RawMelAligner(config.symbols, config.n_mels, width, config.aligner_width)

    def encode(
        self,
        tokens: mx.array,
        speakers: mx.array,
        mask: mx.array,
        amount: Amount = None,
        key: mx.array | None = None,
    ) -> mx.array:
        """tokens (B, N), mask (B, N, 1) -> states (B, N, D)."""
        x = self.embedding(tokens)
        for block in self.encoder:
            x = x + self._activation(block(x, mask, amount))
        return self.encoder_norm(x) * mask

    def predict_variance(
        self,
        tokens: mx.array,
        speakers: mx.array,
        states: mx.array,
        mask: mx.array,
        amount: Amount = None,
        key: mx.array | None = None,
    ) -> Variance:
        """states (B, N, D) -> durations; pitch and energy are zeros."""
        durations = self.duration(states, mask, amount)
        nothing = mx.zeros(durations.shape)
        return Variance(durations, nothing, nothing)

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
        """states (B, N, D), durations (B, N) in frames, masks (B, N, 1) and (B, T, 1) -> log mel (B, T, 80), no F0."""
        x = repeat(self.input(states), durations, frame_mask.shape[1])  # (B, T, D')
        for block in self.decoder:
            x = x + self._activation(block(x, frame_mask, amount))
        mel = self.projection(self.decoder_norm(x)) * frame_mask  # (B, T, 80)
        nothing = mx.zeros(mel.shape[:2])
        return Frames(mel, nothing, nothing)

    def _activation(self, x: mx.array) -> mx.array:
        return mx.maximum(x, SLOPES[self.config.generation] * x)


def repeat(states: mx.array, durations: mx.array, frames: int) -> mx.array:
    """Every state as often as its duration says: (B, N, D), (B, N) -> (B, frames, D)."""
    ends = mx.cumsum(durations, axis=1)  # (B, N)
    times = mx.arange(frames)[None, :, None]
    index = mx.sum(ends[:, None, :] <= times, axis=-1)  # (B, frames): the tokens that have ended
    index = mx.minimum(index, states.shape[1] - 1)
    return mx.take_along_axis(states, index[..., None], axis=1)
