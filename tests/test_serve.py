"""The server, as its clients see it: a process of its own on loopback, asked by http.client and by OpenAI's client."""

import base64
import http.client
import io
import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from served import Server, serving
from tiny_voice import tiny_voice

from bitjets_mlx import load_voice

TEXT = "Hello there, you. How are you today?"
LONG = "Hello there, how are you today, and what do you want to do tomorrow? " * 18


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_voice(tmp_path_factory.mktemp("voice"))


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    with serving("--voice", folder) as running:
        yield running


def speech(server: Server, **fields: Any) -> http.client.HTTPResponse:
    return server.ask("POST", "/v1/audio/speech", {"input": TEXT, "response_format": "wav", **fields})


def refused(response: http.client.HTTPResponse) -> dict[str, Any]:
    error = json.loads(response.read())["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    return error


def eventually(condition: Any) -> None:
    for _ in range(200):
        if condition():
            return
        time.sleep(0.1)
    raise AssertionError("it did not happen")


def in_flight(server: Server) -> float:
    (value,) = re.findall(r"^bitjets_requests_in_flight (\S+)$", server.ask("GET", "/metrics").read().decode(), re.M)
    return float(value)


def test_it_says_what_the_voice_says(server: Server, folder: Path) -> None:
    voice = load_voice(folder)
    for fields, asked in (
        ({}, {}),
        ({"voice": "Ben", "speed": 1.5, "seed": 3}, {"speaker": "ben", "speed": 1.5, "seed": 3}),
    ):
        response = speech(server, **fields)
        assert response.status == 200 and response.headers["content-type"] == "audio/wav"
        assert (
            response.headers["transfer-encoding"] == "chunked" and "access-control-allow-origin" not in response.headers
        )
        got, rate = soundfile.read(io.BytesIO(response.read()), dtype="int16")
        expected = np.round(np.clip(voice.speak(TEXT, **asked), -1.0, 1.0) * 32767.0).astype(np.int16)
        assert rate == voice.sample_rate and np.array_equal(got, expected)


@pytest.mark.parametrize(
    ("kind", "media", "container", "rate"),
    [
        ("mp3", "audio/mpeg", "MP3", 22_050),
        ("opus", "audio/ogg; codecs=opus", "OGG", 24_000),
        ("flac", "audio/flac", "FLAC", 22_050),
        ("wav", "audio/wav", "WAV", 22_050),
        ("pcm", "audio/pcm", "RAW", 24_000),
    ],
)
def test_every_format_holds_all_of_the_sound(server: Server, kind: str, media: str, container: str, rate: int) -> None:
    plain, _ = soundfile.read(io.BytesIO(speech(server).read()))
    response = speech(server, response_format=kind)
    assert response.headers["content-type"] == media
    data = response.read()
    if kind == "pcm":
        samples = np.frombuffer(data, "<i2") / 32768.0
    else:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            assert file.format == container and file.samplerate == rate
            samples = file.read()
    assert len(samples) / rate == pytest.approx(len(plain) / 22_050, abs=0.11)  # an MP3 is a few frames longer
    assert np.std(samples) == pytest.approx(np.std(plain), rel=0.2)


def test_events(server: Server) -> None:
    response = speech(server, stream_format="sse", response_format="pcm")
    assert response.headers["content-type"].startswith("text/event-stream")
    events = [json.loads(line.removeprefix("data: ")) for line in response.read().decode().split("\n\n") if line]
    assert [event["type"] for event in events] == ["speech.audio.delta"] * (len(events) - 1) + ["speech.audio.done"]
    sound = b"".join(base64.b64decode(event["audio"]) for event in events[:-1])
    assert sound == speech(server, response_format="pcm").read()
    usage = events[-1]["usage"]
    assert usage["input_tokens"] == len(TEXT) and usage["total_tokens"] == len(TEXT) + usage["output_tokens"]


def test_openai_client(server: Server, tmp_path: Path) -> None:
    openai = pytest.importorskip("openai", reason="needs OpenAI's client, the package openai")
    with openai.OpenAI(base_url=f"{server.address}/v1", api_key="none", max_retries=0) as client:
        assert [model.id for model in client.models.list()] == ["tiny"] and client.models.retrieve("tiny").id == "tiny"
        spoken = client.audio.speech.create(model="tiny", voice="anna", input=TEXT)
        assert soundfile.info(io.BytesIO(spoken.read())).format == "MP3"
        options = {"model": "tiny", "voice": "ben", "input": TEXT, "response_format": "wav", "speed": 2.0}
        with client.audio.speech.with_streaming_response.create(**options) as streamed:
            streamed.stream_to_file(tmp_path / "x.wav")
        assert soundfile.info(tmp_path / "x.wav").samplerate == 22_050
        with pytest.raises(openai.BadRequestError, match="there is no speaker 'alloy' in this voice: take anna or ben"):
            client.audio.speech.create(model="tiny", voice="alloy", input=TEXT)
        with pytest.raises(openai.NotFoundError, match="take tiny"):
            client.models.retrieve("tts-1")


@pytest.mark.parametrize(
    ("fields", "status", "parameter", "message"),
    [
        ({"input": ""}, 400, "input", "there is no text to speak"),
        ({"input": 3}, 400, "input", "there is no text to speak"),
        ({"input": "\ud800 ☃"}, 400, "input", "nothing to speak"),
        ({"input": "a" * 4097}, 413, "input", "4,097 characters: send at most 4,096"),
        ({"input": "a" * 99_000}, 413, None, "larger than"),
        ({"model": "tts-1"}, 404, "model", "there is no model 'tts-1': take tiny"),
        ({"model": ["tiny"]}, 404, "model", "take tiny"),
        ({"voice": {"id": "anna"}}, 400, "voice", "take anna or ben"),
        ({"response_format": "aac"}, 400, "response_format", "take mp3 or opus or flac or wav or pcm"),
        ({"stream_format": "x"}, 400, "stream_format", "take audio or sse"),
        ({"speed": 5}, 400, "speed", "give a number from 0.25 to 4"),
        ({"speed": float("nan")}, 400, "speed", "give a number"),
        ({"pitch": "high"}, 400, "pitch", "give a number"),
        ({"seed": -1}, 400, "seed", "whole number"),
        ({"volume": 2}, 400, "volume", "there is no field 'volume': take model, input"),
    ],
)
def test_mistakes_get_one_sentence(
    server: Server, fields: dict[str, Any], status: int, parameter: str | None, message: str
) -> None:
    response = speech(server, **fields)
    error = refused(response)
    assert (response.status, error["param"]) == (status, parameter) and message in error["message"]
    assert error["type"] == "invalid_request_error"


def test_bodies_that_are_no_request(server: Server) -> None:
    path, kind = "/v1/audio/speech", {"Content-Type": "application/json"}
    for body, headers, status in (
        (b"{", kind, 400),
        (b"\xff", kind, 400),
        (b"[" * 40_000, kind, 400),
        (b"[]", kind, 400),
        (b'{"input": "Hello."}', {"Content-Type": "text/plain"}, 415),  # which another site's page may send
    ):
        response = server.ask_raw("POST", path, body, headers)
        refused(response)
        assert response.status == status
    for method, wrong, status in (("GET", path, 405), ("GET", "/nothing", 404), ("OPTIONS", path, 405)):
        response = server.ask(method, wrong)
        refused(response)
        assert response.status == status and "access-control-allow-origin" not in response.headers


def test_what_is_asked_beside_it(server: Server) -> None:
    assert json.loads(server.ask("GET", "/health").read())["status"] == "ok"
    voices = json.loads(server.ask("GET", "/v1/audio/voices").read())["voices"]
    assert voices == [{"id": name, "name": name, "model": "tiny"} for name in ("anna", "ben")]
    speech(server).read()
    speech(server, input="").read()
    metrics = server.ask("GET", "/metrics").read().decode()
    values = {name: float(value) for name, value in re.findall(r"^(bitjets_\S+) (\S+)$", metrics, re.M)}
    assert values['bitjets_requests_total{status="200"}'] >= 1 and values['bitjets_requests_total{status="400"}'] >= 1
    assert values["bitjets_speech_seconds_total"] > 0.5 and values["bitjets_first_sound_seconds_count"] >= 1


def test_requests_at_once_get_what_they_get_alone(server: Server) -> None:
    texts = [f"This is number {number}. It is not alone." for number in range(8)]
    alone = [speech(server, input=text).read() for text in texts]
    together: dict[str, bytes] = {}

    def ask(text: str) -> None:
        together[text] = speech(server, input=text).read()

    threads = [threading.Thread(target=ask, args=(text,)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [together[text] for text in texts] == alone
    assert in_flight(server) == 0


def test_a_full_queue_and_clients_that_go(folder: Path) -> None:
    with serving("--voice", folder, "--requests", 1) as server:
        held = speech(server, input=LONG, speed=0.25)  # more than sockets hold, and not read
        assert in_flight(server) == 1
        turned_away = speech(server)
        assert refused(turned_away)["code"] == "rate_limit_exceeded"
        assert turned_away.status == 429 and turned_away.headers["retry-after"] == "1"
        held.close()
        server.hang_up()
        eventually(lambda: in_flight(server) == 0)
        assert speech(server).status == 200


def test_a_request_has_only_so_much_time(folder: Path) -> None:
    with serving("--voice", folder, "--seconds", 3) as server:
        held = speech(server, input=LONG, speed=0.25)
        assert held.status == 200
        eventually(lambda: in_flight(server) == 0)
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            held.read()


def test_a_token(folder: Path) -> None:
    with serving("--voice", folder, token="secret") as server:
        for header in ("", "Bearer wrong", "Bearer sécret", "secret"):
            response = server.ask("GET", "/v1/models", headers={"Authorization": header.encode()})
            assert response.status == 401 and refused(response)["code"] == "invalid_api_key"
        assert server.ask("GET", "/metrics").status == 401 and speech(server).status == 401
        assert server.ask("GET", "/v1/models", headers={"Authorization": "Bearer secret"}).status == 200
        assert server.ask("GET", "/health").status == server.ask("GET", "/").status == 200


def test_it_stops_when_all_is_said(folder: Path) -> None:
    with serving("--voice", folder) as server:
        response = speech(server, input=LONG)
        server.process.send_signal(signal.SIGTERM)
        sound, _ = soundfile.read(io.BytesIO(response.read()))
        assert len(sound) > 22_050 * 20
        assert server.process.wait(60) == 128 + signal.SIGTERM
        assert server.errors() == "stopped\n"


def test_where_it_cannot_listen(folder: Path, server: Server) -> None:
    for arguments, message in (
        (["--port", str(server.port)], "cannot be listened to"),
        (["--requests", "0"], "0 is less than 1"),
        (["--port", "0", "--voice", str(folder), str(folder / "../tiny")], "two voices have the same name"),
    ):
        command = [sys.executable, "-m", "bitjets_mlx.serve", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode in (1, 2) and message in done.stderr and done.stderr.count("\n") == 1, done.stderr
