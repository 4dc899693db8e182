"""Signs as words, and marks brought into shape: the last rules of all."""

import re

from bitjets_mlx.text.numbers import digits
from bitjets_mlx.text.tables import SIGNS, UNITS

_SIGN = "|".join(re.escape(sign) for sign in SIGNS)
# Rows of one sign: ornaments, of which one is read at most.
REPEATED = (
    (r"\d{37,}", lambda m: digits(m[0])),
    (r"(?:\.\s?){7,}", lambda m: "... "),
    (r"([&@%])(?:\s?\1){1,}", lambda m: m[1]),
    (r"([#=~^|<>*+_/\\-])\1{3,}", lambda m: " "),
    (r"([#~^|<>*])\1{2}", lambda m: " "),
)
SIGNS_AS_WORDS = (
    (
        r"\b(dollars?|cents?|pounds?|pence|euros?|yen|percent|times)/([A-Za-z]+)",
        lambda m: f"{m[1]} per {UNITS[m[2]][0] if m[2] in UNITS else m[2]}",
    ),
    (r"(?<=\w)/(?=\w)", lambda m: " slash "),
    (r"\$(?=\{)|\{%|%\}", lambda m: " "),  # templates
    (r"[{}]", lambda m: " "),
    (r"\s\|+\s", lambda m: ", "),
    (r"\|", lambda m: " "),
    (r"\s/+\s", lambda m: ", "),
    (r"#(?=\d)", lambda m: "number "),
    (r"(?<=[A-Za-z])\+(?!\w)", lambda m: " plus"),
    (r"\*\*|__|~~|```?", lambda m: " "),  # emphasis marks
    (r"^\s*[*•>#-]+\s+", lambda m: ""),  # list marks and headings
    (r"\n\s*[*•>#-]+\s+", lambda m: "\n"),
    (rf"\s*({_SIGN})\s*", lambda m: f" {SIGNS[m[1]]} "),
)  # fmt: skip

# What is left is words and marks; these bring the marks into shape.
MARKS = (
    (r"^\s+|\s+$", lambda m: ""),
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
    (r"^ | $", lambda m: ""),
)  # fmt: skip
