"""What SSML's attributes say, in this package's units. ValueError names what a value may be."""

import math
import re
from collections.abc import Callable

from bitjets_mlx.text.numbers import cardinal, ordinal
from bitjets_mlx.text.words import listed

BREAKS = {"none": 0.0, "x-weak": 0.1, "weak": 0.2, "medium": 0.4, "strong": 0.7, "x-strong": 1.2}  # seconds
RATES = {"x-slow": 0.5, "slow": 0.75, "medium": 1.0, "default": 1.0, "fast": 1.3, "x-fast": 1.7}
PITCHES = {"x-low": -6.0, "low": -3.0, "medium": 0.0, "default": 0.0, "high": 3.0, "x-high": 6.0}  # semitones
VOLUMES = {"silent": 0.0, "x-soft": 0.25, "soft": 0.5, "medium": 1.0, "default": 1.0, "loud": 1.6, "x-loud": 2.5}
EMPHASIS = {  # speed, semitones, loudness
    "strong": (0.8, 2.0, 1.4),
    "moderate": (0.9, 1.0, 1.2),
    "none": (1.0, 0.0, 1.0),
    "reduced": (1.1, -0.5, 0.8),
}
LONGEST_BREAK = 60.0  # seconds
_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)"

_IPA = {
    "tʃ": "CH", "dʒ": "JH",
    "aɪ": "AY", "aʊ": "AW", "eɪ": "EY", "oʊ": "OW", "əʊ": "OW", "ɔɪ": "OY", "ɜː": "ER", "ɝ": "ER",
    "ɚ": "ER", "iː": "IY", "uː": "UW", "ɑː": "AA", "ɔː": "AO", "ɑ": "AA", "ɒ": "AA", "æ": "AE", "ʌ": "AH", "ə": "AH",
    "ɔ": "AO", "ɛ": "EH", "e": "EH", "ɜ": "ER", "ɪ": "IH", "i": "IY", "ʊ": "UH", "u": "UW", "o": "OW", "a": "AA",
    "b": "B", "d": "D", "ð": "DH", "f": "F", "g": "G", "ɡ": "G", "h": "HH", "k": "K", "l": "L", "ɫ": "L", "m": "M",
    "n": "N", "ŋ": "NG", "p": "P", "ɹ": "R", "r": "R", "ɾ": "T", "s": "S", "ʃ": "SH", "t": "T", "θ": "TH", "v": "V",
    "w": "W", "j": "Y", "z": "Z", "ʒ": "ZH",
}  # fmt: skip
_IPA_SIGNS = re.compile("|".join(sorted(_IPA, key=len, reverse=True)) + r"|[ˈˌ.\s/\[\]͡ː]|.")
_MONTHS = listed("January February March April May June July August September October November December")
_REDUCED = frozenset("əɚ")


def break_seconds(time: str | None, strength: str | None) -> float:
    """Of <break>: "500ms", "1.5s", or a strength; 0.4 s without either."""
    if time is None:
        return _named(strength or "medium", BREAKS, "a break's strength")
    match = re.fullmatch(r"\s*\+?(\d+\.?\d*|\.\d+)(ms|s)\s*", time)
    seconds = float(match[1]) / (1000.0 if match[2] == "ms" else 1.0) if match else -1.0
    if not 0.0 <= seconds <= LONGEST_BREAK:
        raise ValueError(f"a break of {time!r:.40}: give a time such as 500ms or 1.5s, of {LONGEST_BREAK:g}s at most")
    return seconds


def prosody_rate(value: str) -> float:
    """A factor on the speed: a name, "80%" of it, "+20%", or the factor."""
    return RATES[value] if value in RATES else _factor(value, "a rate", RATES)


def prosody_volume(value: str) -> float:
    """A factor on the amplitude: a name, "+6dB", "-20%", or 0 to 100."""
    if value in VOLUMES:
        return VOLUMES[value]
    match = re.fullmatch(rf"({_NUMBER})dB", value)
    if match:
        return 10.0 ** (float(match[1]) / 20.0)
    if re.fullmatch(r"\d+\.?\d*", value):
        return float(value) / 100.0
    return _factor(value, "a volume", VOLUMES)


