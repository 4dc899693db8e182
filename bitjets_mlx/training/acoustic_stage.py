"""One update of the acoustic model: align on the host, then gradients, then the optimizer.

A micro-batch is cut into shards that run side by side on the CPU backend (`training.shards`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import mlx.core as mx
import numpy as np
from mlx.utils import tree_map

from bitjets_mlx.acoustic import AcousticModel, build_acoustic
from bitjets_mlx.config import AcousticConfig, CharacterConfig
from bitjets_mlx.data.prepared import PreparedData
from bitjets_mlx.ternary.layers import Amount
from bitjets_mlx.training.acoustic_data import (
    AcousticReader,
    balanced,
    collate,
    counts_of,
    dealt,
    usable_clips,
)
from bitjets_mlx.training.acoustic_losses import (
    AcousticBatch,
    AcousticLossWeights,
    Alignment,
    Counts,
    acoustic_loss,
    align_on_host,
    align_scores,
)
from bitjets_mlx.training.acoustic_validation import AcousticValidation
from bitjets_mlx.training.batches import BatchPlan
from bitjets_mlx.training.examples import Example
from bitjets_mlx.training.optimize import Optimizer, Tree, learning_rate, leaves, scalar, tree_add
from bitjets_mlx.training.shards import ShardPool, compiled, on_cpu, seeds_for
from bitjets_mlx.voice.arrays import ternary_layers

LOSSES = ("mel", "f0", "voicing", "duration", "pitch", "energy", "forward_sum", "binarisation")


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
    align_until: float = 0.0  # share of the run in which the aligner alone learns: --init from weights without one
    bf16: bool = False
    seed: int = 0

    def quantization(self, update: int) -> float:
        """How far quantization is warmed in at update number `update`, 0 to 1: after the alignment has formed."""
        beyond = update / self.updates - self.quantise_from
        length = self.quantise_until - self.quantise_from
        return min(1.0, max(0.0, beyond / length)) if length > 0 else float(beyond >= 0)


class AcousticStage:
    """State (parameters, optimizer, EMA) and the update of the acoustic stage."""

    def __init__(self, data: PreparedData, model: AcousticConfig | CharacterConfig, training: AcousticTraining) -> None:
        self.training = training
        self.validation = AcousticValidation(data, model)
        self.group = mx.distributed.init()
        mx.random.seed(training.seed)
        self.pool = ShardPool(training.batch_size)
        dtype = mx.bfloat16 if training.bf16 else mx.float32
        # `Module.update` changes a module, so threads cannot share one.
        shards = [_Shard(build_acoustic(model, with_aligner=True, dtype=dtype)) for _ in range(self.pool.count)]
        self.parameters: Tree = shards[0].model.parameters()
        self.optimizer = Optimizer(self.parameters, training.betas, training.clip, training.ema_decay)
        clips = balanced(usable_clips(data, "train"))
        frames = np.array([clip.frames for clip in clips])
        tokens = np.array([len(clip.phonemes) for clip in clips])
        plan = BatchPlan(frames, tokens, training.batch_size * self.group.size(), training.seed)
        self.reader = AcousticReader(data, plan, clips, self.group.rank(), training.batch_size, training.accumulate)
        self._align = [partial(_align, compiled(shard.scores)) for shard in shards]
        self._aligned_apart = compiled(_align) is not _align  # what is compiled cannot stop to ask the host
        # Three forms: without quantization, while it is warmed in, and with it.
        self._gradients = {
            kind: [compiled(partial(shard.gradients, kind)) for shard in shards] for kind in ("none", "blend", "full")
        }

    # -- state ---------------------------------------------------------------------------------------------------

    def parts(self) -> dict[str, Tree]:
        """Everything a checkpoint must hold."""
        return {"model": self.parameters, "ema": self.optimizer.ema, "optimizer": self.optimizer.state}

    def load_parts(self, parts: dict[str, Tree]) -> None:
        """Take up the state of a checkpoint."""
        self.parameters, self.optimizer.ema = parts["model"], parts["ema"]
        self.optimizer.state = parts["optimizer"]

    def start_from(self, weights: Tree) -> None:
        """Begin a new training with these weights (`--init`)."""
        self.parameters = self.optimizer.ema = weights

    # -- validation ----------------------------------------------------------------------------------------------

    def validate(self, update: int) -> dict[str, float]:
        """Losses of the averaged weights on a few validation clips after `update` updates."""
        return self.validation.losses(self.optimizer.ema, self.training.quantization(update))

    def examples(self, count: int) -> list[Example]:
        """What the averaged weights make of validation clips."""
        return self.validation.examples(self.optimizer.ema, count)

    def ternary_weights(self) -> dict[str, mx.array]:
        """The latent weights of every ternary layer, by its name."""
        names = [f"{name}.weight" for name in ternary_layers(self.validation.model)]
        weights = dict(leaves(self.parameters))
        return {name: weights[name] for name in names}

    # -- one update ----------------------------------------------------------------------------------------------

    def update(self, number: int) -> dict[str, float]:
        """Update number `number`, counted from 0; returns the losses and what the log should show."""
        micro_batches = [
            [collate(shard, None if on_cpu() else shape) for shard in dealt(items, self.pool.count)]
            for items, shape in self.reader.micro_batches(number)
        ]
        gradients, losses = self.gradients(number, micro_batches)
        return losses | self.step(number, gradients)

    def step(self, number: int, gradients: Tree) -> dict[str, float]:
        """Move the weights by the gradients of update number `number`; returns what the log should show of it."""
        training = self.training
        rate = learning_rate(
            number,
            training.updates,
            training.learning_rate,
            training.warm_up,
            training.hold,
            training.final_rate,
        )
        decay = training.weight_decay if 2 * number < training.updates else 0.0
        before = self.parameters
        self.parameters, norm = self.optimizer.step(before, self._held(number, gradients), number + 1, rate, decay)
        if self._aligning(number):  # weight decay must not reach what is held either
            self.parameters = {**before, "aligner": self.parameters["aligner"]}
        return {
            "gradient_norm": norm,
            "learning_rate": rate,
            "quantization": training.quantization(number),
            "skipped": float(self.optimizer.skipped > 0),
        }

    def _aligning(self, number: int) -> bool:
        return number < round(self.training.align_until * self.training.updates)

    def _held(self, number: int, gradients: Tree) -> Tree:
        """Only the aligner's gradients, while it learns alone."""
        if not self._aligning(number):
            return gradients
        return {**tree_map(mx.zeros_like, gradients), "aligner": gradients["aligner"]}

    def gradients(self, number: int, micro_batches: list[list[AcousticBatch]]) -> tuple[Tree, dict[str, float]]:
        """Gradients and losses over all micro-batches, each a list of shards, and all processes."""
        training = self.training
        amount = training.quantization(number)
        kind = "none" if amount == 0.0 else "full" if amount == 1.0 else "blend"
        binarisation = float(number / training.updates >= training.binarise_from)
        total = mx.stack([counts_of(shard) for shards in micro_batches for shard in shards]).sum(axis=0)  # (4,)
        counts = Counts(*mx.distributed.all_sum(total, group=self.group))
        common = (counts, mx.array(amount), mx.array(binarisation))
        gradients: Tree = None
        metrics: Tree = None
        for index, shards in enumerate(micro_batches):
            alignments = self.align(shards)
            seeds = seeds_for(training.seed, number, index, self.group.rank(), count=len(shards))
            given = [
                (self.parameters, shard, alignment, *common, mx.random.key(seed))
                for shard, alignment, seed in zip(shards, alignments, seeds, strict=True)
            ]
            for more, losses in self.pool.run(self._gradients[kind], given):
                gradients, metrics = tree_add(gradients, more), tree_add(metrics, losses)
            mx.eval(gradients, metrics)
        if self.group.size() > 1:
            gradients, metrics = tree_map(partial(mx.distributed.all_sum, group=self.group), (gradients, metrics))
        return gradients, {name: scalar(metrics[name]) for name in LOSSES}

    def align(self, shards: list[AcousticBatch]) -> list[Alignment] | list[None]:
        """Search and forward-sum on the host, from the aligner's present scores; Nones where the loss does it."""
        if not self._aligned_apart:
            return [None] * len(shards)
        return self.pool.run(self._align, [(self.parameters, shard) for shard in shards])


