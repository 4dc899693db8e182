"""Cuts long text into pieces that are spoken one by one, at the ends of sentences, then of clauses, then of words."""

import re

from bitjets_mlx.text.abbreviations import NUMBERED, PHRASES, STREETS, TITLES, WORDS
from bitjets_mlx.text.boundaries import ends_sentence
from bitjets_mlx.text.characters import has_speech
from bitjets_mlx.text.words import words

MAX_CHARACTERS = 300

# A mark that may end a sentence, with quotes and brackets that close after it; or an empty line.
_END = re.compile(r"""(?:[.!?…]+["'”’)\]}]*|[。！？]+["”’」』）]*)(?=\s|$|(?<=[。！？]))|\n[ \t\r]*\n""")
_LAST_WORD = re.compile(r"(?:^|[\s(\[\"'“‘-])((?:[A-Za-z]+\.)*[A-Za-z]+)\.[\"'”’)\]]*$")
_CLAUSES = (
    re.compile(r"[;:]['\"”’)]*\s+|\s+[—–-]+\s+|—"),
    re.compile(r",['\"”’)]*\s+"),
    re.compile(
        r"\s+(?=(?:and|or|but|nor|so|yet|because|although|though|while|when|where|which|who|that|if|as|than)\b)"
    ),
    re.compile(r"\s+"),
)
_NEVER_LAST = (frozenset(TITLES) | words("e.g i.e eg ie cf viz vs al ca approx")) - words("Pt Ft Dr")
_MAYBE_LAST = frozenset({*WORDS, *STREETS, *(phrase.rstrip(".") for phrase in PHRASES if phrase.endswith("."))})


def split_sentences(text: str, max_characters: int = MAX_CHARACTERS) -> list[str]:
    """The sentences of `text`, none longer than `max_characters` unless one {phoneme group} is.

    A sentence too long is cut at its clauses, then between words, then inside a word. White space at the cuts is
    trimmed; nothing else is ever dropped. A piece without anything to speak stays with its neighbour.
    """
    pieces: list[str] = []
    for sentence in _attach_silent(_sentences(text)):
        pieces += _cut(sentence, max(max_characters, 20), 0)
    return _attach_silent(pieces)


def _sentences(text: str) -> list[str]:
    sentences, start = [], 0
    for match in _END.finditer(text):
        if _inside_braces(text, match.end()) or not _is_end(text, match):
            continue
        sentences.append(text[start : match.end()].strip())
        start = match.end()
    sentences.append(text[start:].strip())
    return [sentence for sentence in sentences if sentence]


def _inside_braces(text: str, position: int) -> bool:
    opened = text.rfind("{", 0, position)
    return opened > text.rfind("}", 0, position) and "}" in text[position:]


def _is_end(text: str, match: re.Match[str]) -> bool:
    """Whether a mark ends its sentence: not after "Dr.", an initial, "No." before a figure, or mid-sentence dots."""
    mark, rest = match[0], text[match.end() :]
    if "\n" in mark or re.search(r"[!?。！？]", mark):
        return re.match(r"\s+[a-z]", rest) is None or "\n" in mark or not re.search(r"[\"”'’]$", mark)
    if re.match(r"\s*[\"“'(]?[a-z]", rest):  # a sentence begins with a capital or a figure
        return False
    word = _LAST_WORD.search(text[max(0, match.end() - 40) : match.end()])
    if word is None or mark.startswith(("..", "…")):
        return True
    last = word[1]
    if last in _NEVER_LAST:
        return not rest.strip()
    if last in NUMBERED and re.match(r"\s*[#\dIVX]", rest):
        return False
    initial = re.fullmatch(r"[A-Z]", last) is not None and last != "I"
    if initial or last in _MAYBE_LAST or re.fullmatch(r"(?:[A-Za-z]\.)+[A-Za-z]", last):
        return ends_sentence(rest)
    return True


def _cut(piece: str, limit: int, level: int) -> list[str]:
    """Cut a piece that is too long at the marks of `level`, as few times as possible, then at finer ones."""
    if len(piece) > limit and level == 0:
        piece = " ".join(piece.split())
    if len(piece) <= limit:
        return [piece]
    if level == len(_CLAUSES):
        return _hard_cut(piece, limit)
    ends = [m.end() for m in _CLAUSES[level].finditer(piece) if not _inside_braces(piece, m.end())]
    pieces: list[str] = []
    start = 0
    for end, following in zip(ends, [*ends[1:], len(piece)], strict=bool(ends)):
        if len(piece[start:following].strip()) > limit or _even(piece, start, end, limit):
            pieces.append(piece[start:end].strip())
            start = end
    pieces.append(piece[start:].strip())
    return [part for p in pieces if p for part in _cut(p, limit, level + 1)]


def _even(piece: str, start: int, end: int, limit: int) -> bool:
    """Whether cutting at `end` makes two halves that both fit, better than a full piece and a scrap."""
    whole = len(piece) - start
    return limit < whole <= 2 * limit and end - start >= whole / 2 and end - start <= limit


def _hard_cut(piece: str, limit: int) -> list[str]:
    if piece.startswith("{") and piece.endswith("}"):
        return [piece]
    return [piece[i : i + limit] for i in range(0, len(piece), limit)]


def _attach_silent(pieces: list[str]) -> list[str]:
    """Join a piece that has nothing to speak ("...", an emoji) to the one before it, or after it at the start."""
    joined: list[str] = []
    pending = ""
    for piece in pieces:
        if has_speech(piece):
            joined.append(pending + piece)
            pending = ""
        elif joined:
            joined[-1] += f" {piece}"
        else:
            pending += f"{piece} "
    return [*joined, pending.strip()] if pending else joined
