"""The vocoder stage: spectral losses first, from some update on also against discriminators.

A micro-batch is cut into shards that run side by side on the CPU backend (`training.shards`).
"""

import dataclasses
from functools import partial
from pathlib import Path

import mlx.core as mx

from bitjets_mlx.config import discriminator_config
from bitjets_mlx.data.prepared import PreparedData
from bitjets_mlx.training.config import TrainConfig, VocoderTraining
from bitjets_mlx.training.optimize import Tree
from bitjets_mlx.training.trainer import DISCRIMINATORS, Line, Network, Trainer, gradient_of
from bitjets_mlx.training.validation import VocoderValidation
from bitjets_mlx.training.vocoder_data import SegmentReader
from bitjets_mlx.training.vocoder_step import Batch, discriminator_loss, generator_loss
from bitjets_mlx.vocoder import Vocoder, build_vocoder
from bitjets_mlx.vocoder.discriminators import Discriminators
from bitjets_mlx.vocoder.quantized import quantized

Losses = tuple[mx.array, dict[str, mx.array]]


class VocoderStage(Trainer):
    """Trains a generator, and its discriminators."""

    def __init__(self, data: PreparedData, config: TrainConfig, run: Path) -> None:
        own = config.vocoder_training
        super().__init__(config, VocoderValidation(data, config))
        self.reader = SegmentReader(data, config, self.group, run)
        mx.random.seed(config.seed)
        sizes = discriminator_config(own.discriminators)
        # `Module.update` changes a module, so threads cannot share one.
        shards = [(build_vocoder(config.vocoder_model), Discriminators(sizes)) for _ in range(self.pool.count)]
        self.networks = vocoder_networks(*shards[0], config)
        self.functions = {
            "spectral": [gradient_of(partial(_generator_loss, own, vocoder, None)) for vocoder, _ in shards],
            "adversarial": [gradient_of(partial(_generator_loss, own, *pair)) for pair in shards],
            "discriminators": [gradient_of(partial(_discriminator_loss, own, *pair)) for pair in shards],
        }

    def update(self, number: int) -> Line:
        """The discriminators' step, then the generator's, as in HiFi-GAN."""
        own, updates = self.config.vocoder_training, self.config.updates
        generator, discriminators = self.networks["vocoder"], self.networks[DISCRIMINATORS]
        micro_batches, found = self.read(number), Line()
        if number >= own.first_adversarial(updates):
            gradients, found = self.discriminator_gradients(micro_batches)
            discriminators.step(number, gradients)
        if own.in_warm_up(number, updates):
            return found | self.skipped()
        gradients, losses = self.gradients(number, micro_batches)
        rate = generator.step(number, gradients, number - own.frozen_updates(number, updates))
        return losses | found | rate | self.skipped()

    def read(self, number: int) -> list[list[Batch]]:
        """The shards of every micro-batch of an update."""
        return [self.reader.shards(number, micro, self.pool.count) for micro in range(self.config.accumulate)]

    def gradients(self, number: int, micro_batches: list[list[Batch]]) -> tuple[Tree, Line]:
        """Gradients of the generator and its losses: means, since every segment is as long."""
        weight = self.config.adversarial(number)
        state = (self.networks["vocoder"].parameters, self.networks[DISCRIMINATORS].parameters, mx.array(weight))
        arguments = ([(*state, shard) for shard in shards] for shards in micro_batches)
        functions = self.functions["adversarial" if weight > 0.0 else "spectral"]
        return self.gradients_of(functions, arguments, self.fraction)[:2]

    def discriminator_gradients(self, micro_batches: list[list[Batch]]) -> tuple[Tree, Line]:
        """Gradients of the discriminators and their losses."""
        state = (self.networks[DISCRIMINATORS].parameters, self.networks["vocoder"].parameters)
        arguments = ([(*state, shard) for shard in shards] for shards in micro_batches)
        return self.gradients_of(self.functions["discriminators"], arguments, self.fraction)[:2]


def vocoder_networks(generator: Vocoder, discriminators: Discriminators, config: TrainConfig) -> dict[str, Network]:
    """A generator and its discriminators, which have a learning rate of their own and are not averaged."""
    own = config.vocoder_training
    optimizer = dataclasses.replace(own.optimizer, learning_rate=own.discriminator_learning_rate)
    return {
        "vocoder": Network(generator.parameters(), own.optimizer, config.updates),
        DISCRIMINATORS: Network(discriminators.parameters(), optimizer, config.updates, averaged=False),
    }


def _generator_loss(
    config: VocoderTraining,
    generator: Vocoder,
    discriminators: Discriminators | None,
    parameters: Tree,
    discriminator_weights: Tree,
    weight: mx.array,
    batch: Batch,
) -> Losses:
    """Losses of the generator on one shard, without discriminators or with the `weight` of theirs."""
    generator.update(quantized(parameters, config.weight_bits))
    if discriminators is not None:
        discriminators.update(discriminator_weights)
    return generator_loss(generator, discriminators, batch, weight, config)


def _discriminator_loss(
    config: VocoderTraining,
    generator: Vocoder,
    discriminators: Discriminators,
    discriminator_weights: Tree,
    parameters: Tree,
    batch: Batch,
) -> Losses:
    """Loss of the discriminators on one shard."""
    generator.update(quantized(parameters, config.weight_bits))
    discriminators.update(discriminator_weights)
    return discriminator_loss(discriminators, generator, batch, config)
