"""Abbreviations as words: titles, streets, companies, Latin, dotted initials, "No. 5", signs between words."""

import re
from re import Match

from bitjets_mlx.text.boundaries import ends_sentence, period_after
from bitjets_mlx.text.dates import MONTHS
from bitjets_mlx.text.words import any_of, listed, words

# before a name: the period never ends a sentence
TITLES = {
    "Mr": "Mister", "Mrs": "Missus", "Ms": "Ms", "Mx": "Mix", "Dr": "Doctor", "Drs": "Doctors", "Prof": "Professor",
    "Profs": "Professors", "Rev": "Reverend", "Fr": "Father", "Hon": "Honorable", "Gen": "General", "Col": "Colonel",
    "Lt": "Lieutenant", "Maj": "Major", "Capt": "Captain", "Cpt": "Captain", "Cmdr": "Commander", "Cdr": "Commander",
    "Adm": "Admiral", "Sgt": "Sergeant", "Cpl": "Corporal", "Pvt": "Private", "Brig": "Brigadier", "Gov": "Governor",
    "Sen": "Senator", "Rep": "Representative", "Pres": "President", "Supt": "Superintendent", "Insp": "Inspector",
    "Det": "Detective", "Ste": "Sainte", "Mme": "Madame", "Mlle": "Mademoiselle", "Messrs": "Messrs",
    "Msgr": "Monsignor",
    "Amb": "Ambassador", "Atty": "Attorney", "Mt": "Mount", "Ft": "Fort", "Pt": "Point",
}  # fmt: skip
_TITLES_THAT_ARE_WORDS = listed("Mt Ft Pt Fr Det Hon Pres Ste")
_WITHOUT_PERIOD = listed("Mr Mrs Ms Mx Dr Drs Prof Rev Lt Capt Sgt Col Messrs Mme Mlle Mt")

# after a street's name
STREETS = {
    "St": "Street", "Ave": "Avenue", "Av": "Avenue", "Blvd": "Boulevard", "Rd": "Road", "Dr": "Drive", "Ln": "Lane",
    "Ct": "Court", "Pl": "Place", "Sq": "Square", "Hwy": "Highway", "Pkwy": "Parkway", "Ter": "Terrace",
    "Expy": "Expressway", "Fwy": "Freeway", "Cir": "Circle",
}  # fmt: skip

# Names that follow "Saint" even where a capitalized word stands before it ("Mount St. Helens", "Main St. John").
_SAINTS = listed(
    """
    John Paul Peter Louis Mary Helens Helena James George Petersburg Patrick Nicholas Andrew Andrews Francis Thomas
    Augustine Joseph Anne Ann Clair Cloud Croix Kitts Lucia Vincent Moritz Tropez Bernard David Mark Marks Luke
    Matthew Michael Martin Albans Ives Pancras Jude Lawrence Charles Catherine Catharines Elizabeth Margaret Stephen
    Simon Elmo Valentine Basil Benedict Anthony Anselm Ambrose Jerome Barnabas Bartholomew Christopher Clare Denis
    Edmund Edmunds
    Giles Gregory Hilda Ignatius Johns Kilda Leonard Mungo Olaf Oswald Philip Stephens Swithin Teresa Ursula
    Vitus
    """
)

# with a period that may also end the sentence
WORDS = {
    "Cf": "Compare", "vs": "versus", "etc": "et cetera", "viz": "namely", "cf": "compare", "approx": "approximately",
    "dept": "department", "Dept": "Department", "govt": "government", "Govt": "Government", "Inc": "Incorporated",
    "Ltd": "Limited", "Co": "Company", "Cos": "Companies", "Corp": "Corporation", "Bros": "Brothers",
    "Assn": "Association",
    "Jr": "Junior", "Sr": "Senior", "Esq": "Esquire", "Bart": "Baronet", "Univ": "University", "Inst": "Institute",
    "Intl": "International", "Natl": "National", "Assoc": "Associates", "Mfg": "Manufacturing", "Hosp": "Hospital",
    "misc": "miscellaneous", "incl": "including", "excl": "excluding", "max": "maximum", "avg": "average",
    "temp": "temperature", "est": "estimated", "tel": "telephone", "Tel": "telephone", "ext": "extension",
    "Ext": "extension", "attn": "attention", "Attn": "Attention", "encl": "enclosed", "hrs": "hours", "mins": "minutes",
    "secs": "seconds", "yrs": "years", "lbs": "pounds", "oz": "ounces", "ft": "feet", "mph": "miles per hour",
    "pct": "percent", "Calif": "California", "Penn": "Pennsylvania", "Mass": "Massachusetts", "Conn": "Connecticut",
    "Fla": "Florida", "Ariz": "Arizona", "Okla": "Oklahoma", "Tenn": "Tennessee", "Minn": "Minnesota",
    "Wis": "Wisconsin", "Va": "Virginia", "Ala": "Alabama", "Ga": "Georgia", "Ky": "Kentucky", "Mich": "Michigan",
    "Tex": "Texas", "Colo": "Colorado", "Nev": "Nevada", "Kan": "Kansas", "Neb": "Nebraska", "Ark": "Arkansas",
    "Pa": "Pennsylvania", "Del": "Delaware", "Mo": "Missouri", "Ill": "Illinois", "Wash": "Washington",
    "Ore": "Oregon", "Md": "Maryland",
    **{key.capitalize(): name for key, name in MONTHS.items() if key not in {"mar", "may"}}, "Sept": "September",
    "Mon": "Monday", "Tue": "Tuesday", "Tues": "Tuesday", "Wed": "Wednesday", "Thu": "Thursday", "Thur": "Thursday",
    "Thurs": "Thursday", "Fri": "Friday",
}  # fmt: skip
# These are words of their own at the end of a sentence, or without a period ("a max.", "Mo.").
_NEED_CONTEXT = words("max temp Penn Mass Pa Mo Del Ill Wash Ore Ark Kan Ala est Inst Bart Mich Wis Va Ga Md")
_MEASURED = {"max": "maximum", "min": "minimum", "temp": "temperature", "avg": "average"}
_PLACES = words("Penn Mass Pa Mo Del Ill Wash Ore Ark Kan Ala Mich Wis Va Ga Md")

