"""The Wyoming protocol, by which Home Assistant finds voices and has them speak: JSON lines and PCM over TCP."""

import asyncio
import contextlib
import itertools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.error import Error
from wyoming.event import Event, Eventable, async_read_event, async_write_event
from wyoming.info import Attribution, Describe, Info, TtsProgram, TtsVoice, TtsVoiceSpeaker
from wyoming.tts import Synthesize, SynthesizeChunk, SynthesizeStart, SynthesizeStop, SynthesizeStopped, SynthesizeVoice

from bitjets_mlx import __version__
from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.server.encoding import encoded
from bitjets_mlx.server.limits import Limits
from bitjets_mlx.server.speaking_thread import SpeakingThread, TooBusy
from bitjets_mlx.voice import Voice
from bitjets_mlx.voice.families import LONGEST_PIECE
from bitjets_mlx.voice.streaming import Listener

OURS = Attribution(name="bitjets", url="")


async def listen(
    voices: Mapping[str, Voice], thread: SpeakingThread, limits: Limits, host: str, port: int
) -> asyncio.Server:
    """A server that listens; BitjetsError where it cannot."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Cancelled is how it ends with the server, of which asyncio's own callback would complain.
        with contextlib.suppress(ConnectionError, asyncio.CancelledError), contextlib.closing(writer):
            connection = Connection(writer, voices, thread, limits)
            while (event := await _read(reader, limits.body)) is not None:
                await connection.handle(event)

    try:
        return await asyncio.start_server(connected, host, port, limit=limits.body)
    except (OSError, OverflowError) as error:
        raise BitjetsError(f"{host} port {port} cannot be listened to ({error}): give another --wyoming.") from None


async def _read(reader: asyncio.StreamReader, most: int) -> Event | None:
    """The next event of a client; None where it has gone, or sends what is not an event or is larger than `most`."""
    bounded = _Bounded(reader, most)
    try:
        return await async_read_event(bounded)  # type: ignore[arg-type]  # all that it uses
    except (asyncio.IncompleteReadError, AttributeError, KeyError, TypeError):  # JSON of another shape
        return None


class _Bounded:
    """A reader of messages of at most `most` bytes."""

    def __init__(self, reader: asyncio.StreamReader, most: int) -> None:
        self.readline, self._reader, self._most = reader.readline, reader, most

    async def readexactly(self, size: int) -> bytes:
        """As the reader has it; ValueError where that is too much."""
        if size > self._most:
            raise ValueError("too much")
        return await self._reader.readexactly(size)


class Connection:
    """One client. Text that comes in pieces is spoken sentence by sentence, while more of it comes."""

    def __init__(
        self, writer: asyncio.StreamWriter, voices: Mapping[str, Voice], thread: SpeakingThread, limits: Limits
    ) -> None:
        self._writer, self._voices, self._thread, self._limits = writer, voices, thread, limits
        self._stream: Stream | None = None

    async def handle(self, event: Event) -> None:
        """Answer one event; a mistake is answered by an error, and the connection stays."""
        try:
            _check(event)
            await self._answer(event)
        except BitjetsError as error:
            self._stream = None
            await self._write(Error(text=str(error), code="refused"))
        except (TooBusy, asyncio.TimeoutError):
            self._stream = None
            await self._write(Error(text="the server is busy: try again soon.", code="busy"))

    async def _write(self, event: Eventable) -> None:
        await async_write_event(event.event(), self._writer)

    async def _answer(self, event: Event) -> None:
        if Describe.is_type(event.type):
            await self._write(_info(self._voices))
        elif SynthesizeStart.is_type(event.type):
            self._stream = Stream(*self._wanted(SynthesizeStart.from_event(event).voice))
            await self._begin(self._stream.voice)
        elif SynthesizeChunk.is_type(event.type) and self._stream:
            text = self._stream.check(SynthesizeChunk.from_event(event).text, self._limits.characters)
            await self._say(self._stream, self._stream.listener.heard(text), last=False)
        elif SynthesizeStop.is_type(event.type) and self._stream:
            stream, self._stream = self._stream, None
            await self._say(stream, stream.listener.ended(), last=True)
            await self._write(AudioStop())
            await self._write(SynthesizeStopped())
        elif Synthesize.is_type(event.type) and not self._stream:  # within a stream: the same text once more
            wanted = Synthesize.from_event(event)
            stream = Stream(*self._wanted(wanted.voice))
            stream.check(wanted.text, self._limits.characters)
            if not wanted.text.strip():
                raise BitjetsError("there is no text to speak: give some words.")
            await self._begin(stream.voice)
            await self._say(stream, [wanted.text], last=True)
            await self._write(AudioStop())

    def _wanted(self, asked: SynthesizeVoice | None) -> tuple[Voice, str | None]:
        """The voice and speaker of a request, the first ones unless it names others."""
        name, speaker = (asked.name, asked.speaker) if asked else (None, None)
        if name is not None and name not in self._voices:
            raise BitjetsError(f"there is no voice {name!r:.60}: take {' or '.join(self._voices)}.")
        voice = self._voices[name] if name is not None else next(iter(self._voices.values()))
        voice.speaker_number(speaker)
        return voice, speaker

    async def _begin(self, voice: Voice) -> None:
        await self._write(AudioStart(rate=voice.sample_rate, width=2, channels=1))

    async def _say(self, stream: "Stream", texts: Sequence[str], last: bool) -> None:
        """Speak texts, with a pause behind unless they are the last."""
        if not any(text.strip() for text in texts):
            return
        voice = stream.voice
        speech = self._thread.begin(encoded(_pieces(stream, texts, last), "raw", voice.sample_rate))

        async def send() -> None:
            while (chunk := await speech.next()) is not None:
                sound = AudioChunk(rate=voice.sample_rate, width=2, channels=1, audio=chunk)
                await self._write(sound)

        try:
            await asyncio.wait_for(send(), self._limits.seconds)
        finally:
            speech.close()


class Stream:
    """What one text is spoken with, and what was not yet spoken of it."""

    def __init__(self, voice: Voice, speaker: str | None) -> None:
        self.voice, self.speaker = voice, speaker
        self.listener = Listener(LONGEST_PIECE)
        self._characters = 0

    def check(self, text: str, most: int) -> str:
        """The text; BitjetsError where more than `most` characters have come."""
        self._characters += len(text)
        if self._characters > most:
            raise BitjetsError(f"the text has more than {most:,} characters: send less at a time.")
        return text


def _check(event: Event) -> None:
    """BitjetsError where the fields that are read here are not what they should be."""
    data = event.data
    voice = data.get("voice") or {} if isinstance(data, dict) else None
    well_formed = isinstance(voice, dict) and all(isinstance(value, str | None) for value in voice.values())
    if event.type in ("synthesize", "synthesize-chunk"):
        well_formed = well_formed and isinstance(data.get("text"), str)
    if not well_formed:
        raise BitjetsError(f"malformed event {event.type!r:.60}: text and the names of voices are strings.")


def _pieces(stream: Stream, texts: Sequence[str], last: bool) -> Iterator[np.ndarray]:
    sentences = [sentence for text in texts for sentence in stream.voice.sentences(text)]
    # A sentence more, which is not spoken, has the voice leave a pause.
    spoken = stream.voice.utterances(sentences if last else [*sentences, sentences[-1]], stream.speaker)
    for _, samples in itertools.islice(spoken, len(sentences)):
        yield samples


def _info(voices: Mapping[str, Voice]) -> Info:
    found = [
        TtsVoice(
            name=name,
            attribution=OURS,
            installed=True,
            description=name,
            version=__version__,
            languages=["en"],
            speakers=[TtsVoiceSpeaker(name=speaker) for speaker in voice.speakers],
        )
        for name, voice in voices.items()
    ]
    program = TtsProgram(
        name="bitjets",
        attribution=OURS,
        installed=True,
        description="text to speech with ternary weights",
        version=__version__,
        voices=found,
        supports_synthesize_streaming=True,
    )
    return Info(tts=[program])
