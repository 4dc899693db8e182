"""Written text to words that are spoken, and punctuation: the rules of this package, one table after another."""

import re
import warnings
from collections.abc import Iterable, Iterator
from re import Match
from typing import NamedTuple

from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.text import (
    abbreviations,
    dates,
    figures,
    letters,
    markup,
    maths,
    models,
    quantities,
    roman,
    signs,
    web,
    weekdays,
)
from bitjets_mlx.text.characters import describe, spell_in_ascii
from bitjets_mlx.text.provenance import Place, Rules, Span, Traced
from bitjets_mlx.text.sentences import Sentence, split_sentences
from bitjets_mlx.text.symbols import PHONEMES

# Stands for a word or {phonemes} that no rule may touch; the n-th of them is chr(_FIRST + n).
_FIRST, _LAST = 0xE000, 0xF8FF
PLACEHOLDER = re.compile(f"[{chr(_FIRST)}-{chr(_LAST)}]")
_UNSPEAKABLE = re.compile(rf"[^A-Za-z\s'\"(),.?!;:<>\[\]—–\-{chr(_FIRST)}-{chr(_LAST)}]")  # when all rules are done
_IN_BRACES = re.compile(r"\{\s*([^{}]*?)\s*\}")
_CHUNK = re.compile(r"[^\s\"(){}\[\],;:!?]+")
_WORD = re.compile(rf"[A-Za-z{chr(_FIRST)}-{chr(_LAST)}][^\s]*")
_PHONEMES = frozenset(PHONEMES)
_ALMOST_PHONEMES = _PHONEMES | {phoneme.rstrip("012") for phoneme in PHONEMES}

LONGEST = 500  # characters that the rules see at once: they look far around, and need not look farther


_SPACES = Rules(((r"[^\S\n]{2,}", lambda m: " "), (r"[^\S\n]*\n[^\S\n]*\n\s*", lambda m: "\n\n")), needs=r"\s\s")
_DIGIT, _PERIOD = r"\d", r"\."
_RULES = (  # in this order
    Rules(signs.REPEATED, r"([^\w\s])\s?\1|\d{37}"),
    Rules(letters.ARTICLES),
    Rules(web.RULES, r"[.@#/_:]"),
    Rules(abbreviations.FIRST, r"[^\w\s,;]|[A-Z]{2}|[A-Z]h?D|W\d"),
    Rules(models.GRADES, r"[A-DFO]-|Rh[+-]"),
    Rules(models.NOTES, r"\b[A-G]b |[O0]-[O0]"),
    Rules(maths.LETTERS, r"[*^=+]"),
    Rules(figures.LETTER_RANGES, r"[A-Za-z][–-][A-Za-z]"),
    Rules(figures.NAME_RANGES, r"[a-z.\d] ?[-–—]"),
    Rules(weekdays.RULES, r"\b(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)(?:s|r|rs)?\b"),
    Rules(figures.SEPARATORS, r"\d[' ,.x]\w|\d/-|\d / "),
    Rules(figures.POSSESSIVES, r"\ds|\d's"),
    Rules(models.RULES, _DIGIT),
    Rules(figures.RANGES, r"[-–—~].?['$£€.]?\d|\d-[a-z]|\d+s [-–—]"),
    Rules(maths.RULES, r"[*^!=]|\d/|[A-Za-z]\d|\d[a-z]|\d[+-]"),
    Rules(dates.RULES, _DIGIT),
    Rules(figures.FIGURES, r"[A-Z]\.\d|\ds|\d-\d/|\d s"),
    Rules(quantities.MEASURES, _DIGIT),
    Rules(
        abbreviations.RULES,
        r"\.|[A-Z][a-z]?\b|[A-Z]\w+|\b(?:lbs|ft|oz|hrs|mins|secs|yrs|vs|etc|approx|govt|dept"
        r"|vol|fig|pp)\b",
    ),
    Rules(roman.RULES, r"\b[IVXLCDM]+\b|\b[ivxl]+\b|[IVXL](?:st|nd|rd|th)"),
    Rules(quantities.NUMBERS, _DIGIT),
    Rules(signs.SIGNS_AS_WORDS, r"[^\w\s,.;:?!'\"-]"),
)
_MARK_RULES = Rules(signs.MARKS)


class Protected:
    """Words of the user's lexicon and {phonemes}, each hidden behind one private character."""

    def __init__(self) -> None:
        self.words: list[str] = []

    def hide(self, word: str) -> str:
        if len(self.words) > _LAST - _FIRST:
            raise BitjetsError("too many {phonemes} and lexicon words in one text; split it into smaller ones")
        self.words.append(word)
        return chr(_FIRST + len(self.words) - 1)

    def word(self, placeholder: str) -> str:
        return self.words[ord(placeholder) - _FIRST]

    def reveal(self, text: str) -> str:
        return PLACEHOLDER.sub(lambda m: self.word(m[0]), text)


class Reading(NamedTuple):
    """What is spoken of a stretch of text: its words, still `protected`, and where each character comes from."""

    words: str
    places: list[Place]
    protected: Protected

    def span(self, token: str, start: int) -> Span:
        """The span of the word `token` that begins at `start` in `words`."""
        places = [
            place
            for letter, place in zip(token, self.places[start : start + len(token)], strict=True)
            if letter.isalpha() or PLACEHOLDER.match(letter)
        ]
        word = self.protected.reveal(token).rstrip('.,;:!?"')
        return Span(word, min(p[0] for p in places), max(p[1] for p in places))


