"""Homographs: a table of sentences, each with the word and how it is said there."""

from pathlib import Path

import pytest

from bitjets_mlx.text import phonemize
from bitjets_mlx.text.cues import CUES
from bitjets_mlx.text.homographs import table
from bitjets_mlx.text.symbols import GAP, PUNCTUATION, encode

_TABLE = Path(__file__).parent / "data" / "text_homographs.txt"
CASES = [
    tuple(field.strip() for field in line.rsplit("|", 2))
    for line in _TABLE.read_text(encoding="utf-8").splitlines()
    if not line.startswith("#")
]


def spoken_words(text: str) -> list[str]:
    """The phonemes of each word of `text`, marks left out."""
    words = "".join("|" if p == GAP else f"{p} " for p in phonemize(text) if p not in PUNCTUATION).strip("|")
    return [word.strip() for word in words.split("|")]


@pytest.mark.parametrize(("sentence", "word", "phonemes"), CASES)
def test_table(sentence: str, word: str, phonemes: str) -> None:
    word, _, appearance = word.partition("#")
    written = [w.strip('.,?!";:').lower() for w in sentence.split()]
    places = [index for index, w in enumerate(written) if w == word]
    assert spoken_words(sentence)[places[int(appearance or 1) - 1]] == phonemes


def test_the_table_is_not_short() -> None:
    assert len(CASES) > 200


def test_all_of_g2p_en_s_homographs_are_known() -> None:
    rows = table()
    assert len(rows) >= 371
    assert {"record", "object", "read", "use", "subcontracts", "underestimates"} <= rows.keys()


def test_every_pronunciation_in_the_tables_is_arpabet() -> None:
    for row in table().values():
        encode([*row.first, *row.second])
    for cues in CUES.values():
        for cue in cues:
            encode(cue.phonemes.split())


def test_corrections_of_rows_that_g2p_en_has_the_wrong_way_round() -> None:
    assert spoken_words("I object.")[1] == "AH0 B JH EH1 K T"
    assert spoken_words("A segment of it.")[1] == "S EH1 G M AH0 N T"
    assert spoken_words("He went on to misuse it.")[4] == "M IH0 S Y UW1 Z"


def test_the_before_a_vowel() -> None:
    assert spoken_words("the apple, the pear, the hour, the unit") == [
        "DH IY0", "AE1 P AH0 L", "DH AH0", "P EH1 R", "DH IY0", "AW1 ER0", "DH AH0", "Y UW1 N AH0 T",
    ]  # fmt: skip


def test_four_hundred_sentences_of_the_words_that_matter_most() -> None:
    """Twenty words, twenty sentences each: "1 sentence" with the first pronunciation of "= word | first | second"."""
    lines = (_TABLE.parent / "text_homograph_sentences.txt").read_text(encoding="utf-8").splitlines()
    word, pronunciations, wrong, count = "", ("", ""), [], 0
    for line in lines:
        if line.startswith("="):
            word, *readings = (field.strip() for field in line[1:].split("|"))
            pronunciations = (readings[0], readings[1])
            continue
        which, sentence = line.split(" ", 1)
        written = [w.strip('.,?!";:').lower() for w in sentence.split()]
        place = len(written) - 1 - written[::-1].index(word)
        count += 1
        if spoken_words(sentence)[place] != pronunciations[int(which) - 1]:
            wrong.append(sentence)
    assert count == 400
    assert len(wrong) <= 4, wrong
