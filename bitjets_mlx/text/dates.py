"""Dates, times of day, years, decades and telephone numbers as words."""

import re
from re import Match

from bitjets_mlx.text.boundaries import period_after
from bitjets_mlx.text.numbers import cardinal, digits, ordinal, pairs, plural, year

MONTHS = {
    "jan": "January", "feb": "February", "mar": "March", "apr": "April", "may": "May", "jun": "June", "jul": "July",
    "aug": "August", "sep": "September", "oct": "October", "nov": "November", "dec": "December",
}  # fmt: skip
_MONTH_NUMBERS = dict(enumerate(MONTHS.values(), start=1))
_MONTH = (
    r"(January|February|March|April|May|June|July|August|September|October|November|December"
    r"|Jan\.?|Feb\.?|Mar\.?|Apr\.?|Jun\.?|Jul\.?|Aug\.?|Sept?\.?|Oct\.?|Nov\.?|Dec\.?"
    r"|JANUARY|FEBRUARY|MARCH|APRIL|MAY|JUNE|JULY|AUGUST|SEPTEMBER|OCTOBER|NOVEMBER|DECEMBER)"
)
_DAY = r"(0?[1-9]|[12]\d|3[01])(?:st|nd|rd|th)?"
_YEAR = r"(1\d{3}|20\d{2})(?![\d,]\d|\.\d|s\b|%)"
_AM_PM = r"([AaPp])\.? ?[Mm]\b(\.?)"
_ERA = r"(B\.?C\.?E|A\.?D|B\.?C|C\.?E)\b(\.?)"
_WEEKDAYS = {
    "mon": "Monday", "tue": "Tuesday", "wed": "Wednesday", "thu": "Thursday", "fri": "Friday", "sat": "Saturday",
    "sun": "Sunday",
}  # fmt: skip
WEEKDAY = (
    r"(?:Mon(?:day)?|Tue(?:s(?:day)?)?|Wed(?:s|nesday)?|Thu(?:rs?(?:day)?)?|Fri(?:day)?|Sat(?:urday)?|Sun(?:day)?)"
)
_BEFORE_DATE = r"(?:[Ww]eek of|[Oo]n|[Bb]y|[Uu]ntil|[Ss]ince|[Bb]efore|[Aa]fter|[Dd]ated|[Dd]ue)"
_BOOKS = (
    r"(?:Genesis|Exodus|Leviticus|Deuteronomy|Joshua|Judges|Samuel|Kings|Chronicles|Job|Psalms?|Proverbs|Isaiah"
    r"|Jeremiah|Ezekiel|Daniel|Hosea|Micah|Matthew|Mark|Luke|John|Acts|Romans|Corinthians|Galatians|Ephesians"
    r"|Philippians"
    r"|Colossians|Thessalonians|Timothy|Titus|Hebrews|James|Peter|Jude|Revelation)\b"
)
_BOOK_NAMES = {
    "Gen": "Genesis", "Ex": "Exodus", "Exo": "Exodus", "Exod": "Exodus", "Lev": "Leviticus", "Deut": "Deuteronomy",
    "Josh": "Joshua", "Sam": "Samuel", "Chron": "Chronicles", "Ps": "Psalm", "Prov": "Proverbs", "Isa": "Isaiah",
    "Jer": "Jeremiah", "Ezek": "Ezekiel", "Dan": "Daniel", "Matt": "Matthew", "Mk": "Mark", "Lk": "Luke", "Jn": "John",
    "Rom": "Romans", "Cor": "Corinthians", "Gal": "Galatians", "Eph": "Ephesians", "Phil": "Philippians",
    "Col": "Colossians", "Thess": "Thessalonians", "Tim": "Timothy", "Heb": "Hebrews", "Jas": "James", "Pet": "Peter",
    "Rev": "Revelation",
}  # fmt: skip
_HUNDREDS = {"1": "one", "8": "eight", "9": "nine", "6": "six"}


def month_pattern() -> str:
    """A pattern, without groups, for a month's name or abbreviation."""
    return _MONTH.replace("(", "(?:", 1)


def weekday_name(text: str) -> str:
    """ "Thurs" -> "Thursday"."""
    return _WEEKDAYS[text[:3].lower()]


def month_name(text: str) -> str:
    """ "Sept." -> "September"."""
    return MONTHS[text[:3].lower()]


def _full_year(text: str) -> str:
    """The words of a year written with two or four digits; two digits below 50 mean this century."""
    if len(text) == 2:
        text = ("20" if int(text) < 50 else "19") + text
    return year(int(text))


