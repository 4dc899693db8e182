"""A few validation clips, always the same ones: losses without dropout, and examples for pictures."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import mlx.core as mx
import numpy as np

from bitjets_mlx.acoustic import AcousticModel, build_acoustic
from bitjets_mlx.acoustic.model import Frames, length_mask
from bitjets_mlx.audio.spectrogram import log_mel
from bitjets_mlx.config import HifiganConfig
from bitjets_mlx.data.prepared import Clip, PreparedData
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
from bitjets_mlx.training.config import TrainConfig
from bitjets_mlx.training.joint_step import mel_scale, read_clip_and_audio, renamed, segments_at, vocoder_batch
from bitjets_mlx.training.optimize import Tree, scalar
from bitjets_mlx.training.vocoder_losses import full_band_mel_loss, spectra, spectral_losses
from bitjets_mlx.training.vocoder_step import generate
from bitjets_mlx.vocoder import build_vocoder
from bitjets_mlx.vocoder.quantized import quantized
from bitjets_mlx.voice.arrays import ternary_layers

CLIPS = 16  # that losses are measured on: fewer make pitch jump about, more take longer than they tell
SEGMENT = 128  # frames of each clip that the waveform's losses look at
LONGEST = 400  # frames of an example of copy synthesis
JOINT_KEY = 0  # of a joint training's noise

Losses = dict[str, float]
Measure = Callable[[list[np.ndarray], list[np.ndarray]], Losses]  # of recorded and copied samples (S,) each


class Example(NamedTuple):
    """One clip as a stage reproduces it."""

    name: str  # speaker/id
    recorded: np.ndarray  # (T, 80) log mel
    predicted: np.ndarray  # (T, 80) log mel
    phonemes: tuple[str, ...]
    alignment: np.ndarray | None  # (T, N) probabilities
    audio: np.ndarray | None  # (T * 256,)


class Validation:
    """Clips of all speakers; nothing is measured where the data has no validation clips."""

    def __init__(self, data: PreparedData, config: TrainConfig, clips: int = CLIPS) -> None:
        alignable = [clip for clip in data.split("validation") if clip.frames >= len(clip.phonemes)]
        usable = data.split("validation") if config.stage == "vocoder" else alignable
        self.data, self.clips = data, spread(usable, data.speakers, clips)
        self.acoustic: AcousticModel | None = None

    def losses(self, weights: Tree, quantization: float) -> Losses:
        """Losses of averaged weights by name, the acoustic model's quantized that far (0 to 1)."""
        if not self.clips:
            return {}
        self.take_up(weights)
        return self.measured(quantization)

    def examples(self, weights: Tree, count: int) -> list[Example]:
        """Recorded and predicted mel of each clip; what else there is depends on the stage."""
        self.take_up(weights)
        return [self.example(clip) for clip in self.clips[:count]]

    def ternary_layers(self) -> list[str]:
        """Names of the acoustic model's ternary layers."""
        return [] if self.acoustic is None else list(ternary_layers(self.acoustic))

    def take_up(self, weights: Tree) -> None:
        """Put weights into the stage's models."""
        raise NotImplementedError

    def measured(self, quantization: float) -> Losses:
        """Losses of these weights."""
        raise NotImplementedError

    def example(self, clip: Clip) -> Example:
        """One clip with these weights."""
        raise NotImplementedError


