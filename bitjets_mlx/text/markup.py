"""HTML and Markdown: what is not to be read goes, what tells where a sentence ends becomes a mark."""

import re
from re import Match

from bitjets_mlx.text.provenance import Rules
from bitjets_mlx.text.words import any_of, words

# Never read, whatever stands inside: (opening, closing). The opening of an element may have attributes.
_INVISIBLE = (
    ("<!--", "-->"), ("<style", "</style>"), ("<script", "</script>"), ("<template", "</template>"), ("<?xml", "?>"),
    ("<!doctype", ">"), ("<![cdata[", ""),
)  # fmt: skip
_OPENING = re.compile(any_of(opening for opening, _ in _INVISIBLE), re.IGNORECASE)

_BLOCKS = words(
    """
    address article aside blockquote body br button caption center dd details dialog div dl dt fieldset figcaption
    figure footer form h1 h2 h3 h4 h5 h6 head header hr html legend li main nav ol option p pre section select summary
    table tbody td tfoot th thead title tr ul
    """
)
_INLINE = words(
    """
    a abbr acronym audio b base bdi bdo big canvas cite code col colgroup data datalist del dfn em embed font i iframe
    img input ins kbd label link map mark meta meter noscript object output param picture progress q rp rt ruby s samp
    script slot small source span strike strong style sub sup svg template textarea time track tt u var video wbr path
    speak voice prosody break emphasis phoneme
    """
)
_RULER = re.compile(r"([-=_*~#+|:─━═—–])[ \t]*\1[ \t]*\1")
_TAG = r"</?([A-Za-z][A-Za-z0-9:-]*)(\s[^<>]*)?/?>"


def without_invisible(text: str) -> str:
    """`text` with comments, styles and scripts as white space, so that every other place stays where it is."""
    if "<" not in text:
        return text
    pieces, end, lower = [], 0, text.lower() if text.isascii() else None
    unclosed: set[str] = set()
    for match in _OPENING.finditer(text):
        if match.start() < end:
            continue
        opening = match[0].lower()
        closing = dict(_INVISIBLE)[opening]
        if opening in unclosed or (opening[-1].isalpha() and not re.match(r"[\s/>]", text[match.end() :][:1] or " ")):
            continue
        stop = (lower or text).find(closing, match.end()) + len(closing)
        if stop < match.end():
            unclosed.add(opening)
            continue
        pieces += [text[end : match.start()], re.sub(r"\S", " ", text[match.start() : stop])]
        end = stop
    return "".join([*pieces, text[end:]])


def _tag(match: Match[str]) -> str:
    """White space for a tag, an empty line for one of a block; what only looks like a tag ("<name>") is text."""
    name, attributes = match[1].lower(), match[2]
    if name in _BLOCKS:
        return "\n\n" if name != "br" else "\n"
    if name in _INLINE:
        return "" if name in {"sub", "sup", "wbr", "b", "i", "em", "strong", "u", "span", "font", "mark"} else " "
    closes = match[0].startswith("</") or match[0].endswith("/>") or f"</{match[1]}>" in match.string
    if closes or (attributes and "=" in attributes):
        return " "
    return f" {match[1]}{attributes or ''} " if "@" not in match[0] and ":" not in match[1] else match[0]


def _superscript(match: Match[str]) -> str:
    return f"^{match[1]}"


def _entity(match: Match[str]) -> str:
    """&amp; -> &; an unknown one stays."""
    import html  # its table of names is large, and few texts have entities

    character = html.unescape(match[0])
    return match[0] if character == match[0] else {"\xad": "", "\u200b": ""}.get(character, character)


def _link(match: Match[str]) -> str:
    return match[1].strip("`") or " "


def _heading(match: Match[str]) -> str:
    return f"\n\n{match[1]}\n\n"


def _ruler(match: Match[str]) -> str:
    """A line of "-----", "* * *", "+---+---+" parts what stands around it."""
    return "\n\n" if _RULER.search(match[0]) else match[0]


