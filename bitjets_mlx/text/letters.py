"""Capitals: initialisms are spelled ("FBI" -> "F B I"), acronyms and shouted words are read as words.

After this step a capital letter that stands alone is the letter's name, and the article is a lower-case "a".
"""

import re
from re import Match

from bitjets_mlx.text.dictionary import look_up
from bitjets_mlx.text.pronunciation import is_known
from bitjets_mlx.text.provenance import Traced
from bitjets_mlx.text.words import words

# Spelled even though their letters also make a word that the dictionary has.
INITIALISMS = words(
    """
    US USA UK UN EU UAE USSR USS IT AI PR HR ID IQ EQ TV PC CD DJ VJ MC MP QC VP CEO CFO CTO COO CIO PM AD BC BCE CE
    FBI CIA NSA IRS FDA EPA FCC FTC SEC DEA ATF TSA DHS DOJ DOE DOD HHS HUD GAO GSA CDC NIH NSF NRA NRC WHO IMF WTO
    EEC ILO IOC ICC ECB BBC CBS NBC ABC CNN PBS NPR ESPN HBO MTV AMC NFL NBA MLB NHL NCAA UFC WWE NYC LA DC SF NY NJ
    UCLA USC MIT NYU LSE ACLU AARP ADHD PTSD OCD HIV STD DNA RNA MRI CT EKG ECG ICU ER IV EMT CPR BMI GP NHS CPU GPU
    TPU NPU USB SSD HDD LCD LED OLED HTML CSS HTTP HTTPS FTP SSH URL URI XML SQL PHP API SDK IDE CLI GUI OS PDF CSV
    TXT VPN DNS TCP UDP ISP DSL SMS MMS GPS RFID NFC LTE AR VR XR ML NLP LLM GPT TTS ASR STT OCR FAQ DIY FYI BTW LOL
    OMG IMO TBD TBA ETA RSVP RIP VIP MVP BFF POV TLDR AKA PS PTO SOS UFO SUV RV ATM ATV BMW GM GE HP IBM LG UPS DHL
    KFC AOL IPO ETF GDP GNP CPI APR LLC LLP PLC VAT GST GRE GPA GED ESL PHD MBA BA MA BS MS MD RN DDS JFK FDR LBJ
    MLK GOP DNC RNC KKK PLO KGB SS PLA POW TNT DDT PVC BBQ BLT PB RPM MPH RPG FPS NPC DLC EST EDT CST CDT MST MDT
    PST PDT GMT UTC BST CET AAA DUI DWI NDA QA UX UI SEO CRM ERP KPI ROI YTD EOD OOO ASAP WTF CO PH UV IR RF AC FM
    VHF UHF PTA PTSA ICBM CRT SAC PRS FPCC IOU OJ PJ TP TLC SNL USAF RAF USMC USPS USDA NTSB FAA SSN DMV HOA CCTV
    DVD VCR VHS LP EP RGB CMYK ANSI ISBN LGBT LGBTQ HRT IVF IUD AA NA TA RA CV EV EVS PHEV TGV HPV IBS UTI OTC PPE
    MPG NAACP UNHCR SPCA USMLE AAU IAAF APB UAV ALS CNC PCB ROC RSS RSA AES PGP SSL TLS
    """
)

# In a text that is all in capitals these are the everyday words.
_EVERYDAY = words("US IT WHO AM PM OR AD ID HUD MA PA ER OS ALS AA RIP LA")
_SHORT_WORDS = words(
    """
    NO GO OH OK HI SO DO ME MY WE HE BE BY UP ON IN IF OF OR AS AT AN TO IS HA AH YO UH UM HM EH OW OX AX PI MR
    """
)
# Letters, not the article, after these: "Vitamin A", "Plan A".
_LETTER_NOUNS = words(
    """
    vitamin plan grade type hepatitis group class section team point exhibit option side company building block
    schedule appendix level an letter letters category series model part figure table question answer row seat gate
    unit terminal channel string influenza capital note key
    """
)

_QUESTION = re.compile(
    r" (?:are|is|was|were|did|do|does|will|can|would|has|have|else|wants|knows)\b[^.!]*\?", re.IGNORECASE
)
_WORD = re.compile(r"[A-Za-z]+(?:'[A-Za-z]+)*")
_MIXED = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+")
_NAME_PREFIX = re.compile(r"(?:Mc|Mac|De|Di|Du|Da|La|Le|Van|Von|Fitz|St)[A-Z][a-z]+$")

_ONSETS = words(
    """
    b c d f g h j k l m n p r s t v w y z bl br ch chr cl cr dr dw fl fr gl gr kl kn kr ph phr pl pr qu sc sch scr
    sh shr sk sl sm sn sp spl spr st str sw th thr tr tw wh wr
    """
) | {""}
_CODAS = words(
    """
    b c d f g h k l m n p r s t v w x y z bs ck ct ch ds ff ft gs ks ld lf lk ll lm lp ls lt mp ms mb nc nch nd ng
    nk ns nt ph ps pt rb rc rch rd rf rg rk rl rm rn rp rs rst rt rth sh sk sm sp ss st tch th ts tt wn
    """
) | {""}


def spell(letters: str) -> str:
    """ "FBI" -> "F B I"."""
    return " ".join(letters.upper())


