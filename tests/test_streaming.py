"""Speech of text that is still being written: as early as can be, and as good as of the whole."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import numpy as np
import pytest
from tiny_voice import tiny_voice

from bitjets_mlx import load_voice
from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.evaluation.artefacts import CLICK, join_click
from bitjets_mlx.text import split_sentences
from bitjets_mlx.voice import Style, Voice
from bitjets_mlx.voice.families import LONGEST_PIECE
from bitjets_mlx.voice.streaming import LEAST_CLAUSE, Listener

TEXT = "Dr. Lee paid $3.50 on May 5, 2021. It was no. 7! Did the U.S. Navy (all of it, in fact) care? No."
BIRDS = "and the birds in the garden began to sing of the summer " * 4
SIXTY = f"When the rain had stopped {BIRDS}we all went out into the town."


@pytest.fixture(scope="module")
def voice(tmp_path_factory: pytest.TempPathFactory) -> Voice:
    return load_voice(tiny_voice(tmp_path_factory.mktemp("voice")))


def tokens(text: str) -> list[str]:
    """As a language model writes it: each word with the space before it."""
    return re.findall(r"\s*\S{1,6}", text)


def listened(pieces: list[str]) -> list[str]:
    listener = Listener(LONGEST_PIECE)
    return [sentence for piece in pieces for sentence in listener.heard(piece)] + list(listener.ended())


# -- when a text is whole --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", [tokens, list, lambda text: [text]])
def test_sentences_are_those_of_the_whole_text(cut) -> None:
    texts = (
        TEXT,
        "One. Two... Three!? (Four.) “Five.” Six: e.g. this one. Mr. J. R. Smith Jr. left. \N{GRINNING FACE}",
    )
    for text in texts:
        assert listened(cut(text)) == list(split_sentences(text, LONGEST_PIECE))


def test_places_are_those_of_the_whole_text() -> None:
    listener, text = Listener(LONGEST_PIECE), "  Well, this is how it all began, my dear. And so on.  " + SIXTY
    found = [s for token in tokens(text) for s in listener.heard(token)] + listener.ended()
    assert len(found) > 3 and all(text[s.start : s.start + len(s)] == s for s in found)
    assert "".join("".join(found).split()) == "".join(text.split())


def test_a_sentence_is_given_with_the_first_word_after_it() -> None:
    listener = Listener(LONGEST_PIECE)
    given = [listener.heard(token) for token in ("Hello", " there", ".", " How", " are", " you", "?", " I", " am")]
    assert [len(sentences) for sentences in given] == [0, 0, 0, 0, 1, 0, 0, 0, 1]
    assert listener.ended() == ["I am"]


def test_only_the_first_utterance_ends_at_a_clause() -> None:
    text = "The sun is shining outside today, so we go for a walk, all of us. Then we eat, drink and sleep, as always."
    assert listened(tokens(text)) == [
        "The sun is shining outside today,",
        "so we go for a walk, all of us.",
        "Then we eat, drink and sleep, as always.",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "Well, that is how it is.",  # too short
        "It happened on the fifth of May, 2021 was the year.",
        "It will cost exactly $1,000, they say.",
        'He said "come along with me, dear friend" and left.',
        "This (as you may well know, dear friend) is so.",
    ],
)
def test_a_clause_that_would_sound_worse_stays(text: str) -> None:
    assert LEAST_CLAUSE == 25 and listened(tokens(text)) == [text]


def test_what_is_held_is_bounded() -> None:
    listener = Listener(LONGEST_PIECE)
    for _ in range(2000):
        listener.heard(" and so on")
        assert len(listener._held) < 3 * LONGEST_PIECE


# -- speech ----------------------------------------------------------------------------------------------------------


def test_pieces_are_spoken_as_the_whole_text(voice: Voice) -> None:
    """The same samples: no join that whole text does not have."""
    style = Style(speed=1.2, seed=4)
    whole = voice.speak(TEXT, "ben", speed=1.2, seed=4)
    assert np.array_equal(np.concatenate(list(voice.stream(tokens(TEXT), "ben", style))), whole)


def test_speech_comes_while_the_text_is_written(voice: Voice) -> None:
    taken = 0

    def written() -> Iterator[str]:
        nonlocal taken
        for token in tokens("Here is what I think about it all, and more. " * 3):
            taken += 1
            yield token

    speech = voice.stream(written())
    assert taken == 0
    next(speech)
    assert taken < 14  # of the first clause, and one word
    speech.close()
    before = taken
    assert list(speech) == [] and taken == before


def test_nothing_of_a_whole_text_is_read_ahead(voice: Voice, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    symbols = voice._family.symbols
    monkeypatch.setattr(voice._family, "symbols", lambda text, lexicon: read.append(text) or symbols(text, lexicon))
    next(voice.stream(TEXT * 50))
    assert len(read) == 2  # itself and the next, which says that it is not the last


def test_a_sentence_of_sixty_words_begins_with_a_part(voice: Voice) -> None:
    assert len(SIXTY.split()) == 60
    first = next(voice.stream(SIXTY))
    assert len(first) < 0.75 * len(voice.speak(SIXTY))


def test_errors(voice: Voice) -> None:
    for pieces in ([], ["  "], ["...", " "]):
        with pytest.raises(BitjetsError, match="to speak"):
            list(voice.stream(pieces))
    with pytest.raises(BitjetsError, match="a piece of the text is 5"):
        list(voice.stream(["Hello", 5]))  # type: ignore[list-item]
    with pytest.raises(BitjetsError, match="the text is 5: give a str, or an iterator"):
        list(voice.stream(5))  # type: ignore[arg-type]
    with pytest.raises(BitjetsError, match="no speaker"):
        list(voice.stream(["Hello."], "carl"))


# -- asynchronously --------------------------------------------------------------------------------------------------


async def written(text: str) -> AsyncIterator[str]:
    for token in tokens(text):
        await asyncio.sleep(0)
        yield token


def test_the_same_asynchronously(voice: Voice) -> None:
    async def speak(text: object) -> np.ndarray:
        return np.concatenate([samples async for samples in voice.stream_async(text)])  # type: ignore[arg-type]

    whole = voice.speak(TEXT)
    for text in (written(TEXT), tokens(TEXT), TEXT):
        assert np.array_equal(asyncio.run(speak(text)), whole)


def test_a_cancelled_task_speaks_no_more(voice: Voice) -> None:
    heard = 0

    async def listen() -> None:
        nonlocal heard
        async for _ in voice.stream_async(written(TEXT * 200)):
            heard += 1

    async def main() -> None:
        task = asyncio.create_task(listen())
        while heard < 2:
            await asyncio.sleep(0)  # the loop turns while speech is made
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert 2 <= heard < 10


# -- how it sounds ---------------------------------------------------------------------------------------------------


def test_joins_of_the_shipped_voice_do_not_click() -> None:
    """Where a first clause is joined to its sentence, too."""
    voice = load_voice(Path(__file__).resolve().parents[1] / "weights" / "duo")
    text = "The sun is shining outside today, so we go for a walk. When we come home, we eat."
    for speaker in voice.speakers:
        pieces = list(voice.stream(tokens(text), speaker))
        assert len(pieces) == 3
        joins = np.cumsum([len(piece) for piece in pieces])[:-1]
        assert max(join_click(np.concatenate(pieces), int(join)) for join in joins) < CLICK
