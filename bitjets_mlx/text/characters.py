"""Unicode to the ASCII that the other rules read, and what cannot be spoken at all."""

import re
import unicodedata
from collections.abc import Mapping
from re import Match

from bitjets_mlx.text.provenance import Traced
from bitjets_mlx.text.scripts import CYRILLIC, GREEK

# What an accent-stripping decomposition does not give. Spaces matter: " - " is a dash, "-" joins words.
_TABLE = str.maketrans({
    "‘": "'", "’": "'", "‚": ",", "‛": "'", "′": "'", "ʼ": "'", "´": "'", "`": "'",
    "“": '"', "”": '"', "„": '"', "‟": '"', "″": '"', "«": '"', "»": '"', "‹": '"', "›": '"',
    "‐": "-", "‑": "-", "‒": "–", "—": " — ", "―": " — ", "⁓": "–", "−": "-", "﹣": "-", "－": "-",
    "…": "...", "•": ", ", "·": " ", "‣": ", ", "¡": "", "¿": "", "、": ", ", "。": ". ", "！": "! ", "？": "? ",
    "ß": "ss", "æ": "ae", "Æ": "Ae", "œ": "oe", "Œ": "Oe", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "đ": "d",
    "Đ": "D", "ð": "th", "Ð": "Th", "þ": "th", "Þ": "Th", "ı": "i", "ŋ": "ng", "ħ": "h", "Ħ": "H", "ŧ": "t",
    "ʻ": "", "ʿ": "", "ʾ": "", "½": " 1/2", "¼": " 1/4", "¾": " 3/4", "⅓": " 1/3", "⅔": " 2/3", "⅛": " 1/8",
    "⅜": " 3/8", "⅝": " 5/8", "⅞": " 7/8", "⅕": " 1/5", "⅖": " 2/5", "⅗": " 3/5", "⅘": " 4/5", "⅙": " 1/6",
    "⅚": " 5/6", "⅒": " 1/10", "⁄": "/", "∕": "/", "№": "No.", "℃": "°C", "℉": "°F", "º": "°", "Ω": " ohms ",
    "×": " × ", "™": "", "®": "", "©": " copyright ", "℠": "", "§": " section ", "¶": " paragraph ",
    "‰": " per mille ", "℮": "", "†": "", "‡": "", "∞": " infinity ", "√": " square root of ", "٫": ".", "٬": ",",
    "∑": " sum of ",
    "→": " to ", "⇒": " implies ", "←": " from ", "↔": " to and from ", "≈": " approximately ",
    "≠": " is not equal to ",
    "≤": " is at most ", "≥": " is at least ", "±": " plus or minus ", "÷": " divided by ", "°": "°", "–": "–",
})  # fmt: skip

# These stay as they are: later rules give them words, which depend on what stands beside them.
_KEPT = set("£€¥₹₽₩₿¢₺₪₫₱₦°—–×")
_GREEK = re.compile(r"GREEK (?:SMALL|CAPITAL) LETTER (?:FINAL )?(\w+)")
_CLUSTER = re.compile(r"[^\n -~\ue000-\uf8ff](?:[\u0300-\u036f\u1ab0-\u1aff\u20d0-\u20ff])*|[ -~][\u0300-\u036f]+|`")
_PRINTABLE = re.compile(r"[\n -_a-~]*$")
_SUPERSCRIPT = re.compile(r"[⁺⁻]?[⁰¹²³⁴⁵⁶⁷⁸⁹]+")
_CYRILLIC = re.compile(r"[\u0400-\u045f\u0490\u0491]+")
_GREEK_WORD = re.compile(r"[\u0370-\u03ff\u1f00-\u1fff]{2,}")
_SYLLABLE = re.compile(r"(?:HIRAGANA|KATAKANA) LETTER (?:SMALL )?(\w+)|HANGUL SYLLABLE (\w+)")
_MICRO = re.compile(r"(?<=\d)\s?[µμ](?=(?:m|s|g|l|L|A|V|W|F|mol)\b)")


