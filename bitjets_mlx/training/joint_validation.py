"""Both models of a joint training measured on a few validation clips: always the same clips, segments and noise."""

import mlx.core as mx
import numpy as np

from bitjets_mlx.acoustic import build_acoustic
from bitjets_mlx.acoustic.model import Frames, length_mask
from bitjets_mlx.audio.spectrogram import log_mel
from bitjets_mlx.config import HifiganConfig, JointConfig
from bitjets_mlx.data.prepared import Clip, PreparedData
from bitjets_mlx.ternary.layers import Amount
from bitjets_mlx.training.acoustic_data import counts_of
from bitjets_mlx.training.acoustic_losses import (
    AcousticLossWeights,
    Counts,
    acoustic_loss_and_frames,
    align_scores,
    recorded_variance,
)
from bitjets_mlx.training.acoustic_validation import aligned
from bitjets_mlx.training.examples import CLIPS, Example, spread
from bitjets_mlx.training.joint_data import read_clip_and_audio, segments_at
from bitjets_mlx.training.joint_losses import mel_scale, renamed, vocoder_batch
from bitjets_mlx.training.optimize import Tree, scalar
from bitjets_mlx.training.vocoder_losses import full_band_mel_loss, spectra, spectral_losses
from bitjets_mlx.training.vocoder_step import generate
from bitjets_mlx.vocoder import build_vocoder
from bitjets_mlx.voice.arrays import ternary_layers

SEGMENT = 128  # frames of each clip that the waveform's losses look at
KEY = 0


class JointValidation:
    """A few validation clips, and the output of given weights of both models."""

    def __init__(self, data: PreparedData, model: JointConfig, clips: int = CLIPS) -> None:
        usable = [clip for clip in data.split("validation") if clip.frames >= len(clip.phonemes)]
        self.data, self.clips = data, spread(usable, data.speakers, clips)
        self.acoustic, self.vocoder = build_acoustic(model.acoustic, with_aligner=True), build_vocoder(model.vocoder)
        self.vocoder.eval()
        self.scale = mel_scale(data.statistics) if model.acoustic.mel else None

    def losses(self, weights: Tree, quantization: float) -> dict[str, float]:
        """Losses by name, with acoustic weights quantized that far; nothing where there are no validation clips."""
        if not self.clips:
            return {}
        self._take_up(weights)
        batch, alignment = aligned(self.acoustic, self.data, self.clips)
        amount: Amount = None if quantization == 1.0 else 0.0 if quantization == 0.0 else mx.array(quantization)
        counts, everything = Counts(*counts_of(batch)), mx.array(1.0)
        _, losses, frames = acoustic_loss_and_frames(
            self.acoustic, batch, alignment, counts, AcousticLossWeights(), amount, everything, key=None
        )
        found = {name: scalar(value) for name, value in renamed(losses).items()}
        return self._waveform_losses(frames) | found

    def _waveform_losses(self, frames: Frames) -> dict[str, float]:
        """Spectral losses of the middle of every clip."""
        starts = [max(clip.frames - SEGMENT, 0) // 2 for clip in self.clips]
        audio, generated = self._waveforms(self.clips, frames, starts, SEGMENT)
        stft_loss, mel_loss = spectral_losses(spectra(generated), spectra(audio))
        if isinstance(self.vocoder.config, HifiganConfig):  # as it is trained
            mel_loss = full_band_mel_loss(generated, audio)
        return {"stft_loss": scalar(stft_loss), "mel_loss": scalar(mel_loss)}

    def examples(self, weights: Tree, count: int) -> list[Example]:
        """Recorded mel and that of the sound, the sound, and the aligner's probabilities; prosody as recorded."""
        self._take_up(weights)
        return [self._example(clip) for clip in self.clips[:count]]

    def _example(self, clip: Clip) -> Example:
        batch, alignment = aligned(self.acoustic, self.data, [clip])
        mask = length_mask(batch.token_lengths, batch.tokens.shape[1])  # (1, N, 1)
        frame_mask = length_mask(batch.frame_lengths, batch.mel.shape[1])  # (1, T, 1)
        states = self.acoustic.encode(batch.tokens, batch.speakers, mask)
        variance = recorded_variance(batch, alignment)
        frames = self.acoustic.decode(states, variance, alignment.durations, mask, frame_mask)
        scores, _ = align_scores(self.acoustic, batch)
        _, audio = self._waveforms([clip], frames, [0], clip.frames)  # (1, T * 256)
        return Example(
            f"{clip.speaker}/{clip.id}",
            self.data.load(clip).mel,
            np.array(log_mel(audio)[0]),
            clip.phonemes,
            np.array(mx.softmax(scores[0, : clip.frames, : len(clip.phonemes)], axis=-1)),
            np.array(audio[0]),
        )

    def ternary_layers(self) -> list[str]:
        """Names of the acoustic model's ternary layers."""
        return list(ternary_layers(self.acoustic))

    def _take_up(self, weights: Tree) -> None:
        self.acoustic.update(weights["acoustic"])
        self.vocoder.update(weights["vocoder"])

    def _waveforms(
        self, clips: list[Clip], frames: Frames, starts: list[int], length: int
    ) -> tuple[mx.array, mx.array]:
        """Recorded and generated samples (B, length * 256) of a stretch of every clip."""
        items = [read_clip_and_audio(self.data, clip) for clip in clips]
        segments = segments_at(items, starts, length, self.data.audio.hop)
        batch = vocoder_batch(frames, segments, self.scale, mx.random.key(KEY))
        return segments.audio, generate(self.vocoder, batch)[0]
