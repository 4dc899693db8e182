"""SSML 1.1 (W3C, 2010) to stretches of plain text, each with how it is to be said and where it stands in the markup.

By expat, with entities and document types refused. A stretch ends at a break and wherever the manner changes.
"""

import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NoReturn
from xml.parsers import expat

from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.text.sentences import Sentence, split_sentences
from bitjets_mlx.text.spoken import Manner, Phonemes
from bitjets_mlx.text.ssml_values import (
    EMPHASIS,
    SAID_AS,
    break_seconds,
    phonemes_of,
    prosody_pitch,
    prosody_rate,
    prosody_volume,
)

_SPEAK = re.compile(r"\s*(?:<\?xml[^>]*\?>\s*)?(?:<!--.*?-->\s*)*<speak[\s>/]", re.DOTALL)
_PLAIN = frozenset({"speak", "p", "s"})
_REPLACED = frozenset({"sub", "phoneme", "say-as"})


@dataclass(frozen=True)
class Stretch:
    """Plain text, the place [start, end) in the markup of each of its characters, and its manner.

    `ends`: a <p> or <s> ends with it.
    """

    text: str
    places: tuple[tuple[int, int], ...]
    manner: Manner
    ends: bool = False


class SsmlSentence(Sentence):
    """A sentence of a stretch."""

    stretch: Stretch

    def said(self, phonemes: Phonemes) -> Phonemes:
        """Its phonemes, as they are to be said, their words at their places in the markup."""
        manner = self.stretch.manner
        if self.start + len(self) < len(self.stretch.text.rstrip()):
            manner = replace(manner, pause=None)  # the pause is behind the last sentence of the stretch
        return phonemes.moved(self.start).placed(self.stretch.places, manner)


@dataclass(frozen=True)
class Mark:
    """A <mark>, and its place in the markup."""

    name: str
    place: int


def is_ssml(text: str) -> bool:
    """Whether a text is SSML: it begins with <speak>."""
    return "<speak" in text and _SPEAK.match(text) is not None


def parse_ssml(markup: str) -> tuple[list[Stretch], list[Mark]]:
    """The stretches of a document, and its marks; BitjetsError with line and column where it is malformed.

    Elements that are not known are named in a warning, and their text is spoken.
    """
    reader = _Reader(markup)
    reader.read()
    if reader.unknown:
        names = ", ".join(f"<{name}>" for name in dict.fromkeys(reader.unknown))
        warnings.warn(f"SSML that is not known, whose text is spoken as it is: {names}", stacklevel=3)
    return reader.stretches, reader.marks


def ssml_sentences(markup: str, max_characters: int) -> Iterator[SsmlSentence]:
    """The sentences of a document, one by one, as `split_sentences` gives those of plain text."""
    for stretch in _in_running_speech(parse_ssml(markup)[0]):
        for sentence in split_sentences(stretch.text, max_characters):
            found = SsmlSentence(sentence, sentence.start)
            found.stretch = stretch
            yield found


def _in_running_speech(stretches: list[Stretch]) -> Iterator[Stretch]:
    """A stretch in the middle of a sentence ends with a comma, so that it does not sound like its end."""
    for index, stretch in enumerate(stretches):
        text = stretch.text.rstrip()
        follows = stretches[index + 1].text.lstrip()[:1] if index + 1 < len(stretches) else ""
        if (
            text[-1:].isalnum()
            and (follows.isdigit() or follows.islower())
            and not stretch.ends
            and stretch.manner.pause is None
        ):
            place = stretch.places[len(text) - 1]
            yield Stretch(f"{text},", (*stretch.places[: len(text)], place), replace(stretch.manner, pause=0.0))
        else:
            yield stretch


def ssml_marks(markup: str) -> list[Mark]:
    """The marks of a document that was read before."""
    reader = _Reader(markup)
    reader.read()
    return reader.marks


