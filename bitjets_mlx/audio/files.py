"""Sound files in and out: any rate and channel count in, 22,050 Hz mono; 16-bit PCM out.

On the speaking path, so neither librosa nor scipy: resampling is a windowed sinc in numpy.
"""

import io
import math
import struct
import warnings
from functools import lru_cache
from pathlib import Path

import numpy as np
import soundfile

from bitjets_mlx.config import SAMPLE_RATE
from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.files import atomic_write_bytes

LOWEST_RATE, HIGHEST_RATE = 4000, 192_000
LONGEST = 600  # seconds of one file
MOST_CHANNELS = 32
UNKNOWN_LENGTH = 1 << 62  # what libsndfile says of streams
BLOCK = 1 << 16  # frames decoded at a time


def read_audio(path: str | Path, sample_rate: int = SAMPLE_RATE) -> np.ndarray:
    """The samples of a sound file as mono float32 (S,) at `sample_rate`, nominally in [-1, 1].

    Channels are averaged, other rates resampled. BitjetsError where the file is missing, empty, truncated,
    no sound file, or holds NaN or infinity.
    """
    return read_audio_as_recorded(path, sample_rate)[0]


def read_audio_as_recorded(path: str | Path, sample_rate: int = SAMPLE_RATE) -> tuple[np.ndarray, int, int]:
    """As `read_audio`, with the file's own sample rate and channel count."""
    path = Path(path)
    if not path.is_file():
        raise BitjetsError(f"There is no file {path}.")
    if path.stat().st_size == 0:
        raise BitjetsError(f"{path} is empty (0 bytes): record or copy it again.")
    _check_complete_wav(path)
    try:
        with soundfile.SoundFile(path) as file:
            promised, rate, channels = file.frames, file.samplerate, file.channels
            _check_bounds(path, rate, channels, sample_rate)
            audio = _mono(path, file, LONGEST * rate)  # (S,)
    except (soundfile.LibsndfileError, RuntimeError, ValueError, MemoryError) as error:
        raise BitjetsError(f"{path} cannot be read as sound ({_reason(error)}): convert or copy it again.") from None
    if len(audio) < promised:
        raise BitjetsError(f"{path} is truncated ({len(audio)} of {promised} samples): copy it again.")
    if not audio.size:
        raise BitjetsError(f"{path} holds no samples: record or copy it again.")
    if not np.isfinite(audio).all():
        raise BitjetsError(f"{path} holds samples that are not finite numbers (NaN or infinity): export it again.")
    return resample(audio, rate, sample_rate), rate, channels


def _check_bounds(path: Path, rate: int, channels: int, sample_rate: int) -> None:
    """BitjetsError before anything is decoded: a file of kilobytes can stand for gigabytes of samples."""
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise BitjetsError(f"{path} has a sample rate of {rate} Hz: convert it to {sample_rate} Hz first.")
    if channels > MOST_CHANNELS:
        raise BitjetsError(f"{path} has {channels} channels, and at most {MOST_CHANNELS} are read: mix it down first.")


def _mono(path: Path, file: soundfile.SoundFile, most: int) -> np.ndarray:
    """The mean of all channels (S,), decoded in pieces: not every file says how long it is, or tells the truth."""
    pieces: list[np.ndarray] = []
    count, known = 0, 0 < file.frames < UNKNOWN_LENGTH
    while (not known or file.frames <= most) and count <= most:
        block = file.read(BLOCK, dtype="float32", always_2d=True)  # (frames, channels)
        if not len(block):
            return np.concatenate(pieces) if pieces else np.zeros(0, np.float32)
        pieces.append(block.mean(axis=1, dtype=np.float32) if block.shape[1] > 1 else block[:, 0])
        count += len(block)
    raise BitjetsError(f"{path} is longer than {LONGEST // 60} minutes: cut it into sentences.")


def _reason(error: BaseException) -> str:
    text = str(error).split(": ")[-1].strip().rstrip(".")
    return text or type(error).__name__