def spell_in_ascii(text: Traced, emoji: bool = False) -> list[str]:
    """Spell `text` in ASCII and a few currency and dash signs; gives the characters that were left out.

    With `emoji`, pictures are spoken by their names.
    """
    if text.text.isascii() and _PRINTABLE.match(text.text):
        return []
    left_out: dict[str, None] = {}

    def cluster(match: Match[str]) -> str:
        pieces = []
        for character in unicodedata.normalize("NFC", match[0]).translate(_TABLE):
            piece = _in_ascii(character)
            if piece is None and emoji:
                piece = _emoji_name(character)
            if piece is None:
                left_out[character] = None
                piece = " "
            pieces.append(piece)
        return "".join(pieces)

    text.sub(_MICRO, lambda m: " micro")
    text.sub(_SUPERSCRIPT, lambda m: "^" + unicodedata.normalize("NFKC", m[0]).replace("−", "-"))
    text.sub(_CYRILLIC, lambda m: "".join(_transliterated(c, CYRILLIC) for c in m[0]))
    text.sub(_GREEK_WORD, lambda m: "".join(_transliterated(c, GREEK) for c in m[0]))
    text.sub(_CLUSTER, cluster)
    return list(left_out)


def _emoji_name(character: str) -> str | None:
    """ "😀" -> " (grinning face) "; None for anything else."""
    if unicodedata.category(character) != "So" or character < "\u2600":
        return None
    name = unicodedata.name(character, "").lower()
    plain = re.fullmatch(r"(?:heavy )?(?:black |white )?([a-z -]+?)(?: sign| symbol)?", name)
    return f" ({plain[1]}) " if plain else None


def _transliterated(character: str, letters: Mapping[str, str]) -> str:
    plain = unicodedata.normalize("NFD", character)[0] if character not in letters else character
    lower = character.lower() if character.lower() in letters else plain.lower()
    found = letters.get(lower, "")
    return found.capitalize() if character.isupper() else found


def _in_ascii(character: str) -> str | None:
    """ASCII for one character; "" for what is silent by nature (joiners, marks); None for what cannot be spoken."""
    if character.isspace():
        return character if character == "\n" else " "
    if character in _KEPT or (character.isascii() and character.isprintable()):
        return character
    category = unicodedata.category(character)
    if category in {"Cf", "Mn", "Me", "Sk"} or "\U0001f3fb" <= character <= "\U0001f3ff":
        return ""  # joiners, variation selectors, keycaps, skin tones: parts of the character before
    plain = "".join(c for c in unicodedata.normalize("NFKD", character) if unicodedata.category(c) != "Mn")
    if plain != character and plain.isascii() and plain.strip():
        return plain
    number = unicodedata.decimal(character, None)
    if number is not None:
        return str(number)
    syllable = _SYLLABLE.match(unicodedata.name(character, ""))
    if syllable:
        return (syllable[1] or syllable[2]).lower()
    greek = _GREEK.match(unicodedata.name(unicodedata.normalize("NFD", character)[0], ""))
    return f" {greek[1].lower().replace('lamda', 'lambda')} " if greek else None


def describe(characters: list[str]) -> str:
    """For people: "😀 (grinning face), 你 (CJK unified ideograph-4F60)"."""
    return ", ".join(f"{c} ({unicodedata.name(c, f'U+{ord(c):04X}').lower()})" for c in characters)


_SPEECH = re.compile(r"[A-Za-z0-9%&@+=$£€¥₹°]")


def has_speech(text: str) -> bool:
    """Whether any letter, digit, or sign with a word of its own is in `text`."""
    if _SPEECH.search(text):
        return True
    if text.isascii():
        return False
    traced = Traced(text)
    spell_in_ascii(traced)
    return _SPEECH.search(traced.text) is not None
