"""One word to phonemes: the user's lexicon, the dictionary, known words inside it, the network."""

import functools
from collections.abc import Mapping, Sequence

from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.text.dictionary import Phonemes, look_up
from bitjets_mlx.text.morphology import add_s, derive

_LETTER_NAMES = """
    A EY1, B B IY1, C S IY1, D D IY1, E IY1, F EH1 F, G JH IY1, H EY1 CH, I AY1, J JH EY1, K K EY1, L EH1 L, M EH1 M,
    N EH1 N, O OW1, P P IY1, Q K Y UW1, R AA1 R, S EH1 S, T T IY1, U Y UW1, V V IY1, W D AH1 B AH0 L Y UW0,
    X EH1 K S, Y W AY1, Z Z IY1
"""
LETTERS: dict[str, Phonemes] = {
    letter: tuple(phonemes) for letter, *phonemes in (name.split() for name in _LETTER_NAMES.split(","))
}


def is_known(word: str) -> bool:
    """Whether a lower-case word, or a known word that it is a form of, is in a dictionary."""
    return look_up(word) is not None or derive(word) is not None


def pronounce(word: str, lexicon: Mapping[str, Sequence[str]] | None = None) -> Phonemes:
    """The phonemes of one word of letters and apostrophes. A capital that stands alone is the letter's name."""
    base, apostrophe, ending = word.rpartition("'")
    possessive = apostrophe and ending in {"s", "S", ""} and base.strip("'")
    if lexicon:
        for key in (word, word.lower()):
            if key in lexicon:
                return _entry(lexicon, key)
        for key in (base, base.lower()) if possessive else ():
            if key in lexicon:
                return add_s(_entry(lexicon, key)) if ending else _entry(lexicon, key)
    if word in LETTERS:
        return LETTERS[word]
    if possessive and ending and base in LETTERS:
        return add_s(LETTERS[base])
    return _pronounce_lower(word.lower())


def _entry(lexicon: Mapping[str, Sequence[str]], word: str) -> Phonemes:
    """What a lexicon that may come from anywhere says of a word; BitjetsError where that is no list of phonemes."""
    listed = lexicon[word]
    if not isinstance(listed, list | tuple) or not listed or not all(isinstance(phoneme, str) for phoneme in listed):
        raise BitjetsError(f'the lexicon has {listed!r:.60} for {word!r:.60}: give a list such as ["HH", "AH0"].')
    return tuple(listed)


@functools.lru_cache(maxsize=20_000)
def _pronounce_lower(word: str) -> Phonemes:
    phonemes = look_up(word)
    if phonemes is None and word.endswith("'s") and len(word) > 2:
        phonemes = add_s(_pronounce_lower(word[:-2]))
    if phonemes is None:
        bare = word.strip("'")
        phonemes = look_up(bare) or derive(word) or derive(bare)
        if phonemes is None:
            letters = bare.replace("'", "")
            phonemes = look_up(letters) or _guess(letters)
    return tuple("UW1" if phoneme == "UW" else phoneme for phoneme in phonemes)


def _guess(word: str) -> Phonemes:
    """The network's answer; a word too long for the network in two pieces, so that nothing is lost."""
    from bitjets_mlx.text.unknown import LONGEST, predict  # numpy takes as long as all the rest, and few texts need it

    phonemes = predict(word)
    if len(phonemes) >= LONGEST or len(word) > LONGEST:
        middle = len(word) // 2
        return _pronounce_lower(word[:middle]) + _pronounce_lower(word[middle:])
    return phonemes or _spelled(word)


def _spelled(word: str) -> Phonemes:
    return tuple(phoneme for letter in word for phoneme in LETTERS[letter.upper()])
