"""When each word and phoneme is heard: from the durations that the samples were made with, not by listening."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bitjets_mlx.audio.joins import LEAD_FRAMES
from bitjets_mlx.config import HOP
from bitjets_mlx.text.spoken import Phonemes, SpokenWord
from bitjets_mlx.text.ssml import is_ssml, ssml_marks
from bitjets_mlx.voice.prediction import Prediction

MOST_MARKS = 40  # characters that are taken to belong to a sentence before its first word, and after its last
_MARKS = re.compile(r"(?:[^\w\s<>{}&]|</[\w-]+>)*")
_MARKS_BEFORE = re.compile(_MARKS.pattern + r"\Z")


@dataclass(frozen=True)
class PhonemeTiming:
    """One symbol that the voice read, gaps and punctuation too, over samples [start, end)."""

    symbol: str
    start: int
    end: int


@dataclass(frozen=True)
class WordTiming:
    """A word of the text, as written in its characters [text_start, text_end), over samples [start, end).

    `spoken` are the words that it was read as: ("five", "dollars") for "$5".
    """

    text: str
    text_start: int
    text_end: int
    start: int
    end: int
    spoken: tuple[str, ...]
    phonemes: tuple[PhonemeTiming, ...]


@dataclass(frozen=True)
class SentenceTiming:
    """What was spoken as one utterance, with its punctuation; samples [start, end) are those of its words.

    `phonemes` are all symbols that were read for it, the gaps at both ends too.
    """

    text: str
    text_start: int
    text_end: int
    start: int
    end: int
    words: tuple[WordTiming, ...]
    phonemes: tuple[PhonemeTiming, ...]


@dataclass(frozen=True)
class MarkTiming:
    """A <mark> of SSML: the sample where the first word behind it begins, or speech ends."""

    name: str
    sample: int


@dataclass(frozen=True)
class Timing:
    """Times of running speech of `samples` samples, all counted in samples from its beginning."""

    sample_rate: int
    samples: int
    sentences: tuple[SentenceTiming, ...]
    marks: tuple[MarkTiming, ...] = ()

    @property
    def words(self) -> tuple[WordTiming, ...]:
        """Those of all sentences."""
        return tuple(word for sentence in self.sentences for word in sentence.words)

    @property
    def phonemes(self) -> tuple[PhonemeTiming, ...]:
        """Those of all sentences; the pauses between sentences belong to none."""
        return tuple(phoneme for sentence in self.sentences for phoneme in sentence.phonemes)


@dataclass(frozen=True)
class TimedSpeech:
    """Samples, float32 (S,), and when each word of them is heard."""

    samples: np.ndarray
    timing: Timing


class Timeline:
    """Takes utterances as they are spoken, one after another, and knows their times."""

    def __init__(self, text: str, sample_rate: int) -> None:
        self._text, self._sample_rate = text, sample_rate
        self._sentences: list[SentenceTiming] = []
        self._samples = 0

    def add(self, symbols: Sequence[str], prediction: Prediction, samples: int) -> None:
        """One utterance of `Voice.utterances`, which came out as so many samples."""
        ends = np.cumsum(prediction.durations) * HOP + self._samples + LEAD_FRAMES * HOP  # (N,)
        starts = ends - prediction.durations * HOP
        times = tuple(map(PhonemeTiming, symbols, starts.tolist(), ends.tolist()))
        self._samples += samples
        spoken = symbols.words if isinstance(symbols, Phonemes) else ()
        words = tuple(self._word(group, times) for group in _as_written(spoken))
        if words:
            start, end = self._with_marks(words[0].text_start, words[-1].text_end)
            heard = (words[0].start, words[-1].end)
            self._sentences.append(SentenceTiming(self._text[start:end], start, end, *heard, words, times))

    def finished(self) -> Timing:
        """The times of all that was added."""
        timing = Timing(self._sample_rate, self._samples, tuple(self._sentences))
        return replace(timing, marks=tuple(self._marks(timing))) if is_ssml(self._text) else timing

    def _marks(self, timing: Timing) -> Iterator[MarkTiming]:
        for mark in ssml_marks(self._text):
            behind = (word.start for word in timing.words if word.text_start >= mark.place)
            yield MarkTiming(mark.name, next(behind, timing.samples))

    def _with_marks(self, start: int, end: int) -> tuple[int, int]:
        """A place and the quotes, brackets and punctuation that touch it."""
        before = _MARKS_BEFORE.search(self._text, max(0, start - MOST_MARKS), start)
        after = _MARKS.match(self._text, end, end + MOST_MARKS)
        return before.start() if before else start, after.end() if after else end

    def _word(self, group: Sequence[SpokenWord], times: tuple[PhonemeTiming, ...]) -> WordTiming:
        text_start, text_end = min(word.start for word in group), max(word.end for word in group)
        phonemes = tuple(time for word in group for time in times[word.first : word.last])
        return WordTiming(
            self._text[text_start:text_end],
            text_start,
            text_end,
            phonemes[0].start,
            phonemes[-1].end,
            tuple(word.word for word in group),
            phonemes,
        )


def _as_written(spoken: Sequence[SpokenWord]) -> Iterator[list[SpokenWord]]:
    """Spoken words that were read from one place, or from places that overlap, are one word of the text."""
    group: list[SpokenWord] = []
    for word in spoken:
        if group and word.start >= max(other.end for other in group):
            yield group
            group = []
        group.append(word)
    if group:
        yield group
