"""How figures are written in different places, brought to one form: separators, powers, "H.264", "two 6s", "1-to-1"."""

import re
from re import Match

from bitjets_mlx.text.dates import WEEKDAY, month_name, month_pattern, weekday_name
from bitjets_mlx.text.numbers import cardinal, pairs, plural, year
from bitjets_mlx.text.quantities import NUMBER
from bitjets_mlx.text.tables import COMMON_UNITS, CURRENCIES, CURRENCY_CODES
from bitjets_mlx.text.words import any_of

_SYMBOL = any_of(CURRENCIES)
_UNIT = any_of(COMMON_UNITS)
_SCALE = r"(?:hundred|thousand|million|billion|trillion|bn|mn|mil)"
_AFTER_DECIMAL = (
    rf"(?: ?(?:%|°|{_SYMBOL}|{_UNIT})(?!\w)| (?:{_SCALE}|percent|times|euros?|dollars|pounds|francs|crowns|kroner"
    rf"|kilos?"
    rf"|grams?|(?:kilo|milli|centi)?meters?|liters?|miles?|inch(?:es)?|feet|hours?|degrees|points?"
    rf"|{any_of(CURRENCY_CODES)})\b)"
)
_PHONE_BEFORE = re.compile(
    r"(?:\b(?:call|dial|ring|text|phone|tel|fax|mobile|number|no|contact|isbn|code|pin)\b\W*(?:is|me|us|at|on)?\W*"
    r"|[+(]\d*\)?[ -]?)$",
    re.IGNORECASE,
)


def _grouped(match: Match[str]) -> str:
    """25 000 or 1'000 -> 25,000, where the groups cannot be numbers of their own."""
    text, separator = match[0], match[2][0]
    groups = re.split(rf"[{separator}]", text)
    rest = match.string[match.end() :]
    sure = separator == "'" or len(groups) > 2 or groups[1].startswith("0") or groups[1].endswith("00")
    sure |= re.match(r" (?:people|[a-z]{3,}[^sui\W]s)\b", rest) is not None and separator == " "
    sure |= re.match(rf" ?(?:%|{_SYMBOL}|(?:{_UNIT})(?!\w))|,\d\d?(?!\d)", rest) is not None
    sure |= re.search(rf"(?:{_SYMBOL}) ?$", match.string[: match.start()]) is not None
    if not sure or (separator == " " and _PHONE_BEFORE.search(match.string[: match.start()])):
        return text
    return ",".join(groups)


def _dotted(match: Match[str]) -> str:
    """1.234.567 -> 1,234,567, unless it is the address of a computer."""
    groups = match[1].split(".")
    if len(groups) == 4 and all(int(group) < 256 for group in groups):
        return match[0]
    return ",".join(groups) + (f".{match[2]}" if match[2] else "")


def _letter_and_figures(match: Match[str]) -> str:
    return f"{match[1]} dot {pairs(match[2])}"


def _plural_figures(match: Match[str]) -> str:
    """747s -> "seven forty-sevens"; 100s -> "hundreds"."""
    before, text = match[1] or "", match[2]
    if text in {"100", "1000", "1,000"} and not before.endswith("-"):
        return before + {"100": "hundreds", "1000": "thousands", "1,000": "thousands"}[text]
    number = text.replace(",", "")
    return before + plural(pairs(number) if len(number) in (3, 4) else cardinal(int(number)))


_TIMED = re.compile(
    r"\b(?:took|takes?|waits?|waited|for|within|after|every|lasts?|lasted|timeout|in|under|only|about|just|exactly"
    r"|another"
    r"|next|over|at|by|to|is|was)(?: (?:about|only|another|just|under|over|exactly))? $|[=:~<>(] ?$",
    re.IGNORECASE,
)


_DECADE = re.compile(r"\b(?:the|early|late|mid)[ -]$", re.IGNORECASE)


