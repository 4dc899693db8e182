"""The joint stage: acoustic model and vocoder together, then the discriminators, end to end as in JETS.

Batches and alignments are the acoustic stage's. Of a micro-batch's shards, those of the CPU backend run side by side.
"""

from functools import partial
from typing import Any

import mlx.core as mx
import numpy as np
from mlx.utils import tree_map

from bitjets_mlx.acoustic import AcousticModel, build_acoustic
from bitjets_mlx.acoustic.model import Frames
from bitjets_mlx.config import JointConfig, discriminator_config
from bitjets_mlx.data.prepared import PreparedData
from bitjets_mlx.training.acoustic_data import collate, dealt
from bitjets_mlx.training.acoustic_losses import (
    AcousticBatch,
    Alignment,
    Counts,
    acoustic_loss,
    align_on_host,
    align_scores,
)
from bitjets_mlx.training.acoustic_stage import WARM_UPS, AcousticStage, clip_reader, quantization_amount
from bitjets_mlx.training.config import JointWeights, TrainConfig
from bitjets_mlx.training.joint_step import (
    MelScale,
    Segments,
    Waveforms,
    cut_segments,
    joint_waveform_loss,
    mel_scale,
    read_clip_and_audio,
    renamed,
    with_places,
)
from bitjets_mlx.training.optimize import Tree
from bitjets_mlx.training.shards import compiled, on_cpu
from bitjets_mlx.training.trainer import DISCRIMINATORS, Line, Trainer, gradient_of
from bitjets_mlx.training.validation import JointValidation
from bitjets_mlx.training.vocoder_stage import vocoder_networks
from bitjets_mlx.training.vocoder_step import waveform_discriminator_loss
from bitjets_mlx.vocoder import Vocoder, build_vocoder
from bitjets_mlx.vocoder.discriminators import Discriminators

Losses = dict[str, mx.array]
Shards = list[tuple[AcousticBatch, Segments]]


class JointStage(Trainer):
    """Trains both models of a voice at once, and the vocoder's discriminators."""

    def __init__(self, data: PreparedData, config: TrainConfig) -> None:
        self.acoustic = AcousticStage(data, config)  # seeds the weights of everything
        super().__init__(config, JointValidation(data, config), self.acoustic.pool)
        scale = mel_scale(data.statistics) if config.joint_model.acoustic.mel else None
        shards = [JointShard(config, config.joint_model, scale) for _ in range(self.pool.count)]
        networks = vocoder_networks(shards[0].vocoder, shards[0].discriminators, config)
        self.networks = self.acoustic.networks | networks
        self.reader = clip_reader(data, config, self.group, read=read_clip_and_audio)
        self.hop = data.audio.hop
        self.functions = {
            (warm_up, adversarial): [compiled(partial(shard.gradients, warm_up, adversarial)) for shard in shards]
            for warm_up in WARM_UPS
            for adversarial in (False, True)
        }
        self.discriminator_functions = [gradient_of(shard.discriminator_loss) for shard in shards]

    def update(self, number: int) -> Line:
        """The models' step, then the discriminators', as in ESPnet: what they see this very update has generated."""
        gradients, losses, waveforms = self.gradients(number, self.read(number))
        found = self.acoustic.step(number, gradients["acoustic"])
        vocoder = self.networks["vocoder"].step(number, gradients["vocoder"])
        if self.config.adversarial(number) > 0.0:
            gradients, more = self.discriminator_gradients(waveforms)
            self.networks[DISCRIMINATORS].step(number, gradients)
            losses |= more
        return losses | found | {f"vocoder_{name}": value for name, value in vocoder.items()} | self.skipped()

    def read(self, number: int) -> list[Shards]:
        """The shards of every micro-batch of an update, and the segment of each clip that is generated."""
        frames = self.config.vocoder_training.segment_frames
        return [
            [
                (collate(shard, None if on_cpu() else shape), cut_segments(shard, frames, self.hop))
                for shard in dealt(with_places(items, self._places(number, micro)), self.pool.count)
            ]
            for micro, (items, shape) in enumerate(self.reader.micro_batches(number))
        ]

    def _places(self, number: int, micro: int) -> np.ndarray:
        """Where the segments of this process's clips begin, (batch_size,), 0 to 1; drawn for all processes at once."""
        seed, size = self.config.seed, self.config.batch_size
        places = np.random.default_rng((seed, number, micro)).random(size * self.group.size())
        return places[self.group.rank() * size : (self.group.rank() + 1) * size]

    def gradients(self, number: int, micro_batches: list[Shards]) -> tuple[Tree, Line, list[list[Waveforms]]]:
        """Gradients of both models and losses over all micro-batches and processes, and the waveforms of each shard."""
        weight = self.config.adversarial(number)
        parameters = {name: self.networks[name].parameters for name in ("acoustic", "vocoder")}
        state = (parameters, self.networks[DISCRIMINATORS].parameters, mx.array(weight), mx.array(self.fraction))
        inputs = self.acoustic.inputs(number, [[batch for batch, _ in shards] for shards in micro_batches])
        arguments = (
            [(*state, segments, *own) for (_, segments), own in zip(shards, given, strict=True)]
            for shards, given in zip(micro_batches, inputs, strict=True)
        )
        functions = self.functions[self.acoustic.warm_up(number), weight > 0.0]
        gradients, losses, waveforms = self.gradients_of(functions, arguments)
        return gradients, losses, [[Waveforms(*one) for one in shards] for shards in waveforms]

    def discriminator_gradients(self, waveforms: list[list[Waveforms]]) -> tuple[Tree, Line]:
        """Gradients of the discriminators and their loss, on the waveforms of all micro-batches and processes."""
        parameters, fraction = self.networks[DISCRIMINATORS].parameters, mx.array(self.fraction)
        arguments = ([(parameters, one, fraction) for one in shards] for shards in waveforms)
        return self.gradients_of(self.discriminator_functions, arguments)[:2]


