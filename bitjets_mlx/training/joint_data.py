"""What joint training reads: the acoustic stage's batches, and of every clip a random segment of the recording."""

from typing import NamedTuple

import mlx.core as mx
import numpy as np

from bitjets_mlx.data.prepared import Clip, PreparedData
from bitjets_mlx.training.acoustic_data import Item, normalized


class Segments(NamedTuple):
    """A segment of S frames of every clip. A clip that ends within it is silent beyond."""

    start: mx.array  # (B,) int32, the first frame
    inside: mx.array  # (B, S), 1 up to the clip's end
    log_f0: mx.array  # (B, S) log Hz, as recorded
    voiced: mx.array  # (B, S)
    audio: mx.array  # (B, S * 256)


def read_clip_and_audio(data: PreparedData, clip: Clip) -> Item:
    """`read_clip`, and what the vocoder needs: F0 in log Hz, without holes, and the samples."""
    features = data.load(clip)
    samples = clip.frames * data.audio.hop
    sound = {"audio_f0": features.log_f0.astype(np.float32), "audio": features.audio[:samples].astype(np.float32)}
    return normalized(data, clip, features) | sound


def with_places(items: list[Item], places: np.ndarray) -> list[Item]:
    """The items, each with where its segment begins: places (B,), 0 to 1, of all frames where one can."""
    return [item | {"place": place} for item, place in zip(items, places, strict=True)]


def cut_segments(items: list[Item], frames: int, hop: int) -> Segments:
    """A segment of `frames` frames at each clip's place; of a short clip from its beginning."""
    spare = [max(len(item["mel"]) - frames, 0) for item in items]
    starts = [int(item["place"] * (frames_left + 1)) for item, frames_left in zip(items, spare, strict=True)]
    return segments_at(items, starts, frames, hop)


def segments_at(items: list[Item], starts: list[int], frames: int, hop: int) -> Segments:
    """The segments that begin at given frames."""
    rows = [_segment(item, start, frames, hop) for item, start in zip(items, starts, strict=True)]
    arrays = [mx.array(np.stack(column)) for column in zip(*rows, strict=True)]
    return Segments(mx.array(starts, dtype=mx.int32), *arrays)


def _segment(item: Item, start: int, frames: int, hop: int) -> tuple[np.ndarray, ...]:
    part = slice(start, start + frames)
    missing = frames - len(item["voiced"][part])
    inside = np.pad(np.ones(frames - missing, np.float32), (0, missing))
    log_f0 = np.pad(item["audio_f0"][part], (0, missing), mode="edge")
    voiced = np.pad(item["voiced"][part], (0, missing))
    audio = item["audio"][start * hop : (start + frames) * hop]
    return inside, log_f0, voiced, np.pad(audio, (0, frames * hop - len(audio)))
