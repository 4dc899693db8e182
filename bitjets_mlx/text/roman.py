"""Roman numerals after names ("Henry VIII", "World War II", "Chapter IV") and on their own ("MCMXCIX")."""

import re
from re import Match

from bitjets_mlx.text.numbers import cardinal, ordinal, year
from bitjets_mlx.text.words import words

_VALUES = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100, "D": 500, "M": 1000}
_VALID = re.compile(r"M{0,3}(?:CM|CD|D?C{0,3})(?:XC|XL|L?X{0,3})(?:IX|IV|V?I{0,3})")

# A numeral after one of these is an ordinal: "Henry the eighth".
RULERS = words(
    """
    Henry Louis George Edward Richard Charles James William Elizabeth Mary Philip Philippe Ferdinand Francis
    Frederick Friedrich Wilhelm Otto Leopold Nicholas Alexander Peter Ivan Catherine Paul Pius John Benedict Gregory
    Innocent Clement Urban Leo Ramses Rameses Ramesses Thutmose Tutmose Napoleon Victoria Alfonso Carlos Juan Gustav
    Gustavus Christian Harald Harold Olaf Olav Haakon Magnus Sancho Pedro Boniface Sixtus Julius Adrian Hadrian
    Celestine Robert David Malcolm Kenneth Umberto Emmanuel Emanuel Victor Albert Baldwin Rudolf Rudolph Maximilian
    Joseph Sigismund Ladislaus Casimir Stephen Matthias Ptolemy Cleopatra Darius Xerxes Artaxerxes Cyrus Antiochus
    Seleucus Mithridates Amenhotep Seti Pepi Conrad Konrad Lothair Margaret Margrethe Beatrix Anne Isabella Joan
    Eric Erik Valdemar Canute Michael Constantine Justinian Theodosius Basil Manuel Murad Mehmed Selim Suleiman
    Abdul Hussein Abdullah Faisal Farouk Rama Humbert Thomas Martin Eugene Nebuchadnezzar Sargon Shapur Khosrow
    Tigranes Bohemond Amadeus Cosimo Lorenzo Emperor King Queen Pope Tsar Czar Kaiser
    """
)

# A numeral after one of these is a number: "Chapter four". Lower case counts too.
COUNTED = words(
    """
    war chapter part volume book act scene section article title phase type class level stage grade figure table
    plate appendix canto century bowl episode season lesson unit step psalm number question schedule exhibit
    category tier group division corps army fleet legion mark model series version round game match page annex
    apollo gemini saturn soyuz symphony sonata concerto opus quartet olympiad amendment verse layer zone region
    district pillar factor wave generation basel
    """
)

# After these, X, V and the like are letters: "Model X".
_LETTERED = words("number model series generation version class group level game type grade")
# After these even a lower-case word takes "I" as a number: "type I diabetes".
_LOWER_WITH_I = frozenset(["type", "phase", "stage", "tier", "category"])
_GIVEN = RULERS | words(
    """
    Thurston Sammy Samuel Donald Ronald Daniel Matthew Anthony Andrew Joshua Brian Timothy Jeffrey Ryan Jacob Gary
    Jonathan Larry Frank Scott Raymond Patrick Jack Dennis Jerry Tyler Aaron Adam Nathan Walter Harry Arthur Roger
    Theodore Franklin Loudon Davis Bill Bob Tom Jim Joe Mike Steve Dave Sam Ben Ken Hank Cal Cornelius Edgar
    Marshall
    """
)
_FIRST_PERSON = re.compile(
    r"(?:'m|'ve|'ll|'d)\b|\s+(?:am|have|do|don't|didn't|will|would|can|could|should|may|might|must|shall|think|thought"
    r"|know|knew|want|wanted|see|saw|feel|felt|say|said|like|liked|love|loved|hope|mean|meant|believe|suppose|never"
    r"|always|also|just|really|got|told|heard|wrote|met|need|wish|guess|agree|still)\b"
)


def value(text: str) -> int | None:
    """ "XIV" -> 14; None for anything but a well-formed numeral below 4000."""
    text = text.upper()
    if not text or not _VALID.fullmatch(text):
        return None
    values = [_VALUES[letter] for letter in text]
    return sum(-v if v < following else v for v, following in zip(values, [*values[1:], 0], strict=True))


