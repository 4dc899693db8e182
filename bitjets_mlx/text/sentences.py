"""Cuts long text into pieces that are spoken one by one, at the ends of sentences, then of clauses, then of words."""

import re
from collections.abc import Iterable, Iterator
from itertools import chain

from bitjets_mlx.text.abbreviations import NUMBERED, PHRASES, STREETS, TITLES, WORDS
from bitjets_mlx.text.boundaries import ends_sentence
from bitjets_mlx.text.characters import has_speech
from bitjets_mlx.text.markup import without_invisible
from bitjets_mlx.text.words import words

MAX_CHARACTERS = 300
_AHEAD, _BEHIND = 200, 40  # what tells whether a mark ends a sentence stands this near to it
_WINDOW = 20_000  # a sentence longer than this is cut before it is looked at more closely

# A mark that may end a sentence, with quotes and brackets that close after it; or an empty line.
_END = re.compile(
    r"""(?<![.!?…])[.!?…]+["'”’)\]}]*(?=\s|$)|(?<![。！？])[。！？]+["”’」』）]*|\n[ \t\r]*\n\s*"""
    r"""|\n(?=[ \t]*(?:[-*+•]|\#{1,6}|\|)[ \t]\S)"""
)
_LAST_WORD = re.compile(r"(?:^|[\s(\[\"'“‘-])((?:[A-Za-z]+\.)*[A-Za-z]+)\.[\"'”’)\]]*$")
_CLAUSES = (
    re.compile(r"[;:]['\"”’)]*\s+|(?<!\s)\s+[—–-]+\s+|—"),
    re.compile(r",['\"”’)]*\s+"),
    re.compile(
        r"(?<!\s)\s+(?=(?:and|or|but|nor|so|yet|because|although|though|while|when|where|which|who|that|if|as|than)\b)"
    ),
    re.compile(r"(?<!\s)\s+"),
)
_BRACES = re.compile(r"\{[^{}]*\}")
_NEVER_LAST = (frozenset(TITLES) | words("e.g i.e eg ie cf viz vs al ca approx")) - words("Pt Ft Dr")
_MAYBE_LAST = frozenset(
    {"Ft", "Pt", "Ste", "Cf", *WORDS, *STREETS, *(phrase.rstrip(".") for phrase in PHRASES if phrase.endswith("."))}
)


class Sentence(str):
    """A piece of a text, and the place `start` in the text where it begins."""

    start: int

    def __new__(cls, text: str, start: int) -> "Sentence":
        sentence = super().__new__(cls, text)
        sentence.start = start
        return sentence

    def part(self, start: int, end: int) -> "Sentence":
        """`self[start:end]` without the white space around it."""
        piece = self[start:end]
        stripped = piece.lstrip()
        return Sentence(stripped.rstrip(), self.start + start + len(piece) - len(stripped))


def split_sentences(text: str, max_characters: int = MAX_CHARACTERS) -> Iterator[Sentence]:
    """The sentences of `text`, one by one, none longer than `max_characters` unless one {phoneme group} is.

    A sentence too long is cut at its clauses, then between words, then inside a word. White space at the cuts is
    trimmed; HTML comments, styles and scripts become white space; nothing else is ever dropped. A piece without
    anything to speak stays with its neighbor if both fit into the limit together.
    """
    limit = max(max_characters, 20)
    sentences = _attach_silent(_windows(_sentences(Sentence(without_invisible(text), 0))), limit)
    return _attach_silent(chain.from_iterable(_cut(sentence, limit, 0) for sentence in sentences), limit)


def _sentences(text: Sentence) -> Iterator[Sentence]:
    start, braces = 0, _Braces(text)
    for match in _END.finditer(text):
        if braces.around(match.end()) or not _is_end(text, match):
            continue
        sentence = text.part(start, match.end())
        if sentence:
            yield sentence
        start = match.end()
    sentence = text.part(start, len(text))
    if sentence:
        yield sentence


class _Braces:
    """The {groups} of a text, asked from left to right."""

    def __init__(self, text: str) -> None:
        self._groups = _BRACES.finditer(text)
        self._group = next(self._groups, None)

    def around(self, position: int) -> bool:
        while self._group is not None and self._group.end() <= position:
            self._group = next(self._groups, None)
        return self._group is not None and self._group.start() < position


