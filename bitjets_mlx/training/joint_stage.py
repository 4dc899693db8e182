"""One update of the whole of JETS: acoustic model and vocoder together, then the discriminators.

The acoustic half is an `AcousticStage` (its batches, alignment, optimizer and schedule), joined here by the vocoder
and its discriminators. Of a micro-batch's shards, those of the CPU backend run side by side (`training.shards`).
"""

from functools import partial

import mlx.core as mx
import numpy as np
from mlx.utils import tree_map

from bitjets_mlx.acoustic import AcousticModel, build_acoustic
from bitjets_mlx.acoustic.model import Frames
from bitjets_mlx.config import FeatureStatistics, JointConfig, discriminator_config
from bitjets_mlx.data.prepared import PreparedData
from bitjets_mlx.ternary.layers import Amount
from bitjets_mlx.training.acoustic_data import AcousticReader, collate, counts_of, dealt
from bitjets_mlx.training.acoustic_losses import (
    AcousticBatch,
    Alignment,
    Counts,
    acoustic_loss_and_frames,
    align_on_host,
    align_scores,
)
from bitjets_mlx.training.acoustic_stage import AcousticStage
from bitjets_mlx.training.examples import Example
from bitjets_mlx.training.joint_data import Segments, cut_segments, read_sounding_clip, with_places
from bitjets_mlx.training.joint_losses import Heard, joint_waveform_loss, mel_scale, told_apart
from bitjets_mlx.training.joint_training import JointTraining
from bitjets_mlx.training.joint_validation import JointValidation
from bitjets_mlx.training.optimize import Optimizer, Tree, learning_rate, scalar, tree_add
from bitjets_mlx.training.shards import compiled, on_cpu, seeds_for
from bitjets_mlx.training.vocoder_step import judging_loss
from bitjets_mlx.vocoder import Vocoder, build_vocoder
from bitjets_mlx.vocoder.discriminators import Discriminators

Losses = dict[str, mx.array]
Shards = list[tuple[AcousticBatch, Segments]]


