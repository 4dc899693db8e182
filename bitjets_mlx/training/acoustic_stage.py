"""The acoustic stage: alignment on the host, then gradients of the acoustic losses.

A micro-batch is cut into shards that run side by side on the CPU backend (`training.shards`).
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import mlx.core as mx
import numpy as np
from mlx.utils import tree_map

from bitjets_mlx.acoustic import AcousticModel, build_acoustic
from bitjets_mlx.data.prepared import PreparedData
from bitjets_mlx.ternary.layers import Amount
from bitjets_mlx.training.acoustic_data import AcousticReader, balanced, collate, counts_of, dealt, usable_clips
from bitjets_mlx.training.acoustic_losses import (
    AcousticBatch,
    AcousticLossWeights,
    Alignment,
    Counts,
    acoustic_loss,
    align_on_host,
    align_scores,
)
from bitjets_mlx.training.batches import BatchPlan
from bitjets_mlx.training.config import TrainConfig
from bitjets_mlx.training.optimize import Tree
from bitjets_mlx.training.shards import compiled, on_cpu, seeds_for
from bitjets_mlx.training.trainer import Line, Network, Trainer, gradient_of
from bitjets_mlx.training.validation import AcousticValidation

Losses = tuple[mx.array, dict[str, mx.array]]
WARM_UPS = ("none", "partial", "full")  # three forms of the loss: before, in and after quantization's warm-up


class AcousticStage(Trainer):
    """Trains an acoustic model; in the joint stage it also gives batches and alignments."""

    def __init__(self, data: PreparedData, config: TrainConfig) -> None:
        model, own = config.acoustic_model, config.acoustic_training
        super().__init__(config, AcousticValidation(data, config))
        mx.random.seed(config.seed)
        dtype = mx.bfloat16 if own.bf16 else mx.float32
        # `Module.update` changes a module, so threads cannot share one.
        models = [build_acoustic(model, with_aligner=True, dtype=dtype) for _ in range(self.pool.count)]
        self.networks = {"acoustic": Network(models[0].parameters(), own.optimizer, config.updates)}
        self.reader = clip_reader(data, config, self.group)
        self._align = [partial(_align, compiled(partial(_scores, model))) for model in models]
        self._aligned_apart = compiled(_align) is not _align  # what is compiled cannot stop to ask the host
        self.functions = {
            warm_up: [gradient_of(partial(_loss, model, warm_up)) for model in models] for warm_up in WARM_UPS
        }

    def update(self, number: int) -> Line:
        """Align, gradients, step."""
        gradients, losses = self.gradients(number, self.read(number))
        return losses | self.step(number, gradients) | self.skipped()

    def read(self, number: int) -> list[list[AcousticBatch]]:
        """The shards of every micro-batch of an update."""
        return [
            [collate(shard, None if on_cpu() else shape) for shard in dealt(items, self.pool.count)]
            for items, shape in self.reader.micro_batches(number)
        ]

    def gradients(self, number: int, micro_batches: list[list[AcousticBatch]]) -> tuple[Tree, Line]:
        """Gradients and losses over all micro-batches and processes."""
        parameters = self.networks["acoustic"].parameters
        arguments = ([(parameters, *own) for own in shards] for shards in self.inputs(number, micro_batches))
        return self.gradients_of(self.functions[self.warm_up(number)], arguments)[:2]

    def step(self, number: int, gradients: Tree) -> Line:
        """Move the weights; those of the aligner alone while it learns alone."""
        network = self.networks["acoustic"]
        aligning = number < round(self.config.acoustic_training.align_until * self.config.updates)
        if aligning:
            gradients = {**tree_map(mx.zeros_like, gradients), "aligner": gradients["aligner"]}
        before = network.parameters
        found = network.step(number, gradients)
        if aligning:  # weight decay must not reach the others either
            network.parameters = {**before, "aligner": network.parameters["aligner"]}
        return found | {"quantization": self.config.quantization(number)}

    def inputs(self, number: int, micro_batches: list[list[AcousticBatch]]) -> Iterator[list[tuple[Any, ...]]]:
        """Of each micro-batch, for each shard: batch, alignment, counts, quantization and binarization, random key."""
        config = self.config
        total = mx.stack([counts_of(shard) for shards in micro_batches for shard in shards]).sum(axis=0)  # (4,)
        counts = Counts(*mx.distributed.all_sum(total, group=self.group))
        binarization = float(number / config.updates >= config.acoustic_training.binarize_from)
        common = (counts, mx.array(config.quantization(number)), mx.array(binarization))
        for index, shards in enumerate(micro_batches):
            seeds = seeds_for(config.seed, number, index, self.group.rank(), count=len(shards))
            yield [
                (shard, alignment, *common, mx.random.key(seed))
                for shard, alignment, seed in zip(shards, self._alignments(shards), seeds, strict=True)
            ]

    def warm_up(self, number: int) -> str:
        """Which of the three forms of the loss an update has."""
        amount = self.config.quantization(number)
        return "none" if amount == 0.0 else "full" if amount == 1.0 else "partial"

    def _alignments(self, shards: list[AcousticBatch]) -> list[Alignment] | list[None]:
        """Search and forward-sum on the host, from the aligner's present scores; Nones where the loss does it."""
        if not self._aligned_apart:
            return [None] * len(shards)
        return self.pool.run(self._align, [(self.networks["acoustic"].parameters, shard) for shard in shards])


def clip_reader(data: PreparedData, config: TrainConfig, group: mx.distributed.Group, **read: Any) -> AcousticReader:
    """The reader of this process's clips, all speakers alike."""
    clips = balanced(usable_clips(data, "train"))
    frames = np.array([clip.frames for clip in clips])
    tokens = np.array([len(clip.phonemes) for clip in clips])
    plan = BatchPlan(frames, tokens, config.batch_size * group.size(), config.seed)
    return AcousticReader(data, plan, clips, group.rank(), config.batch_size, config.accumulate, **read)


def quantization_amount(warm_up: str, quantization: mx.array) -> Amount:
    """The layers' argument: none and full are constants, which saves the other half of the arithmetic."""
    return 0.0 if warm_up == "none" else None if warm_up == "full" else quantization


def _scores(model: AcousticModel, parameters: Tree, batch: AcousticBatch) -> tuple[mx.array, mx.array]:
    model.update(parameters)
    return align_scores(model, AcousticBatch(*batch))


def _align(scores: Callable[..., tuple[mx.array, mx.array]], parameters: Tree, batch: AcousticBatch) -> Alignment:
    return align_on_host(batch, *scores(parameters, batch))


def _loss(
    model: AcousticModel,
    warm_up: str,
    parameters: Tree,
    batch: AcousticBatch,
    alignment: Alignment | None,
    counts: Counts,
    quantization: mx.array,
    binarization: mx.array,
    key: mx.array,
) -> Losses:
    """Losses of one shard. A compiled function is given plain tuples."""
    model.update(parameters)
    amount = quantization_amount(warm_up, quantization)
    found, numbers = alignment and Alignment(*alignment), Counts(*counts)
    weights = AcousticLossWeights()
    return acoustic_loss(model, AcousticBatch(*batch), found, numbers, weights, amount, binarization, key)[:2]
