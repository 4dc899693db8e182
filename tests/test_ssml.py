"""SSML: what each element does, what is said of documents that are wrong, and that times know the markup."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny_voice import STATISTICS, tiny_voice

from bitjets_mlx import load_voice
from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.text.ssml import is_ssml, parse_ssml, ssml_sentences
from bitjets_mlx.voice import Voice

DOCUMENT = (
    '<speak>Tom &amp; I paid <say-as interpret-as="cardinal">1999</say-as> euros.<break time="1s"/><mark name="m"/>'
    ' The <sub alias="World Wide Web">WWW</sub> is <prosody rate="slow">so slow</prosody> now.'
    '<mark name="end"/></speak>'
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_voice(tmp_path_factory.mktemp("voice"))


@pytest.fixture(scope="module")
def voice(folder: Path) -> Voice:
    return load_voice(folder)


def text_of(inside: str) -> str:
    return " ".join(sentence.strip() for sentence in ssml_sentences(f"<speak>{inside}</speak>", 300))


# -- elements --------------------------------------------------------------------------------------------------------


def test_what_is_ssml() -> None:
    for text in ("<speak>a</speak>", ' \n<?xml version="1.0"?><!-- b --><speak version="1.1">a</speak>', "<speak/>"):
        assert is_ssml(text)
    for text in ("Say <speak>a</speak>", "<speaker>a</speaker>", "a"):
        assert not is_ssml(text)


@pytest.mark.parametrize(
    ("inside", "text"),
    [
        ('<say-as interpret-as="characters">ab3</say-as>', "A B three"),
        ('<say-as interpret-as="spell-out">Ab</say-as>', "A B"),
        ('<say-as interpret-as="digits">1999</say-as>', "one nine nine nine"),
        ('<say-as interpret-as="cardinal">1,999</say-as>', "one thousand nine hundred ninety-nine"),
        ('<say-as interpret-as="ordinal">3rd</say-as>', "third"),
        ('<say-as interpret-as="date" format="dmy">4/3/2021</say-as>', "March 4, 2021"),
        ('<say-as interpret-as="date" format="ymd">2021-03-04</say-as>', "March 4, 2021"),
        ('<say-as interpret-as="time">3:30pm</say-as>', "3:30pm"),
        ('<sub alias="as soon as possible">ASAP</sub>', "as soon as possible"),
        ('<phoneme alphabet="x-arpabet" ph="T AH0">x</phoneme>', "{T AH0}"),
        ('<phoneme alphabet="ipa" ph="təˈmɑːtoʊ">x</phoneme>', "{T AH0 M AA1 T OW0}"),
        ('<phoneme ph="tʃɪp">x</phoneme>', "{CH IH1 P}"),
        ("<p>One</p><p><s>two</s> three</p>", "One two three"),
        ("it is <emphasis>very</emphasis> nice", "it is, very, nice"),
        ("a &lt; b &#38; c<!-- d -->", "a < b & c"),
    ],
)
def test_text_of_elements(inside: str, text: str) -> None:
    assert text_of(inside) == text


@pytest.mark.parametrize(
    ("element", "manner"),
    [
        ('prosody rate="slow"', {"speed": 0.75}),
        ('prosody rate="80%"', {"speed": 0.8}),
        ('prosody rate="+20%"', {"speed": 1.2}),
        ('prosody rate="1.5"', {"speed": 1.5}),
        ('prosody pitch="high"', {"pitch": 3.0}),
        ('prosody pitch="-2st"', {"pitch": -2.0}),
        ('prosody pitch="+100%"', {"pitch": 12.0}),
        ('prosody pitch="180Hz"', {"hertz": 180.0, "hertz_is_shift": False}),
        ('prosody pitch="-20Hz"', {"hertz": -20.0, "hertz_is_shift": True}),
        ('prosody volume="+20dB"', {"energy": 10.0}),
        ('prosody volume="50"', {"energy": 0.5}),
        ('prosody volume="silent"', {"energy": 0.0}),
        ('emphasis level="strong"', {"speed": 0.8, "pitch": 2.0, "energy": 1.4}),
        ('voice name="ben"', {"speaker": "ben"}),
    ],
)
def test_manner_of_elements(element: str, manner: dict[str, object]) -> None:
    (stretch,), _ = parse_ssml(f"<speak><{element}>a</{element.split()[0]}></speak>")
    found = {name: getattr(stretch.manner, name) for name in manner}
    assert found == pytest.approx(manner) if "speaker" not in manner else found == manner


def test_manners_add_up_inside_each_other() -> None:
    stretches, _ = parse_ssml(
        '<speak>a <prosody rate="80%">b <prosody rate="50%" pitch="+2st">c</prosody> d</prosody> e</speak>'
    )
    assert [(s.text.strip(), s.manner.speed, s.manner.pitch) for s in stretches] == [
        ("a", 1.0, 0.0), ("b", 0.8, 0.0), ("c", 0.4, 2.0), ("d", 0.8, 0.0), ("e", 1.0, 0.0),
    ]  # fmt: skip


def test_every_character_knows_its_place() -> None:
    document = DOCUMENT.replace("Tom", "Zoë \U0001f600\r\nTom")
    for stretch in parse_ssml(document)[0]:
        for character, (start, end) in zip(stretch.text, stretch.places, strict=True):
            standing = document[start:end]
            assert standing in {character, "&amp;", "1999", "WWW", "\r", "\r\n"}


# -- what is wrong ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("<speak>\na <b>c</speak>", r"malformed in line 2, column 9 \(mismatched tag\)"),
        ("<speak>a & b</speak>", r"malformed in line 1, column 11"),
        ("<speak>&nbsp;</speak>", r"malformed in line 1, column 8 \(undefined entity\)"),
        ("<speak>a", r"malformed in line 1"),
        ("<speak/>b", r"malformed in line 1, column 9"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><speak>&b;</speak>', r"line 1, column \d+: a DOCTYPE is not allowed"),
        ('<speak><prosody rate="quick">a</prosody></speak>', "line 1, column 8: a rate of 'quick': take x-slow"),
        ('<speak><break time="9"/></speak>', "a break of '9': give a time such as 500ms"),
        ('<speak><phoneme ph="ʁ">r</phoneme></speak>', "the IPA sign 'ʁ' is none of English"),
        ('<speak><sub alias="a"><break/></sub></speak>', "<sub> holds text and nothing else"),
    ],
)
def test_a_wrong_document_is_one_sentence(document: str, message: str) -> None:
    with pytest.raises(BitjetsError, match=message) as caught:
        parse_ssml(document)
    assert "\n" not in str(caught.value)


def test_unknown_elements_are_named_and_their_text_is_spoken() -> None:
    with pytest.warns(UserWarning, match="spoken as it is: <lang>, <say-as currency>"):
        text = text_of('<lang>one</lang> <say-as interpret-as="currency">two</say-as> <lang>three</lang>')
    assert text == "one two three"


# -- speech ----------------------------------------------------------------------------------------------------------


def test_a_plain_document_is_spoken_as_its_text(voice: Voice) -> None:
    text = "Hello there. How are you today?"
    assert np.array_equal(voice.speak(f"<speak>{text}</speak>"), voice.speak(text))


def test_elements_are_heard(voice: Voice) -> None:
    plain = voice.speak("Hello there. And so on.")

    def said(inside: str) -> np.ndarray:
        return voice.speak(f"<speak>{inside}</speak>")

    longer = said('Hello there. <break time="2s"/>And so on.')
    assert len(longer) - len(plain) == round((2.0 - 0.42) * voice.sample_rate)
    slow = said('<prosody rate="50%">Hello there. And so on.</prosody>')
    assert np.array_equal(slow, voice.speak("Hello there. And so on.", speed=0.5))
    other = said('<voice name="Ben">Hello there. And so on.</voice>')
    assert np.array_equal(other, voice.speak("Hello there. And so on.", "ben"))
    hertz = float(np.exp(STATISTICS.log_f0_mean[0])) * 2.0 ** (3 / 12)
    high = said(f'<prosody pitch="{hertz:.6f}Hz">Hello there.</prosody>')
    assert np.allclose(high, voice.speak("Hello there.", pitch=3.0), atol=2e-3)
    assert not said('<prosody volume="silent">Hello there.</prosody>').any()
    with pytest.raises(BitjetsError, match="there is no speaker 'carl'"):
        said('<voice name="carl">Hello.</voice>')
    with pytest.raises(BitjetsError, match=r"speed is 0.1: give a number"):
        said('<prosody rate="10%">Hello.</prosody>')


def test_times_know_the_markup_and_the_marks(voice: Voice) -> None:
    speech = voice.speak_with_timing(DOCUMENT)
    words = {word.text: word for word in speech.timing.words}
    assert words["1999"].spoken == ("one", "thousand", "nine", "hundred", "ninety", "nine")
    assert words["WWW"].spoken == ("World", "Wide", "Web") and words["&amp;"].spoken == ("and",)
    assert all(DOCUMENT[word.text_start : word.text_end] == word.text for word in words.values())
    marks = {mark.name: mark.sample for mark in speech.timing.marks}
    assert marks == {"m": words["The"].start, "end": len(speech.samples)}
    assert words["The"].start - words["euros"].end > voice.sample_rate


def test_generate_reads_ssml(folder: Path, voice: Voice, tmp_path: Path) -> None:
    root = str(Path(__file__).resolve().parents[1])
    command = [sys.executable, "-m", "bitjets_mlx.generate", "--voice", str(folder)]
    for arguments, message in (
        ([DOCUMENT, "--ssml", "--timestamps", "x.srt", "--paragraph-pause", "1"], ""),
        (["Hello.", "--ssml"], "the text does not begin with <speak>"),
        (["<speak>a <b></speak>"], "malformed in line 1, column 15"),
    ):
        done = subprocess.run(
            [*command, *arguments], capture_output=True, text=True, cwd=tmp_path, env={"PYTHONPATH": root}, check=False
        )
        assert done.returncode == bool(message) and message in done.stderr and "Traceback" not in done.stderr
    subtitles = (tmp_path / "x.srt").read_text()
    assert "Tom & I paid 1999 euros." in subtitles and "<" not in subtitles