def prosody_pitch(value: str) -> tuple[float, float | None, bool]:
    """(semitones, hertz, whether hertz are a shift): a name, "+2st", "-10%", "200Hz", "+20Hz"."""
    if value in PITCHES:
        return PITCHES[value], None, False
    match = re.fullmatch(rf"({_NUMBER})(st|Hz|%)", value)
    if not match:
        raise ValueError(f"a pitch of {value!r:.40}: take {', '.join(PITCHES)}, or such as +2st, -10%, 200Hz")
    number, relative = float(match[1]), match[1][0] in "+-"
    if match[2] == "st":
        return number, None, False
    if match[2] == "Hz":
        return 0.0, number, relative
    factor = 1.0 + number / 100.0 if relative else number / 100.0
    if factor <= 0.0:
        raise ValueError(f"a pitch of {value!r:.40}: give more than -100%")
    return 12.0 * math.log2(factor), None, False


def phonemes_of(value: str, alphabet: str) -> str:
    """The {phonemes} of x-arpabet or ipa. IPA's stress marks stress the vowel behind them."""
    if alphabet == "x-arpabet":
        return f" {{{value}}} "
    if alphabet != "ipa":
        raise ValueError(f"the alphabet {alphabet!r:.40}: take ipa or x-arpabet")
    symbols, stress = [], "0"
    signs = [match[0] for match in _IPA_SIGNS.finditer(value)]
    marked = "ˈ" in signs
    for sign in signs:
        if sign in "ˈˌ":
            stress = "1" if sign == "ˈ" else "2"
        elif sign in _IPA:
            symbol = _IPA[sign]
            if symbol[0] in "AEIOU":
                first = not marked and sign not in _REDUCED
                symbol, stress, marked = symbol + ("1" if first else stress), "0", marked or first
            symbols.append(symbol)
        elif not re.fullmatch(r"[.\s/\[\]͡ː]", sign):
            raise ValueError(f"the IPA sign {sign!r} is none of English: take another, or x-arpabet")
    if not symbols:
        raise ValueError('a phoneme without ph: give it, such as ph="HH AH0 L OW1"')
    return f" {{{' '.join(symbols)}}} "


def _named(value: str, table: dict[str, float], what: str) -> float:
    if value not in table:
        raise ValueError(f"{what} of {value!r:.40}: take {', '.join(table)}")
    return table[value]


def _factor(value: str, what: str, table: dict[str, float]) -> float:
    match = re.fullmatch(rf"({_NUMBER})(%?)", value)
    factor = float(match[1]) / (100.0 if match[2] else 1.0) if match else -1.0
    if match and match[1][0] in "+-":
        factor += 1.0
    if factor < 0.0:
        raise ValueError(f"{what} of {value!r:.40}: take {', '.join(table)}, or such as 80% or +20%")
    return factor


def _spelled(text: str, how: str) -> str:
    """Letter by letter, figure by figure."""
    return " ".join(cardinal(int(c)) if c in "0123456789" else c.upper() for c in text if not c.isspace())


def _number(read: Callable[[int], str]) -> Callable[[str, str], str]:
    def said(text: str, how: str) -> str:
        digits = re.sub(r"[,\s]|(?<=\d)(?:st|nd|rd|th)$", "", text)
        return read(int(digits)) if re.fullmatch(r"\d{1,36}", digits) else text

    return said


def _date(text: str, how: str) -> str:
    """By a format such as mdy, dmy, ymd: written as March 4, 2021, which the other rules read."""
    parts = re.split(r"[^\d]+", text.strip())
    values = dict(zip(how, parts, strict=False))
    if len(parts) != len(how) or set(how) - set("dmy") or not all(parts) or "m" not in values:
        return text
    month = int(values["m"])
    if not 1 <= month <= 12:
        return text
    words = [_MONTHS[month - 1]]
    words += [str(int(values["d"]))] if "d" in values else []
    year = [values["y"]] if "y" in values else []
    return " ".join(words) + ("," if year and "d" in values else "") + "".join(f" {y}" for y in year)


def _as_written(text: str, how: str) -> str:
    """The rules for plain text know these by their form."""
    return text


SAID_AS: dict[str, Callable[[str, str], str]] = {
    "characters": _spelled,
    "spell-out": _spelled,
    "digits": _spelled,
    "cardinal": _number(cardinal),
    "number": _number(cardinal),
    "ordinal": _number(ordinal),
    "date": _date,
    "fraction": _as_written,
    "time": _as_written,
    "telephone": _as_written,
    "unit": _as_written,
}
