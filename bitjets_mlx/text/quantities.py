"""Money, percentages, measures, fractions, ranges and all other numbers as words."""

import re
from re import Match

from bitjets_mlx.text.letters import split_letters_and_digits
from bitjets_mlx.text.numbers import cardinal, decimal, digits, ordinal, pairs, plural, year
from bitjets_mlx.text.tables import COMMON_UNITS, CURRENCIES, CURRENCY_CODES, SCALES, TOUCHING, UNITS
from bitjets_mlx.text.words import any_of

NUMBER = r"(?:\d{1,3}(?:,\d{2,3})*,\d{3}(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)"
_SCALE_WORD = r"(?:hundred|thousand|million|billion|trillion|quadrillion)"


_CURRENCY = rf"({any_of(CURRENCIES)})"
_CODE = rf"({any_of(code for code in CURRENCY_CODES if code != 'Rs')})"
_SCALE = rf"(?:[ -]?({_SCALE_WORD})\b|({any_of(key for key in SCALES if len(key) < 4)})(?![\w]))"
_UNIT = rf"({any_of(UNITS)})"

_FRACTIONS = {2: ("half", "halves"), 4: ("quarter", "quarters")}
_IDIOMS = {
    "24/7": "twenty-four seven", "24/7/365": "twenty-four seven three sixty-five", "9/11": "nine eleven",
    "7/11": "seven eleven", "50/50": "fifty fifty",
    "50-50": "fifty fifty", "20/20": "twenty twenty", "007": "double oh seven", "401k": "four oh one K",
    "401(k)": "four oh one K", "9-1-1": "nine one one", "80/20": "eighty twenty", "4x4": "four by four",
    "4WD": "four wheel drive", "1-on-1": "one on one", "2FA": "two F A",
}  # fmt: skip


_COUNTABLE = (
    "people|men|women|children|active|daily|monthly|new|paying|registered|unique|total|likes|miles|copies|euros|bytes"
)


def money(amount: str, names: tuple[str, str, str, str], scale: str = "", adjective: bool = False) -> str:
    """ "3.50" -> "three dollars and fifty cents"; before a noun ("a $5 bill") the currency stays singular."""
    one, many, cent, cents = names
    whole, _, fraction = amount.replace(",", "").partition(".")
    if scale or (fraction and (len(fraction) != 2 or not cent)):
        return f"{decimal(amount)} {scale + ' ' if scale else ''}{one if adjective else many}"
    units, parts = int(whole or 0), int(fraction or 0)
    words = [f"{cardinal(units)} {one if units == 1 or adjective else many}"] if units or not parts else []
    if parts:
        words.append(f"{cardinal(parts)} {cent if parts == 1 else cents}")
    return " and ".join(words)


def _money(match: Match[str]) -> str:
    currency, minus, amount, word, letter = match.groups()
    rest = match.string[match.end() :]
    before = match.string[: match.start()]
    adjective = re.match(r"(?:-|[ -](?:bills?|notes?|coins?)\b)", rest) is not None and not re.match(r"-[\d$]", rest)
    adjective |= re.search(r"\b[Aa]n? $", before) is not None and re.match(r" [a-z]", rest) is not None
    words = money(amount, CURRENCIES[currency], SCALES[word or letter] if word or letter else "", adjective)
    return f"minus {words}" if minus else words


def _money_after(match: Match[str]) -> str:
    amount, word, letter, code = match.groups()
    return money(amount, CURRENCY_CODES[code], SCALES[word or letter] if word or letter else "")


def _money_range(match: Match[str]) -> str:
    return f"{decimal(match[2])} to {match[1]}{match[3]}"


def _per(unit: str) -> str:
    return UNITS[unit][0] if unit in UNITS else unit


def _measure(match: Match[str]) -> str:
    """5km -> "five kilometers", 10 m^2 -> "ten square meters", 5 mg/kg -> "five milligrams per kilogram"."""
    amount, scale, gap, unit, power, per, per_time, period = match.groups()
    if gap and unit in TOUCHING and not (unit == "in" and period):
        return match[0]
    one, many = UNITS[unit]
    name = one if gap == "-" or (amount in {"1", "1.0"} and not scale) else many
    name = {"2": "square ", "3": "cubic "}.get(power or "", "") + name
    end = _period_after_unit(period, match)
    rates = "".join(f" per {_per(symbol)}" for symbol in (per, (per_time or "")[1:]) if symbol)
    return f"{decimal(amount)}{scale or ''} {name}{rates}{end}"


