"""Mel-cepstral distortion with dynamic time warping.

Recipe: spectral envelope by WORLD's CheapTrick (M. Morise 2015, "CheapTrick, a spectral envelope estimator for
high-quality speech synthesis"; default q1 = -0.15, FFT of 1024) at the mel frames' centers, with F0 as given and
500 Hz where unvoiced; its cepstrum frequency-warped (alpha 0.45) to order 34 as SPTK's `freqt` does; frames
aligned by DTW on coefficients 1 to 34 (Euclidean, steps (1, 1), (1, 0), (0, 1) of equal weight, from both starts
to both ends); 10 / ln 10 * sqrt(2 * sum of squared differences), coefficient 0 left out, mean over the path.
CheapTrick is rewritten in numpy here because pyworld has no wheels: see the test for the comparison.
"""

import math
from functools import lru_cache

import numpy as np

from bitjets_mlx.config import HOP, N_FFT, SAMPLE_RATE

ORDER = 34
ALPHA = 0.45
Q1 = -0.15  # CheapTrick's spectral recovery
UNVOICED_F0 = 500.0
LOWEST_F0 = 3.0 * SAMPLE_RATE / (N_FFT - 3)  # 64.8 Hz: three periods must fit into the FFT
FLOOR = 1e-14  # power; for digital silence, far below the rounding to 16 bit


