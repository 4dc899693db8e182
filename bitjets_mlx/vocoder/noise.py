"""The noise that the harmonic vocoder filters: white, but even in time and frequency.

In white noise the power around any moment and frequency fluctuates by its own mean. A filter cannot take that out, so
it ends up in the speech, on top of what the mel says. Low-noise noise (Pumplin 1985; Hartmann and Pumplin 1988) hardly
fluctuates at the resolution at which speech is heard: it sounds smoother, and the filter alone decides the spectrum.
"""

from functools import lru_cache
from pathlib import Path

import mlx.core as mx
import numpy as np

SAMPLE_RATE = 22050
TABLE = 2**16  # samples, 3 s; the noise is a loop of them
RESOLUTIONS = ((128, 32), (256, 64), (512, 128))  # (n_fft, hop): 6 to 23 ms
WIDTH = 200.0  # Hz on either side over which power is averaged: about as wide as a harmonic
ROUNDS = 60
EXPONENT = 0.8  # how far a round goes towards even amplitudes
STEPS = 24.0  # of the file's int8, a standard deviation
FILE = Path(__file__).with_name("even_noise.npy")


@lru_cache(maxsize=1)
def even_noise_table() -> mx.array:
    """One loop of the noise, (65536,), unit variance: from a file, since `make_even_noise` takes a while."""
    return mx.array(np.load(FILE).astype(np.float32) / STEPS)


def make_even_noise() -> np.ndarray:
    """One loop of the noise as the file holds it, int8 (65536,).

    White noise whose short-time spectra are divided, again and again and at each resolution in turn, by a power of
    their own power averaged over neighboring frequencies.
    """
    x = np.random.default_rng(0).standard_normal(TABLE).astype(np.float32)
    for number in range(ROUNDS):
        x = _evened(x, *RESOLUTIONS[number % len(RESOLUTIONS)])
    return np.clip(np.rint(x * STEPS), -127, 127).astype(np.int8)


def _evened(x: np.ndarray, n_fft: int, hop: int) -> np.ndarray:
    """One round at one resolution on a loop of samples (S,) -> (S,), unit variance."""
    window = np.hanning(n_fft + 1)[:-1].astype(np.float32)
    blocks, overlap = x.reshape(-1, hop), n_fft // hop
    frames = np.concatenate([np.roll(blocks, -k, axis=0) for k in range(overlap)], axis=1)  # (T, n_fft)
    spectrum = np.fft.rfft(frames * window)  # (T, n_fft / 2 + 1)
    power = _averaged(spectrum.real**2 + spectrum.imag**2, round(WIDTH * n_fft / SAMPLE_RATE))
    even = np.fft.irfft(spectrum * (power / power.mean()) ** -EXPONENT, n_fft) * window  # (T, n_fft)
    x = np.zeros_like(blocks)
    for k in range(overlap):
        x += np.roll(even[:, k * hop : (k + 1) * hop], k, axis=0)
    x = x.reshape(-1)
    return (x / x.std()).astype(np.float32)


def _averaged(power: np.ndarray, reach: int) -> np.ndarray:
    """Mean over `reach` bins on either side with a Hann window's weights: (T, F) -> (T, F)."""
    weights = np.hanning(2 * reach + 3)[1:-1]
    padded = np.pad(power, ((0, 0), (reach, reach)), mode="reflect")
    shifted = (padded[:, i : i + power.shape[1]] * weight for i, weight in enumerate(weights / weights.sum()))
    return np.asarray(sum(shifted))


def even_noise_numpy(key: mx.array, batch: int, samples: int) -> np.ndarray:
    """The same noise as `even_noise`, for a kernel: slices of the loop, where a gather costs more than the vocoder."""
    starts = np.array(mx.random.randint(0, TABLE, (batch, 1), key=key))[:, 0]
    table = np.array(even_noise_table(), copy=False)
    return np.stack([np.resize(np.roll(table, -start), samples) for start in starts])


def even_noise(key: mx.array, batch: int, samples: int) -> mx.array:
    """Even noise of unit variance (batch, samples), every row from another place of the loop."""
    start = mx.random.randint(0, TABLE, (batch, 1), key=key)
    return even_noise_table()[(start + mx.arange(samples)) % TABLE]
