"""Text to phonemes: normalization, pronunciation, homographs, symbols, sentences. Offline, numpy only."""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.text.dictionary import look_up
from bitjets_mlx.text.grammar import Context
from bitjets_mlx.text.homographs import is_homograph, pronounce_homograph
from bitjets_mlx.text.lexicon import load_lexicon
from bitjets_mlx.text.normalization import PLACEHOLDER, Protected, normalize, read
from bitjets_mlx.text.pronunciation import pronounce
from bitjets_mlx.text.provenance import Span
from bitjets_mlx.text.sentences import split_sentences
from bitjets_mlx.text.symbols import GAP, PUNCTUATION, SYMBOLS, encode

__all__ = ["SYMBOLS", "Span", "encode", "load_lexicon", "normalize", "phonemize", "phonemize_words", "split_sentences"]

_TOKEN = re.compile(rf"{PLACEHOLDER.pattern}(?:'s\b)?|'?[A-Za-z]+(?:['-][A-Za-z]+)*'?|[,.?!;:\"]|(?<=\s)-(?=\s)")


class Spoken(NamedTuple):
    """A spoken word: its phonemes with the mark and the gap after it, and where in the text it was read."""

    phonemes: tuple[str, ...]
    span: Span


def phonemize(text: str, lexicon: Mapping[str, Sequence[str]] | None = None, emoji: bool = False) -> list[str]:
    """The phonemes of `text`, with " " at both ends and between words, punctuation right after its word.

    "Hello, world." -> [" ", "HH", "AH0", "L", "OW1", ",", " ", "W", "ER1", "L", "D", ".", " "]. Raises BitjetsError
    where nothing can be spoken; warns of characters that cannot. With `emoji`, pictures are spoken by their names.
    """
    return [GAP, *(phoneme for word in phonemize_words(text, lexicon, emoji) for phoneme in word.phonemes)]


def phonemize_words(text: str, lexicon: Mapping[str, Sequence[str]] | None = None, emoji: bool = False) -> list[Spoken]:
    """`phonemize` word by word, each with its place in `text`; a gap and their phonemes joined are what it gives."""
    spoken: list[Spoken] = []
    if lexicon is not None and not isinstance(lexicon, Mapping):
        raise BitjetsError(f"the lexicon is {lexicon!r:.60}: give a dict of words, or read one with load_lexicon.")
    readings = read(text, lexicon or (), emoji)
    for reading in readings:
        words = reading.words
        if reading is readings[-1] and words.rstrip('" ')[-1] not in PUNCTUATION:
            words += "."
        tokens = _tokens(words)
        sounds = _pronounce_all([token for token, _ in tokens], reading.protected, lexicon)
        for (token, start), phonemes in zip(tokens, sounds, strict=True):
            if phonemes:
                encode(phonemes)
                spoken.append(Spoken((*phonemes, GAP), reading.span(token, start)))
            elif spoken and token != '"':
                spoken[-1] = spoken[-1]._replace(phonemes=(*spoken[-1].phonemes[:-1], token, GAP))
    return spoken


def _tokens(words: str) -> list[tuple[str, int]]:
    """Words and marks, and where they begin; a hyphen parts words ("well-known") unless the dictionary has them as
    one ("x-ray")."""
    tokens: list[tuple[str, int]] = []
    for match in _TOKEN.finditer(words):
        if match[0] == "-" or look_up(match[0].lower()):
            tokens.append((match[0], match.start()))
        else:
            tokens += [(part[0], match.start() + part.start()) for part in re.finditer(r"[^-]+", match[0])]
    return tokens


def _pronounce_all(
    tokens: list[str], protected: Protected, lexicon: Mapping[str, Sequence[str]] | None
) -> list[tuple[str, ...]]:
    """The phonemes of each token, none for a mark; each homograph read in the context of all."""
    plain = tuple(token.lower().strip("'") if len(token) > 1 else token.lower() for token in tokens)
    capitals = tuple(token[:1].isupper() for token in tokens)
    spoken: list[tuple[str, ...]] = []
    for index, token in enumerate(tokens):
        if token == "-" or token in PUNCTUATION:
            spoken.append(())
        elif PLACEHOLDER.match(token):
            word = protected.word(token[0]) + token[1:]
            spoken.append(tuple(word.strip("{}").split()) if word.startswith("{") else pronounce(word, lexicon))
        else:
            context = Context(plain, index, capitals)
            found = pronounce_homograph(context) if len(token) > 1 and is_homograph(plain[index]) else None
            spoken.append(found or pronounce(token))
    for index in range(len(spoken) - 1):  # "thee apple": before a vowel
        if plain[index] == "the" and spoken[index] == ("DH", "AH0") and spoken[index + 1][:1]:
            spoken[index] = ("DH", "IY0") if spoken[index + 1][0][-1].isdigit() else spoken[index]
    return spoken
