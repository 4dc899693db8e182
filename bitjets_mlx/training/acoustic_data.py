"""What the acoustic stage trains on: clips read and normalized ahead of time, padded, counted, cut into shards."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import mlx.core as mx
import numpy as np

from bitjets_mlx.acoustic.aligner import beta_binomial_prior
from bitjets_mlx.data.features import Features
from bitjets_mlx.data.prepared import Clip, PreparedData
from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.training.acoustic_losses import AcousticBatch
from bitjets_mlx.training.batches import BatchPlan, MicroBatch, pad

Item = dict[str, np.ndarray]
MOST_REPEATS = 3  # of a speaker with little speech: more, and the model overfits these few clips


class AcousticReader:
    """Reads each update's clips, one update ahead in a thread of its own.

    `plan` covers all processes; this one reads the rows `rank * batch_size` to `(rank + 1) * batch_size` of every
    micro-batch.
    """

    def __init__(
        self,
        data: PreparedData,
        plan: BatchPlan,
        clips: list[Clip],
        rank: int,
        batch_size: int,
        accumulate: int,
        read: Callable[[PreparedData, Clip], Item] | None = None,
    ) -> None:
        """`read` reads one clip; `read_clip` by default."""
        self.data, self.plan, self.clips, self.read = data, plan, clips, read or read_clip
        self.mine = slice(rank * batch_size, (rank + 1) * batch_size)
        self.accumulate = accumulate
        self._thread = ThreadPoolExecutor(1)
        self._next: tuple[int, Future[list[list[Item]]]] | None = None

    def micro_batches(self, update: int) -> list[tuple[list[Item], MicroBatch]]:
        """The clips of update number `update`, counted from 0, and the shape of each micro-batch."""
        if self._next is None or self._next[0] != update:
            self._next = (update, self._thread.submit(self._read, update))
        items = self._next[1].result()
        self._next = (update + 1, self._thread.submit(self._read, update + 1))
        return list(zip(items, self._plans(update), strict=True))

    def _plans(self, update: int) -> list[MicroBatch]:
        return [self.plan[update * self.accumulate + index] for index in range(self.accumulate)]

    def _read(self, update: int) -> list[list[Item]]:
        return [
            [self.read(self.data, self.clips[clip]) for clip in micro.clips[self.mine]] for micro in self._plans(update)
        ]


def usable_clips(data: PreparedData, split: str) -> list[Clip]:
    """Clips of a split that can be aligned: no fewer frames than tokens."""
    clips = [clip for clip in data.split(split) if clip.frames >= len(clip.phonemes)]
    if not clips:
        raise BitjetsError(f"the prepared data has no usable {split} clips: run prepare on more recordings.")
    return clips


def balanced(clips: list[Clip]) -> list[Clip]:
    """The clips, those of a speaker with less speech than another's two or three times, so that all count alike."""
    frames: Counter[str] = Counter()
    for clip in clips:
        frames[clip.speaker] += clip.frames
    most = max(frames.values())
    times = {speaker: min(round(most / own), MOST_REPEATS) for speaker, own in frames.items()}
    return [clip for clip in clips for _ in range(times[clip.speaker])]


def read_clip(data: PreparedData, clip: Clip) -> Item:
    """One clip's features, normalized as the model wants them."""
    return normalized(data, clip, data.load(clip))


def normalized(data: PreparedData, clip: Clip, features: Features) -> Item:
    """`read_clip` of features that are there already."""
    statistics = data.statistics
    speaker = data.speakers.index(clip.speaker)
    mel = (features.mel - np.array(statistics.mel_mean)) / np.array(statistics.mel_std)
    log_f0 = (features.log_f0 - statistics.log_f0_mean[speaker]) / statistics.log_f0_std[speaker]
    energy = (features.energy - statistics.energy_mean[speaker]) / statistics.energy_std[speaker]
    return {
        "tokens": np.array(data.encode(clip.phonemes), dtype=np.int32),
        "speaker": np.array(speaker, dtype=np.int32),
        "mel": mel.astype(np.float32),
        "log_f0": (log_f0 * features.voiced).astype(np.float32),
        "voiced": features.voiced.astype(np.float32),
        "energy": energy.astype(np.float32),
    }


def dealt(items: list[Item], count: int) -> list[list[Item]]:
    """Clips in `count` shards that take about as long: the longest first, dealt out back and forth."""
    order = sorted(items, key=lambda item: len(item["mel"]), reverse=True)
    rounds = [order[i : i + count] for i in range(0, len(order), count)]
    return [list(shard) for shard in zip(*(row[:: (-1) ** i] for i, row in enumerate(rounds)), strict=True)]


def collate(items: list[Item], shape: MicroBatch | None = None) -> AcousticBatch:
    """Clips padded to the bucket's shape, or, where no shape costs a compilation, to the longest."""
    tokens, frames = [item["tokens"] for item in items], [item["mel"] for item in items]
    shape = shape or MicroBatch((), max(map(len, frames)), max(map(len, tokens)))
    prior = np.zeros((len(items), shape.frames, shape.tokens), dtype=np.float32)
    for row, text, mel in zip(prior, tokens, frames, strict=True):
        row[: len(mel), : len(text)] = beta_binomial_prior(len(text), len(mel))

    def padded(name: str, length: int) -> mx.array:
        return mx.array(pad([item[name] for item in items], length))

    return AcousticBatch(
        tokens=padded("tokens", shape.tokens),
        token_lengths=mx.array([len(row) for row in tokens]),
        speakers=mx.array([int(item["speaker"]) for item in items]),
        mel=padded("mel", shape.frames),
        log_f0=padded("log_f0", shape.frames),
        voiced=padded("voiced", shape.frames),
        energy=padded("energy", shape.frames),
        frame_lengths=mx.array([len(row) for row in frames]),
        prior=mx.array(prior),
    )


def counts_of(batch: AcousticBatch) -> mx.array:
    """Frames, voiced frames, tokens and utterances of a batch, in the order of `Counts`: (4,)."""
    return mx.stack(
        [
            mx.sum(batch.frame_lengths).astype(mx.float32),
            mx.sum(batch.voiced),
            mx.sum(batch.token_lengths).astype(mx.float32),
            mx.array(float(len(batch.tokens))),
        ]
    )
