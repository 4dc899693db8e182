"""Text as the character-level BitJETS reads it: lower case, and whatever has no symbol left out."""

import re
import warnings

from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.text.spoken import Phonemes, SpokenWord

CHARACTERS = tuple("_abcdefghijklmnopqrstuvwxyz!?,. ")  # index = position; 0 pads
_WORD = re.compile(r"[^\W_]+")


def spell(text: str) -> Phonemes:
    """The characters of one utterance; a warning names the letters and digits that are left out."""
    lower = "".join(letter.lower()[:1] for letter in text)  # as many as before: places stay
    words = (SpokenWord(match[0], match.start(), match.end(), *match.span()) for match in _WORD.finditer(text))
    known = Phonemes(lower, words).only(lambda letter: letter in CHARACTERS)
    if not any(letter.isalpha() for letter in known):
        raise BitjetsError(f"there is nothing to speak in {text[:40]!r}: this voice reads the letters a to z.")
    lost = sorted({letter for letter in lower if letter not in CHARACTERS and letter.isalnum()})
    if lost:
        warnings.warn(
            f"this voice has no symbol for {' '.join(lost[:10])}, which it leaves out: write numbers as words.",
            stacklevel=2,
        )
    return known
