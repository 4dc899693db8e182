"""Fundamental frequency and voicing, quickly: autocorrelation candidates and a Viterbi path through them.

Boersma 1993, "Accurate short-term analysis of the fundamental frequency and the harmonics-to-noise ratio of
a sampled sound": the autocorrelation of a windowed frame divided by the window's own gives, at its peaks,
the degree of periodicity; the path trades that for octave jumps and voicing changes. All but the last loop
over frames is vectorised: a second of speech takes a few milliseconds.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PitchConfig:
    """Boersma's parameters; costs are in units of normalised autocorrelation."""

    sample_rate: int = 22050
    hop: int = 256
    window: int = 1024  # three periods of the lowest pitch
    f_min: float = 65.0
    f_max: float = 600.0
    candidates: int = 8
    silence: float = 0.03  # frames this much below the loudest peak are unvoiced
    voicing: float = 0.45  # periodicity of a frame that is as likely voiced as not
    octave: float = 0.01  # favours the higher of two equally good candidates
    octave_jump: float = 0.35
    voicing_change: float = 0.14
    low_cut: float = 50.0  # Hz: hum and rumble below
    high_cut: float = 3500.0  # Hz: breath noise above


def extract_pitch(audio: np.ndarray, config: PitchConfig | None = None) -> tuple[np.ndarray, np.ndarray]:
    """F0 in Hz, float32 (T,), and voicing, bool (T,), of float samples (S,), with T = S // hop.

    Frame i is centred on sample hop * i + hop / 2. Through unvoiced stretches log F0 is interpolated
    linearly, and held at both ends; a clip without any voiced frame gets 0 Hz throughout.
    """
    config = config or PitchConfig()
    if len(audio) < config.hop:
        return np.zeros(0, np.float32), np.zeros(0, bool)
    correlation, loudness = _autocorrelation(audio, config)  # (T, lags), (T,)
    lags, strengths = _candidates(correlation, config)  # (T, K) each
    path = _best_path(config.sample_rate / lags, strengths, loudness, config)  # (T,), -1 = unvoiced
    voiced = path >= 0
    chosen = np.take_along_axis(lags, np.maximum(path, 0)[:, None], axis=1)[:, 0]
    return interpolate_f0(config.sample_rate / chosen, voiced).astype(np.float32), voiced


def interpolate_f0(f0: np.ndarray, voiced: np.ndarray) -> np.ndarray:
    """Log-linear interpolation of F0 (T,) through the frames where `voiced` (T,) is false."""
    if not voiced.any():
        return np.zeros(len(f0))
    frames = np.arange(len(f0))
    return np.exp(np.interp(frames, frames[voiced], np.log(f0[voiced])))


def _autocorrelation(audio: np.ndarray, config: PitchConfig) -> tuple[np.ndarray, np.ndarray]:
    """Normalised autocorrelation r (T, lags) of each frame, and the frame's peak amplitude (T,)."""
    pad = (config.window - config.hop) // 2
    padded = np.pad(audio.astype(np.float32) - np.float32(audio.mean()), pad)
    count = len(audio) // config.hop
    frames = np.lib.stride_tricks.sliding_window_view(padded, config.window)[:: config.hop][
        :count
    ]  # (T, window)
    window = np.hanning(config.window + 2)[1:-1].astype(np.float32)
    size = 2 * config.window
    hertz = np.fft.rfftfreq(size, 1 / config.sample_rate)
    passed = np.clip((hertz - config.low_cut / 2) / (config.low_cut / 2), 0, 1)
    passed *= np.clip((1.5 * config.high_cut - hertz) / (0.5 * config.high_cut), 0, 1)
    spectrum = np.fft.rfft(frames * window, size)
    power = (spectrum.real**2 + spectrum.imag**2) * passed
    longest = int(config.sample_rate / config.f_min) + 2
    correlation = np.fft.irfft(power, size)[:, :longest]  # (T, lags)
    own = np.fft.irfft(np.abs(np.fft.rfft(window, size)) ** 2, size)[:longest]
    correlation = correlation / np.maximum(correlation[:, :1], 1e-12) / (own / own[0])
    middle = slice(config.window // 4, 3 * config.window // 4)
    return correlation, np.abs(frames[:, middle]).max(axis=1)


def _candidates(correlation: np.ndarray, config: PitchConfig) -> tuple[np.ndarray, np.ndarray]:
    """The strongest peaks, placed between samples by a parabola: lags in samples and strengths, (T, K)."""
    shortest = int(config.sample_rate / config.f_max)
    before, here, after = (correlation[:, shortest + i : correlation.shape[1] - 2 + i] for i in range(3))
    peak = (here > before) & (here >= after) & (here > 0)  # (T, lags)
    bend = before - 2 * here + after
    shift = np.where(peak, 0.5 * (before - after) / np.where(peak, np.minimum(bend, -1e-12), -1), 0)
    height = here - 0.25 * (before - after) * shift
    height = np.where(height > 1, 1 / np.maximum(height, 1), height)
    lag = shortest + 1 + np.arange(here.shape[1]) + shift
    strength = np.where(
        peak, height - config.octave * np.log2(config.f_min * lag / config.sample_rate), -np.inf
    )
    best = np.argpartition(-strength, config.candidates, axis=1)[:, : config.candidates]  # (T, K)
    return np.take_along_axis(lag, best, axis=1), np.take_along_axis(strength, best, axis=1)


def _best_path(
    f0: np.ndarray, strengths: np.ndarray, loudness: np.ndarray, config: PitchConfig
) -> np.ndarray:
    """Viterbi over candidates (T, K) and the unvoiced state: the index chosen in each frame, or -1."""
    count = len(f0)
    level = loudness / max(float(loudness.max()), 1e-9)
    unvoiced = config.voicing + np.maximum(0, 2 - level * (1 + config.voicing) / config.silence)
    local = np.concatenate([strengths, unvoiced[:, None]], axis=1)  # (T, K + 1)
    octaves = np.log2(f0)
    scale = 0.01 * config.sample_rate / config.hop  # the costs are for 10 ms steps
    change = np.full((count - 1, local.shape[1], local.shape[1]), -config.voicing_change * scale)
    change[:, :-1, :-1] = -config.octave_jump * scale * np.abs(octaves[:-1, :, None] - octaves[1:, None, :])
    change[:, -1, -1] = 0
    back = np.zeros(local.shape, np.int64)
    total = local[0]
    columns = np.arange(local.shape[1])
    for t in range(1, count):
        arriving = total[:, None] + change[t - 1]  # (from, to)
        back[t] = arriving.argmax(axis=0)
        total = arriving[back[t], columns] + local[t]
    path = np.empty(count, np.int64)
    path[-1] = total.argmax()
    for t in range(count - 1, 0, -1):
        path[t - 1] = back[t, path[t]]
    return np.where(path == local.shape[1] - 1, -1, path)