def _seconds_or_plural(match: Match[str]) -> str:
    """ "It took 8s" keeps its unit, "two 8s" are eights."""
    before = match.string[: match.start()]
    if _TIMED.search(before) or (not before.strip() and len(match[2]) < 3):
        return match[0] if match[2][-1] != "0" else f"{match[2]} {'second' if match[2] == '1' else 'seconds'}"
    if match[2][-1] == "0" and len(match[2]) < 3:
        return match[0]
    return _plural_figures(match)


def _weekdays(match: Match[str]) -> str:
    return f"{weekday_name(match[1])} to {weekday_name(match[2])}" + (match[3] or "")


_MONTH = month_pattern()
_DASH = r"\s?(?:[-–—]|--)\s?"
POSSESSIVES = (
    (
        r"\b(\d{1,3})s(?= (?:timer|timeout|clip|video|delay|exposure|ad|spot|rest|break|sprint|plank|interval"
        r"|countdown)\b)",
        lambda m: f"{m[1]} second",
    ),
    (
        r"\b(([12]\d)\d\d)'s(?= [a-z])",
        lambda m: m[0] if _DECADE.search(m.string[: m.start()]) else f"{year(int(m[1]))}'s",
    ),
    (r"(?<=\b(?:[Tt]ook|[Tt]ake|[Ww]ait) )(\d0)s\b|(?<=\b[Ff]or )(\d0)s\b", lambda m: f"{m[1] or m[2]} seconds"),
    (r"(?<!the )(?<![\w$£€])(100|1,?000)s\b(?!\.\w|')", lambda m: "hundreds" if m[1] == "100" else "thousands"),
)
LETTER_RANGES = (
    (r"\b([A-Z])–([A-Z])\b(?!['.-])", lambda m: f"{m[1]} to {m[2]}"),
    (r"\b([Aa])-([Zz])\b(?!['.-])", lambda m: f"{m[1].upper()} to {m[2].upper()}"),
    (r"\b([Ff]rom|[Bb]etween|[Gg]rades?|[Rr]ows?|[Ll]etters|[Ss]ections|[Tt]eams?"
     r"|[Gg]roups) ([A-Z])-([A-Z])\b(?!['.-])",
     lambda m: f"{m[1]} {m[2]} to {m[3]}"),
)  # fmt: skip
NAME_RANGES = (
    (
        rf"\b(\d{{1,2}} {_MONTH}|{_MONTH} \d{{1,2}}){_DASH}(?=\d{{1,2}} {_MONTH}\b|{_MONTH} \d{{1,2}}\b)",
        lambda m: f"{m[1]} to ",
    ),
    (rf"\b({WEEKDAY})\.?{_DASH}({WEEKDAY})\b\.?()", _weekdays),
    (rf"\b({_MONTH})\.?{_DASH}(?={_MONTH}\b)", lambda m: f"{month_name(m[1])} to "),
    (r"\b([Nn]oon|[Mm]idnight) ?[–-] ?(?=\d)", lambda m: f"{m[1]} to "),
)
RANGES = (
    (r"\b([Bb]etween) (\d[\d,.]*)[-–](?=\d)", lambda m: f"{m[1]} {m[2]} and "),
    (r"(?<![\w.,/-])(\d+(?:\.\d+)?)([kKMB]) ?[-–] ?(?=\d+(?:\.\d+)?\2(?!\w))", lambda m: f"{m[1]} to "),
    (rf"((?:\b\d{{4}}|'?\b\d0)'?s){_DASH}(?='?\d{{2,4}}'?s\b)", lambda m: f"{m[1]} to "),
    (rf"(?<![\w.,/-])({NUMBER}( ?(?:{_UNIT}|%|°[CF]?|\"|'))){_DASH}(?={NUMBER}\2(?!\w))", lambda m: f"{m[1]} to "),
    (rf"(?<![\w.,/-])({NUMBER} ?%){_DASH}(?={NUMBER} ?%)", lambda m: f"{m[1]} to "),
    (rf"(?<![\w.,/-])({NUMBER}%?) ?~ ?(?={NUMBER})", lambda m: f"{m[1]} to "),
    (r"\b(\d+)-(to|on|by|in|for|and|of|or)-(\d+)\b", lambda m: f"{m[1]} {m[2]} {m[3]}"),
    (r"\b([Ff]rom|[Bb]etween|[Oo]pen|[Hh]ours:?|[Ww]orks?|[Ww]orking) (\d{1,2}) - (?=\d{1,2}\b)",
     lambda m: f"{m[1]} {m[2]} to "),
    (r"(?<![\w.,/$£€-])(\d+(?:\.\d+)?) - (\d+(?:\.\d+)?)(?![\w.,]*\d| ?[-=+*/])",
     lambda m: f"{m[1]} {'to' if float(m[1]) < float(m[2]) else 'minus'} {m[2]}"),
)  # fmt: skip