# before a number
NUMBERED = {
    "no": "number", "No": "Number", "NO": "Number", "nos": "numbers", "Nos": "Numbers", "p": "page", "pp": "pages",
    "pg": "page", "pgs": "pages", "vol": "volume", "Vol": "Volume", "vols": "volumes", "ch": "chapter", "Ch": "Chapter",
    "chap": "chapter", "Chap": "Chapter", "sec": "section", "Sec": "Section", "sect": "section", "fig": "figure",
    "Fig": "Figure", "figs": "figures", "Figs": "Figures", "eq": "equation", "Eq": "Equation", "art": "article",
    "Art": "Article", "par": "paragraph", "op": "opus", "Op": "Opus", "ver": "version", "v": "verse", "vv": "verses",
    "apt": "apartment", "Apt": "Apartment", "ste": "suite", "Ste": "Suite", "bldg": "building", "Bldg": "Building",
    "rm": "room", "Rm": "Room", "ed": "edition", "ca": "circa", "est": "established", "Est": "Established",
    "b": "born", "d": "died", "min": "minimum", "max": "maximum", "approx": "approximately", "ext": "extension",
    "pt": "part", "Pt": "Part", "Ex": "Example", "ex": "example", "lot": "lot", "tel": "telephone",
    "Hwy": "Highway", "Rte": "Route", "Rt": "Route",
}  # fmt: skip
_BARE_NUMBERED = listed("No Nos Vol vol Fig fig pp Apt Hwy Rte")  # also without the period: "No 5", "Fig 2"

# anywhere, as they stand
PHRASES = {
    "e.g.": "for example", "eg.": "for example", "i.e.": "that is", "ie.": "that is", "et al.": "et al",
    "a.k.a.": "also known as", "n.b.": "note well", "N.B.": "note well", "p.s.": "P S", "Ph.D": "P H D",
    "Ph.D.": "P H D", "Ph. D.": "P H D", "Ph.Ds": "P H D's", "Ph.D.s": "P H D's", "PhD": "P H D", "PhDs": "P H D's",
    "LL.D.": "L L D",
    "LL.B.": "L L B", "Ed.D.": "E D D", "D.Phil.": "D Phil", "B.Sc.": "B S C", "M.Sc.": "M S C", "BSc": "B S C",
    "MSc": "M S C", "M.Phil.": "M Phil", "D.Litt.": "D Lit", "w/": "with ", "w/o": "without", "b/c": "because",
    "c/o": "care of", "n/a": "N A", "N/A": "N A", "a/c": "A C", "A/C": "A C", "and/or": "and or",
    "his/her": "his or her",
    "he/she": "he or she", "s/he": "she or he", "TCP/IP": "T C P I P", "I/O": "I O", "km/h": "kilometers per hour",
    "24/7": "twenty-four seven", "C++": "C plus plus", "c++": "C plus plus", "C#": "C sharp", "c#": "C sharp",
    "F#": "F sharp", ".NET": "dot net", "Q&A": "Q and A", "R&D": "R and D", "R&B": "R and B", "B&B": "B and B",
    "ASP.NET": "A S P dot net", "AT&T": "A T and T", "M&M's": "M and M's", "M&Ms": "M and M's", "P&L": "P and L",
    "S&P": "S and P",
    "Wi-Fi": "Wi-Fi", "wi-fi": "Wi-Fi", "hi-fi": "hi-fi", "sci-fi": "sci-fi", "o'clock": "o'clock", ":)": "", ":-)": "",
    ":(": "", ";)": "", "<3": "love", "->": " to ", "=>": " implies ", "<=": " is at most ", ">=": " is at least ",
    "!=": " is not equal to ", "==": " equals ", "I.e.": "That is", "E.g.": "For example", "WWI": "World War one",
    "WWII": "World War two",
    "WW1": "World War one", "WW2": "World War two",
}  # fmt: skip


