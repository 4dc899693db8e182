"""Any text gives words or the project's own error, in time and memory that grow with its length and no faster."""

import random
import string
import warnings
from itertools import pairwise
from typing import Any

import pytest

from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.text import normalize, phonemize, phonemize_words, split_sentences
from bitjets_mlx.text import sentences as sentences_module
from bitjets_mlx.text.words import listed


def spoken(text: str) -> str | None:
    """What is spoken of `text`, None where the project's own error says that nothing can be."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            phonemize(text)
            return normalize(text)
        except BitjetsError:
            return None


@pytest.mark.parametrize(
    "text",
    [
        '"Read that," I said.',
        '"Read this" and "read that" - read.',
        "7" * 4301,
        "1." * 3000,
        "x" * 3000,
        "un" * 1000 + "ed",
        "{" * 2000 + "a",
        "a" + "}" * 2000,
        "{" + "HH AH0 L OW1 " * 500 + "}",
        "<!--" * 500 + "a",
        "<style>" * 300 + "a",
        "[a](" * 500,
        "*a " * 700,
        "\ue000a\uf8ff",
        "a\x00b\x1b[0m\x7f",
        "\ud800a",
        "1/0 0/0 00/00/0000 99:99 99/99/9999 32.13.2020",
        "9" * 40 + "/" + "9" * 40,
        "$" + "9" * 50 + " million",
        "1e999999 10^999999999 2^-0 1E+" + "9" * 30,
        "MMMMMMMMMM MCMXCIX.IV IIX",
        "&#0; &#55296; &#1114112; &#x110000; &amp;amp; &unknown; &;",
        "'s 's' ''' O'O'O' -'-'- x's's",
    ],
)  # fmt: skip
def test_hard_texts_are_spoken_or_refused_in_one_sentence(text: str) -> None:
    spoken(text)
    assert "".join("".join(split_sentences(text, 80)).split()) or not text.strip()


_PIECES = listed(
    """
    Dr. St. No. p. Mr vs. U.S. a.m. PM I i A a the read lead live wind close used minute record IV XIX v x C
    1 2 007 10 50 1,000 1.5 .5 1/2 3/4 10:30 1:02:03.4 1990s '90s 2024-01-05 12/25 5th 2nds 1e9 6.02E-23 20%
    $ € £ ¥ ₹ % ° # @ & * + - - – — / \\ | ~ ^ _ = < > ( ) [ ] { } " ' ` . , ; : ! ? ... … ½ ² ⁻ × ÷ √ → • 😀 你 é ß
    km m/s2 in ft lb mg °C kWh Hz EUR USD Rs k M bn {HH AH0} {x} <b> </b> <!-- --> &amp; &#39; **x** [a](b) # ## - |
    http://a.b/c x@y.co www.z.org #tag @me file.txt C:\\x ~/y 192.168.0.1 v1.2.3 H2O COVID-19 F-16 NASA WHO iPhone
    Mon Mon. Jan Jan. 5 2020 John Henry VIII Chapter ca. c. Ste. Ave NW 90210 +1 555-1234 (555) ext.
    """
)


def made_up_text(generator: random.Random) -> str:
    """Pieces that rules look for, in any order, glued or not; or any characters at all."""
    if generator.random() < 0.7:
        return "".join(
            generator.choice(_PIECES) + generator.choice(["", " ", " ", " ", "\n", "-", "."])
            for _ in range(generator.randint(1, 12))
        )
    alphabet = generator.choice([string.printable, "0123456789.,:/-+ ", "".join(map(chr, range(0x250))), "aAI. '\"\n"])
    if generator.random() < 0.1:
        return "".join(chr(generator.randrange(0x11000)) for _ in range(generator.randint(1, 30)))
    return "".join(generator.choice(alphabet) for _ in range(generator.randint(1, 40)))


def check_spans(text: str) -> None:
    """The spans of a text are ordered, lie in it, name the words in order, and hold what their words come from."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            said = normalize(text)
        except BitjetsError:
            return
    assert all(0 <= span.start < span.end <= len(text) for span in said.spans)
    for span, following in pairwise(said.spans):
        assert span.start <= following.start and span.end <= following.end, (text, span, following)
    words = " ".join(span.word for span in said.spans)
    letters = "".join(character for character in said if character.isalnum())
    assert "".join(character for character in words if character.isalnum()) == letters


