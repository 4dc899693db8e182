"""A sound file written piece by piece, so that long speech never has to fit into memory; or a pipe."""

import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile

from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.files import atomic_write, check_file

FORMATS = {  # by suffix: libsndfile's names, and how files of the kind begin
    ".wav": ("WAV", "PCM_16"),
    ".flac": ("FLAC", "PCM_16"),
    ".ogg": ("OGG", "VORBIS"),
    ".mp3": ("MP3", "MPEG_LAYER_III"),
}
BEGINNINGS = (b"RIFF", b"fLaC", b"OggS", b"ID3", b"\xff\xfb", b"\xff\xf3", b"\xff\xf2")
LARGEST_WAV = (2**32 - 1 - 36) // 2  # samples: a WAV says its size in 32 bits
BLOCK = 1 << 15  # samples handed to an encoder at a time
UNKNOWN = 0xFFFFFFFF  # the size of a WAV in a pipe


class SoundWriter:
    """Appends float samples as mono 16-bit sound. `samples` counts what was written."""

    def __init__(self, sink: "soundfile.SoundFile | BinaryIO", most: int | None = None) -> None:
        self.samples = 0
        self._sink, self._most = sink, most

    def write(self, audio: np.ndarray) -> None:
        """Append float samples (S,) in [-1, 1]; BitjetsError where one is not finite, or 4 GB of WAV are full."""
        if not np.isfinite(audio).all():
            raise BitjetsError("the voice produced NaN or infinity: its weights are damaged, fetch them again.")
        self.samples += len(audio)
        if self._most is not None and self.samples > self._most:
            raise BitjetsError("the speech is too long for one WAV file (4 GB): write FLAC, or speak it in parts.")
        integers = np.round(np.clip(audio, -1.0, 1.0) * 32767.0).astype("<i2")
        if isinstance(self._sink, soundfile.SoundFile):
            for start in range(0, len(integers), BLOCK):
                self._sink.write(integers[start : start + BLOCK])
        else:
            self._sink.write(integers.tobytes())
            self._sink.flush()  # to be heard while the next sentence is made


@contextmanager
def open_sound(path: Path, sample_rate: int) -> Iterator[SoundWriter]:
    """A writer whose file appears at `path` when all of it is written; on any error nothing appears.

    WAV, FLAC, Ogg Vorbis or MP3 by the suffix. BitjetsError as `check_sound`.
    """
    kind, coding = FORMATS[path.suffix.lower()]
    with atomic_write(path) as temporary, open(temporary, "wb+", buffering=0) as file:
        guarded = _Guarded(file)
        try:
            with soundfile.SoundFile(guarded, "w", sample_rate, 1, coding, format=kind) as sink:
                yield SoundWriter(sink, LARGEST_WAV if kind == "WAV" else None)
        except (soundfile.LibsndfileError, AssertionError) as error:  # soundfile asserts that all was written
            if guarded.error is None:
                raise BitjetsError(f"{path} could not be written ({error}): try another format.") from error
            raise guarded.error from None
        if guarded.error:  # libsndfile does not tell of all that fails while it closes
            raise guarded.error


class _Guarded:
    """A file for libsndfile, whose callbacks must not raise: the first OSError is kept for later."""

    def __init__(self, file: BinaryIO) -> None:
        self.error: OSError | None = None
        self._file = file
        self.seek, self.tell, self.readinto = file.seek, file.tell, file.readinto  # type: ignore[attr-defined]

    def write(self, data: bytes) -> int:
        """Bytes written: 0 where that failed."""
        left = memoryview(data)
        try:
            while left:  # an unbuffered file may take a part
                left = left[self._file.write(left) :]
        except OSError as error:
            self.error = self.error or error
            return 0
        return len(data)


@contextmanager
def sound_to_pipe(pipe: BinaryIO, sample_rate: int, raw: bool) -> Iterator[SoundWriter]:
    """A writer of a WAV of unknown length, as players take it from a pipe, or of its samples alone (s16le)."""
    if not raw:
        form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, sample_rate, 2 * sample_rate, 2, 16)
        pipe.write(b"RIFF" + struct.pack("<I", UNKNOWN) + b"WAVE" + form + b"data" + struct.pack("<I", UNKNOWN))
    yield SoundWriter(pipe)
    pipe.flush()


def check_sound(path: Path, overwrite: bool = False, inputs: Sequence[Path] = ()) -> None:
    """BitjetsError where no sound can be written at `path`: said before any work is done."""
    if path.suffix.lower() not in FORMATS:
        known = ", ".join(suffix[1:] for suffix in FORMATS)
        raise BitjetsError(f"{path} has no suffix of a sound file that can be written: take one of {known}.")
    kind, coding = FORMATS[path.suffix.lower()]
    if not soundfile.check_format(kind, coding):
        raise BitjetsError(f"the libsndfile of this system writes no {kind}: take .wav, or a newer one.")
    check_file(path, BEGINNINGS, overwrite, inputs)
