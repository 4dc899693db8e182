"""Abbreviated weekdays: "Mon-Fri", "Tue, Jan 4", "on Wed at 3". Sun, sat and wed are words too."""

from re import Match

from bitjets_mlx.text.boundaries import period_after
from bitjets_mlx.text.dates import WEEKDAY, month_pattern, weekday_name

_BEFORE = (
    "[Oo]n|[Bb]y|[Ee]very|[Uu]ntil|[Tt]ill|[Cc]losed|[Oo]pen|[Nn]ext|[Ll]ast|[Tt]his|[Ff]rom|you|[Ee]ach|to|and|&|or"
)
_AFTER = (
    rf"(?:the )?(?:{month_pattern()}\b|\d{{1,2}}(?:st|nd|rd|th)?\b|at \d|nights?\b|mornings?\b|evenings?\b"
    r"|afternoons?\b|noon\b|a\.?m\b|p\.?m\b|from \d)"
)
_CONTINUES = r"[,;:!?)]|\.?$| (?:and|at|or|to|the|in|for|with|I|we|if|because)\b"


def _listed(match: Match[str]) -> str:
    return ", ".join(weekday_name(day) for day in match[0].split("/"))


def _second(match: Match[str]) -> str:
    return f" {match[1]} {weekday_name(match[2])}" + (period_after(match) if match[3] else "")


def _behind_a_preposition(match: Match[str]) -> str:
    if match[2] == "Sun" and match[1] in {"to", "and", "From", "from", "or", "&"}:
        return match[0]
    return f"{match[1]} {weekday_name(match[2])}" + (period_after(match) if match[3] else "")


RULES = (
    (rf"\b{WEEKDAY}(?:/{WEEKDAY})+\b", _listed),
    (rf"\b({WEEKDAY})\.?(?=(?: ?[,&] ?| and | or | to ){WEEKDAY}\b)", lambda m: weekday_name(m[1])),
    (rf"(?<=day) (and|or|to|&) ({WEEKDAY})\b(\.?)", _second),
    (rf"\b({WEEKDAY})\.?(,?)(?= {_AFTER})", lambda m: weekday_name(m[1]) + m[2]),
    (rf"\b({_BEFORE}) ({WEEKDAY})(?={_CONTINUES})(\.?)", _behind_a_preposition),
    (r"\b(Tue|Tues|Thu|Thur|Thurs|Fri)\b(?!\.)", lambda m: weekday_name(m[1])),
)
