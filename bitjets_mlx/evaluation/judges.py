"""All judges of a waveform, and a summary over many: the upper part of `evaluate`'s table.

They need no reference waveform: predicted opinion scores, words understood, whose voice it is, how sentences end. A
judge whose package is not installed is left out; `judge_table` prints how to install it.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from bitjets_mlx.audio.files import resample
from bitjets_mlx.audio.pitch import PitchConfig
from bitjets_mlx.evaluation import distill_mos, dnsmos, speaker_similarity
from bitjets_mlx.evaluation.intelligibility import (
    Errors,
    bootstrap_interval,
    character_errors,
    error_rate,
    recognize,
    recognizer,
    word_errors,
)
from bitjets_mlx.evaluation.intonation import final_slope, sentence_kind
from bitjets_mlx.evaluation.packages import lacking
from bitjets_mlx.evaluation.speaker_similarity import similarities

Summary = dict[str, float | int]
RECORDINGS, COPIES, SYNTHESIS = "recordings", "copy synthesis", "synthesis"


@dataclass(frozen=True)
class Judged:
    """The judges' scores of one waveform. None: the package is not installed; NaN: nothing to be judged."""

    text: str  # of the sentence: takes of one have the same
    distill_mos: float | None
    p808: float | None
    transcript: str | None
    embedding: np.ndarray | None  # (256,)
    final_slope: float  # semitones per second


def judge(waveform: np.ndarray, text: str, sample_rate: int = 22050) -> Judged:
    """Every judge that is installed, of samples (S,) that speak `text`."""
    return Judged(
        text,
        None if lacking(*distill_mos.NEEDS) else float(distill_mos.score([waveform], sample_rate)[0]),
        None if lacking(*dnsmos.NEEDS) else float(dnsmos.score([waveform], sample_rate)[0]),
        recognize(waveform, sample_rate) if recognizer() else None,
        None if lacking(*speaker_similarity.NEEDS) else speaker_similarity.embed(waveform, sample_rate),
        final_slope(resample(waveform, sample_rate, PitchConfig().sample_rate)),
    )


def plain(judged: Judged) -> dict[str, float | str | None]:
    """For JSON: all but the text, which is known, and the embedding."""
    found = asdict(judged)
    return {name: value for name, value in found.items() if name not in ("text", "embedding")}


def summarize(judged: Sequence[Judged], recordings: Sequence[Judged] = ()) -> Summary:
    """Means over sentences; several takes of a sentence count once, by their mean.

    `recordings`: of the speaker, to whom the voice is compared; of the same sentences, to which words and rises are.
    """
    row: Summary = {"sentences": len({one.text for one in judged})}
    for name in ("distill_mos", "p808"):
        row |= _mean(name, judged, [getattr(one, name) for one in judged])
    return row | _words(judged, recordings) | _similarity(judged, recordings) | _ends(judged, recordings)


def interval(values: np.ndarray) -> float:
    """Half of the 95 % interval of the mean of values (N,), NaN for fewer than two."""
    return 1.96 * float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else float("nan")


def _by_sentence(judged: Sequence[Judged], values: Sequence[float | None]) -> np.ndarray:
    """The mean of each sentence's known values, (K,), in the order of sentences; those without any are left out."""
    found: dict[str, list[float]] = {}
    for one, value in zip(judged, values, strict=True):
        if value is not None and math.isfinite(value):
            found.setdefault(one.text, []).append(value)
    return np.array([np.mean(known) for known in found.values()])


def _mean(name: str, judged: Sequence[Judged], values: Sequence[float | None]) -> Summary:
    known = _by_sentence(judged, values)
    return {name: float(known.mean()), f"{name}_interval": interval(known)} if len(known) else {}


def _words(judged: Sequence[Judged], recordings: Sequence[Judged]) -> Summary:
    """Word and character errors; of the recordings' own sentences also how many more than theirs, in points, paired."""
    if any(one.transcript is None for one in (*judged, *recordings)):
        return {}
    errors, lengths = _errors(judged, word_errors)
    row: Summary = {
        "word_errors_percent": 100.0 * error_rate(errors, lengths),
        "character_errors_percent": 100.0 * error_rate(*_errors(judged, character_errors)),
    }
    texts = list(dict.fromkeys(one.text for one in judged))
    if judged is recordings or set(texts) != {one.text for one in recordings}:
        return row
    added = errors - _errors([one for text in texts for one in recordings if one.text == text], word_errors)[0]
    low, high = bootstrap_interval(added, lengths)
    names = ("added_points", "added_points_low", "added_points_high")
    return row | dict(zip(names, (100.0 * rate for rate in (error_rate(added, lengths), low, high)), strict=True))


def _errors(judged: Sequence[Judged], measure: Callable[[str, str], Errors]) -> tuple[np.ndarray, np.ndarray]:
    """Errors and lengths of the sentences, (N,) each."""
    found = [measure(one.text, one.transcript or "") for one in judged]
    return _by_sentence(judged, [one.errors for one in found]), _by_sentence(judged, [one.length for one in found])


def _similarity(judged: Sequence[Judged], recordings: Sequence[Judged]) -> Summary:
    embeddings = [one.embedding for one in judged if one.embedding is not None]
    known = [one.embedding for one in recordings if one.embedding is not None]
    if not known or len(embeddings) < len(judged):
        return {}
    texts, read = [one.text for one in judged], [one.text for one in recordings]
    return _mean("similarity", judged, similarities(embeddings, texts, known, read).tolist())


def _ends(judged: Sequence[Judged], recordings: Sequence[Judged]) -> Summary:
    """Mean slopes at the ends of sentences, how many rise, and how many do where the recording's does."""
    row: Summary = {}
    for kind, name in (("yes/no question", "yes_no"), ("other question", "other_question"), ("statement", "statement")):
        slopes = _slopes(one for one in judged if sentence_kind(one.text) == kind)
        if len(slopes):
            row |= {f"{name}_ends": len(slopes), f"{name}_slope": float(slopes.mean())}
            row |= {f"{name}_rising": int((slopes > 0.0).sum())}
    asked = {one.text for one in recordings if sentence_kind(one.text) == "yes/no question"}
    rising = {text for text in asked if (_slopes(one for one in recordings if one.text == text) > 0.0).any()}
    if judged is not recordings and rising:
        followed = _slopes(one for one in judged if one.text in rising)
        row |= {"yes_no_asked": len(rising), "yes_no_followed": int((followed > 0.0).sum())}
    return row


def _slopes(judged: Iterable[Judged]) -> np.ndarray:
    found = list(judged)
    return _by_sentence(found, [one.final_slope for one in found])