def _month_day_year(match: Match[str]) -> str:
    return f"{month_name(match[1])} {ordinal(int(match[2]))}, {year(int(match[3]))}"


def _month_days(match: Match[str]) -> str:
    last = f" to {ordinal(int(match[3]))}" if match[3] else ""
    return f"{month_name(match[1])} {ordinal(int(match[2]))}{last}"


def _day_month(match: Match[str]) -> str:
    article = "" if match[1] else "the "
    years = f", {year(int(match[4]))}" if match[4] else ""
    return f"{match[1] or ''}{article}{ordinal(int(match[2]))} of {month_name(match[3])}{years}"


def _month_year(match: Match[str]) -> str:
    return f"{month_name(match[1])} {year(int(match[2]))}"


def _numeric(month: str, day: str, years: str, match: Match[str]) -> str:
    number, day_number = int(month), int(day)
    if number > 12:  # day first, as outside America
        number, day_number = day_number, number
    if not (1 <= number <= 12 and 1 <= day_number <= 31):
        return match[0]
    return f"{_MONTH_NUMBERS[number]} {ordinal(day_number)}" + (f", {_full_year(years)}" if years else "")


def _clock(match: Match[str]) -> str:
    """10:30 p.m. -> "ten thirty P M"; 5:00 -> "five o'clock"; 14:05:10 -> "fourteen oh five and ten seconds"."""
    hour, minute, second, half, period = int(match[1]), int(match[2]), match[3], match[4], match[5]
    if hour > 24 or minute > 59:
        return match[0]
    words = [cardinal(hour)]
    if minute:
        words.append(("oh " if minute < 10 else "") + cardinal(minute))
    elif not half:
        words.append("o'clock" if 1 <= hour <= 12 else "hundred")
    if second:
        words.append(f"and {cardinal(int(second))} second{'s' if int(second) != 1 else ''}")
    return " ".join(words) + _half_day(half, period, match)


def _stopwatch(match: Match[str]) -> str:
    """1:02.3 -> "one oh two point three"; 00:01:23,456 -> "zero zero one twenty-three four five six"."""
    hours, minutes, seconds, mark, parts = match.groups()
    if hours is None:
        first, second = cardinal(int(minutes)), f"{'oh ' if seconds[0] == '0' else ''}{cardinal(int(seconds))}"
    else:
        first = f"{cardinal(int(hours))} {_two_figures(minutes)}"
        second = _two_figures(seconds)
    return f"{first} {second} {'point ' if mark == '.' else ''}{digits(parts)}"


def _two_figures(text: str) -> str:
    return f"zero {cardinal(int(text))}" if text[0] == "0" and text != "00" else cardinal(int(text))


def _timestamp(match: Match[str]) -> str:
    """2024-01-05T08:15:00Z -> 2024-01-05 08:15 Z, for the rules of dates and times."""
    date, clock, seconds, zone = match.groups()
    seconds = f":{seconds}" if seconds and seconds != "00" else ""
    offset = re.fullmatch(r"([+-])(\d\d):?(\d\d)", zone or "")
    if offset:
        minutes = "" if offset[3] == "00" else f" {int(offset[3])}"
        zone = f"{'plus' if offset[1] == '+' else 'minus'} {int(offset[2])}{minutes}"
    return f"{date}, {clock}{seconds}" + (f" {zone}" if zone else "")


def _month_of_year(match: Match[str]) -> str:
    """2021-07 -> "July twenty twenty-one", but 2003-04 is a season."""
    if int(match[1]) % 100 + 1 == int(match[2]):
        return match[0]
    return f"{_MONTH_NUMBERS[int(match[2])]} {year(int(match[1]))}"


def _hours_and_minutes(match: Match[str]) -> str:
    """2h 30m -> "two hours thirty minutes"."""
    parts = zip(match.groups(), ("hour", "minute", "second"), strict=True)
    return " ".join(f"{cardinal(int(n))} {name}{'' if n == '1' else 's'}" for n, name in parts if n)


def _military(match: Match[str]) -> str:
    """0800 hours -> "oh eight hundred hours", 1430 hours -> "fourteen thirty hours"."""
    hour, minute = match[1], match[2]
    words = f"{'oh ' if hour[0] == '0' else ''}{cardinal(int(hour))}"
    return f"{words} {'hundred' if minute == '00' else _two_digits(minute)}"


def _hour(match: Match[str]) -> str:
    return cardinal(int(match[1])) + _half_day(match[2], match[3], match)