def _after_name(match: Match[str]) -> str:
    name, numeral = match.groups()
    number = value(numeral)
    counted, ruler = name.lower() in COUNTED, name in RULERS
    if number is None or numeral in {"C", "L"} or (name, numeral) == ("Malcolm", "X"):
        return match[0]
    if numeral == "I" and (not (counted or ruler) or _FIRST_PERSON.match(match.string[match.end() :])):
        return match[0]
    if numeral == "I" and name in {"King", "Queen", "Pope", "Emperor"}:
        return match[0]
    if numeral in {"X", "V"} and name.lower() in _LETTERED:
        return match[0]
    if len(numeral) == 1 and not counted and re.match(r"\s+[A-Z][a-z]", match.string[match.end() :]):
        return match[0]  # an initial: "Robert I. Bouck"
    if not counted and (ruler or _is_person(match.string[: match.start()], numeral)):
        return f"{name} the {ordinal(number)}"
    if not counted and (len(numeral) == 1 or set(numeral) - set("IVX") or numeral in {"XX", "XXX"}):
        return match[0]
    return f"{name} {cardinal(number)}"


def _is_person(before: str, numeral: str) -> bool:
    """Whether "Thurston Howell III" is somebody's grandson: a given name stands before the family name."""
    given = re.search(r"\b([A-Z][a-z]+) (?:[A-Z]\.? )?$", before)
    return numeral in {"II", "III", "IV", "V"} and given is not None and given[1] in _GIVEN


def _after_noun(match: Match[str]) -> str:
    """ "type II diabetes", "page xii", "Scene ii"."""
    noun, numeral = match.groups()
    number = value(numeral)
    if number is None or noun.lower() not in COUNTED or numeral in {"L", "X", "l", "x", "v"}:
        return match[0]
    if len(numeral) == 1 and noun.lower() in _LETTERED:
        return match[0]
    if numeral == "i" and noun.lower() not in {"act", "scene", "page", "chapter"}:
        return match[0]
    if numeral == "I" and (noun not in _LOWER_WITH_I or _FIRST_PERSON.match(match.string[match.end() :])):
        return match[0]
    return f"{noun} {cardinal(number)}"


def _of(match: Match[str]) -> str:
    """ "Part III of IV"."""
    noun, first, last = match[1], value(match[2]), value(match[3])
    if noun.lower() not in COUNTED or first is None or last is None:
        return match[0]
    return f"{noun} {cardinal(first)} of {cardinal(last)}"


def _century(match: Match[str]) -> str:
    number = value(match[1])
    return match[0] if number is None else ordinal(number)


def _alone(match: Match[str]) -> str:
    number = value(match[0])
    return match[0] if number is None else year(number) if number > 1000 else cardinal(number)


RULES = (
    (r"\b([IVXL]+)(?:st|nd|rd|th)?(?=(?:st|nd|rd|th)? (?:[Cc]entur|[Oo]lympi|[Cc]ongress\b|[Dd]ynast|[Aa]rmy|[Cc]orps"
     r"|[Aa]rrondissement))", _century),
    (r"\b([Aa]n) IV\b|\bIV(?= (?:drip|line|fluids?|bag|infusion|therapy|access|antibiotics?|pump|pole|needle"
     r"|injection)\b)",
     lambda m: f"{m[1]} I V" if m[1] else "I V"),
    (r"\b([A-Z][a-z]+|[a-z]+) ([IVXL]+) of ([IVXL]+)\b", _of),
    (r"\b(GTA|FF|MGS|DOOM|NBA) ([IVX]+)\b", lambda m: f"{m[1]} {cardinal(value(m[2]) or 0)}" if value(m[2]) else m[0]),
    (r"\b([A-Z][a-z]+) ([IVXLC]+)\b(?!\.\w|-|&)", _after_name),
    (r"\b([a-z]+) ([IVXL]+)\b(?!['.]\w)", _after_noun),
    (r"\b([A-Za-z][a-z]+) ([ivxl]+)\b(?!['.]\w)", _after_noun),
    (r"(?<![A-Za-z]\()(?<=\()(?:i{1,3}|iv|vi{0,3}|ix|xi{1,3})(?=\))", _alone),
    (r"\bI(?=, II\b)", _alone),
    (r"\bM[MDCLXVI]{3,}\b", _alone),
    (r"\b(?:II|III|VII|VIII|XI{1,3}|XIV|XVI{0,3}|XIX|XXI{1,3}|XXIV)\b(?!['.&-]\w)", _alone),
)  # fmt: skip
