"""One update of the acoustic model: align on the host, then gradients, compiled, then the optimiser.

A micro-batch is cut into shards that run side by side on the CPU backend (`training.shards`).
"""

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import mlx.core as mx
import numpy as np
from mlx.utils import tree_map

from bitjets_mlx.acoustic.aligner import beta_binomial_prior
from bitjets_mlx.acoustic.alignment import forward_sum, monotonic_search, path_matrix
from bitjets_mlx.acoustic.model import BitJets
from bitjets_mlx.config import AcousticConfig
from bitjets_mlx.data.prepared import Clip, PreparedData
from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.ternary.layers import Amount
from bitjets_mlx.text.symbols import encode
from bitjets_mlx.training.acoustic_losses import (
    AcousticBatch,
    AcousticLossWeights,
    Alignment,
    Counts,
    acoustic_loss,
    align_scores,
)
from bitjets_mlx.training.batches import BatchPlan, MicroBatch, pad
from bitjets_mlx.training.optimise import Optimizer, Tree, learning_rate, scalar, tree_add
from bitjets_mlx.training.shards import ShardPool, seeds_for


@dataclass(frozen=True)
class AcousticTraining:
    """Hyper-parameters of the acoustic stage; shares are of the whole run."""

    updates: int = 20000
    batch_size: int = 8
    accumulate: int = 4
    learning_rate: float = 2e-3
    warm_up: int = 300
    hold: float = 0.3
    final_rate: float = 0.02
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.01
    clip: float = 1.0
    ema_decay: float = 0.999
    quantise_from: float = 0.15
    quantise_until: float = 0.3
    binarise_from: float = 0.15
    bf16: bool = False
    seed: int = 0


class AcousticStage:
    """State (parameters, optimiser, EMA) and the update of the acoustic stage."""

    metrics_order = ("mel", "f0", "voicing", "duration", "pitch", "energy", "forward_sum", "binarisation")

    def __init__(self, data: PreparedData, model: AcousticConfig, training: AcousticTraining) -> None:
        self.data, self.training, self.loss_weights = data, training, AcousticLossWeights()
        self.clips = usable_clips(data, "train")
        self.group = mx.distributed.init()
        mx.random.seed(training.seed)
        self.model = BitJets(model, with_aligner=True)
        self.parameters: Tree = self.model.parameters()
        self.optimizer = Optimizer(self.parameters, training.betas, training.clip, training.ema_decay)
        frames = np.array([clip.frames for clip in self.clips])
        tokens = np.array([len(clip.phonemes) for clip in self.clips])
        self.plan = BatchPlan(frames, tokens, training.batch_size * self.group.size(), training.seed)
        self.pool = ShardPool(training.batch_size)
        models = [self.model] + [BitJets(model, with_aligner=True) for _ in range(self.pool.count - 1)]
        self._scores = [mx.compile(partial(_scores, shard)) for shard in models]
        # Three compiled forms: without quantisation, while it is warmed in, and with it.
        self._gradients = {
            kind: [mx.compile(partial(_gradients, shard, self.loss_weights, training.bf16, kind)) for shard in models]
            for kind in ("none", "blend", "full")
        }
        self._reader = ThreadPoolExecutor(1)
        self._next: tuple[int, Future[list[list[dict[str, np.ndarray]]]]] | None = None

    # -- state ---------------------------------------------------------------------------------------------------

    def parts(self) -> dict[str, Tree]:
        """Everything a checkpoint must hold."""
        return {"model": self.parameters, "ema": self.optimizer.ema, "optimizer": self.optimizer.state}

    def load_parts(self, parts: dict[str, Tree]) -> None:
        """Take up the state of a checkpoint."""
        self.parameters, self.optimizer.ema, self.optimizer.state = (
            parts["model"],
            parts["ema"],
            parts["optimizer"],
        )

    def start_from(self, weights: Tree) -> None:
        """Begin a new training with these weights (`--init`)."""
        self.parameters = weights
        self.optimizer.ema = weights

    # -- one update ----------------------------------------------------------------------------------------------

    def update(self, number: int) -> dict[str, float]:
        """Update number `number`, counted from 0; returns the losses and what the log should show."""
        training = self.training
        micro_batches, counts = self._micro_batches(number)
        progress = number / training.updates
        ramp = (progress - training.quantise_from) / max(training.quantise_until - training.quantise_from, 1e-9)
        amount = min(1.0, max(0.0, ramp))
        kind = "none" if amount == 0.0 else "full" if amount == 1.0 else "blend"
        binarisation = float(progress >= training.binarise_from)
        gradients: Tree = None
        metrics: dict[str, mx.array] = {}
        for index, shards in enumerate(micro_batches):
            seeds = seeds_for(training.seed, number, index, self.group.rank(), count=len(shards))
            keys = [mx.random.key(seed) for seed in seeds]
            alignments, forward_sum_loss = self._align(shards, counts)
            common = (counts, mx.array(amount), mx.array(binarisation))
            given = [
                (self.parameters, shard, alignment, *common, key)
                for shard, alignment, key in zip(shards, alignments, keys, strict=True)
            ]
            for more, losses in self.pool.run(self._gradients[kind], given):
                gradients = more if gradients is None else tree_add(gradients, more)
                metrics = losses if not metrics else tree_add(metrics, losses)
            metrics["forward_sum"] = metrics.get("forward_sum", mx.array(0.0)) + forward_sum_loss
            mx.eval(gradients, metrics)
        if self.group.size() > 1:
            gradients = tree_map(partial(mx.distributed.all_sum, group=self.group), gradients)
            metrics = tree_map(partial(mx.distributed.all_sum, group=self.group), metrics)
        rate = learning_rate(
            number,
            training.updates,
            training.learning_rate,
            training.warm_up,
            training.hold,
            training.final_rate,
        )
        decay = training.weight_decay if progress < 0.5 else 0.0
        self.parameters, norm = self.optimizer.step(self.parameters, gradients, number + 1, rate, decay)
        out = {name: scalar(metrics[name]) for name in self.metrics_order}
        return out | {"gradient_norm": norm, "learning_rate": rate, "quantisation": amount}

    def _align(self, shards: list[AcousticBatch], counts: Counts) -> tuple[list[Alignment], float]:
        """Search and forward-sum on the host, from the aligner's present scores."""
        pairs = self.pool.run(self._scores, [(self.parameters, shard) for shard in shards])
        alignments, total = [], 0.0
        for batch, (scores, with_blank) in zip(shards, pairs, strict=True):
            lengths = np.array(batch.token_lengths), np.array(batch.frame_lengths)
            durations = monotonic_search(np.array(scores), *lengths)
            losses, gradient = forward_sum(np.array(with_blank), *lengths)
            total += float(losses.sum()) / scalar(counts.utterances)
            path = path_matrix(durations, scores.shape[1])
            alignments.append(Alignment(mx.array(path), mx.array(durations.astype(np.float32)), mx.array(gradient)))
        return alignments, total

    # -- batches -------------------------------------------------------------------------------------------------

    def _micro_batches(self, number: int) -> tuple[list[list[AcousticBatch]], Counts]:
        """This process's micro-batches, each a list of shards, and the counts over the whole effective batch."""
        if self._next is None or self._next[0] != number:
            self._next = (number, self._reader.submit(self._read, number))
        arrays = self._next[1].result()
        self._next = (number + 1, self._reader.submit(self._read, number + 1))
        rank, size = self.group.rank(), self.training.batch_size
        everything = [item for micro in arrays for item in micro]
        counts = Counts(
            frames=mx.array(float(sum(len(item["mel"]) for item in everything))),
            voiced=mx.array(max(1.0, float(sum(item["voiced"].sum() for item in everything)))),
            tokens=mx.array(float(sum(len(item["tokens"]) for item in everything))),
            utterances=mx.array(float(len(everything))),
        )
        micro_batches = []
        for index, micro in enumerate(arrays):
            shape = self.plan[number * self.training.accumulate + index]
            mine = micro[rank * size : (rank + 1) * size]
            per_shard = size // self.pool.count
            micro_batches.append([collate(mine[i : i + per_shard], shape) for i in range(0, size, per_shard)])
        return micro_batches, counts

    def _read(self, number: int) -> list[list[dict[str, np.ndarray]]]:
        first = number * self.training.accumulate
        return [
            [read_clip(self.data, self.clips[clip]) for clip in self.plan[micro].clips]
            for micro in range(first, first + self.training.accumulate)
        ]


