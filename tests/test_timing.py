"""Times of words and phonemes: those of the durations, whatever the text, the style and the file."""

import itertools
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny_voice import tiny_voice

from bitjets_mlx import load_voice
from bitjets_mlx.audio.joins import HOP, LEAD_FRAMES
from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.text import phonemize, phonemize_words
from bitjets_mlx.text.spelled import spell
from bitjets_mlx.text.spoken import Phonemes
from bitjets_mlx.voice import Style, Timing, Voice, write_timing
from bitjets_mlx.voice.timing_files import LINE, LINES, cues_of

TEXT = 'He said: "I paid $5 for it, & more, to Dr. Lee!" Well, isn\'t it <b>nice</b>?\n\nYes (on 3/4/2021).'
SENTENCES = 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_voice(tmp_path_factory.mktemp("voice"))


@pytest.fixture(scope="module")
def voice(folder: Path) -> Voice:
    return load_voice(folder)


@pytest.fixture(scope="module")
def timing(voice: Voice) -> Timing:
    return voice.speak_with_timing(TEXT).timing


# -- words and their phonemes ----------------------------------------------------------------------------------------


def joined(text: str) -> Phonemes:
    phonemes = Phonemes.joined(phonemize_words(text))
    assert phonemes == phonemize(text)
    return phonemes


def test_phonemes_know_their_words() -> None:
    phonemes = joined("Hello, $5 {W ER1 L D}.")
    assert [(word.word, phonemes[word.first : word.last]) for word in phonemes.words] == [
        ("Hello", ["HH", "AH0", "L", "OW1"]),
        ("five", ["F", "AY1", "V"]),
        ("dollars", ["D", "AA1", "L", "ER0", "Z"]),
        ("{W ER1 L D}", ["W", "ER1", "L", "D"]),
    ]
    assert [(word.start, word.end) for word in phonemes.words] == [(0, 5), (7, 9), (7, 9), (10, 21)]


def test_every_phoneme_belongs_to_a_word_and_the_rest_is_gaps_and_marks() -> None:
    text = "Dr. O'Neil's well-known co-op, built in 1999 for $3.5 million - read it at https://a.com/x?y=1 - 7 km away!"
    phonemes = joined(text)
    inside = [index for word in phonemes.words for index in range(word.first, word.last)]
    assert inside == [index for index, phoneme in enumerate(phonemes) if phoneme[0].isalpha()]
    places = [(word.start, word.end) for word in phonemes.words]
    assert places == sorted(places) and all(0 <= start < end <= len(text) for start, end in places)


def test_symbols_that_a_voice_lacks_move_the_words() -> None:
    phonemes = joined("Hello, world.").only(lambda symbol: symbol not in " ,.")
    assert [phonemes[word.first : word.last] for word in phonemes.words] == [
        ["HH", "AH0", "L", "OW1"],
        ["W", "ER1", "L", "D"],
    ]


@pytest.mark.filterwarnings("ignore:this voice has no symbol")
def test_letters_know_their_words_too() -> None:
    letters = spell("Ça İs 5 it")
    assert "".join(letters) == "a is  it"
    assert [("".join(letters[w.first : w.last]), w.word, w.start) for w in letters.words] == [
        ("a", "Ça", 0),
        ("is", "İs", 3),
        ("it", "it", 8),
    ]


# -- times -----------------------------------------------------------------------------------------------------------


def test_the_samples_are_those_of_speak(voice: Voice) -> None:
    speech = voice.speak_with_timing(TEXT, "ben", speed=1.2, pitch=1.0, seed=3)
    assert np.array_equal(speech.samples, voice.speak(TEXT, "ben", speed=1.2, pitch=1.0, seed=3))
    assert speech.timing.samples == len(speech.samples) and speech.timing.sample_rate == voice.sample_rate


@pytest.mark.parametrize("speed", [0.7, 1.0, 1.8])
def test_times_are_the_durations_to_the_sample(voice: Voice, speed: float) -> None:
    timing = voice.speak_with_timing(TEXT, speed=speed).timing
    begin, sentences = 0, voice.sentences(TEXT)
    assert len(timing.sentences) == len(sentences) == SENTENCES
    spoken = voice.utterances(sentences, style=Style(speed=speed))
    for sentence, phonemes, (prediction, samples) in zip(timing.sentences, sentences, spoken, strict=True):
        assert [phoneme.symbol for phoneme in sentence.phonemes] == phonemes
        lengths = [phoneme.end - phoneme.start for phoneme in sentence.phonemes]
        assert lengths == (HOP * prediction.durations).tolist()
        assert sentence.phonemes[0].start == begin + HOP * LEAD_FRAMES
        begin += len(samples)
        assert sentence.phonemes[-1].end <= begin
    assert begin == timing.samples


