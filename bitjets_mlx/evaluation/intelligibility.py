"""Word error rate, judged by pocketsphinx with its stock US English model, dictionary and language model."""

import re
import warnings
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from bitjets_mlx.audio.files import resample
from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.evaluation.packages import optional
from bitjets_mlx.text import normalize

RATE = 16000


class WordErrors(NamedTuple):
    """Substitutions + deletions + insertions against so many words of the reference."""

    errors: int
    words: int


def words(text: str) -> list[str]:
    """What is compared: lower-case words, numbers and abbreviations written out, no punctuation."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of characters that cannot be spoken: they are not compared either
            text = normalize(text)
    except BitjetsError:  # nothing speakable
        return []
    found = re.findall(r"[a-z']+", text.lower())
    return [word for word in (word.strip("'") for word in found) if word]


def word_errors(reference: str, hypothesis: str) -> WordErrors:
    """The Levenshtein distance in words."""
    expected, heard = words(reference), words(hypothesis)
    row = list(range(len(heard) + 1))
    for i, word in enumerate(expected, 1):
        diagonal, row[0] = row[0], i
        for j, other in enumerate(heard, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (word != other))
    return WordErrors(row[-1], len(expected))


def recognize(audio: np.ndarray, sample_rate: int = 22050) -> str:
    """What pocketsphinx hears in samples (S,); "" for nothing."""
    samples = resample(audio, sample_rate, RATE)
    pcm = np.clip(np.round(samples * 32767.0), -32768, 32767).astype("<i2").tobytes()
    decoder = _decoder()
    decoder.reinit_feat()  # otherwise a little carries over from one utterance to the next
    decoder.start_utt()
    decoder.process_raw(pcm, full_utt=True)  # cepstral means of the whole utterance, not of what came before
    decoder.end_utt()
    best = decoder.hyp()
    return best.hypstr if best else ""


@lru_cache(maxsize=1)
def _decoder() -> Any:
    """One decoder a process: it takes 0.5 s and 100 MB to load."""
    return optional("pocketsphinx").Decoder(loglevel="FATAL")


def word_error_rate(errors: np.ndarray, lengths: np.ndarray) -> float:
    """Errors (N,) of N sentences over their words (N,)."""
    return float(np.sum(errors)) / max(int(np.sum(lengths)), 1)


def bootstrap_interval(
    errors: np.ndarray, lengths: np.ndarray, samples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """95 % interval of errors (N,) / words (N,), sentences being drawn with replacement.

    For a paired comparison of two systems, give the differences of their errors (M. Bisani and H. Ney 2004,
    "Bootstrap estimates for confidence intervals in ASR performance evaluation").
    """
    draw = np.random.default_rng(seed).integers(0, len(errors), (samples, len(errors)))
    rates = errors[draw].sum(axis=1) / np.maximum(lengths[draw].sum(axis=1), 1)
    low, high = np.percentile(rates, [2.5, 97.5])
    return float(low), float(high)