def usable_clips(data: PreparedData, split: str) -> list[Clip]:
    """Clips of a split that can be aligned: no fewer frames than tokens."""
    clips = [clip for clip in data.clips if clip.split == split and clip.frames >= len(clip.phonemes)]
    if not clips:
        raise BitjetsError(f"the prepared data has no usable {split} clips: run prepare on more recordings.")
    return clips


def read_clip(data: PreparedData, clip: Clip) -> dict[str, np.ndarray]:
    """One clip's features, normalised as the model wants them."""
    features, statistics = data.load(clip), data.statistics
    speaker = data.speakers.index(clip.speaker)
    mel = (features.mel - np.array(statistics.mel_mean)) / np.array(statistics.mel_std)
    log_f0 = (features.log_f0 - statistics.log_f0_mean[speaker]) / statistics.log_f0_std[speaker]
    energy = (features.energy - statistics.energy_mean[speaker]) / statistics.energy_std[speaker]
    return {
        "tokens": np.array(encode(clip.phonemes), dtype=np.int32),
        "speaker": np.array(speaker, dtype=np.int32),
        "mel": mel.astype(np.float32),
        "log_f0": (log_f0 * features.voiced).astype(np.float32),
        "voiced": features.voiced.astype(np.float32),
        "energy": energy.astype(np.float32),
    }


def collate(items: list[dict[str, np.ndarray]], shape: MicroBatch) -> AcousticBatch:
    """Clips padded to the bucket's shape."""
    tokens, frames = [item["tokens"] for item in items], [item["mel"] for item in items]
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


def _scores(model: BitJets, parameters: Tree, batch: AcousticBatch) -> tuple[mx.array, mx.array]:
    model.update(parameters)
    return align_scores(model, AcousticBatch(*batch))


def _gradients(
    model: BitJets,
    weights: AcousticLossWeights,
    bf16: bool,
    kind: str,
    parameters: Tree,
    batch: AcousticBatch,
    alignment: Alignment,
    counts: Counts,
    amount: mx.array,
    binarisation: mx.array,
    key: mx.array,
) -> tuple[Tree, dict[str, mx.array]]:
    """Gradients and losses of one shard."""
    how_far: Amount = 0.0 if kind == "none" else None if kind == "full" else amount

    def loss(parameters: Tree) -> tuple[mx.array, dict[str, mx.array]]:
        model.update(tree_map(lambda leaf: leaf.astype(mx.bfloat16), parameters) if bf16 else parameters)
        return acoustic_loss(
            model,
            AcousticBatch(*batch),
            Alignment(*alignment),
            Counts(*counts),
            weights,
            how_far,
            binarisation,
            key,
        )

    (_, losses), gradients = mx.value_and_grad(loss)(parameters)
    return gradients, losses
