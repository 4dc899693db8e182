"""What a joint update minimizes (JETS, arXiv:2203.16852, section 2): from phonemes to samples in one piece.

The decoder's frames, cut to random segments, are what the vocoder reads, and the gradients of its losses go on
through them into the acoustic model. Durations, pitch and energy are the recorded ones, as in the acoustic stage, so
that frames fit the recording's. So are F0 and voicing for the harmonic vocoder: from a predicted F0 it would be
judged at harmonics that the recording has elsewhere, and no gradient could mend that, since there is none through its
pulses.
"""

import math
from typing import NamedTuple

import mlx.core as mx

from bitjets_mlx.acoustic.model import Frames
from bitjets_mlx.config import AudioConfig, FeatureStatistics
from bitjets_mlx.training.config import VocoderTraining
from bitjets_mlx.training.joint_data import Segments
from bitjets_mlx.training.vocoder_step import HOP, Batch, augment, generate, waveform_loss
from bitjets_mlx.vocoder import Vocoder
from bitjets_mlx.vocoder.discriminators import Discriminators


class MelScale(NamedTuple):
    """Of the acoustic model's normalized mels: (80,) each."""

    mean: mx.array
    deviation: mx.array


class Waveforms(NamedTuple):
    """What the discriminators are given: generated and recorded samples, (B, S * 256) each, and the batch's key."""

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


def renamed(losses: dict[str, mx.array]) -> dict[str, mx.array]:
    """The acoustic model's losses; that of its mel is named apart from the waveform's `mel_loss`."""
    return {"frame_mel" if name == "mel" else name: value for name, value in losses.items()}
