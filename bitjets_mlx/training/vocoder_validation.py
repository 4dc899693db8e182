"""A vocoder judged on a few validation clips by copy synthesis: spectral losses, always the same clips and noise."""

import math

import mlx.core as mx
import numpy as np

from bitjets_mlx.audio.spectrogram import log_mel
from bitjets_mlx.config import HarmonicConfig, HifiganConfig
from bitjets_mlx.data.prepared import Clip, PreparedData
from bitjets_mlx.training.examples import CLIPS, Example, spread
from bitjets_mlx.training.optimize import Tree, scalar
from bitjets_mlx.training.vocoder_losses import full_band_mel_loss, spectra, spectral_losses
from bitjets_mlx.vocoder import build_vocoder

SEGMENT = 128  # frames of each clip that the losses look at
LONGEST = 400  # frames of an example


class VocoderValidation:
    """A few validation clips, and what given weights make of them. The noise is that of seed 0."""

    def __init__(self, data: PreparedData, config: HarmonicConfig | HifiganConfig, clips: int = CLIPS) -> None:
        self.data, self.clips = data, spread(data.split("validation"), data.speakers, clips)
        self.model = build_vocoder(config)
        self.model.eval()
        self.with_pesq = False

    def losses(self, weights: Tree) -> dict[str, float]:
        """Spectral losses by name, PESQ and STOI `with_pesq`; nothing where the data has no validation clips."""
        if not self.clips:
            return {}
        self.model.update(weights)
        frames = min(SEGMENT, *(clip.frames for clip in self.clips))
        rows = [self._segment(clip, frames) for clip in self.clips]
        mel, log_f0, voiced, audio = (mx.array(np.stack(values)) for values in zip(*rows, strict=True))
        copy = self.model(mel, log_f0, voiced)  # (B, T * 256)
        stft_loss, mel_loss = spectral_losses(spectra(copy), spectra(audio))
        if isinstance(self.model.config, HifiganConfig):  # as it is trained
            mel_loss = full_band_mel_loss(copy, audio)
        mx.eval(stft_loss, mel_loss)
        found = {"stft_loss": scalar(stft_loss), "mel_loss": scalar(mel_loss)}
        return found | self._quality() if self.with_pesq else found

    def _quality(self) -> dict[str, float]:
        """PESQ-WB and STOI of the copy synthesis of the same clips, up to `LONGEST` frames of each; means."""
        from bitjets_mlx.evaluation.quality import copy_quality  # needs packages that training does not

        rows = []
        for clip in self.clips:
            mel, log_f0, voiced, audio = self._segment(clip, min(LONGEST, clip.frames))
            rows.append(copy_quality(audio, mel, self._copy(mel, log_f0, voiced)))
        known = {name: [v for row in rows if math.isfinite(v := getattr(row, name))] for name in ("pesq", "stoi")}
        return {name: sum(values) / len(values) for name, values in known.items() if values}

    def _copy(self, mel: np.ndarray, log_f0: np.ndarray, voiced: np.ndarray) -> np.ndarray:
        """Copy synthesis of one clip: (T, 80), (T,), (T,) -> (T * 256,)."""
        return np.array(self.model(mx.array(mel)[None], mx.array(log_f0)[None], mx.array(voiced)[None])[0])

    def examples(self, weights: Tree, count: int) -> list[Example]:
        """Recorded mel, and the mel and the samples of the copy synthesis."""
        self.model.update(weights)
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