def test_speech_is_where_the_times_say(voice: Voice) -> None:
    """Held and faded edges and the pause lie outside of the symbols."""
    speech = voice.speak_with_timing("Hello there. Hello there.", speed=1.5)
    first, second = speech.timing.sentences
    predicted = voice.predict("Hello there.", speed=1.5)
    assert second.phonemes[0].start - first.phonemes[0].start == len(next(voice.stream(TWO, style=Style(speed=1.5))))
    assert first.phonemes[-1].end - first.phonemes[0].start == HOP * len(predicted.mel)
    pause = speech.samples[first.phonemes[-1].end + HOP * 10 : second.phonemes[0].start - HOP * LEAD_FRAMES]
    assert len(pause) and not pause.any()


TWO = "Hello there. Hello there."


def test_times_never_go_back(timing: Timing) -> None:
    for parts in (timing.sentences, timing.words, timing.phonemes):
        times = [time for part in parts for time in (part.start, part.end)]
        assert times == sorted(times) and times[-1] <= timing.samples
    places = [place for word in timing.words for place in (word.text_start, word.text_end)]
    assert places == sorted(places)


def test_a_word_is_what_stands_in_the_text(timing: Timing) -> None:
    assert all(TEXT[word.text_start : word.text_end] == word.text for word in timing.words)
    written = " ".join(word.text for word in timing.words)
    assert written == "He said I paid $5 for it & more to Dr. Lee Well isn't it nice Yes on 3/4/2021"
    read = {word.text: word.spoken for word in timing.words}
    assert read["$5"] == ("five", "dollars") and read["Dr."] == ("Doctor",) and read["&"] == ("and",)
    assert len(read["3/4/2021"]) == 4
    five = next(word for word in timing.words if word.text == "$5")
    assert "".join(phoneme.symbol for phoneme in five.phonemes) == "FAY1VDAA1LER0Z"
    assert timing.sentences[0].text == TEXT[:48] and timing.sentences[2].text == "Yes (on 3/4/2021)."


# -- files -----------------------------------------------------------------------------------------------------------


def shown(text: str) -> str:
    return " ".join(re.sub("</?b>", "", text).split())


def seconds(clock: str) -> float:
    hours, minutes, rest = clock.replace(",", ".").split(":")
    return 3600 * int(hours) + 60 * int(minutes) + float(rest)


def test_json_has_all(timing: Timing, tmp_path: Path) -> None:
    write_timing(tmp_path / "x.json", timing)
    values = json.loads((tmp_path / "x.json").read_text())
    assert values["sample_rate"] == 22050 and values["samples"] == timing.samples
    words = [word for sentence in values["sentences"] for word in sentence["words"]]
    assert [(word["text"], word["start"], word["end"]) for word in words] == [
        (word.text, word.start, word.end) for word in timing.words
    ]


def test_subtitles_are_cues_of_two_lines(timing: Timing, tmp_path: Path) -> None:
    write_timing(tmp_path / "x.srt", timing)
    cues = (tmp_path / "x.srt").read_text().strip().split("\n\n")
    assert [cue.splitlines()[0] for cue in cues] == ["1", "2", "3"]
    for cue, sentence in zip(cues, timing.sentences, strict=True):
        _, times, *lines = cue.splitlines()
        start, end = map(seconds, times.split(" --> "))
        assert start == pytest.approx(sentence.start / 22050, abs=6e-4)
        assert end == pytest.approx(sentence.end / 22050, abs=6e-4)
        assert " ".join(lines) == shown(sentence.text)


def test_a_long_sentence_becomes_several_cues(voice: Voice) -> None:
    text = 'It went on and on about (the "weather") and well-known things, ' * 2 + "until night."
    timing = voice.speak_with_timing(text).timing
    cues = list(cues_of(timing))
    assert len(cues) > len(timing.sentences)
    assert " ".join(cue.text for cue in cues) == text
    assert [word for cue in cues for word in cue.words] == list(timing.words)
    assert all(len(cue.text) <= LINE * LINES for cue in cues)