class JointShard:
    """One shard's own modules: `Module.update` changes them, so threads cannot share them."""

    def __init__(self, config: TrainConfig, model: JointConfig, scale: MelScale | None) -> None:
        dtype = mx.bfloat16 if config.acoustic_training.bf16 else mx.float32
        self.acoustic: AcousticModel = build_acoustic(model.acoustic, with_aligner=True, dtype=dtype)
        self.vocoder: Vocoder = build_vocoder(model.vocoder)
        self.discriminators = Discriminators(discriminator_config(config.vocoder_training.discriminators))
        self.scale, self.config, self.weights = (
            scale,
            config.vocoder_training,
            (config.joint or JointWeights()).acoustic(),
        )

    def gradients(
        self,
        warm_up: str,
        adversarial: bool,
        parameters: Tree,
        discriminator_weights: Tree,
        adversarial_weight: mx.array,
        fraction: mx.array,
        segments: Segments,
        batch: AcousticBatch,
        alignment: Alignment | None,
        counts: Counts,
        quantization: mx.array,
        binarization: mx.array,
        key: mx.array,
    ) -> tuple[Tree, Losses, Waveforms]:
        """Gradients of both models, their losses, and what was generated.

        `warm_up` is that of quantization, `adversarial` says whether the discriminators take part, `fraction` is this
        shard's in the means over segments.
        """
        amount = quantization_amount(warm_up, quantization)
        acoustic_key, vocoder_key = mx.random.split(key)
        self.discriminators.update(discriminator_weights)
        self.acoustic.update(parameters["acoustic"])
        clips, numbers = AcousticBatch(*batch), Counts(*counts)
        found = Alignment(*alignment) if alignment else align_on_host(clips, *align_scores(self.acoustic, clips))

        def predict(acoustic: Tree) -> tuple[mx.array, Losses, Frames]:
            self.acoustic.update(acoustic)
            return acoustic_loss(self.acoustic, clips, found, numbers, self.weights, amount, binarization, acoustic_key)

        def generate(mel: mx.array, vocoder: Tree) -> tuple[mx.array, Losses, Waveforms]:
            self.vocoder.update(vocoder)
            adversary, own = self.discriminators if adversarial else None, frames._replace(mel=mel)
            where, weight = Segments(*segments), adversarial_weight
            return joint_waveform_loss(
                self.vocoder, adversary, own, where, self.scale, weight, self.config, vocoder_key
            )

        def loss(acoustic: Tree) -> tuple[mx.array, Losses]:
            own, losses, frames = predict(acoustic)
            return own + fraction * mx.sum(frames.mel * of_frames), losses  # the chain rule

        # The waveform's gradients are made apart, up to the frames. C kernels on the acoustic model's way back evaluate
        # what comes to them while the graph around is still whole: with the discriminators in it, nothing of theirs
        # could be freed before the end (18 GB for two segments). The price is that model's forward pass once more.
        frames = predict(parameters["acoustic"])[2]
        (_, waveform_losses, waveforms), gradients = mx.value_and_grad(generate, (0, 1))(
            frames.mel, parameters["vocoder"]
        )
        if alignment is None:  # nothing is compiled
            mx.eval(waveform_losses, waveforms, gradients)
        of_frames, of_vocoder = gradients
        (_, losses), of_acoustic = mx.value_and_grad(loss)(parameters["acoustic"])
        shared, of_vocoder = _scaled(waveform_losses, fraction), _scaled(of_vocoder, fraction)
        return {"acoustic": of_acoustic, "vocoder": of_vocoder}, shared | renamed(losses), waveforms

    def discriminator_loss(self, weights: Tree, waveforms: Any, fraction: mx.array) -> tuple[mx.array, Losses]:
        """The discriminators' loss on one shard's waveforms."""
        own = Waveforms(*waveforms)
        self.discriminators.update(weights)
        batch = {"audio": own.recorded, "key": own.key}
        total, losses = waveform_discriminator_loss(self.discriminators, own.generated, batch, self.config)
        return fraction * total, _scaled(losses, fraction)


def _scaled(tree: Tree, by: mx.array) -> Tree:
    return tree_map(lambda value: by * value, tree)
