"""Sound as bytes while it is made: WAV, PCM, MP3, Ogg Opus and FLAC."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import soundfile
import soxr

from bitjets_mlx.audio.sound_writer import SoundWriter, sound_to_pipe

MEDIA_TYPES = {
    "mp3": "audio/mpeg",
    "opus": "audio/ogg; codecs=opus",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}
CODINGS = {"mp3": ("MP3", "MPEG_LAYER_III"), "opus": ("OGG", "OPUS"), "flac": ("FLAC", "PCM_16")}  # libsndfile's names
WHOLE = ("flac",)  # many readers refuse one that does not say its length
# A stream cannot say how long it is, so that players reckon from the bit rate: a constant one, 80 kbit/s.
SETTINGS: dict[str, Any] = {"mp3": {"bitrate_mode": "CONSTANT", "compression_level": 0.5}}
RATES = {
    "opus": 24_000,
    "pcm": 24_000,
}  # Hz; Opus has no 22,050, and OpenAI's PCM, which does not say its rate, is this


def encoded(pieces: Iterable[np.ndarray], kind: str, sample_rate: int) -> Iterator[bytes]:
    """Float samples, piece by piece (S,), as bytes of one of `MEDIA_TYPES`, each as soon as the encoder gives it.

    PCM is 16 bit, little-endian, mono, 24 kHz; "raw" is the same at the sample rate given.
    A WAV says no length; a FLAC comes in one piece and does.
    """
    rate = RATES.get(kind, sample_rate)
    if rate != sample_rate:
        pieces = _resampled(pieces, sample_rate, rate)
    stream = _Stream()
    with _writer(stream, kind, rate) as writer:
        for piece in pieces:
            writer.write(piece)
            if stream.made and kind not in WHOLE:
                yield stream.take()
    if stream.made:
        yield stream.take()


@contextmanager
def _writer(stream: "_Stream", kind: str, rate: int) -> Iterator[SoundWriter]:
    if kind not in CODINGS:
        with sound_to_pipe(stream, rate, raw=kind in ("pcm", "raw")) as writer:  # type: ignore[arg-type]  # all that it uses
            yield writer
        return
    container, coding = CODINGS[kind]
    with soundfile.SoundFile(stream, "w", rate, 1, coding, format=container, **SETTINGS.get(kind, {})) as sink:
        yield SoundWriter(sink)


def _resampled(pieces: Iterable[np.ndarray], sample_rate: int, rate: int) -> Iterator[np.ndarray]:
    stream = soxr.ResampleStream(sample_rate, rate, 1, dtype="float32")
    for piece in pieces:
        yield stream.resample_chunk(piece.astype(np.float32, copy=False))
    yield stream.resample_chunk(np.zeros(0, np.float32), last=True)


class _Stream:
    """A file whose bytes are taken while it grows; what was taken is not corrected any more."""

    def __init__(self) -> None:
        self.made = bytearray()
        self._taken = self._position = 0

    def take(self) -> bytes:
        """What was made since the last call."""
        made = bytes(self.made)
        self._taken += len(made)
        self.made.clear()
        return made

    def write(self, data: bytes) -> int:
        """As files have it; an encoder goes back to correct its header."""
        place, size = self._position - self._taken, len(data)
        if place >= 0:
            self.made[place : place + size] = data
        self._position += size
        return size

    def seek(self, offset: int, whence: int = 0) -> int:
        """As files have it."""
        self._position = offset + (0, self._position, self._taken + len(self.made))[whence]
        return self._position

    def tell(self) -> int:
        """As files have it."""
        return self._position

    def flush(self) -> None:
        """Nothing waits here."""