def mel_cepstrum(audio: np.ndarray, f0: np.ndarray, voiced: np.ndarray) -> np.ndarray:
    """Mel-cepstra (T, 35) of samples (S,), T = S // 256; F0 in Hz (T,), voicing (T,)."""
    pitch = np.where(voiced & (f0 > LOWEST_F0), f0, UNVOICED_F0).astype(np.float64)[: len(audio) // HOP]
    power = _power_spectrum(audio, pitch)
    cepstrum = _recovered_cepstrum(_smooth(power, pitch), pitch)  # (T, 513)
    cepstrum[:, 0] /= 2.0
    return cepstrum @ _warping()  # (T, 35)


def _power_spectrum(audio: np.ndarray, f0: np.ndarray) -> np.ndarray:
    """Power in a Hann window three periods long around each frame center, (T, 513); the window has unit energy."""
    offsets = np.arange(-N_FFT // 2, N_FFT // 2)
    centers = HOP * np.arange(len(f0)) + HOP // 2
    frames = audio.astype(np.float64)[np.clip(centers[:, None] + offsets, 0, len(audio) - 1)]  # (T, 1024)
    inside = np.abs(offsets) <= np.round(1.5 * SAMPLE_RATE / f0)[:, None]
    window = np.where(inside, 0.5 + 0.5 * np.cos(np.pi * offsets * (f0 / 1.5 / SAMPLE_RATE)[:, None]), 0.0)
    window /= np.sqrt(np.sum(window**2, axis=1, keepdims=True))
    frames = frames * window
    frames -= window * (frames.sum(axis=1, keepdims=True) / window.sum(axis=1, keepdims=True))  # no offset
    power = np.abs(np.fft.rfft(frames)) ** 2 + FLOOR  # (T, 513)
    # Below F0 there is nothing to be seen: mirror what is between F0 and 0 Hz onto it.
    hertz = np.arange(power.shape[1]) * SAMPLE_RATE / N_FFT
    mirrored = _sample(power, (f0[:, None] - hertz) * N_FFT / SAMPLE_RATE)
    return np.where(hertz < f0[:, None], power + mirrored, power)


def _sample(rows: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Linear interpolation of each row (T, K) at its own positions (T, J), in bins; clipped at both ends."""
    positions = np.clip(positions, 0.0, rows.shape[1] - 1.0)
    low = np.minimum(positions.astype(int), rows.shape[1] - 2)
    share = positions - low
    below, above = np.take_along_axis(rows, low, 1), np.take_along_axis(rows, low + 1, 1)
    return below * (1.0 - share) + above * share


def _smooth(power: np.ndarray, f0: np.ndarray) -> np.ndarray:
    """Running mean over a width of two thirds of F0: power (T, 513) -> (T, 513)."""
    bins = power.shape[1]
    width = (f0 * 2.0 / 3.0 * N_FFT / SAMPLE_RATE)[:, None]  # in bins
    margin = int(np.max(width)) + 2
    mirrored = np.pad(power, ((0, 0), (margin, margin)), mode="reflect")
    integral = np.cumsum(mirrored, axis=1)  # up to half a bin beyond each position
    centers = np.arange(bins) + margin - 0.5
    return (_sample(integral, centers + width / 2) - _sample(integral, centers - width / 2)) / width


def _recovered_cepstrum(power: np.ndarray, f0: np.ndarray) -> np.ndarray:
    """Cepstrum of the log envelope, (T, 513): liftered against the harmonics, with CheapTrick's recovery."""
    cepstrum = np.fft.irfft(np.log(power))[:, : power.shape[1]]
    periods = np.arange(power.shape[1]) / SAMPLE_RATE * f0[:, None]  # (T, 513)
    return cepstrum * np.sinc(periods) * (1.0 - 2.0 * Q1 + 2.0 * Q1 * np.cos(2.0 * np.pi * periods))


@lru_cache(maxsize=1)
def _warping() -> np.ndarray:
    """Oppenheim's recursion as a matrix, (513, 35): cepstrum -> mel-cepstrum (SPTK's freqt)."""
    bins = N_FFT // 2 + 1
    warped = np.zeros((ORDER + 1, bins))  # the recursion of all unit impulses at once
    for index in range(bins - 1, -1, -1):
        old = warped.copy()
        warped[0] = ALPHA * old[0]
        warped[0, index] += 1.0
        warped[1] = (1.0 - ALPHA**2) * old[0] + ALPHA * old[1]
        for order in range(2, ORDER + 1):
            warped[order] = old[order - 1] + ALPHA * (old[order] - warped[order - 1])
    return warped.T


def align(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The DTW path between two sequences (T, D) and (U, D): pairs (L, 2) of frame numbers."""
    squares = (first**2).sum(axis=1)[:, None] + (second**2).sum(axis=1) - 2.0 * first @ second.T  # (T, U)
    return _backtrack(_accumulate(np.sqrt(np.maximum(squares, 0.0))))


def _accumulate(cost: np.ndarray) -> np.ndarray:
    """Which step led to each cell of the cheapest path, (T, U): 0 diagonal, 1 from above, 2 from the left."""
    rows, columns = cost.shape
    steps = np.zeros(cost.shape, dtype=np.int8)
    # Diagonals i + j = d, kept by row i, one beyond at each end, so that a whole diagonal is done at once.
    before, last = np.full(rows + 1, np.inf), np.full(rows + 1, np.inf)
    last[1] = cost[0, 0]
    for diagonal in range(1, rows + columns - 1):
        i = np.arange(max(0, diagonal - columns + 1), min(rows, diagonal + 1))
        choices = np.stack([before[i], last[i], last[i + 1]])  # (3, len(i))
        best = np.argmin(choices, axis=0)
        steps[i, diagonal - i] = best
        now = np.full(rows + 1, np.inf)
        now[i + 1] = cost[i, diagonal - i] + np.min(choices, axis=0)
        before, last = last, now
    return steps


def _backtrack(steps: np.ndarray) -> np.ndarray:
    i, j = steps.shape[0] - 1, steps.shape[1] - 1
    path = [(i, j)]
    while i or j:
        step = steps[i, j]
        i, j = i - (step != 2), j - (step != 1)
        path.append((i, j))
    return np.array(path[::-1])


def mel_cepstral_distortion(first: np.ndarray, second: np.ndarray, path: np.ndarray) -> float:
    """dB between mel-cepstra (T, 35) and (U, 35) along a DTW path (L, 2)."""
    difference = first[path[:, 0], 1:] - second[path[:, 1], 1:]  # (L, 34)
    return float(10.0 / math.log(10.0) * np.sqrt(2.0 * np.sum(difference**2, axis=1)).mean())
