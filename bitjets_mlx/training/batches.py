"""Which clips go into which micro-batch: length buckets with one padded shape each, so that nothing recompiles.

The plan is a pure function of (seed, number of the micro-batch): a resumed run needs nothing but its update number.
"""

from dataclasses import dataclass

import numpy as np

FRAME_STEP = 32
TOKEN_STEP = 8


@dataclass(frozen=True)
class MicroBatch:
    """Clip numbers of one micro-batch over all processes, and the shape they are padded to."""

    clips: tuple[int, ...]
    frames: int
    tokens: int


class BatchPlan:
    """Shuffled micro-batches of clips of similar length."""

    def __init__(self, frames: np.ndarray, tokens: np.ndarray, size: int, seed: int, buckets: int = 10) -> None:
        """frames, tokens (clips,): lengths; `size` clips per micro-batch, over all processes together."""
        self.size, self.seed = size, seed
        edges = np.unique(np.quantile(frames, np.linspace(0, 1, buckets + 1)[1:], method="higher"))
        bucket = np.searchsorted(edges, frames)
        self.buckets = [np.flatnonzero(bucket == i) for i in range(len(edges))]
        self.shapes = [
            (_round_up(int(frames[clips].max()), FRAME_STEP), _round_up(int(tokens[clips].max()), TOKEN_STEP))
            for clips in self.buckets
        ]
        self.per_epoch = sum(-(-len(clips) // size) for clips in self.buckets)
        self._epoch: tuple[int, list[MicroBatch]] = (-1, [])

    def __getitem__(self, number: int) -> MicroBatch:
        """The micro-batch of that number, counted from 0 over the whole training."""
        epoch, position = divmod(number, self.per_epoch)
        if self._epoch[0] != epoch:
            self._epoch = (epoch, self._shuffled(epoch))
        return self._epoch[1][position]

    def _shuffled(self, epoch: int) -> list[MicroBatch]:
        random = np.random.default_rng((self.seed, epoch))
        batches = []
        for clips, (frames, tokens) in zip(self.buckets, self.shapes, strict=True):
            missing = -len(clips) % self.size  # the last one is filled with clips seen twice in this epoch
            order = np.concatenate([random.permutation(clips), random.choice(clips, missing)])
            for chosen in order.reshape(-1, self.size):
                batches.append(MicroBatch(tuple(int(clip) for clip in chosen), frames, tokens))
        shuffled = [batches[i] for i in random.permutation(len(batches))]
        return _paired(shuffled, random, first=epoch * self.per_epoch)


def _paired(batches: list[MicroBatch], random: np.random.Generator, first: int) -> list[MicroBatch]:
    """Long micro-batches side by side with short ones, the pairs at even numbers; the first one's number is `first`.

    With an even `accumulate` every update then has about as many frames. Otherwise long clips, whose updates have
    many, would count less than short ones, since the losses are means over an update's frames.
    """
    by_length = sorted(batches, key=lambda batch: batch.frames)
    half = len(batches) // 2
    pairs = [(by_length[i], by_length[-1 - i]) for i in range(half)]
    paired = [batch for i in random.permutation(half) for batch in pairs[i]]
    single = by_length[half : len(batches) - half]  # of an odd number the middle one; two epochs' meet in one update
    return single + paired if first % 2 else paired + single


def padded_shape(clips: tuple[int, ...], frames: int, tokens: int) -> MicroBatch:
    """A micro-batch whose longest clip has so many frames and tokens."""
    return MicroBatch(clips, _round_up(frames, FRAME_STEP), _round_up(tokens, TOKEN_STEP))


def _round_up(number: int, step: int) -> int:
    return -(-number // step) * step


def pad(rows: list[np.ndarray], length: int) -> np.ndarray:
    """Rows (t_i, ...) -> one array (B, length, ...) with zeros beyond each row's end."""
    out = np.zeros((len(rows), length, *rows[0].shape[1:]), dtype=rows[0].dtype)
    for target, row in zip(out, rows, strict=True):
        target[: len(row)] = row
    return out
