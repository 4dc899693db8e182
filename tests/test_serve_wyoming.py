"""The Wyoming protocol, as its own package's client sees it."""

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from served import Server, serving
from tiny_voice import tiny_voice

from bitjets_mlx import load_voice

pytest.importorskip("wyoming", reason="needs the package wyoming")
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncClient
from wyoming.error import Error
from wyoming.event import Event
from wyoming.info import Describe, Info
from wyoming.tts import (
    Synthesize,
    SynthesizeChunk,
    SynthesizeStart,
    SynthesizeStop,
    SynthesizeStopped,
    SynthesizeVoice,
)

FIRST, SECOND = "Hello there, you.", "How are you today?"
BEN = SynthesizeVoice(name="tiny", speaker="ben")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_voice(tmp_path_factory.mktemp("voice"))


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    with serving("--voice", folder, "--wyoming", 0, lines=2) as running:
        yield running


def answers(server: Server, events: list[Event], last: str) -> list[Event]:
    """Send events; returns the answers up to and with the first of the kind `last`."""

    async def talk() -> list[Event]:
        found: list[Event] = []
        async with AsyncClient.from_uri(server.lines[1].split()[0]) as client:
            for event in events:
                await client.write_event(event)
            while not found or found[-1].type not in (last, "error"):
                event = await asyncio.wait_for(client.read_event(), 60)
                assert event is not None
                found.append(event)
        return found

    return asyncio.run(talk())


def samples(events: list[Event]) -> np.ndarray:
    (start,) = [AudioStart.from_event(event) for event in events if AudioStart.is_type(event.type)]
    assert (start.rate, start.width, start.channels) == (22_050, 2, 1)
    chunks = [AudioChunk.from_event(event).audio for event in events if AudioChunk.is_type(event.type)]
    return np.frombuffer(b"".join(chunks), "<i2")


def as_integers(audio: np.ndarray) -> np.ndarray:
    return np.round(np.clip(audio, -1.0, 1.0) * 32767.0).astype(np.int16)


def test_describe(server: Server) -> None:
    info = Info.from_event(answers(server, [Describe().event()], "info")[-1])
    (program,) = info.tts
    assert program.supports_synthesize_streaming and program.installed
    (voice,) = program.voices
    assert (voice.name, voice.languages) == ("tiny", ["en"])
    assert [speaker.name for speaker in voice.speakers or []] == ["anna", "ben"]


def test_synthesize(server: Server, folder: Path) -> None:
    events = answers(server, [Synthesize(text=f"{FIRST} {SECOND}", voice=BEN).event()], "audio-stop")
    assert np.array_equal(samples(events), as_integers(load_voice(folder).speak(f"{FIRST} {SECOND}", "ben")))
    assert sum(AudioChunk.is_type(event.type) for event in events) == 2  # one per sentence


def test_text_in_pieces_is_spoken_while_it_comes(server: Server, folder: Path) -> None:
    text = f"{FIRST} {SECOND}"
    pieces = [SynthesizeChunk(text=text[place : place + 3]).event() for place in range(0, len(text), 3)]
    whole = Synthesize(text=text, voice=BEN).event()  # sent beside, for servers that cannot stream
    start = SynthesizeStart(voice=BEN).event()
    found = answers(server, [start, *pieces], "audio-chunk")  # not ended, and the first sentence is there already
    assert np.abs(samples(found)).max() > 0
    events = answers(server, [start, *pieces, whole, SynthesizeStop().event()], "synthesize-stopped")
    kinds = [event.type for event in events]
    assert kinds == ["audio-start", "audio-chunk", "audio-chunk", "audio-stop", "synthesize-stopped"]
    voice = load_voice(folder)
    together, last = as_integers(voice.speak(text, "ben")), as_integers(voice.speak(SECOND, "ben"))
    assert AudioStop.is_type(kinds[-2]) and SynthesizeStopped.is_type(kinds[-1])
    assert len(samples(events)) == len(together)
    assert np.array_equal(samples(events)[: -len(last)], together[: -len(last)])
    assert np.array_equal(samples(events)[-len(last) :], last)


def test_it_stops_while_it_speaks(folder: Path) -> None:
    async def listen_and_stop(server: Server) -> None:
        async with AsyncClient.from_uri(server.lines[1].split()[0]) as client:
            await client.write_event(Synthesize(text=f"{FIRST} {SECOND} " * 40).event())
            while not AudioChunk.is_type((await asyncio.wait_for(client.read_event(), 60) or Describe().event()).type):
                pass
            server.process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(server.process.wait, 60) == 128 + signal.SIGTERM

    with serving("--voice", folder, "--wyoming", 0, lines=2) as server:
        asyncio.run(listen_and_stop(server))
        assert server.errors() == "stopped\n"


@pytest.mark.parametrize(
    ("event", "message"),
    [
        (Synthesize(text="Hello.", voice=SynthesizeVoice(name="nobody")), "there is no voice 'nobody': take tiny"),
        (Synthesize(text="Hello.", voice=SynthesizeVoice(name="tiny", speaker="x")), "take anna or ben"),
        (Synthesize(text=" "), "no text"),
        (Synthesize(text="a" * 4097), "more than 4,096 characters"),
        (Event(type="synthesize", data={}), "malformed"),
        (Event(type="synthesize", data={"text": 3}), "malformed"),
        (Event(type="synthesize-start", data={"voice": {"name": ["tiny"]}}), "malformed"),
    ],
)
def test_mistakes_are_answered_and_the_connection_stays(
    server: Server, event: "Synthesize | Event", message: str
) -> None:
    wrong = event if isinstance(event, Event) else event.event()
    assert message in Error.from_event(answers(server, [wrong], "error")[-1]).text
    found = answers(server, [Event(type="unknown"), Synthesize(text=FIRST).event()], "audio-stop")
    assert len(samples(found)) > 0


def test_a_message_that_is_too_large_ends_the_connection(server: Server) -> None:
    async def send(head: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(server.lines[1].split()[0].rpartition(":")[2]))
        writer.write(head)
        try:
            return await asyncio.wait_for(reader.read(), 60)
        except ConnectionResetError:  # it did not read all
            return b""
        finally:
            writer.close()

    for head in (b'{"type": "synthesize", "data_length": 1000000000}\n', b"x" * 200_000, b"no json\n", b"[]\n"):
        assert asyncio.run(send(head)) == b""
    assert server.errors() == ""
