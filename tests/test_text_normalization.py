"""Normalisation: one table of cases, and what the table cannot hold."""

import re
import warnings
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.text import normalize, phonemize
from bitjets_mlx.text.numbers import cardinal, ordinal, year
from bitjets_mlx.text.roman import value

_TABLE = Path(__file__).parent / "data" / "text_normalization.tsv"
CASES = [tuple(line.split("\t")) for line in _TABLE.read_text(encoding="utf-8").splitlines() if "\t" in line]


@pytest.mark.parametrize(("written", "spoken"), CASES)
def test_table(written: str, spoken: str) -> None:
    assert normalize(written) == spoken


def test_what_is_spoken_already_stays_as_it_is() -> None:
    spoken = [spoken for _, spoken in CASES if not re.search(r"\bA\b", spoken)]  # the letter would become the article
    assert [normalize(words) for words in spoken] == spoken


def test_the_table_is_not_short() -> None:
    assert len(CASES) > 300
    assert len({written for written, _ in CASES}) == len(CASES)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "zero"),
        (19, "nineteen"),
        (20, "twenty"),
        (101, "one hundred one"),
        (110_011, "one hundred ten thousand eleven"),
        (10**33, "one decillion"),
        (-7, "minus seven"),
    ],
)
def test_cardinals(number: int, words: str) -> None:
    assert cardinal(number) == words


def test_a_number_beyond_names_is_read_digit_by_digit() -> None:
    assert cardinal(10**36).split() == ["one", *["zero"] * 36]


@pytest.mark.parametrize(("number", "words"), [(1, "first"), (12, "twelfth"), (40, "fortieth"), (85, "eighty-fifth")])
def test_ordinals(number: int, words: str) -> None:
    assert ordinal(number) == words


@pytest.mark.parametrize(
    ("number", "words"), [(1900, "nineteen hundred"), (1807, "eighteen oh seven"), (2010, "twenty ten")]
)
def test_years(number: int, words: str) -> None:
    assert year(number) == words


@settings(derandomize=True)
@given(st.integers(min_value=1, max_value=3999))
def test_roman_numerals_against_the_schoolbook(number: int) -> None:
    pairs = [(1000, "M"), (900, "CM"), (500, "D"), (400, "CD"), (100, "C"), (90, "XC"), (50, "L"), (40, "XL")]
    rest, text = number, ""
    for amount, letters in [*pairs, (10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I")]:
        text += letters * (rest // amount)
        rest %= amount
    assert value(text) == number


@pytest.mark.parametrize("text", ["IIII", "VX", "IC", "MIX!", "LIVID", "CIVIL", ""])
def test_no_roman_numeral(text: str) -> None:
    assert value(text) is None


@pytest.mark.parametrize("text", ["", "   ", "\n", "...", "?!", "😀", "😀🎉 👍🏽", "你好", "—", '""', "{}", "\ue000"])
def test_nothing_to_speak_is_an_error(text: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(BitjetsError, match="nothing to speak"):
            normalize(text)
        with pytest.raises(BitjetsError, match="nothing to speak"):
            phonemize(text)


def test_what_cannot_be_spoken_is_named() -> None:
    with pytest.warns(UserWarning, match=r"😀 \(grinning face\), 你 \(cjk"):
        assert normalize("Hello 😀 你 😀 there") == "Hello there"


@pytest.mark.parametrize("text", ["Hello, world!", "naïve — “quoted” … £5 ½", "It’s 20 °C"])
def test_nothing_is_said_about_ordinary_text(text: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        normalize(text)


def test_inline_phonemes_are_not_touched() -> None:
    assert normalize("Say {HH AH0 L OW1}, 5 times") == "Say {HH AH0 L OW1}, five times"


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.text(max_size=40))
def test_any_text_gives_words_or_one_clear_error(text: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            spoken = normalize(text)
        except BitjetsError:
            return
    assert spoken == spoken.strip()
    assert not set(spoken) - set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ '\"-,.?!;:{}") or "{" in spoken


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.text(alphabet="0123456789.,:-/$£€%°'\" abMIXVpmst&@#+=()", max_size=25))
def test_any_heap_of_figures_and_signs_leaves_no_digit(text: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            spoken = normalize(text)
        except BitjetsError:
            return
    assert not any(character.isdigit() for character in spoken)


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("Great 👍", "Great, thumbs up"),
        ("😀", "grinning face"),
        ("I ❤ it", "I, heart, it"),
        ("Hot 🔥 deal", "Hot, fire, deal"),
    ],
)
def test_emoji_by_name_where_asked_for(written: str, spoken: str) -> None:
    assert normalize(written, emoji=True) == spoken
    assert phonemize(written, emoji=True)
