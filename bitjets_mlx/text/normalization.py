"""Written text to words that are spoken, and punctuation."""

import re
import unicodedata
import warnings

from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.text import numbers

_CHARACTERS = str.maketrans({
    "‘": "'", "’": "'", "“": '"', "”": '"', "–": " - ", "—": " - ", "…": "...", "&": " and ", "(": ", ", ")": ", ",
    "[": ", ", "]": ", ", "/": " ", "%": " percent", "ü": "u", "é": "e", "è": "e", "ê": "e", "à": "a", "â": "a",
})  # fmt: skip
_ABBREVIATIONS = {"Mr.": "Mister", "Mrs.": "Missis", "Dr.": "Doctor", "St.": "Saint", "Co.": "company", "No.": "number"}


def normalize(text: str) -> str:
    """The words to be spoken and their punctuation. Raises BitjetsError where nothing is left to speak."""
    text = unicodedata.normalize("NFC", text).translate(_CHARACTERS)
    text = "".join(c for c in unicodedata.normalize("NFD", text) if unicodedata.category(c) != "Mn")
    for short, long in _ABBREVIATIONS.items():
        text = re.sub(rf"\b{re.escape(short)}", long, text)
    text = re.sub(r"[$£]([\d,]+)", r"\1 \g<0>", text).replace("£", " pounds ").replace("$", " dollars ")
    text = re.sub(r"\d[\d,]*\.\d+", lambda m: numbers.decimal(m[0]), text)
    text = re.sub(r"\b(1[1-9]\d\d)\b", lambda m: numbers.year(int(m[0])), text)
    text = re.sub(r"(\d+)(st|nd|rd|th)\b", lambda m: numbers.ordinal(int(m[1])), text)
    text = re.sub(r"\d[\d,]*", lambda m: numbers.decimal(m[0]), text)
    unspeakable = sorted(set(re.findall(r"[^A-Za-z'\s,.?!;:\"-]", re.sub(r"\{[^}]*\}", "", text))))
    if unspeakable:
        warnings.warn(f"cannot speak these characters, left out: {' '.join(unspeakable)}", stacklevel=2)
    text = " ".join(text.split())
    if not re.search(r"[A-Za-z]", text):
        raise BitjetsError("there is nothing to speak in the text; give it some words or numbers")
    return text