def _half_day(half: str | None, period: str | None, match: Match[str]) -> str:
    return f" {half.upper()} M{period_after(match) if period else ''}" if half else ""


def _decade(match: Match[str]) -> str:
    """1990s -> "nineteen nineties", '90s -> "nineties", 1800s -> "eighteen hundreds", 2000s -> "two thousands"."""
    text = match[1]
    if text == "00":
        return "two thousands"
    return plural(year(int(text)) if len(text) == 4 else cardinal(int(text)))


def _span_of_years(match: Match[str]) -> str:
    last = int(match[2]) if len(match[2]) == 4 else int(match[1][:2] + match[2])
    if last <= int(match[1]):
        return match[0]
    return f"{year(int(match[1]))} to {year(last) if len(match[2]) == 4 else _two_digits(match[2])}"


def _two_digits(text: str) -> str:
    return f"oh {cardinal(int(text))}" if text.startswith("0") and text != "00" else cardinal(int(text))


def _era(match: Match[str]) -> str:
    number = match[1].replace(",", "")
    letters = " ".join(match[2].replace(".", ""))
    return f"{year(int(number))} {letters}{period_after(match) if match[3] else ''}"


def _group(text: str) -> str:
    """One group of a telephone number: "800" -> "eight hundred", "1234" -> "one two three four"."""
    if len(text) == 3 and text.endswith("00") and text[0] in _HUNDREDS:
        return f"{_HUNDREDS[text[0]]} hundred"
    return digits(text)


_FIGURE_WORDS = frozenset(digits("0123456789").split())


def _extension(match: Match[str]) -> str:
    """ "x12" behind a telephone number."""
    if match.string[: match.start()].rpartition(" ")[2] not in _FIGURE_WORDS:
        return match[0]
    return f"{match[1]}extension {digits(match[2]) if len(match[2]) > 2 else cardinal(int(match[2]))}"


def _telephone(match: Match[str]) -> str:
    plus = "plus " if "+" in match[0] else ""
    return plus + _groups(match[0])


def _groups(text: str) -> str:
    return ", ".join(_group(group) for group in re.findall(r"\d+", text))


_BARE = r"(?<![\w.,$£€/:+-])"  # a number starts here and belongs to nothing on its left
_END = r"(?![\w/]|[-.:,]\d)"

