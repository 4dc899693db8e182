"""The prepared folder: what `bitjets_mlx.prepare` writes and training and evaluation read.

manifest.json   format, audio conventions, speakers, symbols, normalization statistics; written last
clips.jsonl     one clip a line
features/<speaker>/<id>.npz
checks.csv, checks.png   what was found in the recordings
"""

import copy
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated

import numpy as np

from bitjets_mlx.checked import Range
from bitjets_mlx.config import AudioConfig, FeatureStatistics, from_json, to_json
from bitjets_mlx.data.features import Features, load_features
from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.files import atomic_write_bytes, read_json, write_json

FORMAT = 1
Count = Annotated[int, Range(0, 1 << 40)]
PREPARE_AGAIN = "run `python -m bitjets_mlx.prepare` again"


@dataclass(frozen=True)
class Clip:
    """One recording with its transcript."""

    id: str
    speaker: str
    text: str
    phonemes: tuple[str, ...]
    split: str  # "train" or "validation"
    frames: Count
    samples: Count
    features: str  # path inside the prepared folder


@dataclass(frozen=True)
class Manifest:
    """manifest.json."""

    format: int
    audio: AudioConfig
    speakers: tuple[str, ...]
    symbols: tuple[str, ...]
    statistics: FeatureStatistics
    clips: Count
    minutes: float = 0.0


class PreparedData:
    """A prepared folder, checked when opened; features are read clip by clip.

    `.audio`, `.speakers`, `.symbols`, `.statistics` and `.clips` are what the manifest says.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        manifest = self._read_manifest()
        self.audio, self.statistics = manifest.audio, manifest.statistics
        self.speakers, self.symbols = manifest.speakers, manifest.symbols
        self.clips = self._read_clips(manifest.clips)

    def with_statistics(self, statistics: FeatureStatistics) -> "PreparedData":
        """The same clips, normalized otherwise."""
        other = copy.copy(self)
        other.statistics = statistics
        return other

    def split(self, name: str) -> list[Clip]:
        """The clips of "train", "validation" or "all"."""
        if name not in ("train", "validation", "all"):
            raise BitjetsError(f"There is no split {name!r}: take train, validation or all.")
        return [clip for clip in self.clips if name in ("all", clip.split)]

    def encode(self, phonemes: Sequence[str]) -> list[int]:
        """Indices into `symbols`; BitjetsError naming one that is not there."""
        index = {symbol: number for number, symbol in enumerate(self.symbols)}
        unknown = [phoneme for phoneme in phonemes if phoneme not in index]
        if unknown:
            raise BitjetsError(f"{self.folder} has a clip with the unknown symbol {unknown[0]!r}: {PREPARE_AGAIN}.")
        return [index[phoneme] for phoneme in phonemes]

    def load(self, clip: Clip) -> Features:
        """The features of one clip; BitjetsError where its file is missing or damaged."""
        features = load_features(self.folder / clip.features)
        if features.mel.shape != (clip.frames, self.audio.n_mels) or len(features.audio) != clip.samples:
            raise BitjetsError(f"{self.folder / clip.features} is of another version: {PREPARE_AGAIN}.")
        return features

    def _read_manifest(self) -> Manifest:
        path = self.folder / "manifest.json"
        try:
            manifest = from_json(Manifest, read_json(path), str(path))
        except (FileNotFoundError, NotADirectoryError):
            raise BitjetsError(
                f"{self.folder} holds no prepared data: run `python -m bitjets_mlx.prepare ... --out {self.folder}`."
            ) from None
        except BitjetsError as error:
            raise BitjetsError(f"{str(error).rstrip('.')}: {PREPARE_AGAIN}.") from None
        if manifest.format != FORMAT or len(manifest.statistics.gain) != len(manifest.speakers):
            raise BitjetsError(f"{path} is damaged or of another version: {PREPARE_AGAIN}.")
        return manifest

    def _read_clips(self, count: int) -> list[Clip]:
        path = self.folder / "clips.jsonl"
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
            clips = [from_json(Clip, json.loads(line), str(path)) for line in lines]
        except (OSError, ValueError, RecursionError, BitjetsError):
            clips = []
        if len(clips) != count or not all(map(self._is_good, clips)):
            raise BitjetsError(f"{path} is missing or damaged: {PREPARE_AGAIN}.")
        return clips

    def _is_good(self, clip: Clip) -> bool:
        """Whether a clip is of a known kind, and its names, which others make paths of, lead nowhere else."""
        path = PurePosixPath(clip.features)
        names = (clip.id, clip.speaker)
        return (
            clip.split in ("train", "validation")
            and clip.speaker in self.speakers
            and not path.is_absolute()
            and ".." not in path.parts
            and all(name not in ("", ".", "..") and "/" not in name and "\0" not in name for name in names)
        )


def write_prepared(
    folder: Path,
    speakers: Sequence[str],
    symbols: Sequence[str],
    statistics: FeatureStatistics,
    clips: Sequence[Clip],
) -> None:
    """Write `clips.jsonl`, then `manifest.json`, which makes the folder count as prepared."""
    lines = "".join(json.dumps(asdict(clip), ensure_ascii=False) + "\n" for clip in clips)
    atomic_write_bytes(folder / "clips.jsonl", lines.encode())
    manifest = {
        "format": FORMAT,
        "audio": to_json(AudioConfig()),
        "speakers": list(speakers),
        "symbols": list(symbols),
        "statistics": to_json(statistics),
        "clips": len(clips),
        "minutes": round(sum(clip.samples for clip in clips) / AudioConfig().sample_rate / 60, 2),
    }
    write_json(folder / "manifest.json", manifest)


class Moments:
    """Running mean and standard deviation over the first axis, in float64."""

    def __init__(self) -> None:
        self.count, self.total, self.squares = 0, np.zeros(1), np.zeros(1)

    def add(self, values: np.ndarray) -> None:
        """values: (T,) or (T, C)."""
        values = values.astype(np.float64).reshape(len(values), -1)  # (T, C)
        self.count += len(values)
        self.total = self.total + values.sum(axis=0)
        self.squares = self.squares + np.square(values).sum(axis=0)

    def mean_and_std(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """One value per channel; the deviation is at least 1e-3, as features are divided by it."""
        mean = self.total / max(self.count, 1)
        variance = np.maximum(self.squares / max(self.count, 1) - np.square(mean), 1e-6)
        return tuple(map(float, mean)), tuple(map(float, np.sqrt(variance)))


def measure_statistics(
    features: Iterable[tuple[str, Features]], speakers: Sequence[str], gains: Sequence[float]
) -> FeatureStatistics:
    """Mel statistics over all clips, those of F0 (voiced frames) and energy for each speaker."""
    mel = Moments()
    pitch = {speaker: Moments() for speaker in speakers}
    loudness = {speaker: Moments() for speaker in speakers}
    for speaker, clip in features:
        mel.add(clip.mel)
        pitch[speaker].add(clip.log_f0[clip.voiced])
        loudness[speaker].add(clip.energy)
    mel_mean, mel_std = mel.mean_and_std()
    f0 = [pitch[speaker].mean_and_std() for speaker in speakers]
    energies = [loudness[speaker].mean_and_std() for speaker in speakers]
    return FeatureStatistics(
        mel_mean=mel_mean,
        mel_std=mel_std,
        log_f0_mean=tuple(mean[0] for mean, _ in f0),
        log_f0_std=tuple(std[0] for _, std in f0),
        energy_mean=tuple(mean[0] for mean, _ in energies),
        energy_std=tuple(std[0] for _, std in energies),
        gain=tuple(gains),
    )