class Normalized(str):
    """The words to be spoken; `spans` says of each of them where in the original it was read."""

    spans: tuple[Span, ...]

    def __new__(cls, text: str, spans: Iterable[Span] = ()) -> "Normalized":
        normalized = super().__new__(cls, text)
        normalized.spans = tuple(spans)
        return normalized


def _inline_phonemes(match: Match[str], protected: Protected) -> str:
    """{HH AH0 L OW1} is hidden from all rules; braces around anything else are marks like parentheses."""
    symbols = match[1].split()
    wrong = [symbol for symbol in symbols if symbol not in _PHONEMES]
    if symbols and not wrong:
        return f" {protected.hide('{' + match[1] + '}')} "
    if len(symbols) > 1 and all(symbol in _ALMOST_PHONEMES for symbol in symbols):
        raise BitjetsError(
            f"unknown symbol {wrong[0]!r}; use ARPAbet phonemes with stress on the vowels, such as HH AH0 L OW1"
        )
    return match[0]


def _hide_lexicon_words(text: Traced, lexicon: Iterable[str], protected: Protected) -> None:
    keys = frozenset(lexicon)

    def chunk(match: Match[str]) -> str:
        for candidate in (match[0], match[0].rstrip(".'-"), re.sub(r"'s?\W*$", "", match[0])):
            if candidate in keys or candidate.lower() in keys:
                return protected.hide(candidate) + match[0][len(candidate) :]
        return re.sub(r"[^\W\d_]+(?:'[^\W\d_]+)*", part, match[0])

    def part(match: Match[str]) -> str:
        known = match[0] in keys or match[0].lower() in keys
        return protected.hide(match[0]) if known else match[0]

    if keys:
        text.text = text.text.replace("’", "'")
        text.sub(_CHUNK, chunk)


def _read(original: str, start: int, lexicon: Iterable[str], emoji: bool) -> tuple[Reading, list[str]]:
    """One stretch of text through all rules, and the characters that were left out; `start` is its place."""
    protected = Protected()
    text = Traced(markup.without_invisible(original), [(start + i, start + i + 1) for i in range(len(original))])
    left_out = PLACEHOLDER.findall(text.text)
    text.sub(PLACEHOLDER, lambda m: " ")
    text.sub(_IN_BRACES, lambda m: _inline_phonemes(m, protected))
    text.apply(markup.HTML, markup=True)
    text.apply(markup.MARKDOWN, markup=True)
    text.apply(_SPACES)
    _hide_lexicon_words(text, lexicon, protected)
    left_out += spell_in_ascii(text, emoji)
    for rules in _RULES:
        text.apply(rules)
    letters.read_capitals(text)
    left_out += _UNSPEAKABLE.findall(text.text)
    text.sub(_UNSPEAKABLE, lambda m: " ")
    text.apply(_MARK_RULES)
    return Reading(text.text, text.places, protected), left_out


def _stretches(text: str) -> Iterator[Sentence]:
    """`text` in stretches of whole sentences that the rules can see at once."""
    if len(text) <= LONGEST:
        yield Sentence(text, 0)
        return
    held: Sentence | None = None
    for sentence in split_sentences(text, LONGEST):
        if held is not None and sentence.start + len(sentence) - held.start > LONGEST:
            yield held
            held = None
        start = sentence.start if held is None else held.start
        held = Sentence(text[start : sentence.start + len(sentence)], start)
    if held is not None:
        yield held


def read(text: str, lexicon: Iterable[str] = (), emoji: bool = False) -> list[Reading]:
    """`text` through all rules, stretch by stretch. Raises BitjetsError where nothing can be spoken."""
    readings: list[Reading] = []
    left_out: list[str] = []
    end = 0
    for stretch in _stretches(text):
        reading, unspeakable = _read(stretch, stretch.start, lexicon, emoji)
        left_out += unspeakable
        if not _WORD.search(reading.words):
            continue
        if readings and re.search(r"\n\s*\n", text[end : stretch.start]) and readings[-1].words[-1].isalpha():
            words, places, protected = readings[-1]
            readings[-1] = Reading(words + ".", [*places, places[-1]], protected)
        readings.append(reading)
        end = stretch.start + len(stretch)
    if left_out:
        warnings.warn(f"left out what cannot be spoken: {describe(list(dict.fromkeys(left_out)))}", stacklevel=3)
    if not readings:
        raise BitjetsError("there is nothing to speak in the text; give it some words or numbers")
    return readings


def normalize(text: str, emoji: bool = False) -> Normalized:
    """The words to be spoken, and their punctuation: "Dr. Lee paid $5." -> "Doctor Lee paid five dollars."

    A capital letter that stands alone ("F B I") is the letter's name; {HH AH0 L OW1} stays as it is. The result is a
    string whose `spans` give, for every word of it, the place in `text` that it was read from: `Span(word, start,
    end)`, in order. With `emoji`, pictures are spoken by their names ("grinning face"). Warns of characters that
    cannot be spoken and leaves them out. Raises BitjetsError where nothing is left to speak.
    """
    readings = read(text, emoji=emoji)
    words = " ".join(reading.protected.reveal(reading.words) for reading in readings)
    return Normalized(words, (r.span(m[0], m.start()) for r in readings for m in _WORD.finditer(r.words)))
