"""The symbols a model reads: padding, the gap between words, punctuation, and ARPAbet phonemes with stress."""

from collections.abc import Sequence

from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.text.words import listed

PAD = "_"
GAP = " "  # between words, and at both ends of an utterance
PUNCTUATION = (",", ".", "?", "!", ";", ":", "-", '"')
CONSONANTS = listed("B CH D DH F G HH JH K L M N NG P R S SH T TH V W Y Z ZH")
VOWELS = listed("AA AE AH AO AW AY EH ER EY IH IY OW OY UH UW")
PHONEMES = tuple(sorted((*CONSONANTS, *(vowel + stress for vowel in VOWELS for stress in "012"))))

SYMBOLS: tuple[str, ...] = (PAD, GAP, *PUNCTUATION, *PHONEMES)
_INDEX = {symbol: index for index, symbol in enumerate(SYMBOLS)}


def encode(phonemes: Sequence[str]) -> list[int]:
    """Indices into `SYMBOLS`, one per phoneme. Raises BitjetsError naming a symbol that is not there."""
    try:
        return [_INDEX[phoneme] for phoneme in phonemes]
    except KeyError as error:
        raise BitjetsError(
            f"unknown symbol {error.args[0]!r}; use ARPAbet phonemes with stress on the vowels, such as HH AH0 L OW1"
        ) from None
