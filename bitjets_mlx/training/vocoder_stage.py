"""One update of a vocoder: spectral losses first, from a share of the run on also against discriminators.

A micro-batch is cut into shards that run side by side on the CPU backend (`training.shards`).
"""

from functools import partial
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from mlx.utils import tree_map

from bitjets_mlx.config import HarmonicConfig, HifiganConfig, discriminator_config
from bitjets_mlx.data.prepared import PreparedData
from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.training.examples import Example
from bitjets_mlx.training.optimize import Optimizer, Tree, learning_rate, scalar, tree_add
from bitjets_mlx.training.shards import ShardPool, compiled, seeds_for
from bitjets_mlx.training.spoken_mels import spoken_mels
from bitjets_mlx.training.vocoder_step import (
    VocoderTrainingConfig,
    discriminator_loss,
    generator_loss,
)
from bitjets_mlx.training.vocoder_validation import VocoderValidation
from bitjets_mlx.vocoder import Vocoder, build_vocoder
from bitjets_mlx.vocoder.discriminators import Discriminators
from bitjets_mlx.vocoder.quantized import quantized

Batch = dict[str, mx.array]


class VocoderStage:
    """State (generator, discriminators, their optimizers, EMA) and the update of the vocoder stage."""

    def __init__(
        self, data: PreparedData, model: HarmonicConfig | HifiganConfig, training: VocoderTrainingConfig, run: Path
    ) -> None:
        self.data, self.training = data, training
        self.validation = VocoderValidation(data, model)
        self.hop = data.audio.hop
        self.clips = [clip for clip in data.split("train") if clip.frames >= training.segment_frames]
        if not self.clips:
            raise BitjetsError(
                f"no training clip has {training.segment_frames} frames: give --segment-frames a smaller number."
            )
        starts = np.array([clip.frames - training.segment_frames + 1 for clip in self.clips])
        self.ends = np.cumsum(starts)  # a segment is drawn evenly from all places where one can begin
        self.group = mx.distributed.init()
        self.spoken: list[np.ndarray] = []
        if training.acoustic:
            cache, first = run / "spoken_mels.safetensors", self.group.rank() == 0
            self.spoken = spoken_mels(Path(training.acoustic), data, self.clips, cache, write=first)
        mx.random.seed(training.seed)
        self.pool = ShardPool(training.batch_size)
        judges = discriminator_config(training.discriminators)
        shards = [_Shard(build_vocoder(model), Discriminators(judges), training) for _ in range(self.pool.count)]
        self.parameters: Tree = shards[0].generator.parameters()
        self.judges: Tree = shards[0].discriminators.parameters()
        self.optimizer = Optimizer(self.parameters, training.betas, training.gradient_clip, training.ema)
        self.judge_optimizer = Optimizer(self.judges, training.betas, training.gradient_clip, None)
        self._spectral = [compiled(partial(shard.generator_gradients, False)) for shard in shards]
        self._adversarial = [compiled(partial(shard.generator_gradients, True)) for shard in shards]
        self._judging = [compiled(shard.judge_gradients) for shard in shards]

    # -- state ---------------------------------------------------------------------------------------------------

    def parts(self) -> dict[str, Tree]:
        """Everything a checkpoint must hold."""
        return {
            "model": self.parameters,
            "ema": self.optimizer.ema,
            "optimizer": self.optimizer.state,
            "discriminators": self.judges,
            "discriminator_optimizer": self.judge_optimizer.state,
        }

    def load_parts(self, parts: dict[str, Tree]) -> None:
        """Take up the state of a checkpoint."""
        self.parameters, self.optimizer.ema = parts["model"], parts["ema"]
        self.optimizer.state = parts["optimizer"]
        self.judges, self.judge_optimizer.state = parts["discriminators"], parts["discriminator_optimizer"]

    def start_from(self, weights: Tree) -> None:
        """Begin a new training with this generator (`--init`); the discriminators begin anew."""
        self.parameters = self.optimizer.ema = weights

    # -- validation ----------------------------------------------------------------------------------------------

    def validate(self, update: int) -> dict[str, float]:
        """Losses of the averaged weights on a few validation clips after `update` updates."""
        return self.validation.losses(quantized(self.optimizer.ema, self.training.weight_bits))

    def examples(self, count: int) -> list[Example]:
        """What the averaged weights make of validation clips."""
        return self.validation.examples(quantized(self.optimizer.ema, self.training.weight_bits), count)

    def ternary_weights(self) -> dict[str, mx.array]:
        """None: vocoders are in full precision."""
        return {}

    # -- one update ----------------------------------------------------------------------------------------------

    def update(self, number: int) -> dict[str, float]:
        """Update number `number`, counted from 0; returns the losses and what the log should show."""
        training = self.training
        micro_batches = [self._shards(number, micro) for micro in range(training.accumulate)]
        weight = training.adversarial(number)
        adversarial = weight > 0.0
        rates = [
            learning_rate(number, training.updates, peak, training.warm_up, training.hold, training.final_rate)
            for peak in (training.learning_rate, training.discriminator_learning_rate)
        ]
        metrics: dict[str, float] = {}
        if adversarial:
            gradients, judged = self._sum(self._judging, (self.judges, self.parameters), micro_batches)
            self.judges, _ = self.judge_optimizer.step(
                self.judges, gradients, number + 1, rates[1], training.weight_decay
            )
            metrics |= judged
        gradients, losses = self._sum(
            self._adversarial if adversarial else self._spectral,
            (self.parameters, self.judges, mx.array(weight)),
            micro_batches,
        )
        self.parameters, norm = self.optimizer.step(
            self.parameters, gradients, number + 1, rates[0], training.weight_decay
        )
        skipped = float(self.optimizer.skipped > 0 or self.judge_optimizer.skipped > 0)
        return losses | metrics | {"gradient_norm": norm, "learning_rate": rates[0], "skipped": skipped}

    def _sum(
        self, functions: list[Any], state: tuple[Any, ...], micro_batches: list[list[Batch]]
    ) -> tuple[Tree, dict[str, float]]:
        """Gradients and losses over all micro-batches and processes: means, since every segment is as long."""
        gradients: Tree = None
        metrics: Tree = None
        for shards in micro_batches:
            for more, losses in self.pool.run(functions, [(*state, shard) for shard in shards]):
                gradients, metrics = tree_add(gradients, more), tree_add(metrics, losses)
            mx.eval(gradients, metrics)
        share = 1.0 / (self.training.accumulate * self.pool.count * self.group.size())
        gradients, metrics = tree_map(lambda leaf: leaf * share, (gradients, metrics))
        if self.group.size() > 1:
            gradients, metrics = tree_map(partial(mx.distributed.all_sum, group=self.group), (gradients, metrics))
        return gradients, {name: scalar(value) for name, value in metrics.items()}

    # -- batches -------------------------------------------------------------------------------------------------

    def _shards(self, number: int, micro: int) -> list[Batch]:
        """This process's part of a micro-batch, cut into shards, each with a key of its own."""
        training, rank = self.training, self.group.rank()
        random = np.random.default_rng((training.seed, number, micro))
        places = random.integers(0, self.ends[-1], training.batch_size * self.group.size())
        mine = places[rank * training.batch_size : (rank + 1) * training.batch_size]
        spoken = random.random(len(places)) < 0.5 if self.spoken else np.zeros(len(places), dtype=bool)
        spoken = spoken[rank * training.batch_size : (rank + 1) * training.batch_size]
        rows = [self._segment(int(place), bool(said)) for place, said in zip(mine, spoken, strict=True)]
        keys = seeds_for(training.seed, number, micro, rank, count=self.pool.count)
        size = len(rows) // self.pool.count
        return [
            {name: mx.array(np.stack([row[name] for row in rows[i * size : (i + 1) * size]])) for name in rows[0]}
            | {"key": mx.random.key(key)}
            for i, key in enumerate(keys)
        ]

    def _segment(self, place: int, spoken: bool) -> dict[str, np.ndarray]:
        """The segment at that place, its mel as recorded or as the acoustic model says it."""
        index = int(np.searchsorted(self.ends, place, side="right"))
        start = int(place - (self.ends[index - 1] if index else 0))
        features = self.data.load(self.clips[index])
        frames = slice(start, start + self.training.segment_frames)
        samples = slice(frames.start * self.hop, frames.stop * self.hop)
        return {
            "mel": self.spoken[index][frames].astype(np.float32) if spoken else features.mel[frames],
            "log_f0": features.log_f0[frames],
            "voiced": features.voiced[frames].astype(np.float32),
            "audio": features.audio[samples],
        }


