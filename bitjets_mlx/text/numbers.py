"""Numbers as words: cardinals, ordinals, years, decimals, digit by digit. American style, without "and"."""

from bitjets_mlx.text.words import listed

_ONES = listed(
    """
    zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
    eighteen nineteen
    """
)
_TENS = listed("_ _ twenty thirty forty fifty sixty seventy eighty ninety")
_SCALES = listed(
    """
    _ thousand million billion trillion quadrillion quintillion sextillion septillion octillion nonillion decillion
    """
)
_ORDINALS = {
    "one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth", "nine": "ninth",
    "twelve": "twelfth",
}  # fmt: skip
_PLURALS = {"foot": "feet", "inch": "inches", "six": "sixes"}


def _below_thousand(number: int) -> list[str]:
    words: list[str] = []
    if number >= 100:
        words += [_ONES[number // 100], "hundred"]
        number %= 100
    if number >= 20:
        tens, one = divmod(number, 10)
        words.append(_TENS[tens] + (f"-{_ONES[one]}" if one else ""))
    elif number:
        words.append(_ONES[number])
    return words


def cardinal(number: int) -> str:
    """1234 -> "one thousand two hundred thirty-four"; from 10^36 on digit by digit."""
    if number < 0:
        return f"minus {cardinal(-number)}"
    if number == 0:
        return "zero"
    if number >= 1000 ** len(_SCALES):
        return digits(str(number))
    words: list[str] = []
    for power in range(len(_SCALES) - 1, -1, -1):
        group = number // 1000**power % 1000
        if group:
            words += _below_thousand(group) + ([_SCALES[power]] if power else [])
    return " ".join(words)


def ordinal(number: int) -> str:
    """21 -> "twenty-first"."""
    return to_ordinal(cardinal(number))


def to_ordinal(words: str) -> str:
    """The ordinal of a cardinal in words: "forty" -> "fortieth"."""
    head, last = words[: len(words) - len(_last(words))], _last(words)
    if last in _ORDINALS:
        return head + _ORDINALS[last]
    return head + (last[:-1] + "ie" if last.endswith("y") else last) + "th"


def plural(words: str) -> str:
    """The plural of a number or a unit: "ninety" -> "nineties", "foot" -> "feet"."""
    head, last = words[: len(words) - len(_last(words))], _last(words)
    if last in _PLURALS:
        return head + _PLURALS[last]
    return head + (last[:-1] + "ies" if last.endswith("y") and last[-2] not in "aeiou" else last + "s")


def _last(words: str) -> str:
    return words.replace("-", " ").rpartition(" ")[2]


def digits(text: str, zero: str = "zero") -> str:
    """Digit by digit: "1807" -> "one eight zero seven"; anything that is not a digit is left out."""
    return " ".join(zero if digit == "0" else _ONES[int(digit)] for digit in text if digit.isdigit())


def pairs(text: str) -> str:
    """In groups of two, as house numbers are read: "1905" -> "nineteen oh five", "747" -> "seven forty-seven"."""
    if len(text) > 4 or text.startswith("0"):
        return digits(text)
    number = int(text)
    if number < 100 or number % 1000 == 0:
        return cardinal(number)
    high, low = divmod(number, 100)
    if low == 0:
        return f"{cardinal(high)} hundred"
    return f"{cardinal(high)} {'oh ' if low < 10 else ''}{cardinal(low)}"


def year(number: int) -> str:
    """1905 -> "nineteen oh five", 2007 -> "two thousand seven", 476 -> "four seventy-six"."""
    if 2000 <= number <= 2009 or number < 100 or number > 9999:
        return cardinal(number)
    return pairs(str(number))


def decimal(text: str) -> str:
    """ "1,234.05" -> "one thousand two hundred thirty-four point zero five"."""
    whole, _, fraction = text.replace(",", "").partition(".")
    words = cardinal(int(whole)) if whole else "zero"
    return f"{words} point {digits(fraction)}" if fraction else words