def _period_after_unit(period: str | None, match: Match[str]) -> str:
    """ "." where the period of "lbs." also ends the sentence; hardly any name follows a unit."""
    rest = match.string[match.end() :]
    ends = not rest.strip(" \n\"')]") or re.match(r"""["')\]]*\s+["'(]*[A-Z]""", rest)
    return "." if period and ends else ""


def _per_power(match: Match[str]) -> str:
    """9.8 m/s2 -> "nine point eight meters per second squared", 70 kg/m^3 -> "seventy kilograms per cubic meter"."""
    amount, unit, per, power = match.groups()
    name = {"2": "square ", "3": "cubic "}[power] + UNITS[per][0]
    name = f"{UNITS[per][0]} {'squared' if power == '2' else 'cubed'}" if per == "s" else name
    return f"{decimal(amount)} {UNITS[unit][0 if amount == '1' else 1]} per {name}"


def _code_before(match: Match[str]) -> str:
    """EUR 1.5 million -> "one point five million euros"."""
    code, amount, word, letter = match.groups()
    return money(amount, CURRENCY_CODES[code], SCALES[word or letter] if word or letter else "")


def _square(match: Match[str]) -> str:
    kind = {"s": "square", "c": "cubic"}[match[2][0].lower()]
    return f"{decimal(match[1])} {kind} {UNITS[match[3]][0 if match[1] == '1' else 1]}"


def _degrees(match: Match[str]) -> str:
    """20°C -> "twenty degrees Celsius"; 40°26'46"N -> "forty degrees twenty-six minutes forty-six seconds north"."""
    amount, minutes, seconds, letter = match.groups()
    words = f"{decimal(amount)} degree{'' if amount == '1' else 's'}"
    words += f" {cardinal(int(minutes))} minutes" if minutes else ""
    words += f" {cardinal(int(seconds))} seconds" if seconds else ""
    names = {"C": "Celsius", "F": "Fahrenheit", "K": "Kelvin", "N": "north", "S": "south", "E": "east", "W": "west"}
    return words + (f" {names[letter]}" if letter else "")


def _inches(match: Match[str]) -> str:
    """5" nails, unless the mark closes a quotation."""
    return match[0] if match.string[: match.start()].count('"') % 2 else f"{decimal(match[1])} inch"


def fraction(top: int, bottom: int) -> str | None:
    """ "two thirds"; None for what is read with "over" instead."""
    if not ((0 < top < 100 and 1 < bottom <= 100) or (bottom in {1000, 1_000_000} and top)) or top >= bottom:
        return None
    one, many = _FRACTIONS.get(bottom) or (ordinal(bottom), plural(ordinal(bottom)))
    return one if one.startswith("one ") and top == 1 else f"{cardinal(top)} {one if top == 1 else many}"


def _fraction(match: Match[str]) -> str:
    whole, top, bottom, unit, period = match.groups()
    part = fraction(int(top), int(bottom))
    if part is None:
        words = f"{cardinal(int(top))} over {cardinal(int(bottom))}"
        if unit and unit not in TOUCHING:
            return f"{words} {UNITS[unit][1]}"
        return (
            (f"{cardinal(int(whole))} " if whole else "")
            + words
            + match[0][match.end(3) - match.start() :].lstrip("thrnds")
        )
    if whole:
        part = f"{cardinal(int(whole))} and {part.replace('one half', 'a half').replace('one quarter', 'a quarter')}"
    if unit is None:
        return part
    name = unit if unit in TOUCHING else UNITS[unit][1 if whole else 0]
    return f"{part} {name}{_period_after_unit(period, match)}"


def _list_of_numbers(match: Match[str]) -> str:
    return " ".join(
        cardinal(int(part)) if part == "0" or part[0] != "0" else digits(part) for part in match[0].split("-")
    )


