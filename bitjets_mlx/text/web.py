"""Web addresses, e-mail addresses, file names, handles and hashtags as words."""

import re
from re import Match

from bitjets_mlx.text.dictionary import cmudict
from bitjets_mlx.text.numbers import digits
from bitjets_mlx.text.words import words

_TOP_LEVEL = (
    "com|org|net|edu|gov|mil|int|info|biz|io|ai|app|dev|co|uk|de|fr|jp|ca|au|eu|us|ru|ch|nl|se|es|br|cn|tv|me|ly|gg|xyz"
)
_SURE = "com|org|net|edu|gov|mil|io|ai|app|dev|info|biz|xyz"  # also without www or http: no sentence begins so
_EXTENSIONS = (
    "py|js|ts|html|htm|css|json|xml|yaml|yml|toml|csv|txt|md|pdf|doc|docx|xls|xlsx|ppt|pptx|zip|gz|tar|exe|png|jpg|jpeg"
    "|gif|svg|wav|mp3|mp4|avi|mov|flac|ogg|cpp|java|rs|go|sh|rb|php|sql|log|cfg|ini|bin|safetensors|npz|npy|ipynb"
)
_SIGNS = {
    ".": "dot", "/": "slash", "-": "dash", "_": "underscore", "@": "at", ":": "colon", "?": "question mark",
    "=": "equals", "&": "and", "#": "hash", "%": "percent", "+": "plus", "~": "tilde", "!": "exclamation mark",
}  # fmt: skip
_WORDS = {
    "www": "W W W",
    "http": "H T T P",
    "https": "H T T P S",
    "ftp": "F T P",
    "co": "co",
    "gov": "gov",
    "edu": "E D U",
    "etc": "E T C",
    "pdf": "P D F",
    "gif": "gif",
    "usr": "U S R",
    "tmp": "T M P",
    "var": "var",
    "src": "S R C",
}


_SHORT = words(
    """
    com org net app dev bit the get my go me us we you he hi it in on at to by up so no do be or of if is as an am
    """
)


def _letters_or_word(part: str) -> str:
    """A part of an address: a word where the dictionary has it and it is long enough, else its letters."""
    lower = part.lower()
    if lower in _WORDS:
        return _WORDS[lower]
    known = cmudict().get(lower) is not None
    if len(part) <= 3 and lower not in _SHORT:
        return " ".join(part.upper()) if not known or len(part) <= 2 else part
    if not known and not re.search(r"[aeiouy]", lower):
        return " ".join(part.upper())
    return part


def spell_address(text: str) -> str:
    """www.example.com/a_b -> "W W W dot example dot com slash A underscore B"; figures are left to the number rules."""
    spoken = []
    for part in re.findall(r"[A-Za-z]+|\d+|[^\w\s]|_", text):
        if part.isalpha():
            spoken.append(_letters_or_word(part))
        else:
            spoken.append(part if part.isdigit() else _SIGNS.get(part, ""))
    return " ".join(word for word in spoken if word)


def _address(match: Match[str]) -> str:
    text = match[0]
    trailing = re.search(r"[.,;:!?]+$", text)
    end = trailing[0] if trailing else ""
    return spell_address(text[: len(text) - len(end)]) + end


def _hashtag(match: Match[str]) -> str:
    return "hashtag " + re.sub(r"(?<=[a-z])(?=[A-Z])|_|(?<=[A-Za-z])(?=\d)", " ", match[1])


RULES = (
    (r"\b(?:https?|ftp|file|ssh|git|wss?|s3)://[^\s<>\"')\]}]+", _address),
    (r"(?<![\w/<.~])(?:(?:~|\.\.?)?/[\w.-]*\w(?:/[\w.-]*\w)+/?|~/(?:[\w.-]*\w/?)?)(?![\w/])", _address),
    (r"\blocalhost:(\d{2,5})\b", lambda m: f"localhost {digits(m[1])}"),
    (r"(?:mailto:)?\b[\w.+-]+@[\w-]+(?:\.[\w-]+)+", _address),
    (r"\bwww\.[^\s<>\"')\]}]+", _address),
    (rf"\b[A-Za-z0-9][\w-]*(?:\.[\w-]+)*\.(?:{_SURE})(?:\.(?:{_TOP_LEVEL}))?(?:/[^\s<>\"')\]}}]*)?(?![\w-])", _address),
    (r"\b[A-Za-z][\w-]*\.(?:co|ac|gov|org)\.(?:uk|jp|au|nz|za|in|kr|il)(?:/[^\s<>\"')\]}]*)?\b", _address),
    (rf"\b[A-Za-z_][\w-]*\.(?:{_EXTENSIONS})\b", _address),
    (r"(?<![\w&])#([A-Za-z]\w*|\d+[A-Za-z]{3,}\w*)", _hashtag),
    (r"(?<!\w)@([A-Za-z]\w*)", lambda m: f"at {spell_address(m[1])}"),
    (r"(?<=[A-Za-z])_(?=[A-Za-z])", lambda m: " "),
)  # fmt: skip
