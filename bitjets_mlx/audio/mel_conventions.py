"""From one mel convention to another: what a model predicts is seldom what its vocoder was trained on.

Bands of one filterbank are not a function of another's: the spectrum between them is lost. So the way is approximate.
A smooth spectrum that gives the bands is found (as for Griffin-Lim), then looked at through the other filterbank.
"""

import math

import mlx.core as mx
import numpy as np

from bitjets_mlx.audio.griffin_lim import mel_to_magnitude
from bitjets_mlx.audio.spectrogram import log_mel, magnitude, magnitude_to_log_mel, mel_filterbank
from bitjets_mlx.config import AudioConfig
from bitjets_mlx.errors import BitjetsError

ITERATIONS = 10  # more changes nothing that can be measured


def check_same_grid(source: AudioConfig, target: AudioConfig) -> None:
    """BitjetsError where one convention cannot be mapped to the other."""
    for name in ("sample_rate", "n_fft", "hop", "n_mels"):
        if getattr(source, name) != getattr(target, name):
            raise BitjetsError(
                f"the vocoder was trained on mels of another {name} ({getattr(target, name)}) than the voice gives "
                f"({getattr(source, name)}): take another vocoder."
            )
    if target.f_max > source.f_max:
        raise BitjetsError(
            f"the vocoder wants mels up to {target.f_max:g} Hz and the voice gives them up to {source.f_max:g} Hz: "
            "take another vocoder."
        )


def map_log_mel(log_mel: np.ndarray, source: AudioConfig, target: AudioConfig) -> np.ndarray:
    """Log mel (T, 80) of convention `source` -> the same sound's in convention `target`, approximately; numpy.

    Frames stay where they are, though with `centred` they lie half a hop earlier.
    """
    check_same_grid(source, target)
    shift = 0.5 * math.log(_window_energy(source)) if source.normalized else 0.0
    mel = mx.array(log_mel.astype(np.float32) + np.float32(shift))[None]
    spectrum = mel_to_magnitude(mel, source, ITERATIONS)[0]  # (T, 513)
    bands = spectrum @ mx.array(mel_filterbank(target).T)  # (T, 80)
    if target.normalized:
        bands = bands / float(np.sqrt(_window_energy(target)))
    return np.array(mx.log(mx.maximum(bands, target.log_floor)))


def log_mel_as(audio: mx.array, config: AudioConfig) -> mx.array:
    """Log mel of samples (B, S) in any convention: (B, S // hop, 80), or with `centred` one frame more."""
    if not config.centred and not config.normalized:
        return log_mel(audio, config)
    reach = config.hop // 2 if config.centred else 0
    # Centred frames are those of sound that is half a hop longer at both ends, mirrored.
    longer = mx.concatenate([audio[:, reach:0:-1], audio, audio[:, -2 : -reach - 2 : -1]], axis=1) if reach else audio
    magnitudes = magnitude(longer, config.n_fft, config.hop)  # (B, T, 513)
    if config.normalized:
        magnitudes = magnitudes / math.sqrt(_window_energy(config))
    return magnitude_to_log_mel(magnitudes, config)


def _window_energy(config: AudioConfig) -> float:
    """Sum of the squares of the periodic Hann window: 3 n_fft / 8."""
    return 3.0 * config.n_fft / 8.0