def spread(clips: Sequence[Clip], speakers: Sequence[str], count: int) -> list[Clip]:
    """About `count` clips, as many of each speaker, of all lengths but the most extreme; always the same ones."""
    chosen = []
    for speaker in speakers:
        own = sorted((clip for clip in clips if clip.speaker == speaker), key=lambda clip: (clip.frames, clip.id))
        wanted = min(len(own), -(-count // len(speakers)))
        chosen += [own[int((i + 0.5) / wanted * len(own))] for i in range(wanted)]
    return chosen[:count]


class AcousticValidation(Validation):
    """The acoustic losses; examples with durations, pitch and energy as recorded."""

    def __init__(self, data: PreparedData, config: TrainConfig, clips: int = CLIPS) -> None:
        super().__init__(data, config, clips)
        self.acoustic: AcousticModel = build_acoustic(config.acoustic_model, with_aligner=True)

    def take_up(self, weights: Tree) -> None:
        self.acoustic.update(weights)

    def measured(self, quantization: float) -> Losses:
        return self.acoustic_losses(quantization)[0]

    def acoustic_losses(self, quantization: float) -> tuple[Losses, Frames]:
        """The losses by name, and the decoder's frames for all clips."""
        batch, alignment = aligned(self.acoustic, self.data, self.clips)
        counts, everything = Counts(*counts_of(batch)), mx.array(1.0)
        amount = None if quantization == 1.0 else 0.0 if quantization == 0.0 else mx.array(quantization)
        weights = AcousticLossWeights()
        _, losses, frames = acoustic_loss(
            self.acoustic, batch, alignment, counts, weights, amount, everything, key=None
        )
        mx.eval(losses)
        return {name: scalar(value) for name, value in losses.items()}, frames

    def example(self, clip: Clip) -> Example:
        return example(self.acoustic, self.data, clip)


def aligned(model: AcousticModel, data: PreparedData, clips: list[Clip]) -> tuple[AcousticBatch, Alignment]:
    """Clips as one batch, and its alignment by the model's aligner."""
    items = [read_clip(data, clip) for clip in clips]
    frames, tokens = max(len(item["mel"]) for item in items), max(len(item["tokens"]) for item in items)
    batch = collate(items, padded_shape(tuple(range(len(items))), frames, tokens))
    return batch, align_on_host(batch, *align_scores(model, batch))


def decoded(model: AcousticModel, data: PreparedData, clip: Clip) -> tuple[Frames, np.ndarray]:
    """The decoder's frames with recorded prosody, so that they fit the recording's, and the alignment (T, N)."""
    batch, alignment = aligned(model, data, [clip])
    mask = length_mask(batch.token_lengths, batch.tokens.shape[1])  # (1, N, 1)
    frame_mask = length_mask(batch.frame_lengths, batch.mel.shape[1])  # (1, T, 1)
    states = model.encode(batch.tokens, batch.speakers, mask)
    variance = recorded_variance(batch, alignment)
    frames = model.decode(states, variance, alignment.durations, mask, frame_mask)
    scores, _ = align_scores(model, batch)
    return frames, np.array(mx.softmax(scores[0, : clip.frames, : len(clip.phonemes)], axis=-1))


def example(model: AcousticModel, data: PreparedData, clip: Clip) -> Example:
    """An acoustic model's output for one clip, and the alignment."""
    frames, alignment = decoded(model, data, clip)
    mean, deviation = np.array(data.statistics.mel_mean), np.array(data.statistics.mel_std)
    predicted = np.array(frames.mel[0, : clip.frames]) * deviation + mean
    return Example(f"{clip.speaker}/{clip.id}", data.load(clip).mel, predicted, clip.phonemes, alignment, None)


class VocoderValidation(Validation):
    """Copy synthesis, with the noise of seed 0: spectral losses, and what `measures` find."""

    def __init__(self, data: PreparedData, config: TrainConfig, clips: int = CLIPS) -> None:
        super().__init__(data, config, clips)
        self.weight_bits = config.vocoder_training.weight_bits
        self.vocoder = build_vocoder(config.vocoder_model)
        self.vocoder.eval()
        self.measures: list[Measure] = []

    def take_up(self, weights: Tree) -> None:
        self.vocoder.update(quantized(weights, self.weight_bits))

    def measured(self, quantization: float) -> Losses:
        frames = min(SEGMENT, *(clip.frames for clip in self.clips))
        rows = [self._segment(clip, frames) for clip in self.clips]
        mel, log_f0, voiced, audio = (mx.array(np.stack(values)) for values in zip(*rows, strict=True))
        copy = self.vocoder(mel, log_f0, voiced)  # (B, T * 256)
        found = waveform_losses(copy, audio, isinstance(self.vocoder.config, HifiganConfig))
        if self.measures:
            segments = [self._segment(clip, min(LONGEST, clip.frames)) for clip in self.clips]
            recorded, copies = [audio for *_, audio in segments], [self._copy(*row[:3]) for row in segments]
            for measure in self.measures:
                found |= measure(recorded, copies)
        return found

    def example(self, clip: Clip) -> Example:
        mel, log_f0, voiced, _ = self._segment(clip, min(LONGEST, clip.frames))
        audio = self._copy(mel, log_f0, voiced)  # (T * 256,)
        copied = np.array(log_mel(mx.array(audio)[None])[0])
        return Example(f"{clip.speaker}/{clip.id}", mel, copied, clip.phonemes, None, audio)

    def _copy(self, mel: np.ndarray, log_f0: np.ndarray, voiced: np.ndarray) -> np.ndarray:
        """Copy synthesis of one clip: (T, 80), (T,), (T,) -> (T * 256,)."""
        return np.array(self.vocoder(mx.array(mel)[None], mx.array(log_f0)[None], mx.array(voiced)[None])[0])

    def _segment(self, clip: Clip, frames: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The middle of a clip: mel (T, 80), log F0 and voicing (T,), samples (T * 256,)."""
        features, hop = self.data.load(clip), self.data.audio.hop
        start = (clip.frames - frames) // 2
        part = slice(start, start + frames)
        audio = features.audio[start * hop : (start + frames) * hop]
        return features.mel[part], features.log_f0[part], features.voiced[part].astype(np.float32), audio


def waveform_losses(generated: mx.array, audio: mx.array, hifigan: bool) -> Losses:
    """Spectral losses of two waveforms (B, S); HiFi-GAN's mel loss is the one it is trained with."""
    stft_loss, mel_loss = spectral_losses(spectra(generated), spectra(audio))
    if hifigan:
        mel_loss = full_band_mel_loss(generated, audio)
    mx.eval(stft_loss, mel_loss)
    return {"stft_loss": scalar(stft_loss), "mel_loss": scalar(mel_loss)}


class JointValidation(AcousticValidation):
    """The losses of both models, and examples with the waveform; prosody as recorded."""

    def __init__(self, data: PreparedData, config: TrainConfig, clips: int = CLIPS) -> None:
        super().__init__(data, config, clips)
        self.vocoder = build_vocoder(config.vocoder_model)
        self.vocoder.eval()
        self.scale = mel_scale(data.statistics) if config.acoustic_model.mel else None

    def take_up(self, weights: Tree) -> None:
        self.acoustic.update(weights["acoustic"])
        self.vocoder.update(weights["vocoder"])

    def measured(self, quantization: float) -> Losses:
        losses, frames = self.acoustic_losses(quantization)
        starts = [max(clip.frames - SEGMENT, 0) // 2 for clip in self.clips]  # the middle of every clip
        audio, generated = self._waveforms(self.clips, frames, starts, SEGMENT)
        hifigan = isinstance(self.vocoder.config, HifiganConfig)
        return waveform_losses(generated, audio, hifigan) | renamed(losses)

    def example(self, clip: Clip) -> Example:
        frames, alignment = decoded(self.acoustic, self.data, clip)
        _, audio = self._waveforms([clip], frames, [0], clip.frames)  # (1, T * 256)
        recorded, generated = self.data.load(clip).mel, np.array(log_mel(audio)[0])
        return Example(f"{clip.speaker}/{clip.id}", recorded, generated, clip.phonemes, alignment, np.array(audio[0]))

    def _waveforms(
        self, clips: list[Clip], frames: Frames, starts: list[int], length: int
    ) -> tuple[mx.array, mx.array]:
        """Recorded and generated samples (B, length * 256) of a stretch of every clip."""
        items = [read_clip_and_audio(self.data, clip) for clip in clips]
        segments = segments_at(items, starts, length, self.data.audio.hop)
        batch = vocoder_batch(frames, segments, self.scale, mx.random.key(JOINT_KEY))
        return segments.audio, generate(self.vocoder, batch)[0]
