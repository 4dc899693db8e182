"""How close copy synthesis comes to the recording: PESQ wide-band (ITU-T P.862.2), STOI, mel L1.

PESQ and STOI are computed by the packages pesq and pystoi at 16 kHz; the recording is the reference.
"""

import warnings
from typing import NamedTuple

import mlx.core as mx
import numpy as np

from bitjets_mlx.audio.files import resample
from bitjets_mlx.audio.spectrogram import log_mel
from bitjets_mlx.config import AudioConfig
from bitjets_mlx.evaluation.packages import optional

RATE = 16000


class Quality(NamedTuple):
    """PESQ-WB (1.0 to 4.64), STOI (0 to 1), mean absolute difference of log-mel frames (nats)."""

    pesq: float
    stoi: float
    mel_l1: float


def pesq_wideband(reference: np.ndarray, degraded: np.ndarray, sample_rate: int = 22050) -> float:
    """PESQ-WB of samples (S,); 1.0, the worst, where it finds no speech in one of them."""
    pesq = optional("pesq")
    if not (reference.any() and degraded.any()):  # it would divide by zero
        return 1.0
    reference, degraded = resample(reference, sample_rate, RATE), resample(degraded, sample_rate, RATE)
    try:
        return float(pesq.pesq(RATE, reference, degraded, "wb"))
    except pesq.NoUtterancesError:
        return 1.0


def stoi(reference: np.ndarray, degraded: np.ndarray, sample_rate: int = 22050) -> float:
    """Short-time objective intelligibility of samples (S,) of one length; NaN for less than 0.4 s of speech."""
    reference, degraded = resample(reference, sample_rate, RATE), resample(degraded, sample_rate, RATE)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "Not enough STFT frames", RuntimeWarning)  # where it would return 1e-5
        try:
            return float(optional("pystoi").stoi(reference, degraded, RATE))
        except RuntimeWarning:
            return float("nan")


def mel_l1(mel: np.ndarray, audio: np.ndarray, config: AudioConfig | None = None) -> float:
    """Mean |mel - log_mel(audio)|: mel (T, 80) that went in, samples (T * 256,) that came out."""
    again = np.array(log_mel(mx.array(audio)[None], config or AudioConfig())[0])  # (T, 80)
    frames = min(len(mel), len(again))
    return float(np.abs(mel[:frames] - again[:frames]).mean())


def copy_quality(recording: np.ndarray, mel: np.ndarray, copy: np.ndarray) -> Quality:
    """All three, of a recording (S,), its mel (T, 80) and the vocoder's samples (S,)."""
    length = min(len(recording), len(copy))
    recording, copy = recording[:length], copy[:length]
    return Quality(pesq_wideband(recording, copy), stoi(recording, copy), mel_l1(mel, copy))