# after a town: "Springfield, IL"; some are words, and need the postal code behind them
STATES = {
    "AL": "Alabama", "AK": "Alaska", "AZ": "Arizona", "AR": "Arkansas", "CA": "California", "CO": "Colorado",
    "CT": "Connecticut", "DE": "Delaware", "FL": "Florida", "GA": "Georgia", "HI": "Hawaii", "ID": "Idaho",
    "IL": "Illinois", "IN": "Indiana", "IA": "Iowa", "KS": "Kansas", "KY": "Kentucky", "LA": "Louisiana", "ME": "Maine",
    "MD": "Maryland", "MA": "Massachusetts", "MI": "Michigan", "MN": "Minnesota", "MS": "Mississippi", "MO": "Missouri",
    "MT": "Montana", "NE": "Nebraska", "NV": "Nevada", "NH": "New Hampshire", "NJ": "New Jersey", "NM": "New Mexico",
    "NY": "New York", "NC": "North Carolina", "ND": "North Dakota", "OH": "Ohio", "OK": "Oklahoma", "OR": "Oregon",
    "PA": "Pennsylvania", "RI": "Rhode Island", "SC": "South Carolina", "SD": "South Dakota", "TN": "Tennessee",
    "TX": "Texas", "UT": "Utah", "VT": "Vermont", "VA": "Virginia", "WA": "Washington", "WV": "West Virginia",
    "WI": "Wisconsin", "WY": "Wyoming",
}  # fmt: skip
_STATES_THAT_ARE_WORDS = listed("HI ID IN ME OH OK OR LA PA MA")


def _phrase(match: Match[str]) -> str:
    words = PHRASES[match[0]]
    return words + (period_after(match) if match[0].endswith(".") else "")


def _street(match: Match[str]) -> str:
    name, short, period = match.groups()
    rest = match.string[match.end() :]
    following = re.match(r"\s+([A-Z][a-z]+)", rest)
    if following and following[1] in (_SAINTS if short == "St" else ()):
        return match[0]
    if following and short == "Dr" and not re.match(r"\d", name) and following[1] not in {"The", "In", "It", "He"}:
        return match[0]  # "Ask Dr. Smith"
    end = "." if period and ends_sentence(rest) else ""
    return f"{name} {STREETS[short]}{end}"


def _title(match: Match[str]) -> str:
    return TITLES[match[1]]


def _word(match: Match[str]) -> str:
    short = match[1]
    before = match.string[: match.start()]
    if short in _NEED_CONTEXT and not (short in _PLACES and re.search(r"[A-Z]\w+, $", before)):
        return match[0]
    return WORDS[short] + period_after(match)


def _numbered(match: Match[str]) -> str:
    return f"{NUMBERED[match[1]]} "


def _initials(match: Match[str]) -> str:
    """U.S.A. -> "U S A", J. K. Rowling -> "J K Rowling"."""
    letters = re.findall(r"[A-Za-z]", match[0])
    rest = match.string[match.end() :]
    possessive = re.match(r"'?s\b", rest)
    period = period_after(match) if match[0].endswith(".") and not possessive else ""
    return " ".join(letters).upper() + period


