"""Speech over HTTP, as OpenAI's API has it: POST /v1/audio/speech, and what clients and monitors ask beside it."""

import asyncio
import base64
import hmac
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from bitjets_mlx import __version__
from bitjets_mlx.config import HOP
from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.server.encoding import MEDIA_TYPES, encoded
from bitjets_mlx.server.limits import Limits
from bitjets_mlx.server.request import Refusal, Wanted, read_wanted
from bitjets_mlx.server.speaking_thread import SpeakingThread, Speech, TooBusy
from bitjets_mlx.voice import Voice

Endpoint = Callable[[Request], Awaitable[Response]]

LOOK = 0.5  # seconds between two looks whether a waiting client is still there
PAGE_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class WebServer:
    """The HTTP side of a server. `voices` by name, the first of which is the default; `app` is what uvicorn runs."""

    def __init__(self, voices: Mapping[str, Voice], thread: SpeakingThread, limits: Limits, token: str = "") -> None:
        self._voices, self._thread, self._limits, self._token = voices, thread, limits, token.encode()
        self._started = int(time.time())
        self._metrics = Metrics(thread)
        routes = [
            Route("/", _page),
            Route("/health", self._health),
            Route("/metrics", self._for_owners(self._measured)),
            Route("/v1/models", self._for_owners(self._list_models)),
            Route("/v1/models/{name}", self._for_owners(self._one_model)),
            Route("/v1/audio/voices", self._for_owners(self._list_speakers)),
            Route("/v1/audio/speech", self._for_owners(self._speak), methods=["POST"]),
        ]
        handlers = {Refusal: _refused, HTTPException: _not_there, Exception: _failed}
        self.app = Starlette(routes=routes, exception_handlers=handlers)  # type: ignore[arg-type]

    def _for_owners(self, endpoint: Endpoint) -> Endpoint:
        """The endpoint, for those who know the token if there is one."""

        async def guarded(request: Request) -> Response:
            given = request.headers.get("authorization", "").encode()
            if self._token and not hmac.compare_digest(given, b"Bearer " + self._token):
                raise Refusal("give the server's token as 'Authorization: Bearer TOKEN'.", 401, code="invalid_api_key")
            return await endpoint(request)

        return guarded

    # -- speech ----------------------------------------------------------------------------------------------------

    async def _speak(self, request: Request) -> Response:
        try:
            response = await self._spoken(request)
        except Refusal as refusal:
            self._metrics.requests.labels(str(refusal.status)).inc()
            raise
        self._metrics.requests.labels("200").inc()
        return response

    async def _spoken(self, request: Request) -> Response:
        """The answer to a request, once the first of its sound is there."""
        began = time.monotonic()
        deadline = began + self._limits.seconds
        wanted = await read_wanted(request, self._voices, self._limits)
        tally = Tally()
        pieces = self._counted(wanted.voice.stream(wanted.text, wanted.speaker, wanted.style), wanted.voice, tally)
        try:
            speech = self._thread.begin(encoded(pieces, wanted.kind, wanted.voice.sample_rate))
        except TooBusy:
            message = f"{self._limits.requests} requests are at work, as many as are allowed: try again soon."
            raise Refusal(message, 429, code="rate_limit_exceeded") from None
        try:
            first = await _first(request, speech, deadline)
        except BaseException as error:
            speech.close()
            if isinstance(error, BitjetsError):
                raise Refusal(str(error), parameter="input") from None
            raise
        self._metrics.first_sound.observe(time.monotonic() - began)
        chunks = _all_chunks(first, speech)
        if wanted.events:
            return SpeechResponse(_as_events(chunks, wanted, tally), "text/event-stream", speech, deadline)
        return SpeechResponse(chunks, MEDIA_TYPES[wanted.kind], speech, deadline)

    def _counted(self, pieces: Iterable[np.ndarray], voice: Voice, tally: "Tally") -> Iterator[np.ndarray]:
        for piece in pieces:
            tally.samples += len(piece)
            self._metrics.speech.inc(len(piece) / voice.sample_rate)
            yield piece

    # -- what is asked beside it -----------------------------------------------------------------------------------

    async def _health(self, request: Request) -> Response:
        return JSONResponse({"status": "ok", "version": __version__})

    async def _measured(self, request: Request) -> Response:
        return Response(generate_latest(self._metrics.registry), media_type="text/plain; version=0.0.4")

    async def _list_models(self, request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [self._model(name) for name in self._voices]})

    async def _one_model(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in self._voices:
            raise Refusal(f"there is no model {name!r:.60}: take {' or '.join(self._voices)}.", 404, "model")
        return JSONResponse(self._model(name))

    def _model(self, name: str) -> dict[str, object]:
        return {"id": name, "object": "model", "created": self._started, "owned_by": "bitjets"}

    async def _list_speakers(self, request: Request) -> Response:
        found = [(name, speaker) for name, voice in self._voices.items() for speaker in voice.speakers]
        return JSONResponse({"voices": [{"id": speaker, "name": speaker, "model": name} for name, speaker in found]})


@dataclass
class Tally:
    """Samples made for one request so far."""

    samples: int = 0


class Metrics:
    """What /metrics tells."""

    def __init__(self, thread: SpeakingThread) -> None:
        registry = self.registry = CollectorRegistry()
        self.requests = Counter("bitjets_requests", "Requests for speech, by status.", ["status"], registry=registry)
        self.speech = Counter("bitjets_speech_seconds", "Seconds of speech made.", registry=registry)
        self.first_sound = Histogram(
            "bitjets_first_sound_seconds", "From a request to the first of its sound.", registry=registry
        )
        in_flight = Gauge("bitjets_requests_in_flight", "Requests waiting or being spoken.", registry=registry)
        in_flight.set_function(lambda: thread.in_flight)


class SpeechResponse(StreamingResponse):
    """A stream that ends, and gives its place up, with its client or its time."""

    def __init__(self, chunks: AsyncIterator[bytes], media_type: str, speech: Speech, deadline: float) -> None:
        super().__init__(chunks, media_type=media_type, headers={"Cache-Control": "no-store"})
        self._speech, self._deadline = speech, deadline

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send all; what is cut short lacks its last chunk, by which clients know."""
        try:
            await asyncio.wait_for(super().__call__(scope, receive, send), self._deadline - time.monotonic())
        except asyncio.TimeoutError:
            return
        finally:
            self._speech.close()


async def _first(request: Request, speech: Speech, deadline: float) -> bytes | None:
    """The first piece of a speech; Refusal where its client or its time is gone before."""
    made = asyncio.ensure_future(speech.next())
    try:
        while not made.done():
            left = deadline - time.monotonic()
            if left <= 0.0:
                raise Refusal("the server did not get to this in time: try again later.", 503)
            await asyncio.wait({made}, timeout=min(LOOK, left))
            if await request.is_disconnected():
                raise Refusal("the client is gone.", 499)
        return made.result()
    finally:
        made.cancel()


async def _all_chunks(first: bytes | None, speech: Speech) -> AsyncIterator[bytes]:
    chunk = first
    while chunk is not None:
        yield chunk
        chunk = await speech.next()


async def _as_events(chunks: AsyncIterator[bytes], wanted: Wanted, tally: Tally) -> AsyncIterator[bytes]:
    """Server-sent events, as OpenAI names them. Tokens: characters read, frames of 256 samples spoken."""
    async for chunk in chunks:
        yield _event({"type": "speech.audio.delta", "audio": base64.b64encode(chunk).decode()})
    read, spoken = len(wanted.text), tally.samples // HOP
    usage = {"input_tokens": read, "output_tokens": spoken, "total_tokens": read + spoken}
    yield _event({"type": "speech.audio.done", "usage": usage})


def _event(values: dict[str, object]) -> bytes:
    return b"data: " + json.dumps(values).encode() + b"\n\n"


async def _page(request: Request) -> Response:
    html = (files("bitjets_mlx.server") / "page.html").read_text(encoding="utf-8")
    return HTMLResponse(html, headers={"Content-Security-Policy": PAGE_POLICY, "X-Content-Type-Options": "nosniff"})


# -- errors, as OpenAI's API has them ------------------------------------------------------------------------------


async def _refused(request: Request, refusal: Refusal) -> Response:
    headers = {"Retry-After": "1"} if refusal.status in (429, 503) else None
    return _error(refusal.status, str(refusal), refusal.parameter, refusal.code, headers)


async def _not_there(request: Request, error: HTTPException) -> Response:
    message = f"{request.method} {request.url.path:.100}: {error.detail}; the paths are listed in docs/server.md."
    return _error(error.status_code, message, headers=error.headers)


async def _failed(request: Request, error: Exception) -> Response:
    return _error(500, "the server made a mistake, which its log names.")


def _error(
    status: int,
    message: str,
    parameter: str | None = None,
    code: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    kind = "server_error" if status >= 500 else "invalid_request_error"
    error = {"message": message, "type": kind, "param": parameter, "code": code}
    return JSONResponse({"error": error}, status, headers)
