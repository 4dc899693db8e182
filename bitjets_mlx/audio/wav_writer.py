"""A WAV file written piece by piece, so that long speech never has to fit into memory."""

import os
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.files import atomic_write

LARGEST_DATA = 2**32 - 1 - 36  # a WAV says its size in 32 bits


class WavWriter:
    """Appends float samples as mono 16-bit PCM. `samples` counts what was written."""

    def __init__(self, file: BinaryIO, sample_rate: int) -> None:
        self.samples = 0
        self._file, self._sample_rate = file, sample_rate
        self._file.write(self._header())

    def write(self, audio: np.ndarray) -> None:
        """Append float samples (S,) in [-1, 1]; BitjetsError where one is not finite, or 4 GB are full."""
        if not np.isfinite(audio).all():
            raise BitjetsError("the voice produced NaN or infinity: its weights are damaged, fetch them again.")
        self.samples += len(audio)
        if 2 * self.samples > LARGEST_DATA:
            raise BitjetsError("the speech is too long for one WAV file (4 GB): speak it in parts.")
        self._file.write(np.round(np.clip(audio, -1.0, 1.0) * 32767.0).astype("<i2").tobytes())

    def finish(self) -> None:
        """Put the sizes into the header."""
        self._file.seek(0)
        self._file.write(self._header())
        self._file.flush()

    def _header(self) -> bytes:
        data = 2 * self.samples
        form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, self._sample_rate, 2 * self._sample_rate, 2, 16)
        return b"RIFF" + struct.pack("<I", 36 + data) + b"WAVE" + form + b"data" + struct.pack("<I", data)


@contextmanager
def open_wav(path: Path, sample_rate: int) -> Iterator[WavWriter]:
    """A writer whose file appears at `path` when all of it is written; on any error nothing appears.

    BitjetsError where `path` cannot be a file.
    """
    check_output(path)
    with atomic_write(path) as temporary, open(temporary, "wb") as file:
        writer = WavWriter(file, sample_rate)
        yield writer
        writer.finish()


def check_output(path: Path) -> None:
    """BitjetsError where a file cannot be written at `path`: said before any work is done."""
    if not path.parent.is_dir():
        raise BitjetsError(f"there is no folder {path.parent}: make it first.")
    if path.is_dir():
        raise BitjetsError(f"{path} is a folder: give the name of a file.")
    if path.exists() and not stat.S_ISREG(path.stat().st_mode):
        raise BitjetsError(f"{path} is a device, not a file: give the name of a file.")
    if not os.access(path.parent, os.W_OK):
        raise BitjetsError(f"the folder {path.parent} cannot be written to: give another --output.")