def _align(scores: Callable[..., tuple[mx.array, mx.array]], parameters: Tree, batch: AcousticBatch) -> Alignment:
    return align_on_host(batch, *scores(parameters, batch))


class _Shard:
    """One shard's own copy of the model, and the functions that are compiled for it."""

    def __init__(self, model: AcousticModel) -> None:
        self.model, self.loss_weights = model, AcousticLossWeights()

    def scores(self, parameters: Tree, batch: AcousticBatch) -> tuple[mx.array, mx.array]:
        """What alignment needs: `align_scores`."""
        self.model.update(parameters)
        return align_scores(self.model, AcousticBatch(*batch))

    def gradients(
        self,
        kind: str,
        parameters: Tree,
        batch: AcousticBatch,
        alignment: Alignment | None,
        counts: Counts,
        amount: mx.array,
        binarisation: mx.array,
        key: mx.array,
    ) -> tuple[Tree, dict[str, mx.array]]:
        """Gradients and losses of one shard; `kind` says how far quantization is warmed in."""
        how_far: Amount = 0.0 if kind == "none" else None if kind == "full" else amount

        def loss(parameters: Tree) -> tuple[mx.array, dict[str, mx.array]]:
            self.model.update(parameters)
            return acoustic_loss(
                self.model,
                AcousticBatch(*batch),  # a compiled function is given plain tuples
                alignment and Alignment(*alignment),
                Counts(*counts),
                self.loss_weights,
                how_far,
                binarisation,
                key,
            )

        (_, losses), gradients = mx.value_and_grad(loss)(parameters)
        return gradients, losses