def _row(match: Match[str]) -> str:
    """A row of a table: its cells, one after another, as a sentence."""
    cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", match[0].strip().strip("|"))]
    return "\n\n" + ", ".join(cell for cell in cells if cell) + "\n\n"


HTML = Rules(
    (
        (r"<(?:sup|SUP)>\s*([-−+]?\d+)\s*</(?:sup|SUP)>", _superscript),
        (_TAG, _tag),
        (r"&(?:[A-Za-z][A-Za-z0-9]{1,30}|#\d{1,7}|#[xX][0-9A-Fa-f]{1,6});", _entity),
    ),
    needs=r"[<&]",
)

_EMPHASIS = "|".join(
    rf"(?<![\w{mark[-1]}\\]){mark}(?=[^\s{mark[-1]}])([^\n]*?[^\s{mark[-1]}\\]){mark}(?![\w{mark[-1]}])"
    for mark in (r"\*\*\*", r"\*\*", r"\*", "___", "__", "_")
)
_INSIDE = r"~~(?=\S)([^\n]*?\S)~~|==(?=[^\s=])([^\n=]*?[^\s=])=="

MARKDOWN = Rules(
    (
        (r"^[ \t]*(?:```|~~~)[ \t]*[\w+#.-]*[ \t]*$", lambda m: "\n\n"),  # fences, with the language
        (r"^[ \t]*\[\^?[^\]\n]{1,60}\]:[ \t]*<?(?:https?:|www\.|mailto:|/|#|\.)\S*[^\n]*$", lambda m: " "),
        (r"^[ \t]*\[\^[^\]\n]{1,60}\]:[ \t]*", lambda m: "\n\n"),  # a footnote's text
        (r"\[\^\d{1,3}\]|\[\^[a-z]{1,3}\]|\[(?:citation needed|edit|note \d+)\]", lambda m: ""),
        (r"!\[([^\]\n]*)\]\((?:[^()\s]|\([^()\s]*\))*(?:\s+(?:\"[^\"\n]*\"|'[^'\n]*'))?\)", _link),
        (r"\[([^\[\]\n]*)\]\([ \t]*<?(?:[^()\s]|\([^()\s]*\))*>?(?:\s+(?:\"[^\"\n]*\"|'[^'\n]*'))?[ \t]*\)", _link),
        (r"\[([^\[\]\n]+)\]\[[^\[\]\n]*\](?!\()", _link),
        (r"\[\[(?:[^\[\]|\n]*\|)?([^\[\]|\n]+)\]\]", _link),
        (r"<((?:https?|ftp|mailto):[^<>\s]+|[\w.+-]+@[\w.-]+)>", lambda m: f" {m[1]} "),
        (r"^[ \t]*(?:>[ \t]?)+(?![=\d\s>])", lambda m: ""),  # quotations
        (r"^(?:[^\w\n]|_){3,}$", _ruler),
        (r"^[ \t]*#{1,6}[ \t]+([^\n]+?)(?:[ \t]+#+)?[ \t]*$", _heading),
        (r"[ \t]+#{2,}[ \t]*$", lambda m: " "),
        (r"^[ \t]*\|[^\n]*\|[ \t]*$", _row),
        (r"^[ \t]*(?:[-*+•◦▪‣·–] )[ \t]*(?:\[[ xX]\] )?([^\n]*)$", lambda m: f"\n\n{m[1]}\n\n"),
        (
            r"^([ \t]*(?:\d{1,2}|[a-hA-H])[.)][ \t][^\n]*)\n(?=[ \t]*(?:\d{1,2}|[a-hA-H])[.)][ \t])",
            lambda m: f"{m[1]}\n\n",
        ),
        (_EMPHASIS, lambda m: next(group for group in m.groups() if group)),
        (_INSIDE, lambda m: m[1] or m[2]),
        (r"`+([^`\n]+)`+", lambda m: m[1]),
        (r"\\(?=[*_#`\[\]()~>+.!|$-])", lambda m: ""),
    ),
    needs=r"[*_`#~=\[\\|<•◦▪‣·─━═—]|^[ \t]*[->+–]|^[ \t]*\w\w?[.)]\s|-{3}",
    flags=re.MULTILINE,
)
