"""Sums and formulas: "2x + 1", "6*7", "3!", "10^-3 m", "H2SO4", "in 3/4 time"."""

import re
from re import Match

from bitjets_mlx.text.numbers import cardinal, to_ordinal
from bitjets_mlx.text.quantities import NUMBER
from bitjets_mlx.text.tables import COMMON_UNITS, UNITS
from bitjets_mlx.text.words import any_of, words

_ELEMENTS = words(
    """
    H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb Sr Y Zr Nb Mo
    Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Nd Sm Eu Gd W Re Os Ir Pt Au Hg Tl Pb Bi Po Ra Rn Th Pa U Np Pu
    """
)
_UNIT = any_of(COMMON_UNITS)
_BEATS = (
    "time|meter|metre|waltz|march|groove|beat|rhythm|signature|jig|feel|bar|bars|measure|measures|swing|shuffle|polka"
    "|tempo|reel|ballad|piece|blues"
)


def _formula(match: Match[str]) -> str:
    """NaHCO3 -> "N A H C O 3": letters one by one where all are symbols of elements."""
    parts = re.findall(r"[A-Z][a-z]?|\d+", match[0])
    symbols = [part for part in parts if part.isalpha()]
    if (
        not re.search(r"\d|[a-z]", match[0])
        or len(parts) < 3
        or len(symbols) < 2
        or not set(symbols) <= _ELEMENTS
        or "".join(parts) != match[0]
    ):
        return match[0]
    return " ".join(cardinal(int(part)) if part.isdigit() else " ".join(part.upper()) for part in parts)


def _ion(match: Match[str]) -> str:
    """Ca2+ -> "C A two plus"."""
    if match[1] not in _ELEMENTS:
        return match[0]
    sign = {"+": "plus", "-": "minus"}[match[3]]
    return f"{' '.join(match[1].upper())}{f' {cardinal(int(match[2]))}' if match[2] else ''} {sign}"


def _power(match: Match[str]) -> str:
    """10^-3 m -> "ten to the minus three meters"."""
    base, sign, exponent, unit, per = match.groups()
    words = f"minus {cardinal(int(exponent))}" if sign == "-" else to_ordinal(cardinal(int(exponent)))
    unit_words = f" {UNITS[unit][1]}" if unit else ""
    return f"{base} to the {words}{unit_words}" + (f" per {UNITS[per][0]}" if per else "")


LETTERS = ((r"\b([A-Za-z]) ?\* ?(?=[A-Za-z]\b)", lambda m: f"{m[1]} times "),)
RULES = (
    (r"(?<=[a-z]{4})\^\d{1,2}\b", lambda m: ""),  # the number of a note
    (r"(?<=[A-Za-z0-9])\*\*(?=-?\d)", lambda m: "^"),
    (rf"(?<![\w.,])(10)\^([+-]?)(\d{{1,3}})(?!\d)(?: ?({_UNIT})(?:/({_UNIT}))?(?![\w/^]))?",
     _power),
    (r"(?<=[A-Za-z0-9)])\^([a-z])\b", lambda m: f" to the {m[1].upper()}"),
    (r"(?<=[A-Za-z0-9)])\^-(\d+)", lambda m: f" to the minus {cardinal(int(m[1]))}"),
    (rf"(?<=\d) ?\* ?(?={NUMBER}|[A-Za-z]\b)", lambda m: " times "),
    (r"\b(mc|ab|xy|ac)\b(?=\^|$| [=+])|(?<=[=+] )(mc|ab|xy|ac|mx|ax|bx|cx)\b(?=\^|$| [=+])",
     lambda m: " ".join(m[0].upper())),
    (r"(?<![\w.,])(\d+)([xyznkmabtnr])(?= ?[-+=*/^<>≤≥] ?[\w(.-])", lambda m: f"{m[1]} {m[2].upper()}"),
    (r"([=+] ?\d* ?)(\d)([a-z])(?!\w|')", lambda m: f"{m[1]}{m[2]} {m[3].upper()}" if m[3] in "xyznabkt" else m[0]),
    (r"(?<=[=+] )(\d+) ([A-Z]) - (?=\d)", lambda m: f"{m[1]} {m[2]} minus "),
    (r"\b([A-Za-z]|\d[ ]?[A-Z]) - (?=\d+(?:\s*=|$|\.$))", lambda m: f"{m[1]} minus "),
    (r"(\d|\b[nk])!(?= ?[-=+*/)])", lambda m: f"{m[1]} factorial"),
    (rf"(?<![\w/.,])(\d{{1,2}})/(2|4|8|16)(?=[ -](?:{_BEATS})\b)",
     lambda m: f"{cardinal(int(m[1]))} {cardinal(int(m[2]))}"),
    (r"(?<![\w-])([A-Z][a-z]?)(\d?)([+-])(?= ions?\b|[ ,.]*$)", lambda m: _ion(m) if m[2] else m[0]),
    (r"\b(?:[A-Z][a-z]?\d{0,2}){2,}\b", _formula),
)  # fmt: skip
