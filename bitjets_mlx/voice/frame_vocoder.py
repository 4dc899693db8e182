"""A vocoder that takes and gives numpy."""

import mlx.core as mx
import numpy as np

from bitjets_mlx.audio.griffin_lim import griffin_lim
from bitjets_mlx.audio.pitch import interpolate_f0
from bitjets_mlx.config import AudioConfig
from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.native.blas import one_blas_thread
from bitjets_mlx.vocoder import Vocoder
from bitjets_mlx.vocoder.harmonic import HarmonicVocoder
from bitjets_mlx.voice.process import check_process


class FrameVocoder:
    """A vocoder that takes and gives numpy; without a model it is Griffin-Lim. `audio` is the mel that it wants."""

    def __init__(self, model: Vocoder | None, audio: AudioConfig | None = None) -> None:
        self.model, self.audio = model, audio or AudioConfig()

    @property
    def channels(self) -> int:
        """Channels of its input: 80 mel bands, or the states of a JETS decoder."""
        return self.model.config.n_mels if self.model else self.audio.n_mels

    def __call__(
        self, mel: np.ndarray, f0: np.ndarray | None = None, voiced: np.ndarray | None = None, seed: int = 0
    ) -> np.ndarray:
        """Log mel (T, 80), F0 in Hz (T,) and voicing (T,) -> float32 samples (T * 256,).

        HiFi-GAN and Griffin-Lim need only the mel. F0 that is 0 or NaN where unvoiced is interpolated.
        """
        mel = np.asarray(mel, dtype=np.float32)
        if mel.ndim != 2 or mel.shape[1] != self.channels or not len(mel) or not np.isfinite(mel).all():
            wanted = f"(frames, {self.channels})"
            raise BitjetsError(f"the vocoder wants a finite log mel of shape {wanted}, not {mel.shape}.")
        check_process()
        with one_blas_thread():
            return self._samples(mel, f0, voiced, seed)

    def _samples(self, mel: np.ndarray, f0: np.ndarray | None, voiced: np.ndarray | None, seed: int) -> np.ndarray:
        if self.model is None:
            return griffin_lim(mel, seed=seed)
        batch = mx.array(mel)[None]  # (1, T, 80)
        if not isinstance(self.model, HarmonicVocoder):
            return np.array(self.model(batch)[0])
        if f0 is None or voiced is None or not len(f0) == len(voiced) == len(mel):
            raise BitjetsError("the harmonic vocoder needs f0 and voiced, one value for every frame of the mel.")
        log_f0, gate = _usable_f0(np.asarray(f0, dtype=np.float64), np.asarray(voiced, dtype=bool))
        samples = self.model(batch, mx.array(log_f0)[None], mx.array(gate)[None], seed)
        return np.array(samples[0])  # (T * 256,)


def _usable_f0(f0: np.ndarray, voiced: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Log F0 (T,) without holes, and the voicing gate (T,), both float32."""
    known = np.isfinite(f0) & (f0 > 0)
    if not known.all():
        if (voiced & ~known).any():
            raise BitjetsError("f0 must be a frequency in Hz in every voiced frame.")
        f0 = interpolate_f0(f0, known) if known.any() else np.full(len(f0), 200.0)
    return np.log(f0).astype(np.float32), voiced.astype(np.float32)