class JointStage:
    """State (both models, discriminators, three optimizers, EMA) and the update of the joint stage."""

    def __init__(self, data: PreparedData, model: JointConfig, training: JointTraining) -> None:
        self.training, self.model, self.hop = training, model, data.audio.hop
        self.acoustic = AcousticStage(data, model.acoustic, training.acoustic)  # seeds the weights of everything
        self.pool, self.group = self.acoustic.pool, self.acoustic.group
        self.validation = JointValidation(data, model)
        shards = [_Shard(model, training, data.statistics) for _ in range(self.pool.count)]
        self.vocoder: Tree = shards[0].vocoder.parameters()
        self.judges: Tree = shards[0].discriminators.parameters()
        own = training.vocoder
        self.optimizer = Optimizer(self.vocoder, own.betas, own.gradient_clip, own.ema)
        self.judge_optimizer = Optimizer(self.judges, own.betas, own.gradient_clip, None)
        reader = self.acoustic.reader
        size, accumulate = training.acoustic.batch_size, training.acoustic.accumulate
        self.reader = AcousticReader(
            data, reader.plan, reader.clips, self.group.rank(), size, accumulate, read_sounding_clip
        )
        self._gradients = {
            (kind, adversarial): [compiled(partial(shard.gradients, kind, adversarial)) for shard in shards]
            for kind in ("none", "blend", "full")
            for adversarial in (False, True)
        }
        self._judging = [compiled(shard.judge_gradients) for shard in shards]

    # -- state ---------------------------------------------------------------------------------------------------

    def parts(self) -> dict[str, Tree]:
        """Everything a checkpoint must hold."""
        return {
            "model": {"acoustic": self.acoustic.parameters, "vocoder": self.vocoder},
            "ema": {"acoustic": self.acoustic.optimizer.ema, "vocoder": self.optimizer.ema},
            "acoustic_optimizer": self.acoustic.optimizer.state,
            "vocoder_optimizer": self.optimizer.state,
            "discriminators": self.judges,
            "discriminator_optimizer": self.judge_optimizer.state,
        }

    def load_parts(self, parts: dict[str, Tree]) -> None:
        """Take up the state of a checkpoint."""
        self.acoustic.parameters, self.vocoder = parts["model"]["acoustic"], parts["model"]["vocoder"]
        self.acoustic.optimizer.ema, self.optimizer.ema = parts["ema"]["acoustic"], parts["ema"]["vocoder"]
        self.acoustic.optimizer.state = parts["acoustic_optimizer"]
        self.optimizer.state = parts["vocoder_optimizer"]
        self.judges, self.judge_optimizer.state = parts["discriminators"], parts["discriminator_optimizer"]

    def start_from(self, weights: Tree) -> None:
        """Begin a new training with these weights of both models."""
        self.acoustic.start_from(weights["acoustic"])
        self.vocoder = self.optimizer.ema = weights["vocoder"]

    # -- validation ----------------------------------------------------------------------------------------------

    def validate(self, update: int) -> dict[str, float]:
        """Losses of the averaged weights on a few validation clips after `update` updates."""
        return self.validation.losses(self.parts()["ema"], self.training.acoustic.quantization(update))

    def examples(self, count: int) -> list[Example]:
        """What the averaged weights make of validation clips."""
        return self.validation.examples(self.parts()["ema"], count)

    def ternary_weights(self) -> dict[str, mx.array]:
        """The latent weights of every ternary layer, by its name."""
        return self.acoustic.ternary_weights()

    # -- one update ----------------------------------------------------------------------------------------------

    def update(self, number: int) -> dict[str, float]:
        """Update number `number`, counted from 0; returns the losses and what the log should show."""
        own = self.training.vocoder
        micro_batches = self.micro_batches(number)
        rates = [
            learning_rate(number, own.updates, peak, own.warm_up, own.hold, own.final_rate)
            for peak in (own.learning_rate, own.discriminator_learning_rate)
        ]
        # Generator: acoustic model and vocoder. It goes before the discriminators, as in ESPnet, which then judge
        # what this very update has said, so that nothing is said twice.
        gradients, losses, heard = self.gradients(number, micro_batches)
        metrics = self.acoustic.step(number, gradients["acoustic"])
        self.vocoder, norm = self.optimizer.step(
            self.vocoder, gradients["vocoder"], number + 1, rates[0], own.weight_decay
        )
        # Discriminators
        if own.adversarial(number) > 0.0:
            gradients, judged = self.judge_gradients(heard)
            self.judges, _ = self.judge_optimizer.step(self.judges, gradients, number + 1, rates[1], own.weight_decay)
            losses |= judged
        metrics |= {"vocoder_gradient_norm": norm, "vocoder_learning_rate": rates[0]}
        skipped = max(metrics["skipped"], float(self.optimizer.skipped + self.judge_optimizer.skipped > 0))
        return losses | metrics | {"skipped": skipped}

    def gradients(self, number: int, micro_batches: list[Shards]) -> tuple[Tree, dict[str, float], list[list[Heard]]]:
        """Gradients of both models and losses over all micro-batches and processes, and the sounds of each shard."""
        acoustic, weight = self.training.acoustic, self.training.vocoder.adversarial(number)
        amount = acoustic.quantization(number)
        kind = "none" if amount == 0.0 else "full" if amount == 1.0 else "blend"
        binarisation = float(number / acoustic.updates >= acoustic.binarise_from)
        total = mx.stack([counts_of(batch) for shards in micro_batches for batch, _ in shards]).sum(axis=0)  # (4,)
        counts = Counts(*mx.distributed.all_sum(total, group=self.group))
        scalars = [mx.array(value) for value in (amount, binarisation, weight, self._share())]
        state = ({"acoustic": self.acoustic.parameters, "vocoder": self.vocoder}, self.judges)
        gradients: Tree = None
        metrics: Tree = None
        heard: list[list[Heard]] = []
        for index, shards in enumerate(micro_batches):
            alignments = self.acoustic.align([batch for batch, _ in shards])
            seeds = seeds_for(self.training.acoustic.seed, number, index, self.group.rank(), count=len(shards))
            given = [
                (*state, batch, segments, alignment, counts, *scalars, mx.random.key(seed))
                for (batch, segments), alignment, seed in zip(shards, alignments, seeds, strict=True)
            ]
            results = self.pool.run(self._gradients[kind, weight > 0.0], given)
            heard.append([Heard(*sounds) for _, _, sounds in results])
            for more, losses, _ in results:
                gradients, metrics = tree_add(gradients, more), tree_add(metrics, losses)
            mx.eval(gradients, metrics)
        gradients, metrics = self._all_sum((gradients, metrics))
        return gradients, {name: scalar(value) for name, value in metrics.items()}, heard

    def judge_gradients(self, heard: list[list[Heard]]) -> tuple[Tree, dict[str, float]]:
        """Gradients of the discriminators and their loss, on the sounds of all micro-batches and processes."""
        gradients: Tree = None
        metrics: Tree = None
        for sounds in heard:
            given = [(self.judges, sound, mx.array(self._share())) for sound in sounds]
            for more, losses in self.pool.run(self._judging, given):
                gradients, metrics = tree_add(gradients, more), tree_add(metrics, losses)
            mx.eval(gradients, metrics)
        gradients, metrics = self._all_sum((gradients, metrics))
        return gradients, {name: scalar(value) for name, value in metrics.items()}

    def _share(self) -> float:
        """Of a shard in the whole update: losses of segments, all of one length, are means over a shard."""
        return 1.0 / (self.training.acoustic.accumulate * self.pool.count * self.group.size())

    def _all_sum(self, trees: Tree) -> Tree:
        return tree_map(partial(mx.distributed.all_sum, group=self.group), trees) if self.group.size() > 1 else trees

    # -- batches -------------------------------------------------------------------------------------------------

    def micro_batches(self, number: int) -> list[Shards]:
        """Update number `number`'s micro-batches, cut into shards, and the segment of each clip that will sound."""
        frames = self.training.vocoder.segment_frames
        return [
            [
                (collate(shard, None if on_cpu() else shape), cut_segments(shard, frames, self.hop))
                for shard in dealt(with_places(items, self._places(number, micro)), self.pool.count)
            ]
            for micro, (items, shape) in enumerate(self.reader.micro_batches(number))
        ]

    def _places(self, number: int, micro: int) -> np.ndarray:
        """Where the segments of this process's clips begin, (batch_size,), 0 to 1; drawn for all processes at once."""
        seed, size = self.training.acoustic.seed, self.training.acoustic.batch_size
        places = np.random.default_rng((seed, number, micro)).random(size * self.group.size())
        return places[self.group.rank() * size : (self.group.rank() + 1) * size]


