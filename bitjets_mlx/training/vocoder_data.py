"""What the vocoder stage trains on: random segments of the training clips, with recorded or teacher-forced mels.

An acoustic model's mels are smoother than recorded ones. A vocoder that has met them (GTA; HiFi-GAN's fine-tuning,
arXiv:2010.05646, section 4.4), each with its recording, gives them back what they lack.
"""

from pathlib import Path

import mlx.core as mx
import numpy as np

from bitjets_mlx.acoustic.model import BitJets
from bitjets_mlx.config import AcousticConfig
from bitjets_mlx.data.prepared import Clip, PreparedData
from bitjets_mlx.data.progress import progress
from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.training.config import TrainConfig
from bitjets_mlx.training.shards import seeds_for
from bitjets_mlx.training.validation import example
from bitjets_mlx.training.vocoder_step import Batch
from bitjets_mlx.training.warm_start import check_mels, read_init
from bitjets_mlx.voice.weights_file import read_weights, write_weights

CACHES = ("teacher_forced_mels.safetensors", "spoken_mels.safetensors")  # of this version, and of older runs


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


def teacher_forced_mels(
    source: Path, data: PreparedData, clips: list[Clip], run: Path, write: bool
) -> list[np.ndarray]:
    """The mels of the acoustic run or `_trainable` folder `source` for every clip: (T, 80) float16, log mel.

    Kept in the folder `run` (written where `write` says so): a resumed run reads them, and does not notice that
    `source` was trained on. BitjetsError where `source` does not have the data's speakers, or a clip cannot be aligned.
    """
    names = [f"{clip.speaker}/{clip.id}" for clip in clips]
    for cache in (run / name for name in CACHES):
        if cache.exists():
            mels = read_weights(cache)
            if set(mels) != set(names):
                raise BitjetsError(f"{cache} is of other clips: begin a new run with another --out.")
            return [mels[name] for name in names]
    init = read_init(source, "acoustic")
    check_mels(source, init, data.audio.n_mels)
    assert isinstance(init.model, AcousticConfig) and init.statistics is not None
    if init.speakers != data.speakers:
        raise BitjetsError(
            f"{source} has the speakers {', '.join(init.speakers)}, the data {', '.join(data.speakers)}: "
            "give an acoustic model that was trained on this data."
        )
    model = BitJets(init.model, with_aligner=True)
    model.update(init.weights)
    own = data.with_statistics(init.statistics)
    forced = (example(model, own, clip).predicted.astype(np.float16) for clip in clips)
    mels = dict(zip(names, progress(forced, len(clips), "teacher-forced mels"), strict=True))
    if write:
        run.mkdir(parents=True, exist_ok=True)
        write_weights(run / CACHES[0], mels)
    return [mels[name] for name in names]