class _Shard:
    """One shard's own modules: `Module.update` changes them, so threads cannot share them."""

    def __init__(self, generator: Vocoder, discriminators: Discriminators, training: VocoderTrainingConfig) -> None:
        self.generator, self.discriminators, self.training = generator, discriminators, training

    def generator_gradients(
        self, adversarial: bool, parameters: Tree, judges: Tree, weight: mx.array, batch: Batch
    ) -> tuple[Tree, dict[str, mx.array]]:
        """Gradients of the generator's losses; `adversarial` says whether the discriminators take part."""
        self.discriminators.update(judges)

        def loss(parameters: Tree) -> tuple[mx.array, dict[str, mx.array]]:
            self.generator.update(quantized(parameters, self.training.weight_bits))
            judge = self.discriminators if adversarial else None
            return generator_loss(self.generator, judge, batch, weight, self.training)

        (_, losses), gradients = mx.value_and_grad(loss)(parameters)
        return gradients, losses

    def judge_gradients(self, judges: Tree, parameters: Tree, batch: Batch) -> tuple[Tree, dict[str, mx.array]]:
        """Gradients of the discriminators' loss."""
        self.generator.update(quantized(parameters, self.training.weight_bits))

        def loss(judges: Tree) -> tuple[mx.array, dict[str, mx.array]]:
            self.discriminators.update(judges)
            return discriminator_loss(self.discriminators, self.generator, batch, self.training)

        (_, losses), gradients = mx.value_and_grad(loss)(judges)
        return gradients, losses
