"""The acoustic model's losses (JETS, arXiv:2203.16852, section 2; FastSpeech 2, arXiv:2006.04558).

Every loss is a sum divided by the count of its own elements over the whole effective batch (`Counts`), so that
gradients of micro-batches, of shards and of processes simply add up to the gradient of one large batch.
"""

from dataclasses import dataclass
from typing import NamedTuple

import mlx.core as mx
import numpy as np

from bitjets_mlx.acoustic import AcousticModel
from bitjets_mlx.acoustic.aligner import with_blank
from bitjets_mlx.acoustic.model import Frames, Variance, length_mask
from bitjets_mlx.acoustic.variance import token_means
from bitjets_mlx.ops.alignment import forward_sum, monotonic_search, path_matrix
from bitjets_mlx.ternary.layers import Amount


@dataclass(frozen=True)
class AcousticLossWeights:
    """Weights of the sum; mel L1 and the variance losses are in normalized units."""

    mel: float = 2.0
    f0: float = 0.5
    voicing: float = 0.5
    duration: float = 1.0
    pitch: float = 0.5
    energy: float = 0.3
    forward_sum: float = 1.0
    binarization: float = 0.5


class AcousticBatch(NamedTuple):
    """One micro-batch, padded. Features are normalized; `prior` is the aligner's, in log."""

    tokens: mx.array  # (B, N) int32
    token_lengths: mx.array  # (B,) int32
    speakers: mx.array  # (B,) int32
    mel: mx.array  # (B, T, 80)
    log_f0: mx.array  # (B, T)
    voiced: mx.array  # (B, T)
    energy: mx.array  # (B, T)
    frame_lengths: mx.array  # (B,) int32
    prior: mx.array  # (B, T, N)


class Alignment(NamedTuple):
    """What the host found out about a micro-batch's alignment (`ops.alignment`)."""

    path: mx.array  # (B, T, N) one-hot
    durations: mx.array  # (B, N) frames
    forward_sum_gradient: mx.array  # (B, T, N + 1), d loss / d log-probabilities
    forward_sum: mx.array  # (), that loss, summed over the micro-batch


class Counts(NamedTuple):
    """Elements over the whole effective batch, each a scalar array."""

    frames: mx.array
    voiced: mx.array
    tokens: mx.array
    utterances: mx.array


def align_scores(model: AcousticModel, batch: AcousticBatch) -> tuple[mx.array, mx.array]:
    """Log-probabilities (B, T, N) for the search, and with blank (B, T, N + 1) for the forward-sum loss."""
    scores = model.aligner(
        batch.tokens,
        batch.mel,
        length_mask(batch.token_lengths, batch.tokens.shape[1]),
        length_mask(batch.frame_lengths, batch.mel.shape[1]),
        batch.prior,
    )
    return scores, with_blank(scores)


def align_on_host(batch: AcousticBatch, scores: mx.array, with_blank: mx.array) -> Alignment:
    """The best path, the forward-sum loss and its gradient."""
    mx.eval(batch, scores, with_blank)
    lengths = np.array(batch.token_lengths), np.array(batch.frame_lengths)
    durations = monotonic_search(np.asarray(scores), *lengths)
    losses, gradient = forward_sum(np.asarray(with_blank), *lengths)
    path = path_matrix(durations, scores.shape[1])
    length = durations.astype(np.float32)
    return Alignment(mx.array(path), mx.array(length), mx.array(gradient), mx.array(np.float32(losses.sum())))


def recorded_variance(batch: AcousticBatch, alignment: Alignment) -> Variance:
    """Targets of the predictors: durations, and pitch and energy averaged over each token's frames."""
    inside = length_mask(batch.frame_lengths, batch.mel.shape[1])[..., 0]  # (B, T)
    return Variance(
        mx.log(alignment.durations + 1.0),
        token_means(batch.log_f0, batch.voiced * inside, alignment.path),
        token_means(batch.energy, inside, alignment.path),
    )


def acoustic_loss(
    model: AcousticModel,
    batch: AcousticBatch,
    alignment: Alignment | None,
    counts: Counts,
    weights: AcousticLossWeights,
    amount: Amount,
    binarization: mx.array,
    key: mx.array | None,
) -> tuple[mx.array, dict[str, mx.array], Frames]:
    """The weighted sum, each loss by name, and the decoder's frames.

    `amount` warms quantization up, `binarization` is the factor on the loss of that name.

    The forward-sum loss enters through its gradient, which the host computed. Without an `alignment` it is found on the
    way, which saves a pass of the aligner and which `mx.compile` cannot do. A model whose vocoder reads states has no
    losses of mel, F0 and voicing.
    """
    mask = length_mask(batch.token_lengths, batch.tokens.shape[1])  # (B, N, 1)
    frame_mask = length_mask(batch.frame_lengths, batch.mel.shape[1])  # (B, T, 1)
    keys = [None] * 3 if key is None else list(mx.random.split(key, 3))

    scores, blank_scores = align_scores(model, batch)
    alignment = alignment or align_on_host(batch, mx.stop_gradient(scores), mx.stop_gradient(blank_scores))
    forward_sum = mx.sum(blank_scores * alignment.forward_sum_gradient) / counts.utterances
    binary = -mx.sum(scores * alignment.path) / counts.frames

    states = model.encode(batch.tokens, batch.speakers, mask, amount, keys[0])
    predicted = model.predict_variance(batch.tokens, batch.speakers, states, mask, amount, keys[1])
    target = recorded_variance(batch, alignment)
    frames = model.decode(states, target, alignment.durations, mask, frame_mask, amount, keys[2])

    def token_error(prediction: mx.array, truth: mx.array) -> mx.array:
        return mx.sum(mx.square(prediction - truth) * mask[..., 0]) / counts.tokens

    losses = {
        "duration": token_error(predicted.log_durations, target.log_durations),
        "pitch": token_error(predicted.pitch, target.pitch),
        "energy": token_error(predicted.energy, target.energy),
    }
    if model.config.mel:
        losses = _frame_losses(frames, batch, counts, frame_mask) | losses
    total = weights.forward_sum * forward_sum + weights.binarization * binarization * binary
    for name, value in losses.items():
        total = total + getattr(weights, name) * value
    return total, losses | {"forward_sum": alignment.forward_sum / counts.utterances, "binarization": binary}, frames


def _frame_losses(frames: Frames, batch: AcousticBatch, counts: Counts, frame_mask: mx.array) -> dict[str, mx.array]:
    """Losses of the decoder's outputs: mel L1, F0 L1 where voiced, cross entropy of voicing."""
    inside, voiced = frame_mask[..., 0], batch.voiced * frame_mask[..., 0]  # (B, T)
    logits = frames.voicing
    cross_entropy = mx.logaddexp(logits, mx.array(0.0)) - logits * batch.voiced  # (B, T)
    return {
        "mel": mx.sum(mx.abs(frames.mel - batch.mel) * frame_mask) / (counts.frames * batch.mel.shape[2]),
        "f0": mx.sum(mx.abs(frames.log_f0 - batch.log_f0) * voiced) / mx.maximum(counts.voiced, 1.0),
        "voicing": mx.sum(cross_entropy * inside) / counts.frames,
    }
