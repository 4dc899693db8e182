"""How a waveform comes before the judges: at 16 kHz, and for some at one level."""

import numpy as np

from bitjets_mlx.evaluation.packages import optional

RATE = 16000
PEAK = 0.7
QUIETEST = 1e-4  # a peak below this is not amplified: silence stays silence


def at_16_khz(waveform: np.ndarray, sample_rate: int) -> np.ndarray:
    """Samples (S,) at `sample_rate` -> float32 at 16 kHz, by soxr.

    Predicted opinions depend on what a resampler leaves near 8 kHz, by half a point in short clips, so that figures are
    comparable only where it is the same.
    """
    soxr = optional("soxr")  # comes with librosa
    return np.asarray(soxr.resample(np.asarray(waveform, np.float32), sample_rate, RATE), np.float32)


def at_one_level(waveform: np.ndarray) -> np.ndarray:
    """Samples (S,) with a peak of 0.7."""
    return waveform / np.float32(max(QUIETEST, float(np.abs(waveform).max()))) * np.float32(PEAK)
