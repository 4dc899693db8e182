"""A vocoder measured on a few validation clips by copy synthesis: spectral losses, always the same clips and noise."""

from collections.abc import Callable

import mlx.core as mx
import numpy as np

from bitjets_mlx.audio.spectrogram import log_mel
from bitjets_mlx.config import HarmonicConfig, HifiganConfig
from bitjets_mlx.data.prepared import Clip, PreparedData
from bitjets_mlx.training.examples import CLIPS, Example, spread
from bitjets_mlx.training.optimize import Tree, scalar
from bitjets_mlx.training.vocoder_losses import full_band_mel_loss, spectra, spectral_losses
from bitjets_mlx.vocoder import build_vocoder
from bitjets_mlx.vocoder.quantized import quantized

SEGMENT = 128  # frames of each clip that the losses look at
LONGEST = 400  # frames of an example

Measure = Callable[[list[np.ndarray], list[np.ndarray]], dict[str, float]]  # of recorded and copied samples (S,) each


class VocoderValidation:
    """A few validation clips, and the copy synthesis of given weights. The noise is that of seed 0."""

    def __init__(
        self, data: PreparedData, config: HarmonicConfig | HifiganConfig, weight_bits: float = 0.0, clips: int = CLIPS
    ) -> None:
        self.data, self.clips, self.weight_bits = (
            data,
            spread(data.split("validation"), data.speakers, clips),
            weight_bits,
        )
        self.model = build_vocoder(config)
        self.model.eval()
        self.measures: list[Measure] = []

    def losses(self, weights: Tree, quantization: float = 1.0) -> dict[str, float]:
        """Spectral losses by name, and what `measures` say; nothing where the data has no validation clips."""
        if not self.clips:
            return {}
        self._take_up(weights)
        frames = min(SEGMENT, *(clip.frames for clip in self.clips))
        rows = [self._segment(clip, frames) for clip in self.clips]
        mel, log_f0, voiced, audio = (mx.array(np.stack(values)) for values in zip(*rows, strict=True))
        copy = self.model(mel, log_f0, voiced)  # (B, T * 256)
        stft_loss, mel_loss = spectral_losses(spectra(copy), spectra(audio))
        if isinstance(self.model.config, HifiganConfig):  # as it is trained
            mel_loss = full_band_mel_loss(copy, audio)
        mx.eval(stft_loss, mel_loss)
        found = {"stft_loss": scalar(stft_loss), "mel_loss": scalar(mel_loss)}
        if self.measures:
            segments = [self._segment(clip, min(LONGEST, clip.frames)) for clip in self.clips]
            recorded = [audio for *_, audio in segments]
            copies = [self._copy(*features) for *features, _ in segments]
            for measure in self.measures:
                found |= measure(recorded, copies)
        return found

    def ternary_layers(self) -> list[str]:
        """None: the weights' few bits are not those of ternary layers."""
        return []

    def _take_up(self, weights: Tree) -> None:
        self.model.update(quantized(weights, self.weight_bits))

    def _copy(self, mel: np.ndarray, log_f0: np.ndarray, voiced: np.ndarray) -> np.ndarray:
        """Copy synthesis of one clip: (T, 80), (T,), (T,) -> (T * 256,)."""
        return np.array(self.model(mx.array(mel)[None], mx.array(log_f0)[None], mx.array(voiced)[None])[0])

    def examples(self, weights: Tree, count: int) -> list[Example]:
        """Recorded mel, and the mel and the samples of the copy synthesis."""
        self._take_up(weights)
        return [self._example(clip) for clip in self.clips[:count]]

    def _example(self, clip: Clip) -> Example:
        mel, log_f0, voiced, _ = self._segment(clip, min(LONGEST, clip.frames))
        audio = self._copy(mel, log_f0, voiced)  # (T * 256,)
        name = f"{clip.speaker}/{clip.id}"
        return Example(name, mel, np.array(log_mel(mx.array(audio)[None])[0]), clip.phonemes, None, audio)

    def _segment(self, clip: Clip, frames: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The middle of a clip: mel (T, 80), log F0 and voicing (T,), samples (T * 256,)."""
        features, hop = self.data.load(clip), self.data.audio.hop
        start = (clip.frames - frames) // 2
        part = slice(start, start + frames)
        audio = features.audio[start * hop : (start + frames) * hop]
        return features.mel[part], features.log_f0[part], features.voiced[part].astype(np.float32), audio