def _check_complete_wav(path: Path) -> None:
    """A WAV says how long it is, and libsndfile silently reads what is left of it: compare with the file."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        head = file.read(12)
        if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
            return
        while len(chunk := file.read(8)) == 8:
            name, length = chunk[:4], struct.unpack("<I", chunk[4:])[0]
            if name == b"data":
                streamed = length == 0xFFFFFFFF  # written to a pipe: the length was not known
                if not streamed and file.tell() + length > size:
                    missing = file.tell() + length - size
                    raise BitjetsError(f"{path} is truncated ({missing} bytes are missing): copy it again.")
                return
            file.seek(length + length % 2, io.SEEK_CUR)
    raise BitjetsError(f"{path} is truncated (a WAV file without sound data): copy it again.")


def resample(audio: np.ndarray, rate: int, new_rate: int) -> np.ndarray:
    """Band-limited resampling with a Kaiser-windowed sinc: float (S,) -> float32 (ceil(S new_rate / rate),)."""
    if rate == new_rate:
        return np.ascontiguousarray(audio, dtype=np.float32)
    divisor = math.gcd(rate, new_rate)
    up, down = new_rate // divisor, rate // divisor
    kernels = _sinc_kernels(up, down)  # (up, taps)
    taps = kernels.shape[1]
    padded = np.pad(audio.astype(np.float32), (taps // 2 - 1, taps // 2 + 1))
    windows = np.lib.stride_tricks.sliding_window_view(padded, taps)  # row s: the inputs around sample s
    length = -(-len(audio) * up // down)
    output = np.empty(length, np.float32)
    for start in range(0, length, 1 << 15):  # in blocks, as the gathered windows are large
        place = np.arange(start, min(start + (1 << 15), length), dtype=np.int64) * down
        output[start : start + len(place)] = np.einsum("st,st->s", windows[place // up], kernels[place % up])
    return output


@lru_cache(maxsize=4)
def _sinc_kernels(up: int, down: int, zero_crossings: int = 24, beta: float = 9.0) -> np.ndarray:
    """Interpolation kernels for the `up` places between two input samples: (up, taps)."""
    cutoff = 0.95 * min(1.0, up / down)  # of the input's Nyquist frequency; the rest is transition band
    half = math.ceil(zero_crossings / cutoff)
    taps = np.arange(-half + 1, half + 1)  # input samples around each output sample
    offset = taps[None, :] - np.arange(up)[:, None] / up  # (up, taps)
    window = np.i0(beta * np.sqrt(np.maximum(0.0, 1 - (offset / half) ** 2))) / np.i0(beta)
    kernels = window * np.sinc(cutoff * offset)
    return (kernels / kernels.sum(axis=1, keepdims=True)).astype(np.float32)


def write_wav(path: str | Path, audio: np.ndarray, sample_rate: int = SAMPLE_RATE) -> None:
    """Write float samples (S,) as a mono 16-bit PCM WAV, whole or not at all.

    Audio that goes beyond [-1, 1] is turned down as a whole, with a warning, instead of being clipped.
    """
    path = Path(path)
    audio = np.asarray(audio, dtype=np.float32)
    if audio.ndim != 1 or not audio.size:
        raise BitjetsError(f"There is no sound to write to {path}: got an array of shape {audio.shape}.")
    if not np.isfinite(audio).all():
        raise BitjetsError(f"The sound for {path} holds NaN or infinity: the model's weights are damaged.")
    if not path.parent.is_dir():
        raise BitjetsError(f"There is no folder {path.parent}: make it first.")
    peak = float(np.abs(audio).max())
    if peak > 1.0:
        warnings.warn(f"{path}: turned down by {20 * math.log10(peak):.1f} dB so that it does not clip", stacklevel=2)
        audio = audio / peak
    memory = io.BytesIO()
    soundfile.write(memory, np.round(audio * 32767.0).astype(np.int16), sample_rate, "PCM_16", format="WAV")
    atomic_write_bytes(path, memory.getvalue())