_HEADS = "people|inhabitants|residents|visitors|voters|students|soldiers|copies|cars|euros|jobs|members|employees"
"|workers"
SEPARATORS = (
    (r"(?<=\d)/-(?!\w)", lambda m: ""),  # "Rs. 50/-"
    (r"(?<=\d) / (?=\d)", lambda m: " divided by "),
    (r"\b0x([0-9A-Fa-f]+)\b", lambda m: "zero X " + " ".join(m[1].upper())),
    (rf"(?<![\w.,])([1-9]\d{{0,2}})\.(?=\d{{3}} (?:{_HEADS})\b)", lambda m: f"{m[1]},"),
    (r"(?<![\w.,])(\d),(?=\d [a-z]{3,}[^sui\W]s\b)", lambda m: f"{m[1]}."),
    (r"(?<![\w.,'])(\d{1,3})((?:'\d{3})+)(?![\w'])", _grouped),
    (r"(?<![\w.,:/+(-])(?<!\d )([1-9]\d{0,2})((?: \d{3})+)(?!\w|[:/-]\d| \d|\.\d{3}\.)", _grouped),
    (r"(?<![\w.,])(\d{1,3}(?:\.\d{3})+),(\d{1,2})(?![\d,])", _dotted),
    (r"(?<![\w.,])([1-9]\d{0,2}(?:\.\d{3}){2,})()(?![\w]|[.,]\d)", _dotted),
    (r"(?<=€)( ?\d{1,3})\.(?=\d{3}(?![\d.,]))", lambda m: f"{m[1]},"),
    (rf"(?<![\w.,])(\d{{1,3}}),(?=\d{{1,2}}{_AFTER_DECIMAL})", lambda m: f"{m[1]}."),
    (rf"(?<![\w.,])(\d{{1,3}}(?:,\d{{3}})+),(?=\d{{1,2}}{_AFTER_DECIMAL})", lambda m: f"{m[1]}."),
    (r"(?<![\w.,])(\d{1,3}(?:,\d{3})+),(?=\d{2}(?![\d,]))", lambda m: f"{m[1]}."),
    (r"(?<![\w.,])0,(?=\d{1,4}(?![\d,]|\.\d))", lambda m: "0."),
    (r"(?<=[€£])( ?\d{1,3}(?:,\d{3})*),(?=\d{2}(?![\d,]))", lambda m: f"{m[1]}."),
)  # fmt: skip

FIGURES = (
    (r"(?<![\w.])([A-Z])\.(?=\d+(?:\.\d+)+(?!\w))", lambda m: f"{m[1]} dot "),
    (r"(?<![\w.])([A-Z])\.(\d{1,4})(?![\w]|[.,]\d)", _letter_and_figures),
    (r"(?<![\w.,/-])(\d+)-(?=[1-9]/\d{1,2}(?![\d/]))", lambda m: f"{m[1]} "),
    (r"(?<![\w$£€.,'/-])()(\d{1,4}|1,000)s\b(?!\.\w| of\b|')", _seconds_or_plural),
    (r"\b([A-Z]{1,3}-)(\d{1,3})s\b", _plural_figures),
    (r"(?<![\w.,])(\d+\.\d+) s(?=[.,;!?)]|$| [a-z])", lambda m: f"{m[1]} seconds"),
)  # fmt: skip