def _version(match: Match[str]) -> str:
    """17.4.1 -> "seventeen point four point one"; an IP address has "dot"."""
    parts = match[0].split(".")
    dot = " dot " if len(parts) == 4 else " point "
    return dot.join(cardinal(int(part)) for part in parts)


def _scientific(match: Match[str]) -> str:
    power = int(match[3])
    words = f"minus {cardinal(-power)}" if power < 0 else ordinal(power)
    unit = f" {UNITS[match[4]][1]}" if match[4] else ""
    return f"{decimal(match[1])} times ten to the {words}{unit}" + (f" per {_per(match[5])}" if match[5] else "")


def plain_number(match: Match[str]) -> str:
    """Whatever no other rule has read: years from 1100 to 2099, figures with leading zeros, cardinals, decimals."""
    text, rest = match[0], match.string[match.end() :]
    if text.isdigit():
        if len(text) > 1 and text.startswith("0"):
            return digits(text)
        if 1100 <= int(text) <= 1900 and text.endswith("00"):
            return pairs(text)
        if len(text) == 4 and 1100 <= int(text) <= 2099 and not _counts(match.string[: match.start()], rest):
            return year(int(text))
        if len(text) == 3 and re.search(r"\b[A-Z]{1,2}[- ]?$", match.string[: match.start()]):  # A320, B-747
            return pairs(text)
    return decimal(text)


def _counts(before: str, rest: str) -> bool:
    """Whether a four-digit number counts things: "1308 prisoners", but not "the 1960 elections"."""
    if re.search(r"\b(?:[Tt]he|[Ii]n|[Oo]f|[Ss]ince|[Uu]ntil|[Bb]y|[Ff]rom|[Tt]o|[Oo]n|[Ff]or) $", before):
        return False
    noun = re.match(r" ([a-z]{2,}s|people|men|women|children|feet|percent|dollars|tons?)\b", rest)
    return noun is not None and noun[1] not in {"was", "is", "has", "does", "as", "his", "this", "its", "us", "versus"}


