"""What the vocoder stage trains on: random segments of the training clips."""

from pathlib import Path

import mlx.core as mx
import numpy as np

from bitjets_mlx.data.prepared import PreparedData
from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.training.config import TrainConfig
from bitjets_mlx.training.shards import seeds_for
from bitjets_mlx.training.teacher_forced import teacher_forced_mels
from bitjets_mlx.training.vocoder_step import Batch


class SegmentReader:
    """Segments drawn evenly from all places where one can start, as a pure function of seed, update and micro-batch.

    With teacher-forced mels half of the segments have the acoustic model's in place of the recorded ones.
    """

    def __init__(self, data: PreparedData, config: TrainConfig, group: mx.distributed.Group, run: Path) -> None:
        self.data, self.config, self.group, self.hop = data, config, group, data.audio.hop
        own = config.vocoder_training
        self.frames = own.segment_frames
        self.clips = [clip for clip in data.split("train") if clip.frames >= self.frames]
        if not self.clips:
            raise BitjetsError(f"no training clip has {self.frames} frames: give --segment-frames a smaller number.")
        self.ends = np.cumsum([clip.frames - self.frames + 1 for clip in self.clips])
        self.mels: list[np.ndarray] = []
        if own.teacher_forced:
            self.mels = teacher_forced_mels(Path(own.teacher_forced), data, self.clips, run, write=group.rank() == 0)

    def shards(self, number: int, micro: int, count: int) -> list[Batch]:
        """This process's part of a micro-batch, cut into `count` shards, each with a random key of its own."""
        seed, size, rank = self.config.seed, self.config.batch_size, self.group.rank()
        random = np.random.default_rng((seed, number, micro))
        places = random.integers(0, self.ends[-1], size * self.group.size())
        forced = random.random(len(places)) < 0.5 if self.mels else np.zeros(len(places), dtype=bool)
        mine = slice(rank * size, (rank + 1) * size)
        rows = [self._segment(int(place), bool(own)) for place, own in zip(places[mine], forced[mine], strict=True)]
        keys = seeds_for(seed, number, micro, rank, count=count)
        part = len(rows) // count
        return [
            {name: mx.array(np.stack([row[name] for row in rows[i * part : (i + 1) * part]])) for name in rows[0]}
            | {"key": mx.random.key(key)}
            for i, key in enumerate(keys)
        ]

    def _segment(self, place: int, forced: bool) -> dict[str, np.ndarray]:
        """The segment at that place, its mel as recorded or teacher-forced."""
        index = int(np.searchsorted(self.ends, place, side="right"))
        start = int(place - (self.ends[index - 1] if index else 0))
        features = self.data.load(self.clips[index])
        frames = slice(start, start + self.frames)
        return {
            "mel": self.mels[index][frames].astype(np.float32) if forced else features.mel[frames],
            "log_f0": features.log_f0[frames],
            "voiced": features.voiced[frames].astype(np.float32),
            "audio": features.audio[frames.start * self.hop : frames.stop * self.hop],
        }