RULES = (
    (r"\bca?\. ?(?=\d{3,4}\b(?!,)|\d{1,2} (?:B\.?C|A\.?D))", lambda m: "circa "),
    (r"\b(\d+) ?h ?(\d{1,2}) ?m(?:in)?\b(?: ?(\d{1,2}) ?s\b)?", _hours_and_minutes),
    (r"\bT-(?=\d)", lambda m: "T minus "),
    (rf"{_BARE}(\d{{4}}-\d\d-\d\d)[T ](\d\d:\d\d)(?::(\d\d)(?:\.\d+)?)?( ?Z\b|[+-]\d\d:?\d\d)?(?![\w:])", _timestamp),
    (rf"{_BARE}((?:19|20)\d\d)-(0[1-9]|1[0-2])(?![\w-]|[.,:]\d)", _month_of_year),
    (r"(?<![\d:.])(?:(\d{1,2}):)?(\d{1,2}):(\d\d)([.,])(\d{1,3})(?![\d:])", _stopwatch),
    (r"(?<![\w:.,])([01]\d|2[0-3])([0-5]\d)(?= ?(?:hours|hrs|h)\b)", _military),
    (r"(?<=\b[Aa]t )(0\d)([0-5]\d)\b(?![:.,]\d)", _military),
    # telephone numbers, card and social security numbers: 1-800-555-1234, (555) 123-4567, +44 20 7946 0958
    (rf"{_BARE}(?:\+?\d{{1,3}}[-. ]?)?\(?\d{{3}}\)?[-. ]\d{{3}}[-. ]\d{{4}}{_END}", _telephone),
    (rf"(?<![\w.])\(\d{{3}}\) ?\d{{3}}[-. ]\d{{4}}{_END}", _telephone),
    (rf"{_BARE}0[38]\d\d \d{{3,4}}(?: \d{{3,4}})?{_END}|{_BARE}1[38]00 \d{{3}} \d{{3}}{_END}", _telephone),
    (r"(?<!\w)\(?\+\d{1,3}\)?(?:[-. ]\(?\d{1,7}\)?){2,5}" + _END, _telephone),
    (rf"{_BARE}\d{{3}}-\d{{4}}{_END}", _telephone),
    (rf"{_BARE}0\d{{2,4}}[ -]\d{{3,4}}[ -]\d{{3,4}}{_END}|{_BARE}0\d{{3,4}} \d{{6}}{_END}", _telephone),
    (r"(?<=[a-z])(,? )(?:[Ee]xt\.?|[Ee]xtension|x) ?(\d{1,5})\b", _extension),
    (rf"{_BARE}\d{{3}}-\d{{2}}-\d{{4}}{_END}", _telephone),
    (rf"{_BARE}\d{{4}}([- ])\d{{4}}\1\d{{4}}\1\d{{4}}{_END}", _telephone),
    (r"\b([Tt]el(?:ephone)?\.?:?|[Pp]hone:?|[Ff]ax:?|[Cc]all(?: me at| us at)?|[Dd]ial|[Tt]ext|[Rr]ing|[Mm]obile:?"
     r"|[Nn]umber is) (\+?[\d(][\d ()-]{5,}\d)"
     r"(?![\w,.]\d)",
     lambda m: f"{m[1]} {_groups(m[2])}"),
    (r"\b([Cc]all|[Dd]ial|[Cc]alled|[Dd]ialed|[Pp]hone|[Tt]ext|[Rr]ing|[Tt]exted|[Rr]ang|[Rr]ing) (911|999|112|411"
     r"|311|211|988|111|101|000)\b",
     lambda m: f"{m[1]} {digits(m[2])}"),
    (r"\b(\d)-(\d{3})-([A-Z]{4,})\b", lambda m: f"{digits(m[1])}, {_group(m[2])}, {m[3].lower()}"),
    (r"\b(ISBN(?:-1[03])?):? ?((?:\d-?){9,12}[\dX])\b", lambda m: f"{m[1]} {_groups(m[2])}"),
    (r"\b(Gen|Exod?|Lev|Deut|Josh|Sam|Chron|Ps|Prov|Isa|Jer|Ezek|Dan|Matt|Mk|Lk|Jn|Rom|Cor|Gal|Eph|Phil|Col|Thess|Tim"
     r"|Heb|Jas|Pet|Rev)\.? (?=\d{1,3}:\d)", lambda m: f"{_BOOK_NAMES[m[1]]} "),
    (rf"\b([123]) (?={_BOOKS})", lambda m: f"{ordinal(int(m[1])).capitalize()} "),
    (rf"\b({_BOOKS}) (\d{{1,3}}):(\d{{1,3}})(?:[-–](\d{{1,3}}))?(?![\d:])",
     lambda m: f"{m[1]} {cardinal(int(m[2]))} {cardinal(int(m[3]))}" + (f" to {cardinal(int(m[4]))}" if m[4] else "")),
    (r"\b([Tt]ext|[Ss][Mm][Ss]) (\d{5,6})\b(?!,)", lambda m: f"{m[1]} {digits(m[2])}"),
    # dates in figures
    (rf"{_BARE}(\d{{4}})-(\d{{1,2}})-(\d{{1,2}}){_END}", lambda m: _numeric(m[2], m[3], m[1], m)),
    (rf"{_BARE}(\d{{4}})/(\d{{1,2}})/(\d{{1,2}}){_END}", lambda m: _numeric(m[2], m[3], m[1], m)),
    (rf"{_BARE}(\d{{1,2}})([/-])(\d{{1,2}})\2(\d{{4}}|\d{{2}}){_END}", lambda m: _numeric(m[1], m[3], m[4], m)),
    (rf"{_BARE}(\d{{1,2}})\.(\d{{1,2}})\.(\d{{4}}){_END}", lambda m: _numeric(m[2], m[1], m[3], m)),
    (rf"\b({_BEFORE_DATE}) (\d{{1,2}})/(\d{{1,2}}){_END}", lambda m: f"{m[1]} {_numeric(m[2], m[3], '', m)}"),
    (rf"{_BARE}(\d{{1,2}})-{_MONTH}-(\d{{4}}|\d{{2}})\b", lambda m: f"the {ordinal(int(m[1]))} of"
     f" {month_name(m[2])}, {_full_year(m[3])}"),
    # dates with the month's name
    (rf"\b{_MONTH} {_DAY}(?:, ?| ){_YEAR}\b", _month_day_year),
    (rf"\b([Tt]he )?{_DAY}(?: of)? {_MONTH}(?:,? {_YEAR})?\b(?!\.?\w)", _day_month),
    (rf"\b{_MONTH},? {_YEAR}\b", _month_year),
    (rf"\b{_MONTH} {_DAY}(?: ?[-–] ?{_DAY})?(?![\d:%]|,\d{{3}}|\.\d| ?[AaPp]\.?[Mm]\b)\b", _month_days),
    # times of day
    (r"(?<![\w:.-])(\d{1,2}(?::\d\d)?) ?[-–] ?(?=\d{1,2}(?::\d\d)? ?[AaPp]\.?[Mm]\b)", lambda m: f"{m[1]} to "),
    (r"(\d ?[AaPp]\.?[Mm]\.?|:\d\d) ?[-–] ?(?=\d{1,2}(?::\d\d| ?[AaPp]\.?[Mm]))", lambda m: f"{m[1]} to "),
    (rf"(?<![\d:.$£€])(\d{{1,2}}):(\d{{2}})(?::(\d{{2}}))?(?![\d:])(?: ?{_AM_PM})?", _clock),
    (rf"(?<![\d:.$£€])(\d{{1,2}})\.([0-5]\d)() ?{_AM_PM}", _clock),
    (rf"(?<![\d:.$£€,])(0?[1-9]|1[0-2]) ?{_AM_PM}", _hour),
    (r"(?<![\d:.])(\d{1,3}):(\d{1,3})(?![\d:])", lambda m: f"{cardinal(int(m[1]))} to {cardinal(int(m[2]))}"),
    # decades and years
    (r"(?<![\w$£€.,])'?(\d{0,2}\d0)'?s\b(?! of\b)", _decade),
    (r"(?<![\w$£€.,])10s of\b", lambda m: "tens of"),
    (r"(?<![\w$£€.,])100s of\b", lambda m: "hundreds of"),
    (r"(?<![\w$£€.,])1,?000s of\b", lambda m: "thousands of"),
    (rf"{_BARE}(1[1-9]\d\d|20\d\d) ?[-–/] ?(\d{{4}}|\d{{2}})\b{_END}", _span_of_years),
    (rf"{_BARE}(\d{{1,3}}(?:,?\d{{3}})?) ?{_ERA}", _era),
    (r"\b(A\.?D|C\.?E)\.? (\d{1,4})\b(?!,\d)", lambda m: f"{' '.join(m[1].replace('.', ''))} {year(int(m[2]))}"),
    (r"(?<!\w)'(\d\d)\b(?!')", lambda m: _two_digits(m[1])),
    (r"\b([Ii]n|[Ss]ince|[Uu]ntil|[Bb]y|[Yy]ear|[Cc]irca|c\.|ca\.) ?(\d{4})\b(?![,.]\d| [a-z]+s\b|%)",
     lambda m: f"{'circa' if m[1] in ('c.', 'ca.') else m[1]} {year(int(m[2]))}"),
    (r"\b([Pp]re|[Pp]ost|[Mm]id|[Ee]arly|[Ll]ate|[Cc]irca|[Nn]on|[Aa]nti|[Ii]nter)-((?:1[1-9]|20)\d\d)(?![\w,]|\.\d)",
     lambda m: f"{m[1]} {year(int(m[2]))}"),
    # numbers that are read in pairs
    (r"\b([Ff]light [A-Z]{2}|[Rr]oom|[Ff]light|[Hh]ighway|[Rr]oute|[Ii]nterstate|[Ss]uite|[Aa]partment|[Bb]oeing"
     r"|[Aa]irbus|[Bb]us|[Ee]xtension|[Aa]rea code) ([1-9]\d{2,3})\b(?![,.]\d)", lambda m: f"{m[1]} {pairs(m[2])}"),
    (r"\b([Bb]ox|[Zz]ip|ZIP|[Zz]ip code|ZIP code|[Ss]erial|[Pp]in|[Cc]ode|[Dd]igits) (\d{3,6})\b(?![,.]\d)",
     lambda m: f"{m[1]} {digits(m[2])}"),
    (r"\b(\d{3,4}) (?=(?:[NSEW]\.? )?[A-Z][a-z]+(?: [A-Z][a-z]+)* (?:St|Street|Ave|Avenue|Road|Rd|Drive|Dr|Lane|Ln"
     r"|Blvd|Boulevard|Court|Ct|Place|Pl|Way|Terrace|Square)\b)", lambda m: f"{pairs(m[1])} "),
    (r"\b([A-Z]{2}|(?<=, )[A-Z][a-z]+(?: [A-Z][a-z]+)?) (\d{5})(?:-(\d{4}))?\b(?!,\d)",
     lambda m: f"{m[1]} {digits(m[2])}" + (f", {digits(m[3])}" if m[3] else "")),
)  # fmt: skip
