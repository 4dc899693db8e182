"""The noise that the harmonic vocoder filters: a loop of white noise, cut at a random place.

A loop, because nobody hears three seconds of white noise repeat, and drawing it anew takes time. Evener noise (Pumplin
1985) is nearer to recordings by PESQ and mel distances, and sounds far worse: the table in docs/vocoder.md.
"""

from functools import lru_cache

import mlx.core as mx
import numpy as np

TABLE = 2**16  # samples, 3 s


@lru_cache(maxsize=1)
def white_noise_table() -> mx.array:
    """One loop of the noise, (65536,), unit variance."""
    return mx.array(np.random.default_rng(0).standard_normal(TABLE, dtype=np.float32))


def white_noise_numpy(key: mx.array, batch: int, samples: int) -> np.ndarray:
    """The same noise as `white_noise`, for a kernel: slices of the loop, where a gather costs more than the vocoder."""
    starts = np.array(mx.random.randint(0, TABLE, (batch, 1), key=key))[:, 0]
    table = np.array(white_noise_table(), copy=False)
    return np.stack([np.resize(np.roll(table, -start), samples) for start in starts])


def white_noise(key: mx.array, batch: int, samples: int) -> mx.array:
    """White noise of unit variance (batch, samples), every row from another place of the loop."""
    start = mx.random.randint(0, TABLE, (batch, 1), key=key)
    return white_noise_table()[(start + mx.arange(samples)) % TABLE]