# Capitalised for another reason, before "St." or "Dr.".
_NOT_STREETS = listed(
    """
    Mount Mt Fort Port Lake The In At To From Of Near And Mister Mr Mrs Ask See Dear Call Visit Hello Hi Hey Yes No
    Thanks Good Our My His Her A An Is Was
    """
)
_NAME = r"[A-Z][a-z]+(?:'s)?|\d+(?:st|nd|rd|th)|[NSEW]\.?"
FIRST = (
    (rf"\b({any_of({*TITLES, 'St', 'No'})})\.(?=[A-Z][a-z])", lambda m: f"{m[1]}. "),  # "Mr.Smith"
    (
        rf"(?<=[a-z], )(?:({any_of(key for key in STATES if key not in _STATES_THAT_ARE_WORDS)})(?=[,.;!?]|$)"
        rf"|({any_of(STATES)})(?= \d{{5}}\b))|(?:(?<=[A-Z], )|(?<=[a-z] ))(?:{any_of(STATES)})(?= \d{{5}}\b)",
        lambda m: STATES[m[0]],
    ),
    (rf"(?<![\w.])({any_of(PHRASES)})(?![\w])", _phrase),
    (rf"(?<![\w.])({any_of(key for key in PHRASES if not key[-1].isalnum())})", _phrase),
)
RULES = (
    (r"\bSt\.? (?=(?:" + "|".join(_SAINTS) + r")\b)", lambda m: "Saint "),
    (rf"\b([NSEW])\. (?=(?:\d+(?:st|nd|rd|th)|[A-Z][a-z]+) (?:{any_of(STREETS)}|Street|Avenue|Road)\b)",
     lambda m: {"N": "North ", "S": "South ", "E": "East ", "W": "West "}[m[1]]),
    (rf"\b(?!(?:{any_of(_NOT_STREETS)})\b)({_NAME}) ({any_of(STREETS)})(\.)(?!\w)", _street),
    (rf"\b(\d+ (?:[A-Z][a-z]+ )+|\d+(?:st|nd|rd|th) )({any_of(STREETS)})(?=[,;]|$)()",
     lambda m: f"{m[1]}{STREETS[m[2]]}"),
    (r"\bSt\.(?=\s+[A-Z])", lambda m: "Saint"),
    (r"\bSts\.(?=\s+[A-Z])", lambda m: "Saints"),
    (rf"\b({any_of(NUMBERED)})\. ?(?=#?\d|[A-Z]{{1,3}}-?\d|(?:[IVX]{{2,}}|V|X)\b)", _numbered),
    (r"(?<!\d )\bsq\.? ft\b\.?", lambda m: "square feet"),
    (r"\b([Pp]p?|[Vv]ols?|[Cc]h|[Cc]hap|[Ss]ec|[Ff]ig|[Pp]t|[Aa]rt)\. ?(?=[ivxl]+\b)",
     lambda m: f"{NUMBERED[m[1].lower()]} "),
    (r"\bFt (?=(?:Worth|Knox|Lauderdale|Wayne|Myers|Collins|Bragg|Hood|Meade|Benning|Smith|Riley|Dix|Sill|Lee)\b)",
     lambda m: "Fort "),
    (r"\bMr(?= (?:and|&) Mrs)", lambda m: "Mister"),
    (r"\b([A-Z][a-z]+) (St|Ave|Rd|Blvd|Ln)(?=, )", lambda m: f"{m[1]} {STREETS[m[2]]}"),
    (r"(?<=\dth )c\.(?!\w)|(?<=(?:st|nd|rd|th) )c\.(?= (?:A\.?D|B\.?C|C\.?E))", lambda m: "century"),
    (r"\bca?\. ?(?=\d{3,4}\b)", lambda m: "circa "),
    (r"\b([Vv]ol|[Cc]h|[Cc]hap|[Ss]ec|[Ff]ig)\. (?=I\b)", _numbered),
    (r"(?<=[a-z]) vs?\. (?=[A-Z])", lambda m: " versus "),
    (rf"\b({any_of(_BARE_NUMBERED)}) (?=\d)", _numbered),
    (rf"\b({any_of(key for key in TITLES if key not in _TITLES_THAT_ARE_WORDS)})\.(?!\w)", _title),
    (rf"\b({any_of(_TITLES_THAT_ARE_WORDS)})\.(?=\s+[A-Z])", _title),
    (rf"\b({any_of(_WITHOUT_PERIOD)})(?=\s+[A-Z][a-z])", _title),
    (r"\b(Sun|Sat)\.(?=,? (?:[A-Z][a-z]+|\d|at\b))", lambda m: {"Sun": "Sunday", "Sat": "Saturday"}[m[1]]),
    (r"\b([Mm]ax|[Mm]in|[Tt]emp|[Aa]vg)\. (?=[a-z])", lambda m: f"{_MEASURED[m[1].lower()]} "),
    (rf"(?<![\w.-])({any_of(WORDS)})\.(?!\w)", _word),
    (r"\b(lbs|ft|oz|hrs|mins|secs|yrs|vs|etc|approx|govt|dept)\b(?!\.\w)", lambda m: WORDS[m[1]]),
    # U.S.A., J. F. K., p.m.; a single initial before a name: George W. Bush
    (r"(?<![\w.])(?:(?:[A-Za-z]\.){2,}(?!\w)|(?:[A-Z]\. )+[A-Z]\.(?!\w)|(?:[A-Z]\.){2,}(?=[A-Z][a-z])"
     r"|(?:[A-Z]\.)+[A-Z]\b)", _initials),
    (r"\b([AaPp])\.[Mm]\b", lambda m: f"{m[1].upper()} M"),
    (r"(?<![\w.])([A-Z])\.(?=\s?[A-Z][a-z])", lambda m: f"{m[1]}{period_after(m)} "),
)  # fmt: skip
