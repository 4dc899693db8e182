"""Text that is still being written, such as a language model's answer, cut into utterances as soon as they are whole.

A sentence is whole when the first word after it is whole too: only that tells "Dr. Lee" from the end of a sentence.
The rule for clauses: only the very first utterance may end at one, because it is what a listener waits for; behind it
there is sound enough to wait for whole sentences, whose intonation is better. Such a clause has at least
`LEAST_CLAUSE` characters, ends at a comma, semicolon or colon between words, not figures ("May 5, 2021" stays whole),
and lies in no quotes or brackets.
"""

import re
from collections.abc import Callable, Iterable, Iterator

from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.text import split_sentences
from bitjets_mlx.text.characters import has_speech
from bitjets_mlx.text.sentences import Sentence
from bitjets_mlx.text.spoken import Phonemes
from bitjets_mlx.text.ssml import SsmlSentence, is_ssml, ssml_sentences

LEAST_CLAUSE = 25  # characters, one and a half seconds: shorter ones sound clipped
_CLAUSE = re.compile(r"[^\W\d_][,;:]\s+(?=[^\W\d_]+\s)")
_WHOLE_WORD = re.compile(r"\w\S*\s")
_OPEN = re.compile(r"[\"“(\[{<*]")


def sentences_of(text: str, longest: int) -> Iterator[Sentence]:
    """The sentences of a text that is there as a whole, SSML or plain."""
    return ssml_sentences(text, longest) if is_ssml(text) else split_sentences(text, longest)


class Listener:
    """Takes text piece by piece and gives back what can be spoken, each with its place in the whole."""

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._held, self._start = "", 0  # what was not given back yet, and its place in the whole
        self._first = True

    def heard(self, piece: str) -> list[Sentence]:
        """What became whole with `piece`: more follows behind each."""
        if not isinstance(piece, str):
            raise BitjetsError(f"a piece of the text is {piece!r:.60}: give pieces that are str.")
        self._held += piece
        if not re.search(r"\s", piece):
            return []
        whole = [*self._clause()] if self._first else []
        pieces = list(split_sentences(self._held, self._longest))
        done = max(0, len(pieces) - 1)
        while done and not _WHOLE_WORD.search(self._held, pieces[done].start):
            done -= 1
        whole += [Sentence(piece, piece.start + self._start) for piece in pieces[:done]]
        self._drop(pieces[done].start if done else 0)
        self._first = self._first and not whole
        return whole

    def ended(self) -> list[Sentence]:
        """The rest."""
        rest = [Sentence(s, s.start + self._start) for s in split_sentences(self._held, self._longest)]
        self._drop(len(self._held))
        return rest

    def _clause(self) -> Iterator[Sentence]:
        """The first clause, if it can be spoken by itself."""
        for match in _CLAUSE.finditer(self._held):
            clause = self._held[: match.end()].rstrip()
            if len(clause.lstrip()) >= LEAST_CLAUSE and not _OPEN.search(clause):
                yield Sentence(clause.lstrip(), len(clause) - len(clause.lstrip()) + self._start)
                self._drop(match.end())
                return

    def _drop(self, characters: int) -> None:
        self._held, self._start = self._held[characters:], self._start + characters


class Utterances:
    """Sentences to the symbols of a voice, one by one; what has nothing speakable is left out if another has."""

    def __init__(self, symbols: Callable[[str], Phonemes]) -> None:
        self._symbols = symbols
        self._failure: BitjetsError | None = None
        self._spoken = False

    def of(self, sentences: Iterable[Sentence], ended: bool) -> Iterator[tuple[Phonemes, bool]]:
        """The symbols of each sentence, and whether it is the last: one of these, where the text has `ended`.

        BitjetsError where it has ended and nothing can be spoken, or a {phoneme} is wrong.
        """
        held: Phonemes | None = None
        for sentence in sentences:
            try:
                phonemes = self._symbols(sentence)
            except BitjetsError as error:
                if has_speech(sentence):  # a wrong {phoneme}: not to be ignored silently
                    raise
                self._failure = self._failure or error
                continue
            self._spoken = True
            phonemes = sentence.said(phonemes) if isinstance(sentence, SsmlSentence) else phonemes.moved(sentence.start)
            if not ended:
                yield phonemes, False
                continue
            if held is not None:
                yield held, False
            held = phonemes
        if held is not None:
            yield held, True
        if ended and not self._spoken:
            raise self._failure or BitjetsError("there is no text to speak: give some words.")
