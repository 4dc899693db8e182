"""Training features of one clip: mel, F0, voicing, energy and the samples, in one .npz written atomically."""

import json
import zipfile
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path

import mlx.core as mx
import numpy as np

from bitjets_mlx.audio.files import read_audio
from bitjets_mlx.audio.pitch import PitchConfig, extract_pitch
from bitjets_mlx.audio.spectrogram import energy, magnitude, magnitude_to_log_mel
from bitjets_mlx.config import AudioConfig
from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.files import atomic_write

FEATURES_VERSION = 1  # raise it when the arithmetic here changes: cached features are then made again
INT16 = 32768.0


@dataclass(frozen=True)
class Features:
    """Features of one clip; T frames of 256 samples. float32 but for `voiced`."""

    mel: np.ndarray  # (T, 80) natural log
    log_f0: np.ndarray  # (T,) natural log of Hz, interpolated through unvoiced stretches
    voiced: np.ndarray  # (T,) bool
    energy: np.ndarray  # (T,) natural log of the L2 norm of the magnitude frame
    audio: np.ndarray  # (T * 256,) samples after the speaker's gain


@dataclass(frozen=True)
class Job:
    """One clip to be extracted: which samples of which file, how loud, and where to."""

    source: Path
    sha256: str
    start: int
    end: int
    gain: float
    output: Path

    def recipe(self) -> str:
        """Everything the features depend on; stored with them, so that stale ones are recognized."""
        values = (
            FEATURES_VERSION,
            asdict(AudioConfig()),
            asdict(PitchConfig()),
            self.sha256,
            self.start,
            self.end,
        )
        return json.dumps([*values, round(self.gain, 6)])


def extract(samples: np.ndarray) -> Features:
    """Features of float samples (S,) at 22,050 Hz, rounded to 16 bit first; S is cut to a multiple of 256."""
    config = AudioConfig()
    count = len(samples) // config.hop
    audio = np.clip(np.round(samples[: count * config.hop] * INT16), 1 - INT16, INT16 - 1).astype(np.float32) / INT16
    magnitudes = magnitude(mx.array(audio)[None], config.n_fft, config.hop)  # (1, T, 513)
    mel, norm = magnitude_to_log_mel(magnitudes, config)[0], mx.log(energy(magnitudes))[0]  # (T, 80), (T,)
    f0, voiced = extract_pitch(audio)
    log_f0 = np.log(f0) if voiced.any() else np.full(count, np.log(200.0))
    return Features(np.array(mel), log_f0.astype(np.float32), voiced, np.array(norm), audio)


def extract_to_file(job: Job) -> str:
    """Extract one clip into its .npz. Returns what went wrong, or nothing; raises OSError only."""
    try:
        samples = read_audio(job.source)[job.start : job.end] * job.gain
        features = extract(samples)
    except BitjetsError as error:
        return str(error)
    except OSError:
        raise  # a full disk or a missing permission will meet every other clip too
    except Exception as error:
        return f"features could not be extracted ({type(error).__name__}: {error})"
    arrays = {**vars(features), "audio": np.round(features.audio * INT16).astype(np.int16)}
    job.output.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(job.output, sync=False) as temporary, open(temporary, "wb") as file:
        np.savez(file, recipe=np.array(job.recipe()), **arrays)
    return ""


def is_current(job: Job) -> bool:
    """Whether the .npz is there, whole in every array, and made by the same recipe."""
    try:
        return _read(job.output)[1] == job.recipe()
    except BitjetsError:
        return False


def load_features(path: Path) -> Features:
    """Read one .npz; BitjetsError where it is missing or damaged."""
    return _read(path)[0]


def _read(path: Path) -> tuple[Features, str]:
    """Features, and the recipe that they were made by."""
    try:
        with zipfile.ZipFile(path) as archive:  # nothing in it may claim more than the file's own size
            if sum(entry.file_size for entry in archive.infolist()) > path.stat().st_size:
                raise ValueError("it claims to be larger than it is")
        with np.load(path) as arrays:
            audio = arrays["audio"].astype(np.float32) / INT16
            features = Features(arrays["mel"], arrays["log_f0"], arrays["voiced"], arrays["energy"], audio)
            recipe = str(arrays["recipe"]) if "recipe" in arrays else ""
        _check(features)
        return features, recipe
    except (OSError, ValueError, LookupError, EOFError, MemoryError, RuntimeError, zipfile.BadZipFile, zlib.error):
        raise BitjetsError(f"{path} is missing or damaged: run `python -m bitjets_mlx.prepare` again.") from None


def _check(features: Features) -> None:
    """ValueError where the arrays do not belong together."""
    config, frames = AudioConfig(), len(features.mel)
    shapes = {"mel": (frames, config.n_mels), "audio": (frames * config.hop,)}
    for name, array in vars(features).items():
        kind = np.bool_ if name == "voiced" else np.float32
        if array.shape != shapes.get(name, (frames,)) or array.dtype != kind or not np.isfinite(array).all():
            raise ValueError(f"{name} is damaged")
