"""Phonemes that remember which word of the text each belongs to."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from bitjets_mlx.text.provenance import Span
from bitjets_mlx.text.symbols import GAP, PUNCTUATION


@dataclass(frozen=True)
class Manner:
    """How SSML has a stretch said: the voice by name, factors on speed and loudness, semitones up.

    hertz: the mean pitch asked for instead, or with `hertz_is_shift` how far from the speaker's own. pause: seconds
    of silence behind it, None as its punctuation asks for.
    """

    speaker: str | None = None
    speed: float = 1.0
    pitch: float = 0.0
    energy: float = 1.0
    hertz: float | None = None
    hertz_is_shift: bool = False
    pause: float | None = None


class SpokenWord(NamedTuple):
    """A spoken word: phonemes [first, last) of an utterance, read from the text's characters [start, end)."""

    word: str
    start: int
    end: int
    first: int
    last: int


class Phonemes(list[str]):
    """The phonemes of an utterance, a list as any other; `words` says in order which of them make which word.

    `manner`: how SSML has it said, if it does.
    """

    words: tuple[SpokenWord, ...]
    manner: Manner | None

    def __init__(
        self, phonemes: Iterable[str] = (), words: Iterable[SpokenWord] = (), manner: Manner | None = None
    ) -> None:
        super().__init__(phonemes)
        self.words, self.manner = tuple(words), manner

    @classmethod
    def joined(cls, spoken: Iterable[tuple[tuple[str, ...], Span]]) -> "Phonemes":
        """What `phonemize_words` gives, one word after another, and the gap before the first."""
        phonemes, words = [GAP], []
        for sounds, span in spoken:
            first, marks = len(phonemes), (GAP, *PUNCTUATION)
            phonemes += sounds
            words.append(SpokenWord(*span, first, first + sum(sound not in marks for sound in sounds)))
        return cls(phonemes, words)

    def moved(self, characters: int) -> "Phonemes":
        """The same of a text that begins `characters` earlier."""
        words = (w._replace(start=w.start + characters, end=w.end + characters) for w in self.words)
        return Phonemes(self, words, self.manner)

    def placed(self, places: Sequence[tuple[int, int]], manner: Manner) -> "Phonemes":
        """The same, said in a `manner`, of a text each of whose characters stands at one of `places` in another."""
        words = (w._replace(start=places[w.start][0], end=places[w.end - 1][1]) for w in self.words)
        return Phonemes(self, words, manner)

    def only(self, keep: Callable[[str], bool]) -> "Phonemes":
        """Without the phonemes that are not kept; a word that loses all of them is gone."""
        kept = [keep(phoneme) for phoneme in self]
        before = [0]  # phonemes kept before each place
        for known in kept:
            before.append(before[-1] + known)
        words = (w._replace(first=before[w.first], last=before[w.last]) for w in self.words)
        left = (phoneme for phoneme, known in zip(self, kept, strict=True) if known)
        return Phonemes(left, (word for word in words if word.last > word.first), self.manner)