def _windows(sentences: Iterable[Sentence]) -> Iterator[Sentence]:
    """Sentences of any length in pieces of bounded length, so that memory and time are bounded too."""
    for sentence in sentences:
        start = 0
        while len(sentence) - start > _WINDOW:
            end = start + _WINDOW
            space = max(sentence.rfind(" ", start + 1, end), sentence.rfind("\n", start + 1, end))
            opened = sentence.rfind("{", start + 1, end)
            if opened > sentence.rfind("}", start + 1, end) and opened > end - 2000:
                space = opened
            end = space if space > 0 else end
            yield sentence.part(start, end)
            start = end
        yield sentence.part(start, len(sentence)) if start else sentence


def _is_end(text: str, match: re.Match[str]) -> bool:
    """Whether a mark ends its sentence: not after "Dr.", an initial, "No." before a figure, or mid-sentence dots."""
    mark, rest = match[0], text[match.end() : match.end() + _AHEAD]
    if "!" in mark and re.match(r" [=+*/<>-] ?\w", rest):  # 3! = 6
        return False
    if "\n" in mark or re.search(r"[!?。！？]", mark):
        return re.match(r"\s+[a-z]", rest) is None or "\n" in mark or not re.search(r"[\"”'’]$", mark)
    if re.match(r"\s*[\"“'(]?[a-z]", rest):  # a sentence begins with a capital or a figure
        return False
    word = _LAST_WORD.search(text[max(0, match.end() - _BEHIND) : match.end()])
    if word is None or mark.startswith(("..", "…")):
        return True
    last = word[1]
    if last in _NEVER_LAST:
        return not rest.strip()
    if (last in NUMBERED or last in {"c", "Rs"}) and re.match(r"\s*[#\dIVX]", rest):
        return False
    initial = re.fullmatch(r"[A-Z]", last) is not None and last != "I"
    if initial or last in _MAYBE_LAST or re.fullmatch(r"(?:[A-Za-z]\.)+[A-Za-z]", last):
        return ends_sentence(rest)
    return True


def _cut(piece: Sentence, limit: int, level: int) -> Iterator[Sentence]:
    """Cut a piece that is too long at the marks of `level`, as few times as possible, then at finer ones."""
    if len(piece) <= limit:
        yield piece
        return
    if level == len(_CLAUSES):
        yield from _hard_cut(piece, limit)
        return
    braces = _Braces(piece)
    ends = [m.end() for m in _CLAUSES[level].finditer(piece) if not braces.around(m.end())]
    start = 0
    for end, following in zip(ends, [*ends[1:], len(piece)], strict=bool(ends)):
        if len(piece.part(start, following)) > limit or _even(piece, start, end, limit):
            if end > start and not piece[start:end].isspace():
                yield from _cut(piece.part(start, end), limit, level + 1)
            start = end
    if start < len(piece) and not piece[start:].isspace():
        yield from _cut(piece.part(start, len(piece)), limit, level + 1)


def _even(piece: str, start: int, end: int, limit: int) -> bool:
    """Whether cutting at `end` makes two halves that both fit, better than a full piece and a scrap."""
    whole = len(piece) - start
    return limit < whole <= 2 * limit and end - start >= whole / 2 and end - start <= limit


def _hard_cut(piece: Sentence, limit: int) -> Iterator[Sentence]:
    if _BRACES.fullmatch(piece):
        yield piece
    else:
        yield from (piece.part(i, i + limit) for i in range(0, len(piece), limit))


def _attach_silent(pieces: Iterable[Sentence], limit: int) -> Iterator[Sentence]:
    """Join a piece that has nothing to speak ("...", an emoji) to the one before it, or after it at the start."""
    held: Sentence | None = None  # what may still grow
    held_speaks = False
    for piece in pieces:
        speaks = has_speech(piece)
        fits = held is not None and piece.start + len(piece) - held.start <= max(limit, MAX_CHARACTERS)
        if held is not None and fits and not (held_speaks and speaks):
            held = Sentence(held + " " * (piece.start - held.start - len(held)) + piece, held.start)
            held_speaks |= speaks
            continue
        if held is not None:
            yield held
        held, held_speaks = piece, speaks
    if held is not None:
        yield held
