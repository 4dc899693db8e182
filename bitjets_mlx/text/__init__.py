"""Text to phonemes: normalisation, pronunciation, symbols, sentences. Offline, numpy only."""

import re
from collections.abc import Mapping, Sequence

from bitjets_mlx.text.lexicon import load_lexicon
from bitjets_mlx.text.normalization import PLACEHOLDER, normalize, to_words
from bitjets_mlx.text.pronunciation import pronounce
from bitjets_mlx.text.sentences import split_sentences
from bitjets_mlx.text.symbols import GAP, PUNCTUATION, SYMBOLS, encode

__all__ = ["SYMBOLS", "encode", "load_lexicon", "normalize", "phonemize", "split_sentences"]

_TOKEN = re.compile(rf"{PLACEHOLDER.pattern}(?:'s\b)?|'?[A-Za-z]+(?:'[A-Za-z]+)*'?|[,.?!;:\"]|-(?= )|-")


def phonemize(text: str, lexicon: Mapping[str, Sequence[str]] | None = None) -> list[str]:
    """The phonemes of `text`, with " " at both ends and between words, punctuation right after its word.

    "Hello, world." -> [" ", "HH", "AH0", "L", "OW1", ",", " ", "W", "ER1", "L", "D", ".", " "]. Raises BitjetsError
    where nothing can be spoken; warns of characters that cannot.
    """
    words, protected = to_words(text, lexicon or ())
    if words.rstrip('" ')[-1] not in PUNCTUATION:
        words += "."
    phonemes: list[str] = [GAP]
    for token in _TOKEN.findall(words):
        if token in PUNCTUATION:
            if phonemes[-1] == GAP and len(phonemes) > 1 and token != '"':
                phonemes[-1:] = [token, GAP]
            continue
        if PLACEHOLDER.match(token):
            token = protected.word(token[0]) + token[1:]
        phonemes += token.strip("{}").split() if token.startswith("{") else pronounce(token, lexicon)
        phonemes.append(GAP)
    encode(phonemes)
    return phonemes
