"""Names and numbers that belong together: cars, phones, streets and postal codes, grades and blood groups."""

from re import Match

from bitjets_mlx.text.abbreviations import STREETS
from bitjets_mlx.text.numbers import cardinal, digits, pairs
from bitjets_mlx.text.words import any_of, words

_MAKERS = (
    "Porsche|Peugeot|Ferrari|BMW|Boeing|Airbus|Nokia|Saab|Fiat|Renault|Volvo|Mercedes|Lada|Cessna|Fokker|Embraer"
    "|RTX|GTX"
    "|Radeon|RX|GeForce|Ryzen|Canon|Nikon|Garmin|Lenovo|ThinkPad|Dell|Intel|Xeon|MiG|Learjet|Gulfstream|Bombardier|Alfa"
    "|Mazda|Toyota|Ford|Chevrolet|Chrysler|Jaguar|Austin|Rover|Triumph|Ducati|Kawasaki|Yamaha|Suzuki|Honda|Roland|Moog"
    "|Fender|Gibson|Commodore|Atari|Xbox|Galaxy|Pixel|Snapdragon|Threadripper|Levi's|Chanel"
)
_NOT_PLACES = words(
    """
    Room Order Item Number Version Figure About Over Nearly Some The Only In At Of Exactly Around Than Invoice Box Case
    Bug Issue Ticket Flight Part Model Page Almost Another And Or But To From With By For On Total Population Roughly
    Approximately Under Up Year Serial Code Unit Sold Paid Cost Won Had Has Have We They I You He She It This That These
    Those All Its His Her Our Their No Not More Most Between Every Each Plus Minus January February March April May June
    July August September October November December
    """
)
_DIRECTIONS = {
    "N": "North", "S": "South", "E": "East", "W": "West", "NE": "Northeast", "NW": "Northwest", "SE": "Southeast",
    "SW": "Southwest",
}  # fmt: skip


def _zip_code(match: Match[str]) -> str:
    return match[0] if match[1] in _NOT_PLACES else f"{match[1]} {digits(match[2])}"


_PIECES = {"K": "king", "Q": "queen", "R": "rook", "B": "bishop", "N": "knight"}


def _chess(match: Match[str]) -> str:
    """Nf3 -> "knight F three", Bxf7+ -> "bishop takes F seven check"."""
    piece, takes, column, row, end = match.groups()
    words = f"{_PIECES[piece]} {'takes ' if takes else ''}{column.upper()} {cardinal(int(row))}"
    return words + {"+": " check", "#": " mate"}.get(end, "")


def _airliner(match: Match[str]) -> str:
    """747-400 -> "seven forty-seven four hundred"."""
    letter, model = ("A ", match[1][1:]) if match[1][0] == "A" else ("", match[1])
    return f"{letter}{pairs(model)} {cardinal(int(match[2]))}"


RULES = (
    (r"\b([KQRBN])[a-h1-8]?(x?)([a-h])([1-8])(?:([+#])(?!\w))?(?![\w'])", _chess),
    (r"\b([a-h])x([a-h])([1-8])\b", lambda m: f"{m[1].upper()} takes {m[2].upper()} {cardinal(int(m[3]))}"),
    (r"\b(7[0-8]7|A3[0-9]0)-([1-9]00)\b", _airliner),
    (rf"\b((?:{_MAKERS})(?: [A-Z][a-z]+)?) ([1-9]\d{{2,3}})(?=[a-zA-Z]{{0,2}}\b)(?![,.]\d|s\b)",
     lambda m: f"{m[1]} {pairs(m[2])} "),
    (rf"\b(\d+[A-Z]? (?:[A-Z][a-z]+ |\d+(?:st|nd|rd|th) ){{1,3}})({any_of(STREETS)})\.? (NE|NW|SE|SW|N|S|E"
     rf"|W)\b(?!\.\w)",
     lambda m: f"{m[1]}{STREETS[m[2]]} {_DIRECTIONS[m[3]]}"),
    (rf"\b([1-9]\d{{2}})([A-Z]) (?=(?:[A-Z][a-z]+ ){{1,3}}(?:{any_of(STREETS)}|Street|Road|Avenue|Lane)\b)",
     lambda m: f"{pairs(m[1])} {m[2]} "),
    (rf"(?<=\d )([NSEW])\.? (?=(?:\d+(?:st|nd|rd|th)|[A-Z][a-z]+) (?:{any_of(STREETS)}|Street|Avenue)\b)",
     lambda m: f"{_DIRECTIONS[m[1]]} "),
    (r"\b([A-Z][a-z]{2,}) (\d{5})(?=[.,;]?\s*$|[.,;]\s)", _zip_code),
)  # fmt: skip

NOTES = (
    (r"\b([A-G])b(?= (?:major|minor|flat|chord|scale|clarinet|trumpet|sharp)\b)", lambda m: f"{m[1]} flat"),
    (r"\bO-O-O\b|\b0-0-0\b", lambda m: "castles queenside"),
)
GRADES = (
    (r"\bRh([+-])(?!\w)", lambda m: "R H plus" if m[1] == "+" else "R H minus"),
    (r"((?:\b(?:[Bb]lood (?:type|group)|[Tt]ype|[Gg]rades?|[Gg]ot|[Aa]n?|[Tt]he|[Mm]arks?|[Oo]f|or|and)|[+,:]) )(AB"
     r"|[ABCDFO])-(?=[\s.,;:!?)]|$)",
     lambda m: f"{m[1]}{' '.join(m[2])} minus"),
    (r"^(AB|[ABCDFO])-(?=[.,;:!?)]|$)", lambda m: f"{' '.join(m[1])} minus"),
)  # fmt: skip
