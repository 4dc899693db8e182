"""The body of POST /v1/audio/speech, checked."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import ClientDisconnect, Request

from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.server.encoding import MEDIA_TYPES
from bitjets_mlx.server.limits import Limits
from bitjets_mlx.voice import Style, Voice

OPENAI = ("model", "input", "voice", "response_format", "speed", "stream_format", "instructions")
OURS = ("pitch", "energy", "seed")
STREAM_FORMATS = ("audio", "sse")


class Refusal(Exception):
    """What a client is told. `parameter`: the field that it is about."""

    def __init__(self, message: str, status: int = 400, parameter: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.parameter, self.code = status, parameter, code


@dataclass(frozen=True)
class Wanted:
    """What a client wants spoken. `events`: as server-sent events."""

    text: str
    voice: Voice
    speaker: str | None
    style: Style
    kind: str
    events: bool


async def read_wanted(request: Request, voices: Mapping[str, Voice], limits: Limits) -> Wanted:
    """Read and check the body of a request; Refusal where something is wrong with it."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        # Not only for order: pages of other sites may send other types without being asked whether they may.
        raise Refusal("send the request with 'Content-Type: application/json'.", 415)
    try:
        body = await asyncio.wait_for(_body(request, limits.body), limits.seconds)
    except asyncio.TimeoutError:
        raise Refusal("the request did not arrive in time: send it faster.", 408) from None
    except ClientDisconnect:
        raise Refusal("the client is gone.", 499) from None
    try:
        values = json.loads(body)
    except (ValueError, RecursionError):
        raise Refusal("the request is not JSON: send an object with the field input.") from None
    if not isinstance(values, dict):
        raise Refusal("the request is JSON, and no object: send one with the field input.")
    unknown = next((name for name in values if name not in OPENAI + OURS), None)
    if unknown is not None:
        raise Refusal(f"there is no field {unknown!r:.60}: take {', '.join(OPENAI + OURS)}.", parameter=unknown[:60])
    return _wanted({name: value for name, value in values.items() if value is not None}, voices, limits)


async def _body(request: Request, most: int) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            raise Refusal(f"the request is larger than {most:,} bytes: send less text at a time.", 413)
    return bytes(body)


def _wanted(values: dict[str, Any], voices: Mapping[str, Voice], limits: Limits) -> Wanted:
    text = values.get("input")
    if not isinstance(text, str) or not text.strip():
        raise Refusal("there is no text to speak: give some as input.", parameter="input")
    if len(text) > limits.characters:
        message = f"the text has {len(text):,} characters: send at most {limits.characters:,} at a time."
        raise Refusal(message, 413, "input", "string_above_max_length")
    name = _one_of(values, "model", list(voices))
    kind, stream = (
        _one_of(values, "response_format", list(MEDIA_TYPES)),
        _one_of(values, "stream_format", STREAM_FORMATS),
    )
    voice, speaker = voices[name], values.get("voice")
    try:
        voice.speaker_number(speaker)
    except BitjetsError as error:
        raise Refusal(str(error), parameter="voice") from None
    try:
        style = Style(**{name: values[name] for name in ("speed", *OURS) if name in values})
    except BitjetsError as error:
        raise Refusal(str(error), parameter=str(error).partition(" ")[0]) from None
    return Wanted(text, voice, speaker, style, kind, events=stream == "sse")


def _one_of(values: Mapping[str, Any], name: str, known: "list[str] | tuple[str, ...]") -> str:
    """A field that names one of some things, the first where it is left out."""
    value = values.get(name, known[0])
    if value not in known:
        status = 404 if name == "model" else 400
        raise Refusal(f"there is no {name} {value!r:.60}: take {' or '.join(known)}.", status, name)
    return str(value)
