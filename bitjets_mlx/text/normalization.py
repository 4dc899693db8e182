"""Written text to words that are spoken, and punctuation: the rules of this package, one table after another."""

import re
import warnings
from collections.abc import Callable, Iterable
from re import Match, Pattern

from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.text import abbreviations, dates, letters, quantities, roman, web
from bitjets_mlx.text.characters import clean, describe
from bitjets_mlx.text.tables import SIGNS, UNITS

# Stands for a word or {phonemes} that no rule may touch; the n-th of them is chr(_FIRST + n).
_FIRST, _LAST = 0xE000, 0xF8FF
PLACEHOLDER = re.compile(f"[{chr(_FIRST)}-{chr(_LAST)}]")
_UNSPEAKABLE = re.compile(rf"[^A-Za-z\s'\"(),.?!;:<>\[\]—–\-{chr(_FIRST)}-{chr(_LAST)}]")  # when all rules are done
_IN_BRACES = re.compile(r"\{\s*([^{}]*?)\s*\}")
_TAG = re.compile(r"</?[A-Za-z][A-Za-z0-9]*(?:\s[^<>]*)?/?>")
_CHUNK = re.compile(r"[^\s\"(){}\[\],;:!?]+")

_Rule = tuple[Pattern[str], Callable[[Match[str]], str]]


def _compiled(rules: Iterable[tuple[str, Callable[[Match[str]], str]]]) -> list[_Rule]:
    return [(re.compile(pattern), replace) for pattern, replace in rules]


_SIGN = "|".join(re.escape(sign) for sign in SIGNS)
_WORD_RULES = _compiled((*letters.ARTICLES, *web.RULES, *abbreviations.FIRST))
_NUMBER_RULES = _compiled((*dates.RULES, *quantities.MEASURES))
_LATER_WORD_RULES = _compiled((*abbreviations.RULES, *roman.RULES))
_LATER_NUMBER_RULES = _compiled((*quantities.NUMBERS,))
_SIGN_RULES = _compiled((
    (
        r"\b(dollars?|cents?|pounds?|pence|euros?|yen|percent|times)/([A-Za-z]+)",
        lambda m: f"{m[1]} per {UNITS[m[2]][0] if m[2] in UNITS else m[2]}",
    ),
    (r"(?<=\w)/(?=\w)", lambda m: " slash "),
    (r"\s/+\s", lambda m: ", "),
    (r"#(?=\d)", lambda m: "number "),
    (r"(?<=[A-Za-z])\+(?!\w)", lambda m: " plus"),
    (r"\*\*|__|~~|```?", lambda m: " "),  # emphasis marks
    (r"^\s*[*•>#-]+\s+", lambda m: ""),  # list marks and headings
    (r"\n\s*[*•>#-]+\s+", lambda m: "\n"),
    (rf"\s*({_SIGN})\s*", lambda m: f" {SIGNS[m[1]]} "),
))  # fmt: skip

# What is left is words and marks; these bring the marks into shape.
_MARK_RULES = _compiled((
    (r"\n\s*\n\s*", lambda m: ". "),  # a paragraph ends a sentence
    (r"\s+", lambda m: " "),
    (r" ?(?:—|–|--+) ?| -+ ", lambda m: " - "),
    (r"\.(?:\s?\.)+(?=\s*[a-z])", lambda m: ","),  # ... in mid-sentence
    (r"\.(?:\s?\.)+", lambda m: "."),
    (r"(?<=[A-Za-z]):(?=[A-Za-z])", lambda m: " "),
    (r"(?<=[a-z]{2})\.(?=[A-Z][a-z])", lambda m: ". "),  # a space forgotten after a sentence
    (r"(?<=[a-z]{3})([,;!?])(?=[A-Za-z])", lambda m: f"{m[1]} "),
    (r"[)\]>](?=\s*(?:[,.;:!?]|\"?$))", lambda m: ""),
    (r"[()\[\]<>]", lambda m: ", "),
    (r"(?<![A-Za-z])-(?=[A-Za-z])|(?<=[A-Za-z])-(?![A-Za-z]|\s)", lambda m: " "),
    (r"\s+([,.?!;:])", lambda m: m[1]),
    (r"([,;:.?!])(?:\s*\1)+", lambda m: m[1]),
    (r"([?!])(?:\s*[?!,;:.])+", lambda m: "?" if "?" in m[0] else "!"),
    (r"[,;:-]\s*([.?!])", lambda m: m[1]),
    (r"([.;:])(?:\s*[,;:.])+", lambda m: m[1]),
    (r",(?:\s*[,;:])+", lambda m: ","),
    (r"([,.;:?!]) - ", lambda m: f"{m[1]} "),
    (r" - [,;:]?(?=[,.;:?!]|$)", lambda m: ""),
    (r"^[\s,.;:?!-]+(?=.)", lambda m: ""),
    (r"([,;:?!])(?=[A-Za-z])", lambda m: f"{m[1]} "),
    (r"(?<=[a-z])\.(?=[a-z])", lambda m: " dot "),
    (r"\s+", lambda m: " "),
))  # fmt: skip


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