_OF_UNIT = rf"(?: ?({any_of(COMMON_UNITS)})(?:/({any_of(COMMON_UNITS)}))?(?![\w/^]))?"
_FREE = r"(?<![\w.,/$£€-])"
MEASURES = (
    (rf"(?<![\w/-])({any_of(_IDIOMS)})(?![\w/]|[-.,]\d)", lambda m: _IDIOMS[m[1]]),
    # money
    (r"\$ ?(?=[\d.,]*\d(?: (?:million|billion))? ?(?:USD|CAD|AUD|NZD|SGD|HKD)\b)", lambda m: ""),
    (r"\bUSD ?\$", lambda m: "US$"),
    (rf"{_CURRENCY} ?({NUMBER}) ?[-–] ?({NUMBER})(?![\d,]|\.\d)", _money_range),
    (rf"(?<=\d)([kKmMbB]?) ?[-–] ?(?={_CURRENCY}\d)", lambda m: f"{m[1]} to "),
    (rf"(?<![\w])-(?={_CURRENCY}\.?\d)", lambda m: "minus "),
    (rf"(?<![A-Za-z]){_CURRENCY} ?(-?)({NUMBER})(?:{_SCALE})?", _money),
    (rf"(?<![\w.,])({NUMBER})(?:{_SCALE})? ?{_CODE}(?!\w)", _money_after),
    (rf"(?<![\w.,])({NUMBER}) Rs\b\.?", lambda m: money(m[1], CURRENCY_CODES["Rs"])),
    (rf"(?<![\w.])({any_of(code for code in CURRENCY_CODES if code[0].isalpha())})\.?"
     rf" ?({NUMBER})(?![\d,]*-\d)(?:{_SCALE})?(?![\w%])",
     _code_before),
    (r"¢ ?(\d+)(?![\d.,])", lambda m: f"{cardinal(int(m[1]))} cent{'' if m[1] == '1' else 's'}"),
    (r"(?<![\w.,])(\d+) ?¢(?= (?:coin|stamp|piece))", lambda m: f"{cardinal(int(m[1]))} cent"),
    (r"(?<![\w.,])(\d+) ?¢", lambda m: f"{cardinal(int(m[1]))} cent{'' if m[1] == '1' else 's'}"),
    (r"(?<![\w.,])(\d+\.\d+)([kKMB])\b(?!\.\w)", lambda m: f"{decimal(m[1])} {SCALES[m[2]]}"),
    (rf"(?<![\w.,$£€])({NUMBER}) ?(bn|mn|trn)\b", lambda m: f"{decimal(m[1])} {SCALES[m[2]]}"),
    (rf"(?<![\w.,$£€])({NUMBER})([kKMB])(?= (?:{_COUNTABLE}|[a-z]{{2,}}[^sui\W]s)\b)",
     lambda m: f"{decimal(m[1])} {SCALES[m[2]]}"),
    # ranges and signs
    (r"(?<![\w.,/-])\d+(?:-\d+){2,}(?![\w/-])", _list_of_numbers),
    (rf"{_FREE}({NUMBER}) ?- ?(?={NUMBER} ?=)", lambda m: f"{m[1]} minus "),
    (rf"{_FREE}({NUMBER}) [-] (?={NUMBER}(?!\w))", lambda m: f"{m[1]} minus "),
    (rf"{_FREE}({NUMBER}[%°]?[CF]?)(?:-| ?– ?)(?={NUMBER})", lambda m: f"{m[1]} to "),
    (rf"(?<![\w.,/-])({NUMBER})[eE]()([+-]?\d{{1,4}})(?!\w){_OF_UNIT}", _scientific),
    (rf"(?<![\w.,/-])({NUMBER}) ?(?:×|\*|x|times) ?(10)\^([+-]?\d{{1,4}})(?!\w){_OF_UNIT}", _scientific),
    (rf"(?<![\w)\].])-(?={NUMBER})", lambda m: "minus "),
    (rf"(?<![\w)\].])\+(?={NUMBER})", lambda m: "plus "),
    (rf"(?<=\d) ?[x×*] ?(?={NUMBER} ?=)", lambda m: " times "),
    (r"\b([1-9]\d{2,3}) ?[x×] ?([1-9]\d{2,3})\b", lambda m: f"{pairs(m[1])} by {pairs(m[2])}"),
    (r"(?<![\w.,])(?=\d)((?:\d+ )?\d+/\d+)(?:\"|'')(?=[\s,.;x×-]|$)",
     lambda m: m[0] if m.string[: m.start()].count('"') % 2 else f"{m[1]} inch"),
    (rf"(?<![\w.,])({NUMBER}) ?(kg|g|mg|W|J|N|m|km)/(m|km|s|cm)\^?([23])(?!\d)", _per_power),
    (r"(?<=[\w)])\^([23])(?!\d)", lambda m: {"2": " squared", "3": " cubed"}[m[1]]),
    (r"(?<=[\w)])\^(?=-?\d)", lambda m: " to the power of "),
    (rf"(?<=\d)( ?)(?:[x×]|\*(?!\*)) ?(?={NUMBER})", lambda m: " by "),
    (rf"(?<![\w.,])({NUMBER}) ?[x×](?!\w)", lambda m: f"{decimal(m[1])} times"),
    # measures
    (r"(?<![\w.])\.(22|25|32|38|40|44|45|50|357)(?=[ -](?:[Cc]alib|[Ss]pecial|[Pp]istol|[Rr]evolver|[Rr]ifle|[Mm]agnum"
     r"|ACP|[Aa]utomatic|bullets?|cartridges?))", lambda m: cardinal(int(m[1])) if len(m[1]) < 3 else pairs(m[1])),
    (rf"(?<!\d)({NUMBER}) ?°(?: ?(\d+)'(?: ?(\d+)\")?)?(?: ?([CFKNSEW])(?![a-z]))?", _degrees),
    (r"\bdegrees ([CF])\b", lambda m: f"degrees {'Celsius' if m[1] == 'C' else 'Fahrenheit'}"),
    (rf"(?<!\d)({NUMBER}) ?%", lambda m: f"{decimal(m[1])} percent"),
    (rf"(?<!\d)({NUMBER})-percent\b", lambda m: f"{decimal(m[1])} percent"),
    (r"(?<![\w.,])(\d+)' ?(\d{1,2})(?:\"|''|(?!\w))",
     lambda m: f"{cardinal(int(m[1]))} {'foot' if m[1] == '1' else 'feet'} {cardinal(int(m[2]))}"),
    (rf"(?<![\w.,])({NUMBER})(?:\"|'') ?(?=by\b|x\b|wide|tall|long|thick|deep|screen|TV|display|monitor|pipe|disk)",
     lambda m: f"{decimal(m[1])} inch "),
    (rf"(?<![\w.,])({NUMBER})' ?[x×] ?({NUMBER})(?:'|(?!\w))",
     lambda m: f"{decimal(m[1])} foot by {decimal(m[2])} foot"),
    (rf"(?<![\w.,])({NUMBER}) in\.? ?([x×]|by) ?({NUMBER}) in\b",
     lambda m: f"{decimal(m[1])} inches by {decimal(m[3])} inches"),
    (r"(?<=\d)( ?(?:ft|feet|foot)\.?,? \d{1,2}) in\b\.?(?! \d)",
     lambda m: f"{m[1]} {'inch' if m[1].endswith(' 1') else 'inches'}"),
    (rf"(?<![\w.,/])({NUMBER}|(?:\d+ )?\d+/\d+) in(?:\. ?(?=of |wide|tall|high|long|deep|thick|in |x |by |pan|pipe)"
     rf"|(?= (?:wide|tall|high|long"
     r"|deep|thick|of (?:rain|snow|water|ice|mud)|in diameter)\b))",
     lambda m: f"{m[1]} {'inch' if m[1] == '1' else 'inches'} "),
    (rf"(?<![\w.,])({NUMBER})' ?(?=tall|long|wide|high|deep|x\b|by\b)", lambda m: f"{decimal(m[1])} foot "),
    (rf"(?<![\w.,])({NUMBER})\"(?= [a-z])", _inches),
    (r"\b(144|240|360|480|720|1080|1440|2160)([pi])\b", lambda m: f"{pairs(m[1])} {m[2].upper()}"),
    (rf"(?<![\w.,])({NUMBER}) ?(sq|cu|square|cubic)\.? ?(ft|in|yd|mi|m|km|cm|mm)\b\.?", _square),
    (rf"(?<![\w.,/])(?:(\d+)[ -])?(\d+)/(\d+)(?:ths?\b|rds?\b|nds?\b|st\b)?(?!\w*[/\d]"
     rf"|[.,]\d)(?: ?{_UNIT}(?![\w/])(\.(?!\w))?)?",
     _fraction),
    (rf"(?<![\w.,/])({NUMBER})( {_SCALE_WORD})?([ -]?){_UNIT}(?:\^([23]))?(?:/({any_of(UNITS)}|hour|day|week|month|year"
     r"|second|minute|person|mile)(/(?:day|d|h|hour|min|week))?)?(?![\w/'^])(\.(?!\w))?", _measure),
    (r"\b([Aa]) one (?=half\b|quarter\b)", lambda m: f"{m[1]} "),
)  # fmt: skip

# after abbreviations have had their chance with figures ("No. 5")
NUMBERS = (
    (r"(?<![\w.])(\d{1,3}(?:,\d{2,3})*,\d{3}|\d+)(?:st|nd|rd|th|ST|ND|RD|TH)\b",
     lambda m: ordinal(int(m[1].replace(",", "")))),
    (r"\b[vV]\.? ?(?=\d+\.\d+\.\d)", lambda m: "version "),
    (r"(?<![\d.])\d+(?:\.\d+){2,}(?![\d]|\.\d)", _version),
    (r"\b[vV]\.? ?(?=\d+\.\d)", lambda m: "version "),
    (r"\b[\w-]*(?:[A-Za-z]-?\d|\d[A-Za-z])[\w-]*(?:\.\d+)?", split_letters_and_digits),
    (rf"(?<![\d.,]){NUMBER}|\d+", plain_number),
)  # fmt: skip
