"""The thread that makes all speech of a server, a piece of each request in turn.

MLX's graphs belong to one thread, and its kernels use all cores by themselves. Turns of one sentence let a short
request pass a long one; the next piece is made when the last one is on its way, so that memory stays small.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")


class TooBusy(Exception):
    """As many requests are at work as are allowed."""


class SpeakingThread:
    """Hands out at most `most` requests at a time. `in_flight` counts them."""

    def __init__(self, most: int) -> None:
        self.in_flight = 0
        self._most = most
        self._executor = ThreadPoolExecutor(1, "speaking")

    def begin(self, chunks: Iterator[bytes]) -> "Speech":
        """A place for one request whose sound `chunks` makes, called in the thread; TooBusy where none is free."""
        if self.in_flight >= self._most:
            raise TooBusy
        self.in_flight += 1
        return Speech(self, chunks)

    def call(self, function: Callable[[], Result]) -> "Future[Result]":
        """Call a function in the thread when its turn comes."""
        return self._executor.submit(function)

    def stop(self) -> None:
        """Wait for what is being made, and drop the rest."""
        self._executor.shutdown(cancel_futures=True)


class Speech:
    """The sound of one request. `close` it, which may be done twice."""

    def __init__(self, thread: SpeakingThread, chunks: Iterator[bytes]) -> None:
        self._thread, self._chunks = thread, chunks
        self._closed = False

    async def next(self) -> bytes | None:
        """The next piece, None after the last; raises what making it raised."""
        return await asyncio.wrap_future(self._thread.call(self._step))

    def close(self) -> None:
        """Give the place to another request. A piece that is being made is finished and thrown away."""
        if self._closed:
            return
        self._closed = True
        self._thread.in_flight -= 1
        with contextlib.suppress(RuntimeError):  # where the thread was stopped, all of it is over anyway
            self._thread.call(lambda: getattr(self._chunks, "close", lambda: None)())

    def _step(self) -> bytes | None:
        return None if self._closed else next(self._chunks, None)