def _apply(rules: list[_Rule], text: str) -> str:
    for pattern, replace in rules:
        text = pattern.sub(replace, text)
    return text


def _hide_lexicon_words(text: str, lexicon: Iterable[str], protected: Protected) -> str:
    keys = frozenset(lexicon)

    def chunk(match: Match[str]) -> str:
        for candidate in (match[0], match[0].rstrip(".'-"), re.sub(r"'s?\W*$", "", match[0])):
            if candidate in keys or candidate.lower() in keys:
                return protected.hide(candidate) + match[0][len(candidate) :]
        return re.sub(r"[^\W\d_]+(?:'[^\W\d_]+)*", part, match[0])

    def part(match: Match[str]) -> str:
        known = match[0] in keys or match[0].lower() in keys
        return protected.hide(match[0]) if known else match[0]

    return _CHUNK.sub(chunk, text.replace("’", "'")) if keys else text


def to_words(text: str, lexicon: Iterable[str] = ()) -> tuple[str, Protected]:
    """`normalize` with the {phonemes} and the words of `lexicon` still hidden, each behind a private character."""
    protected = Protected()
    given = PLACEHOLDER.findall(text)
    text = PLACEHOLDER.sub(" ", text)
    text = _IN_BRACES.sub(lambda m: f" {protected.hide('{' + m[1] + '}')} " if m[1] else " ", text)
    text = _hide_lexicon_words(text, lexicon, protected)
    pieces, left_out = [], given
    for piece in re.split(f"({PLACEHOLDER.pattern})", text):
        if PLACEHOLDER.match(piece):
            pieces.append(piece)
        else:
            cleaned, unspeakable = clean(piece)
            pieces.append(cleaned)
            left_out += unspeakable
    text, tags = _TAG.subn(" ", "".join(pieces))
    left_out += ["<", ">"] if tags else []
    text = _apply(_WORD_RULES, text)
    if re.search(r"\d", text):
        text = _apply(_NUMBER_RULES, text)
    text = _apply(_LATER_WORD_RULES, text)
    if re.search(r"\d", text):
        text = _apply(_LATER_NUMBER_RULES, text)
    text = letters.read_capitals(_apply(_SIGN_RULES, text))
    left_out += _UNSPEAKABLE.findall(text)
    text = _apply(_MARK_RULES, _UNSPEAKABLE.sub(" ", text)).strip()
    if left_out:
        warnings.warn(f"left out what cannot be spoken: {describe(list(dict.fromkeys(left_out)))}", stacklevel=3)
    if not re.search(rf"[A-Za-z]|{PLACEHOLDER.pattern}", text):
        raise BitjetsError("there is nothing to speak in the text; give it some words or numbers")
    return text, protected


def normalize(text: str) -> str:
    """The words to be spoken, and their punctuation: "Dr. Lee paid $5." -> "Doctor Lee paid five dollars."

    A capital letter that stands alone ("F B I") is the letter's name; {HH AH0 L OW1} stays as it is. Warns of
    characters that cannot be spoken and leaves them out. Raises BitjetsError where nothing is left to speak.
    """
    words, protected = to_words(text)
    return protected.reveal(words)
