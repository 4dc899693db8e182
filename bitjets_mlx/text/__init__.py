"""Text to phonemes: normalisation, pronunciation, symbols, sentences. Offline, numpy only."""

import re
from collections.abc import Mapping, Sequence

from bitjets_mlx.text.normalization import normalize
from bitjets_mlx.text.pronunciation import pronounce
from bitjets_mlx.text.symbols import GAP, PUNCTUATION, SYMBOLS, encode

__all__ = ["SYMBOLS", "encode", "normalize", "phonemize"]

_TOKEN = re.compile(r"\{[^}]*\}|[A-Za-z']+|[,.?!;:\"-]")


def phonemize(text: str, lexicon: Mapping[str, Sequence[str]] | None = None) -> list[str]:
    """The phonemes of `text`, with " " at both ends and between words, punctuation right after its word.

    "Hello, world." -> [" ", "HH", "AH0", "L", "OW1", ",", " ", "W", "ER1", "L", "D", ".", " "]. Raises BitjetsError
    where nothing can be spoken; warns of characters that cannot.
    """
    text = normalize(text)
    if text.rstrip('" ')[-1] not in PUNCTUATION:
        text += "."
    phonemes: list[str] = [GAP]
    for token in _TOKEN.findall(text):
        if token in PUNCTUATION:
            if phonemes[-1] == GAP and len(phonemes) > 1 and token != '"':
                phonemes[-1:] = [token, GAP]
            continue
        if not token.strip("'"):
            continue
        phonemes += token.strip("{}").split() if token.startswith("{") else pronounce(token, lexicon)
        phonemes.append(GAP)
    encode(phonemes)
    return phonemes