def test_webvtt_has_the_time_of_every_word(timing: Timing, tmp_path: Path) -> None:
    write_timing(tmp_path / "x.vtt", timing)
    text = (tmp_path / "x.vtt").read_text()
    assert text.startswith("WEBVTT\n\n") and "<00:00:0" in text and "it, " in text
    assert "&amp; " in text and "<b>" not in text and ">nice?" in text
    first = text.split("\n\n")[1].splitlines()
    times = [seconds(first[0].split(" --> ")[0]), *map(seconds, re.findall(r"<([\d:.]+)>", first[1]))]
    assert times == pytest.approx([word.start / 22050 for word in timing.sentences[0].words], abs=6e-4)
    assert re.sub(r"<[\d:.]+>", "", first[1]) == TEXT[:48].replace("&", "&amp;")
    assert '>"I ' in first[1]  # the quote opens with its word


def test_lyrics_and_textgrid(timing: Timing, tmp_path: Path) -> None:
    write_timing(tmp_path / "x.lrc", timing)
    lines = (tmp_path / "x.lrc").read_text().splitlines()
    assert len(lines) == 1 + SENTENCES and re.match(r"\[00:0\d\.\d\d\]<00:0\d\.\d\d>He <", lines[1])
    write_timing(tmp_path / "x.TextGrid", timing)
    grid = (tmp_path / "x.TextGrid").read_text()
    for tier, parts in (("sentences", timing.sentences), ("words", timing.words)):
        part = grid.split(f'name = "{tier}"')[1].split("item [")[0]
        times = re.findall(r"xmin = ([\d.]+)\n +xmax = ([\d.]+)\n +text = \"(.*)\"", part)
        assert float(times[0][0]) == 0.0 and float(times[-1][1]) == pytest.approx(timing.samples / 22050, abs=1e-5)
        assert all(end == begin for (_, end, _), (begin, _, _) in itertools.pairwise(times))
        marked = [(float(start), text.replace('""', '"')) for start, _, text in times if text]
        assert [text for _, text in marked] == [shown(p.text) for p in parts]
        assert [start for start, _ in marked] == pytest.approx([p.start / 22050 for p in parts], abs=1e-5)


def test_an_unknown_suffix_is_refused(timing: Timing, tmp_path: Path) -> None:
    with pytest.raises(BitjetsError, match=r"take .json, .srt, .vtt, .TextGrid or .lrc"):
        write_timing(tmp_path / "x.txt", timing)
    assert not list(tmp_path.iterdir())


# -- the command -----------------------------------------------------------------------------------------------------


def generate(folder: Path, cwd: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    root = str(Path(__file__).resolve().parents[1])
    command = [sys.executable, "-m", "bitjets_mlx.generate", "--voice", str(folder), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env={"PYTHONPATH": root}, check=False)
    assert "Traceback" not in done.stderr
    return done


def test_generate_writes_times(folder: Path, voice: Voice, timing: Timing, tmp_path: Path) -> None:
    done = generate(folder, tmp_path, TEXT, "--timestamps", "x.json")
    assert done.returncode == 0, done.stderr
    write_timing(tmp_path / "y.json", timing)
    assert (tmp_path / "x.json").read_text() == (tmp_path / "y.json").read_text()
    again = generate(folder, tmp_path, TEXT, "--timestamps", "x.json", "--paragraph-pause", "3")
    assert again.returncode == 0, again.stderr  # a file of the kind is written over
    last = json.loads((tmp_path / "x.json").read_text())["sentences"][-1]
    assert last["text"] == TEXT[last["text_start"] : last["text_end"]] == "Yes (on 3/4/2021)."
    longer = round((3 - 0.42) * voice.sample_rate)
    assert last["start"] - timing.sentences[-1].start == pytest.approx(longer, abs=1)


def test_generate_refuses_times_that_cannot_be_written(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text("{}")
    for arguments, message in (
        (["--timestamps", "x.doc"], "no suffix of a timestamp file"),
        (["--timestamps", "mine.json"], "holds something else"),
        (["--timestamps", "x.srt", "--batch", "--output", "folder"], "leave one of them out"),
    ):
        done = generate(folder, tmp_path, TEXT, *arguments)
        assert done.returncode == 1 and message in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine.json"]
