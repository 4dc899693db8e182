"""Word and character errors, judged by a speech recognizer: Moonshine tiny-en, or pocketsphinx where it is missing.

Moonshine (N. Jeffries and others 2024, "Moonshine: speech recognition for live transcription and voice commands")
misses 2 to 4 % of the words of clean recordings, pocketsphinx with its stock US English model 20 to 30 %.
"""

import re
import warnings
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.evaluation.packages import lacking, optional
from bitjets_mlx.evaluation.waveforms import RATE, at_16_khz
from bitjets_mlx.text import normalize

MOONSHINE, POCKETSPHINX = "Moonshine tiny-en", "pocketsphinx"


class Errors(NamedTuple):
    """Substitutions + deletions + insertions against so many words, or characters, of the reference."""

    errors: int
    length: int


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


def word_errors(reference: str, hypothesis: str) -> Errors:
    """The Levenshtein distance in words."""
    expected = words(reference)
    return Errors(_distance(expected, words(hypothesis)), len(expected))


def character_errors(reference: str, hypothesis: str) -> Errors:
    """The Levenshtein distance in characters, spaces between words among them."""
    expected = " ".join(words(reference))
    return Errors(_distance(expected, " ".join(words(hypothesis))), len(expected))


def _distance(expected: Sequence[str], found: Sequence[str]) -> int:
    row = list(range(len(found) + 1))
    for i, one in enumerate(expected, 1):
        diagonal, row[0] = row[0], i
        for j, other in enumerate(found, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (one != other))
    return row[-1]


def recognizer() -> str:
    """The better one of those that are installed; "" for none."""
    if not lacking("moonshine_voice"):
        return MOONSHINE
    return POCKETSPHINX if not lacking("pocketsphinx") else ""


def recognize(waveform: np.ndarray, sample_rate: int = 22050) -> str:
    """What `recognizer()` hears in samples (S,); "" for nothing. BitjetsError where none is installed."""
    if not len(waveform):
        return ""
    samples = at_16_khz(waveform, sample_rate)
    return _moonshine_hears(samples) if recognizer() == MOONSHINE else _pocketsphinx_hears(samples)


def _moonshine_hears(samples: np.ndarray) -> str:
    lines = _moonshine().transcribe_without_streaming(samples, RATE).lines
    return " ".join(line.text.strip() for line in lines)


@lru_cache(maxsize=1)
def _moonshine() -> Any:
    """One transcriber per process, with the model that lies in the wheel."""
    package = optional("moonshine_voice")
    folder = package.get_model_path("tiny-en")
    if not folder.is_dir():  # wheels after 0.0.73 hold no model, and would fetch one
        raise BitjetsError("this moonshine-voice has no model inside: pip install moonshine-voice==0.0.73.")
    return optional("moonshine_voice.transcriber").Transcriber(str(folder), package.ModelArch.TINY)


def _pocketsphinx_hears(samples: np.ndarray) -> str:
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
    """One decoder per process: it takes 0.5 s and 100 MB to load."""
    return optional("pocketsphinx").Decoder(loglevel="FATAL")


def error_rate(errors: np.ndarray, lengths: np.ndarray) -> float:
    """Errors (N,) of N sentences over their words or characters (N,)."""
    return float(np.sum(errors)) / max(float(np.sum(lengths)), 1.0)


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
