"""Symbols that a voice hardly ever met in training, and what it says in their place.

The embedding of a symbol without examples stays as random as it began: a question mark that no training sentence had
would be spoken as a noise. The packed voice records its substitutes in config.json.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from bitjets_mlx.text.symbols import GAP, PAD, SYMBOLS

FEWEST = 5  # examples that a symbol needs to be spoken as itself
MARKS = {"?": (".",), "!": (".",), ";": (",",), ":": (";", ","), "-": (",",), ",": (".",), '"': (GAP,)}


def substitutes(utterances: Iterable[Sequence[str]]) -> dict[str, str]:
    """For each symbol with fewer than five examples in the training `utterances`, the best one to stand for it.

    A mark is replaced by a weaker or related mark, a vowel by its most frequent other stress. A symbol without a
    frequent enough relative stands for itself.
    """
    counts = Counter(symbol for utterance in utterances for symbol in utterance)
    chosen = {}
    for symbol in SYMBOLS:
        if symbol == PAD or counts[symbol] >= FEWEST:
            continue
        relatives = [other for other in _relatives(symbol, counts) if counts[other] >= FEWEST]
        if relatives:
            chosen[symbol] = relatives[0]
    return chosen


def _relatives(symbol: str, counts: Mapping[str, int]) -> list[str]:
    """What may stand for a symbol, the best first."""
    if symbol in MARKS:
        return list(MARKS[symbol])
    stresses = [symbol[:-1] + stress for stress in "012" if symbol[-1:].isdigit()]
    return sorted(stresses, key=lambda other: -counts[other])