class _Reader:
    """Collects characters until the manner changes."""

    def __init__(self, markup: str) -> None:
        self.stretches: list[Stretch] = []
        self.marks: list[Mark] = []
        self.unknown: list[str] = []
        self._markup, self._bytes = markup, markup.encode()
        self._manners = [Manner()]
        self._replaced: list[tuple[str, Mapping[str, str], int]] = []  # open elements whose content is written anew
        self._text: list[str] = []
        self._places: list[tuple[int, int]] = []
        self._at_byte, self._at_character = 0, 0

    def read(self) -> None:
        self._parser = parser = expat.ParserCreate("utf-8")
        parser.buffer_text = False
        parser.StartElementHandler, parser.EndElementHandler = self._start, self._end
        parser.CharacterDataHandler = self._characters
        parser.StartDoctypeDeclHandler = lambda *_: self._fail("a DOCTYPE is not allowed in SSML: leave it out")
        try:
            parser.Parse(self._bytes, True)
        except expat.ExpatError as error:
            reason = expat.ErrorString(error.code)
            raise BitjetsError(
                f"the SSML is malformed in line {error.lineno}, column {error.offset + 1} ({reason}): mend it there."
            ) from None
        self._flush()

    def _fail(self, reason: str) -> NoReturn:
        line, column = self._parser.CurrentLineNumber, self._parser.CurrentColumnNumber + 1
        raise BitjetsError(f"SSML, line {line}, column {column}: {reason}.")

    def _checked(self, read: Callable[[str], object], value: str) -> object:
        try:
            return read(value)
        except ValueError as error:
            self._fail(str(error))

    def _place(self) -> int:
        """Where the parser is, in characters."""
        byte = self._parser.CurrentByteIndex
        self._at_character += len(self._bytes[self._at_byte : byte].decode(errors="ignore"))
        self._at_byte = byte
        return self._at_character

    # -- elements --------------------------------------------------------------------------------------------------

    def _start(self, name: str, values: Mapping[str, str]) -> None:
        name, manner = name.rpartition(":")[2], self._manners[-1]
        if len(self._manners) == 1 and name != "speak":
            self._fail(f"the document is <{name}>, not <speak>")
        if name in {"p", "s"}:
            self._flush(ends=True)
        elif name == "break":
            self._break(values)
        elif name == "mark":
            self.marks.append(Mark(values.get("name", ""), self._place()))
        elif name == "prosody":
            manner = self._prosody(manner, values)
        elif name == "emphasis":
            level = values.get("level", "moderate")
            if level not in EMPHASIS:
                self._fail(f"emphasis of level {level!r:.40}: take {', '.join(EMPHASIS)}")
            speed, pitch, energy = EMPHASIS[level]
            manner = replace(
                manner, speed=manner.speed * speed, pitch=manner.pitch + pitch, energy=manner.energy * energy
            )
        elif name == "voice" and values.get("name"):
            manner = replace(manner, speaker=values["name"])
        elif name in _REPLACED:
            self._replaced.append((name, values, len(self._text)))
        elif name not in _PLAIN:
            self.unknown.append(name)
        if manner != self._manners[-1]:
            self._flush()
        self._manners.append(manner)

    def _end(self, name: str) -> None:
        name, before = name.rpartition(":")[2], self._manners.pop()
        if name in {"p", "s"} or (self._manners[-1] != before):
            self._flush(before, ends=name in {"p", "s"})
        if name in _REPLACED:
            self._rewrite(*self._replaced.pop())

    def _characters(self, data: str) -> None:
        start = self._place()
        if self._markup[start] != "&" and self._markup.startswith(data, start):
            self._places += [(start + i, start + i + 1) for i in range(len(data))]
        else:  # &amp; and its like, and line ends
            end = self._markup.find(";", start) + 1 if self._markup[start] == "&" else start + 1
            self._places += [(start, end)] * len(data)
        self._text += data

    def _break(self, values: Mapping[str, str]) -> None:
        seconds = self._checked(lambda _: break_seconds(values.get("time"), values.get("strength")), "")
        self._flush()
        assert isinstance(seconds, float)
        if self.stretches:  # silence at the very beginning is nobody's pause
            last = self.stretches[-1]
            pause = (last.manner.pause or 0.0) + seconds
            self.stretches[-1] = replace(last, manner=replace(last.manner, pause=pause))

    def _prosody(self, manner: Manner, values: Mapping[str, str]) -> Manner:
        if "rate" in values:
            rate = self._checked(prosody_rate, values["rate"])
            assert isinstance(rate, float)
            manner = replace(manner, speed=manner.speed * rate)
        if "volume" in values:
            volume = self._checked(prosody_volume, values["volume"])
            assert isinstance(volume, float)
            manner = replace(manner, energy=manner.energy * volume)
        if "pitch" in values:
            pitch = self._checked(prosody_pitch, values["pitch"])
            assert isinstance(pitch, tuple)
            semitones, hertz, shift = pitch
            if hertz is not None:
                manner = replace(manner, pitch=0.0, hertz=hertz, hertz_is_shift=shift)
            else:
                manner = replace(manner, pitch=manner.pitch + semitones)
        for name in ("contour", "range", "duration"):
            if name in values:
                self.unknown.append(f"prosody {name}")
        return manner

    # -- text ------------------------------------------------------------------------------------------------------

    def _rewrite(self, name: str, values: Mapping[str, str], begin: int) -> None:
        """Another text in the place of an element's content, all of which each of its characters stands for."""
        content = "".join(self._text[begin:]).strip()
        place = self._places[begin:] or [(self._place(), self._place())]
        if name == "sub":
            new = values.get("alias", content)
        elif name == "phoneme":
            new = str(self._checked(lambda ph: phonemes_of(ph, values.get("alphabet", "ipa")), values.get("ph", "")))
        else:
            kind = values.get("interpret-as", "")
            if kind not in SAID_AS:
                self.unknown.append(f"say-as {kind}")
            new = SAID_AS[kind](content, values.get("format", "")) if kind in SAID_AS else content
        self._text[begin:] = new
        self._places[begin:] = [(place[0][0], place[-1][1])] * len(new)

    def _flush(self, manner: Manner | None = None, ends: bool = False) -> None:
        if self._replaced:
            self._fail(f"<{self._replaced[-1][0]}> holds text and nothing else")
        text, places = "".join(self._text), tuple(self._places)
        self._text, self._places = [], []
        if text.strip():
            self.stretches.append(Stretch(text, places, manner or self._manners[-1]))
        if ends and self.stretches:
            self.stretches[-1] = replace(self.stretches[-1], ends=True)
