"""Splitting long text: where it is cut, how long the pieces are, and that nothing is lost."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitjets_mlx.text import phonemize, split_sentences


@pytest.mark.parametrize(
    "sentences",
    [
        ["Dr. Smith went to St. Louis.", "He paid $3.50!", "Wow?!", "Really... yes."],
        ["I live in the U.S.", "It is big."],
        ["I live in the U.S. with Mr. T. Jones."],
        ["See p. 5.", "No. 5 is alive.", "No. I won't.", "Go."],
        ["At 10 p.m. he slept."],
        ["He left at 10 p.m.", "She stayed."],
        ["J. K. Rowling wrote it."],
        ['"Hello!" he said.', '"Bye."', "Then he left."],
        ['He asked "Why?" and left.', "(See below.)", "Next."],
        ["Version 3.5.2 of www.example.com is out."],
        ["He's at 5 Main St.", "The end."],
        ["Smith & Co. sold it.", "Good."],
        ["It is e.g. red, i.e. not blue, etc. and so on."],
    ],
)
def test_sentence_ends(sentences: list[str]) -> None:
    assert list(split_sentences(" ".join(sentences))) == sentences


def test_a_paragraph_ends_a_sentence_a_line_does_not() -> None:
    assert list(split_sentences("A title\n\nOne line\nand more.\n \nEnd")) == ["A title", "One line\nand more.", "End"]


def test_a_piece_without_speech_stays_with_its_neighbor() -> None:
    assert list(split_sentences("Hello. 😀! 你好。 Bye.")) == ["Hello. 😀! 你好。", "Bye."]
    assert list(split_sentences("... ! Hello.")) == ["... ! Hello."]
    assert list(split_sentences("😀")) == ["😀"]
    assert list(split_sentences("  ")) == []


def test_long_sentences_are_cut_at_clauses_first() -> None:
    text = "The first clause is here; " + "the second, which has a comma, is there: " * 3 + "and the third one ends it."
    pieces = list(split_sentences(text, max_characters=80))
    assert len(pieces) == 3
    assert all(len(piece) <= 80 and piece.endswith((";", ":", ".")) for piece in pieces)


def test_longer_ones_between_words_and_the_longest_inside_a_word() -> None:
    pieces = list(split_sentences("word " * 100, max_characters=50))
    assert all(len(piece) <= 50 and set(piece.split()) == {"word"} for piece in pieces)
    pieces = list(split_sentences("x" * 120, max_characters=50))
    assert [len(piece) for piece in pieces] == [50, 50, 20]


def test_inline_phonemes_are_never_cut() -> None:
    group = "{" + "HH AH0 L OW1 " * 20 + "}"
    pieces = list(split_sentences(f"Say {group} again, please.", max_characters=40))
    assert group in pieces
    assert "Say" in pieces[0]


def test_no_scraps() -> None:
    text = "A sentence of a good length, " * 10 + "end."
    pieces = list(split_sentences(text, max_characters=250))
    assert len(pieces) == 2
    assert min(map(len, pieces)) > 100


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    st.lists(
        st.sampled_from([*"abcAB .,;:!?-—'\"()\n{}0159$😀你。", "Dr. ", "e.g. ", " and ", ". The "]), max_size=150
    ).map("".join),
    st.integers(20, 120),
)
def test_nothing_is_ever_dropped(text: str, limit: int) -> None:
    pieces = list(split_sentences(text, max_characters=limit))
    assert "".join("".join(pieces).split()) == "".join(text.split())
    assert all(piece == piece.strip() and piece for piece in pieces)


def test_the_pieces_speak_what_the_whole_speaks() -> None:
    text = "Dr. Lee, who lives on Main St., paid $3.50 on Jan. 5, 1999. She left at 10 p.m. It was late! Was it? Yes."
    whole = [p for p in phonemize(text) if p != " "]
    pieces = [p for sentence in split_sentences(text) for p in phonemize(sentence) if p != " "]
    assert pieces == whole
