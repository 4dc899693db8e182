"""The acoustic model measured on a few validation clips: the same losses, no dropout, always the same clips."""

import mlx.core as mx
import numpy as np

from bitjets_mlx.acoustic import AcousticModel, build_acoustic
from bitjets_mlx.acoustic.model import length_mask
from bitjets_mlx.config import AcousticConfig, CharacterConfig
from bitjets_mlx.data.prepared import Clip, PreparedData
from bitjets_mlx.ternary.layers import Amount
from bitjets_mlx.training.acoustic_data import collate, counts_of, read_clip
from bitjets_mlx.training.acoustic_losses import (
    AcousticBatch,
    AcousticLossWeights,
    Alignment,
    Counts,
    acoustic_loss,
    align_on_host,
    align_scores,
    recorded_variance,
)
from bitjets_mlx.training.batches import padded_shape
from bitjets_mlx.training.examples import CLIPS, Example, spread
from bitjets_mlx.training.optimize import Tree, scalar
from bitjets_mlx.voice.arrays import ternary_layers


class AcousticValidation:
    """A few validation clips, and the output of given weights. Draws no random numbers."""

    def __init__(self, data: PreparedData, config: AcousticConfig | CharacterConfig, clips: int = CLIPS) -> None:
        usable = [clip for clip in data.split("validation") if clip.frames >= len(clip.phonemes)]
        self.data, self.clips = data, spread(usable, data.speakers, clips)
        self.acoustic = build_acoustic(config, with_aligner=True)

    def losses(self, weights: Tree, quantization: float) -> dict[str, float]:
        """Losses by name, with weights quantized that far (0 to 1); nothing where there are no validation clips."""
        if not self.clips:
            return {}
        self.acoustic.update(weights)
        batch, alignment = aligned(self.acoustic, self.data, self.clips)
        counts = Counts(*counts_of(batch))
        amount: Amount = None if quantization == 1.0 else 0.0 if quantization == 0.0 else mx.array(quantization)
        everything = mx.array(1.0)
        _, losses = acoustic_loss(
            self.acoustic, batch, alignment, counts, AcousticLossWeights(), amount, everything, key=None
        )
        mx.eval(losses)
        return {name: scalar(value) for name, value in losses.items()}

    def examples(self, weights: Tree, count: int) -> list[Example]:
        """Recorded and predicted mel and the aligner's probabilities; pitch, energy and durations as recorded."""
        self.acoustic.update(weights)
        return [example(self.acoustic, self.data, clip) for clip in self.clips[:count]]

    def ternary_layers(self) -> list[str]:
        """Names of the ternary layers."""
        return list(ternary_layers(self.acoustic))


def example(model: AcousticModel, data: PreparedData, clip: Clip) -> Example:
    """A model's output for one clip; pitch, energy and durations as recorded, so that frames fit the recording's."""
    batch, alignment = aligned(model, data, [clip])
    mask = length_mask(batch.token_lengths, batch.tokens.shape[1])  # (1, N, 1)
    frame_mask = length_mask(batch.frame_lengths, batch.mel.shape[1])  # (1, T, 1)
    states = model.encode(batch.tokens, batch.speakers, mask)
    variance = recorded_variance(batch, alignment)
    frames = model.decode(states, variance, alignment.durations, mask, frame_mask)
    scores, _ = align_scores(model, batch)
    statistics, length = data.statistics, clip.frames
    mean, deviation = np.array(statistics.mel_mean), np.array(statistics.mel_std)
    return Example(
        f"{clip.speaker}/{clip.id}",
        np.array(batch.mel[0, :length]) * deviation + mean,
        np.array(frames.mel[0, :length]) * deviation + mean,
        clip.phonemes,
        np.array(mx.softmax(scores[0, :length, : len(clip.phonemes)], axis=-1)),
        None,
    )


def aligned(model: AcousticModel, data: PreparedData, clips: list[Clip]) -> tuple[AcousticBatch, Alignment]:
    """Clips as one batch, and its alignment by the model's aligner."""
    items = [read_clip(data, clip) for clip in clips]
    frames, tokens = max(len(item["mel"]) for item in items), max(len(item["tokens"]) for item in items)
    batch = collate(items, padded_shape(tuple(range(len(items))), frames, tokens))
    return batch, align_on_host(batch, *align_scores(model, batch))
