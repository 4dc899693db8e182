"""Phonemes that remember which word of the text each belongs to."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from bitjets_mlx.text.provenance import Span
from bitjets_mlx.text.symbols import GAP, PUNCTUATION


class SpokenWord(NamedTuple):
    """A spoken word: phonemes [first, last) of an utterance, read from the text's characters [start, end)."""

    word: str
    start: int
    end: int
    first: int
    last: int


class Phonemes(list[str]):
    """The phonemes of an utterance, a list as any other; `words` says in order which of them make which word."""

    words: tuple[SpokenWord, ...]

    def __init__(self, phonemes: Iterable[str] = (), words: Iterable[SpokenWord] = ()) -> None:
        super().__init__(phonemes)
        self.words = tuple(words)

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
        return Phonemes(self, words)

    def only(self, keep: Callable[[str], bool]) -> "Phonemes":
        """Without the phonemes that are not kept; a word that loses all of them is gone."""
        kept = [keep(phoneme) for phoneme in self]
        before = [0]  # phonemes kept before each place
        for known in kept:
            before.append(before[-1] + known)
        words = (w._replace(first=before[w.first], last=before[w.last]) for w in self.words)
        left = (phoneme for phoneme, known in zip(self, kept, strict=True) if known)
        return Phonemes(left, (word for word in words if word.last > word.first))
