"""Whose voice it is: embeddings by Resemblyzer and their cosine to the center of a speaker's recordings.

L. Wan, Q. Wang, A. Papir and I. Lopez Moreno 2018, "Generalized end-to-end loss for speaker verification"; the package
resemblyzer holds the network.
"""

import warnings
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from bitjets_mlx.evaluation.packages import optional
from bitjets_mlx.evaluation.waveforms import at_16_khz

NEEDS = ("torch", "librosa", "resemblyzer")
SIZE = 256


def embed(waveform: np.ndarray, sample_rate: int) -> np.ndarray:
    """The embedding (256,), of length 1, of a waveform (S,); NaN where it holds no speech.

    BitjetsError where the packages are not installed.
    """
    preprocess, encoder = _encoder()
    nothing = np.full(SIZE, np.nan, np.float32)
    if not len(waveform) or not np.any(waveform):
        return nothing
    speech = preprocess(at_16_khz(waveform, sample_rate))
    return encoder.embed_utterance(speech) if len(speech) else nothing


def similarities(
    embeddings: Sequence[np.ndarray], texts: Sequence[str], recordings: Sequence[np.ndarray], read: Sequence[str]
) -> np.ndarray:
    """Cosine (N,) of embeddings (N, 256) to the centroid of the recordings (M, 256), NaN where there is none.

    The recordings of the sentence itself (`texts` against `read`) are left out: a recording must not be compared with
    itself, and synthesis is compared with the same recordings as it.
    """
    found = np.full(len(embeddings), np.nan)
    for index, (embedding, text) in enumerate(zip(embeddings, texts, strict=True)):
        others = [one for one, own in zip(recordings, read, strict=True) if own != text and np.isfinite(one).all()]
        if others:
            center = np.mean(others, axis=0)
            found[index] = float(embedding @ center / np.linalg.norm(center))
    return found


@lru_cache(maxsize=1)
def _encoder() -> tuple[Any, Any]:
    """What cuts silences out, and the network, one per process."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of packages that it uses in ways that will be retired
        package = optional("resemblyzer")
        return package.preprocess_wav, package.VoiceEncoder("cpu", verbose=False)