class _Shard:
    """One shard's own modules: `Module.update` changes them, so threads cannot share them."""

    def __init__(self, model: JointConfig, training: JointTraining, statistics: FeatureStatistics) -> None:
        dtype = mx.bfloat16 if training.acoustic.bf16 else mx.float32
        self.acoustic: AcousticModel = build_acoustic(model.acoustic, with_aligner=True, dtype=dtype)
        self.vocoder: Vocoder = build_vocoder(model.vocoder)
        self.discriminators = Discriminators(discriminator_config(training.vocoder.discriminators))
        self.weights, self.config = training.acoustic_weights(), training.vocoder
        self.scale = mel_scale(statistics) if model.acoustic.mel else None

    def gradients(
        self,
        kind: str,
        adversarial: bool,
        parameters: Tree,
        judges: Tree,
        batch: AcousticBatch,
        segments: Segments,
        alignment: Alignment | None,
        counts: Counts,
        amount: mx.array,
        binarisation: mx.array,
        adversarial_weight: mx.array,
        share: mx.array,
        key: mx.array,
    ) -> tuple[Tree, Losses, Heard]:
        """Gradients of both models, their losses, and what was generated.

        `kind` says how far quantization is warmed in, `adversarial` whether the discriminators take part, `share` is
        this shard's in the means over segments.
        """
        how_far: Amount = 0.0 if kind == "none" else None if kind == "full" else amount
        acoustic_key, vocoder_key = mx.random.split(key)
        self.discriminators.update(judges)

        self.acoustic.update(parameters["acoustic"])
        clips, numbers = AcousticBatch(*batch), Counts(*counts)
        found = Alignment(*alignment) if alignment else align_on_host(clips, *align_scores(self.acoustic, clips))

        def speak(acoustic: Tree) -> tuple[mx.array, Losses, Frames]:
            self.acoustic.update(acoustic)
            return acoustic_loss_and_frames(
                self.acoustic, clips, found, numbers, self.weights, how_far, binarisation, acoustic_key
            )

        def sound(read: mx.array, vocoder: Tree) -> tuple[mx.array, Losses, Heard]:
            self.vocoder.update(vocoder)
            judge = self.discriminators if adversarial else None
            said = frames._replace(mel=read)
            return joint_waveform_loss(
                self.vocoder, judge, said, Segments(*segments), self.scale, adversarial_weight, self.config, vocoder_key
            )

        def loss(acoustic: Tree) -> tuple[mx.array, Losses]:
            own, losses, frames = speak(acoustic)
            return own + share * mx.sum(frames.mel * of_frames), losses  # the chain rule

        # The waveform's gradients are made apart, up to the frames. C kernels on the acoustic model's way back evaluate
        # what comes to them while the graph around is still whole: with the discriminators in it, nothing of theirs
        # could be freed before the end (18 GB for two segments). The price is that model's forward pass once more.
        frames = speak(parameters["acoustic"])[2]
        (_, heard_losses, heard), gradients = mx.value_and_grad(sound, (0, 1))(frames.mel, parameters["vocoder"])
        if alignment is None:  # nothing is compiled
            mx.eval(heard_losses, heard, gradients)
        of_frames, of_vocoder = gradients
        (_, losses), of_acoustic = mx.value_and_grad(loss)(parameters["acoustic"])
        shared, of_vocoder = tree_map(lambda value: share * value, (heard_losses, of_vocoder))
        return {"acoustic": of_acoustic, "vocoder": of_vocoder}, shared | told_apart(losses), heard

    def judge_gradients(self, judges: Tree, heard: Heard, share: mx.array) -> tuple[Tree, Losses]:
        """Gradients of the discriminators' loss on one shard's sounds."""
        sounds = Heard(*heard)
        batch = {"audio": sounds.recorded, "key": sounds.key}

        def loss(judges: Tree) -> tuple[mx.array, Losses]:
            self.discriminators.update(judges)
            total, losses = judging_loss(self.discriminators, sounds.generated, batch, self.config)
            return share * total, {name: share * value for name, value in losses.items()}

        (_, losses), gradients = mx.value_and_grad(loss)(judges)
        return gradients, losses