def can_be_said(word: str) -> bool:
    """Whether English could say these letters as a word: legal consonants before, between and after the vowels."""
    clusters = re.split(r"[aeiou]+|(?<=[^aeiou])y", word.lower())
    vowels = re.findall(r"[aeiou]+|(?<=[^aeiou])y", word.lower())
    if not vowels or any(len(v) > 2 or v in {"aa", "ii", "uu"} for v in vowels):
        return False
    if clusters[0] not in _ONSETS or clusters[-1] not in _CODAS:
        return False
    return all(
        any(c[:i] in _CODAS and c[i:] in _ONSETS for i in range(len(c) + 1)) and len(c) < 4 for c in clusters[1:-1]
    )


def _capitals(word: str, shouted: bool, before: str, after: str = "") -> str:
    """A word all in capitals, two letters or more: spelled, or in lower case to be read as a word."""
    if word == "WHO" and _QUESTION.match(after):
        return "who"
    if shouted and word in _EVERYDAY:
        article = re.search(r"\b(?:THE|A|AN)\s$", before)
        place = word == "LA" and re.search(r"\b(?:IN|TO|FROM|NEAR|AT)\s$", before)
        return spell(word) if place or (article and word in {"US", "IT", "WHO"}) else word.lower()
    if len(word) == 2:
        is_word = word in _SHORT_WORDS or (word == "AM" and before.endswith("I "))
        return word.lower() if is_word else spell(word)
    if word in INITIALISMS or (not re.search(r"[AEIOUY]", word) and not is_known(word.lower())):
        return spell(word)
    if is_known(word.lower()) or (can_be_said(word) and (shouted or len(word) > 3)):
        return word.lower()
    return spell(word)


def _mixed(word: str, before: str) -> str:
    """iPhone, CDs, ChatGPT, McDonald: a word where a capital stands after the first letter."""
    if re.fullmatch(r"[A-Z]{2,}s", word) and word[:-1] != "OK":
        stem = _capitals(word[:-1], False, "")
        return f"{stem}'s" if stem.isupper() or " " in stem else f"{stem}s"
    parts = _MIXED.findall(word)
    acronym_last = len(parts) == 2 and len(parts[0]) > 3 and parts[0][1:].islower() and parts[1].isupper()
    split = acronym_last and (len(parts[1]) == 1 or look_up(word.lower()) is None)
    if not split and (is_known(word.lower()) or _NAME_PREFIX.match(word)):
        return word
    if all(len(part) < 3 for part in parts) and len(parts) < 4:  # "NaCl", "DoD"
        return spell(word)
    if len(parts) > 4:  # "aNyThInG": no words inside
        return word.lower()
    return " ".join(
        part.upper() if len(part) == 1 else _capitals(part, False, before) if part.isupper() else part for part in parts
    )


def _article(match: Match[str]) -> str:
    """The article "A" in lower case; the letter stays: "Vitamin A", "A and B"."""
    previous = re.search(r"([A-Za-z]+) $", match.string[: match.start()])
    return "A" if previous and previous[1].lower() in _LETTER_NOUNS else "a"


ARTICLES = (
    (r"(?<![\w.'&-])A(?= [\"']?(?:(?!(?:or|and|to|is|was|through|plus|minus|vs|versus)\b)[A-Za-z]{2,}|I\b|[$£€]?\d"
     r"|[\ue000-\uf8ff]))", _article),
)  # fmt: skip


def _shouted(words: list[Match[str]]) -> list[bool]:
    """For each word whether it stands in a shouted passage: three capitalized words in a row, or nothing else."""
    flags = [False] * len(words)
    capital = [len(w[0]) > 1 and w[0].isupper() for w in words]
    neutral = [len(w[0]) == 1 for w in words]
    everything = all(c or n for c, n in zip(capital, neutral, strict=True)) and sum(capital) > 1
    start = 0
    for index in range(len(words) + 1):
        if index < len(words) and (capital[index] or neutral[index]):
            continue
        if sum(capital[start:index]) >= 3 or everything:
            flags[start:index] = [True] * (index - start)
        start = index + 1
    return flags


def read_capitals(text: Traced) -> None:
    """Spell initialisms, lower acronyms and shouted words, split "ChatGPT"."""
    found = list(_WORD.finditer(text.text))
    shouted = dict(zip((word.start() for word in found), _shouted(found), strict=True))

    def read(match: Match[str]) -> str:
        before = match.string[max(0, match.start() - 40) : match.start()]
        base, apostrophe, suffix = match[0].partition("'")
        if apostrophe and (len(base) < 2 or not base.isupper() or suffix.lower() != "s"):
            return match[0].lower() if match[0].isupper() and len(match[0]) > 2 else match[0]
        if len(base) > 1 and base.isupper():
            after = match.string[match.end() : match.end() + 100]
            return _capitals(base, shouted[match.start()], before, after) + apostrophe + suffix.lower()
        if re.search(r"[a-zA-Z][A-Z]", base):
            return _mixed(base, before) + apostrophe + suffix
        return match[0]

    text.sub(_WORD, read)


def split_letters_and_digits(match: Match[str]) -> str:
    """mp3 -> "M P 3", COVID-19 -> "COVID 19", 10-year-old -> "10-year-old"; the number rules read the figures."""
    runs = re.findall(r"[A-Za-z]+|\d+(?:\.\d+)?|-", match[0])
    words: list[str] = []
    for position, run in enumerate(runs):
        if run == "-":
            joins_word = position + 1 < len(runs) and len(runs[position + 1]) > 2 and runs[position + 1].isalpha()
            words.append("-" if joins_word else " ")
        elif run.isalpha():
            short = len(run) <= 2 or (len(run) <= 4 and not is_known(run.lower()) and not can_be_said(run))
            words += [" ", spell(run) if short else run, " "]
        else:
            words += [" ", run, " "]
    return re.sub(r" *- *", "-", " ".join("".join(words).split())) if words else match[0]
