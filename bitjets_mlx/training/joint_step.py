"""What a joint update minimizes (JETS, arXiv:2203.16852, section 2): from phonemes to samples in one piece.

The decoder's frames, cut to random segments, are what the vocoder reads, and the gradients of its losses go on
through them into the acoustic model. Durations, pitch and energy are the recorded ones, as in the acoustic stage, so
that frames fit the recording's. So are F0 and voicing for the harmonic vocoder: from a predicted F0 it would be
measured at harmonics that the recording has elsewhere, which no gradient could correct: none goes through its pulses.
"""

import math
from typing import NamedTuple, TypeVar

import mlx.core as mx
import numpy as np

from bitjets_mlx.acoustic.model import Frames
from bitjets_mlx.config import AudioConfig, FeatureStatistics
from bitjets_mlx.data.prepared import Clip, PreparedData
from bitjets_mlx.training.acoustic_data import Item, normalized
from bitjets_mlx.training.config import VocoderTraining
from bitjets_mlx.training.vocoder_step import HOP, Batch, augment, generate, waveform_loss
from bitjets_mlx.vocoder import Vocoder
from bitjets_mlx.vocoder.discriminators import Discriminators

Loss = TypeVar("Loss")


class Segments(NamedTuple):
    """A segment of S frames of every clip. A clip that ends within it is silent beyond."""

    start: mx.array  # (B,) int32, the first frame
    inside: mx.array  # (B, S), 1 up to the clip's end
    log_f0: mx.array  # (B, S) log Hz, as recorded
    voiced: mx.array  # (B, S)
    audio: mx.array  # (B, S * 256)


def read_clip_and_audio(data: PreparedData, clip: Clip) -> Item:
    """`read_clip`, and what the vocoder needs: F0 in log Hz, without holes, and the samples."""
    features = data.load(clip)
    samples = clip.frames * data.audio.hop
    sound = {"audio_f0": features.log_f0.astype(np.float32), "audio": features.audio[:samples].astype(np.float32)}
    return normalized(data, clip, features) | sound


def with_places(items: list[Item], places: np.ndarray) -> list[Item]:
    """The items, each with where its segment begins: places (B,), 0 to 1, of all frames where one can."""
    return [item | {"place": place} for item, place in zip(items, places, strict=True)]


def cut_segments(items: list[Item], frames: int, hop: int) -> Segments:
    """A segment of `frames` frames at each clip's place; of a short clip from its beginning."""
    spare = [max(len(item["mel"]) - frames, 0) for item in items]
    starts = [int(item["place"] * (frames_left + 1)) for item, frames_left in zip(items, spare, strict=True)]
    return segments_at(items, starts, frames, hop)


def segments_at(items: list[Item], starts: list[int], frames: int, hop: int) -> Segments:
    """The segments that begin at given frames."""
    rows = [_segment(item, start, frames, hop) for item, start in zip(items, starts, strict=True)]
    arrays = [mx.array(np.stack(column)) for column in zip(*rows, strict=True)]
    return Segments(mx.array(starts, dtype=mx.int32), *arrays)


def _segment(item: Item, start: int, frames: int, hop: int) -> tuple[np.ndarray, ...]:
    part = slice(start, start + frames)
    missing = frames - len(item["voiced"][part])
    inside = np.pad(np.ones(frames - missing, np.float32), (0, missing))
    log_f0 = np.pad(item["audio_f0"][part], (0, missing), mode="edge")
    voiced = np.pad(item["voiced"][part], (0, missing))
    audio = item["audio"][start * hop : (start + frames) * hop]
    return inside, log_f0, voiced, np.pad(audio, (0, frames * hop - len(audio)))


class MelScale(NamedTuple):
    """Of the acoustic model's normalized mels: (80,) each."""

    mean: mx.array
    deviation: mx.array


class Waveforms(NamedTuple):
    """What the discriminators see: generated and recorded samples, (B, S * 256) each, and the batch's key."""

    generated: mx.array
    recorded: mx.array
    key: mx.array


def mel_scale(statistics: FeatureStatistics) -> MelScale:
    """The statistics of mels as arrays."""
    return MelScale(mx.array(statistics.mel_mean), mx.array(statistics.mel_std))


def vocoder_batch(frames: Frames, segments: Segments, scale: MelScale | None, key: mx.array) -> Batch:
    """What the vocoder reads of the decoder's frames (B, T, ...), as a batch of `vocoder_step`.

    `scale` turns normalized mels into log mels; None: the frames are states. Beyond a clip's end mels are silent and
    states are zero, as they are while speaking.
    """
    steps = segments.start[:, None] + mx.arange(segments.inside.shape[1])  # (B, S)
    steps = mx.minimum(steps, frames.mel.shape[1] - 1)
    read = mx.take_along_axis(frames.mel, steps[..., None], axis=1)  # (B, S, 80 or D)
    silence = 0.0
    if scale is not None:
        read, silence = read * scale.deviation + scale.mean, math.log(AudioConfig.log_floor)
    inside = segments.inside
    return {
        "mel": mx.where(inside[..., None] > 0, read, silence),
        "log_f0": segments.log_f0,
        "voiced": segments.voiced,
        "audio": segments.audio,
        "inside": mx.repeat(inside, HOP, axis=1),  # (B, S * 256)
        "key": key,
    }


def joint_waveform_loss(
    vocoder: Vocoder,
    discriminators: Discriminators | None,
    frames: Frames,
    segments: Segments,
    scale: MelScale | None,
    adversarial_weight: mx.array,
    config: VocoderTraining,
    key: mx.array,
) -> tuple[mx.array, dict[str, mx.array], Waveforms]:
    """L_G on the segments: `waveform_loss`, its parts by name, and what the discriminators will be given."""
    batch = vocoder_batch(frames, segments, scale, key)
    if scale is not None:
        batch = augment(batch, config)
    generated = generate(vocoder, batch, 2 if config.energy_distance_weight else 1)
    loss, losses = waveform_loss(generated, discriminators, batch, adversarial_weight, config)
    del losses["loss"]  # a part of the whole here
    return loss, losses, Waveforms(generated[0], batch["audio"], key)


def renamed(losses: dict[str, Loss]) -> dict[str, Loss]:
    """The acoustic model's losses; that of its mel gets another name than the waveform's `mel_loss`."""
    return {"frame_mel" if name == "mel" else name: value for name, value in losses.items()}