def test_made_up_texts() -> None:
    generator = random.Random(0)
    for _ in range(1500):
        text = made_up_text(generator)
        spoken(text)
        check_spans(text)


@pytest.mark.parametrize("unit", ["\n", " \n", "x", "7", ". ", "😀", "{}", "a, ", "(", "<a "])
def test_a_long_text_is_cut_lazily_and_into_bounded_pieces(unit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at = 0
    original = sentences_module.has_speech

    def counted(text: str) -> bool:
        nonlocal looked_at
        looked_at += len(text)
        return original(text)

    monkeypatch.setattr(sentences_module, "has_speech", counted)
    text = "One. " + unit * (1_000_000 // len(unit)) + " The end."
    pieces = split_sentences(text, 300)
    assert next(pieces).startswith("One.")
    assert looked_at < 300_000
    rest = list(pieces)
    assert looked_at < 10 * len(text)
    assert all(len(piece) <= 300 for piece in rest)
    assert rest[-1].endswith("The end.")


def test_a_long_text_is_read_as_its_sentences_are() -> None:
    sentence = "Dr. Lee, who lives on Main St., paid $3.50 on Jan. 5, 1999, and read it in 2 hrs. "
    one = normalize(sentence)
    many = normalize(sentence * 50)
    assert many == " ".join([one] * 50)
    assert len(many.spans) == 50 * len(one.spans)
    assert many.spans[-1].end == len(sentence * 50) - 1
    assert phonemize(sentence * 50) == phonemize(sentence)[:-1] + (phonemize(sentence)[:-1] * 49) + [" "]


def test_a_paragraph_of_a_long_text_ends_like_a_sentence() -> None:
    paragraph = "word " * 90
    assert normalize(f"{paragraph}\n\n{paragraph}").count(".") == 1


def test_pieces_know_where_they_begin() -> None:
    text = "First one.  <!-- no --> Second, which is long, has\ncommas and is cut; at them. Third {AH0} one!\n\nx"
    for limit in (20, 40, 300):
        for piece in split_sentences(text, limit):
            assert text[piece.start : piece.start + len(piece)].split() == piece.split() or "<!--" in text
            assert text[piece.start] == piece[0]


@pytest.mark.parametrize(
    "text",
    [
        "Dr. Lee paid $5, and read it - twice!",
        "{HH AH0 L OW1}, he said; a well-known x-ray.",
        '"Yes," she said. <b>No</b> &amp; no.',
        "One sentence of a long text. " * 60,
    ],
)
def test_phonemes_word_by_word(text: str) -> None:
    words = phonemize_words(text)
    assert [" ", *(phoneme for word in words for phoneme in word.phonemes)] == phonemize(text)
    assert all(0 <= word.span.start < word.span.end <= len(text) for word in words)
    assert all(one.span.start <= two.span.start for one, two in pairwise(words))
    assert all(word.phonemes[-1] == " " and len(word.phonemes) > 1 for word in words)


def test_every_letter_and_figure_that_is_spoken_has_its_word() -> None:
    text = "On Jan. 5, 1999, at 10:30 p.m., Dr. J. K. Lee of the F.B.I. paid $3.50 (or 3,5 %) for 5 km² and 2x + 1 = 7."
    covered = {place for span in normalize(text).spans for place in range(span.start, span.end)}
    assert [c for i, c in enumerate(text) if c.isalnum() and i not in covered] == []


@pytest.mark.parametrize(
    "lexicon", [5, "hello", ["hello"], {"hello": [[]]}, {"hello": "HH"}, {"hello": []}, {"hello": None}]
)
def test_a_lexicon_that_is_none(lexicon: Any) -> None:
    with pytest.raises(BitjetsError, match="the lexicon"):
        phonemize("Say hello.", lexicon)
