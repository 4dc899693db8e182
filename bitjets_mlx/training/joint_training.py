"""Hyper-parameters of joint training: those of an acoustic training and of a vocoder training, and JETS's weights."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bitjets_mlx.config import HarmonicConfig, HifiganConfig, from_json, to_json
from bitjets_mlx.training.acoustic_losses import AcousticLossWeights
from bitjets_mlx.training.acoustic_stage import AcousticTraining
from bitjets_mlx.training.vocoder_step import VocoderTrainingConfig, hifigan_training

SHARED = ("updates", "batch_size", "accumulate", "seed")
MEL_WEIGHT = 45.0
BATCH_SIZE, ACCUMULATE = 8, 2
SEGMENT_FRAMES = 64  # JETS
ADVERSARIAL_FROM = 0.3  # of a run from scratch: when the acoustic model is ternary, and says something


@dataclass(frozen=True)
class JointTraining:
    """JETS (arXiv:2203.16852, section 2.4): L = L_G + variance_weight L_var + align_weight L_align.

    L_G is the vocoder's loss on random segments, `vocoder.adversarial_weight` 1, `mel_weight` 45, `feature_weight` 2;
    L_var the errors of duration, pitch and energy; L_align forward-sum and binarisation. A model whose vocoder reads
    mels also keeps the acoustic stage's losses of its frames: that of the mel with `frame_weight`, as much as the
    waveform's has, or what it says would soon be no mel any more; F0 and voicing in the acoustic stage's proportion to
    it. The acoustic model's rates, decay and clipping are those of `acoustic`, the generator's and the discriminators'
    those of `vocoder`; what they share (`SHARED`) is the same in both.
    """

    acoustic: AcousticTraining = field(default_factory=AcousticTraining)
    vocoder: VocoderTrainingConfig = field(default_factory=VocoderTrainingConfig)
    variance_weight: float = 1.0
    align_weight: float = 2.0
    frame_weight: float = MEL_WEIGHT

    def __post_init__(self) -> None:
        if any(getattr(self.acoustic, name) != getattr(self.vocoder, name) for name in SHARED):
            raise ValueError(f"both halves of a joint training need the same {', '.join(SHARED)}")

    @property
    def updates(self) -> int:
        """Length of the whole training."""
        return self.acoustic.updates

    def acoustic_weights(self) -> AcousticLossWeights:
        """Weights of the acoustic model's own losses."""
        variance, align = self.variance_weight, self.align_weight
        own = AcousticLossWeights()
        scale = self.frame_weight / own.mel
        return AcousticLossWeights(
            self.frame_weight, own.f0 * scale, own.voicing * scale, variance, variance, variance, align, align
        )

    def options(self) -> dict[str, Any]:
        """Fields by the names that the command line has for them: without a prefix they are the acoustic model's."""
        weights = {name: value for name, value in to_json(self).items() if not isinstance(value, dict)}
        own = {"vocoder_learning_rate": self.vocoder.learning_rate}
        foreign = {"acoustic", "weight_bits"}  # the other stage's: mels of another model, bits of the vocoder's weights
        named = {name: value for name, value in to_json(self.vocoder).items() if name not in foreign}
        return named | to_json(self.acoustic) | weights | own

    def replaced(self, options: Mapping[str, Any]) -> "JointTraining":
        """With those fields replaced that `options` names, in the names of `options()`."""
        acoustic = {field.name for field in dataclasses.fields(AcousticTraining)}
        vocoder = set(self.options()) & {field.name for field in dataclasses.fields(VocoderTrainingConfig)}
        vocoder = vocoder - acoustic | {*SHARED}
        of_vocoder = {name: value for name, value in options.items() if name in vocoder}
        if "vocoder_learning_rate" in options:
            of_vocoder["learning_rate"] = options["vocoder_learning_rate"]
        return dataclasses.replace(
            self,
            acoustic=dataclasses.replace(self.acoustic, **{k: v for k, v in options.items() if k in acoustic}),
            vocoder=dataclasses.replace(self.vocoder, **of_vocoder),
        )


def joint_training(model: HarmonicConfig | HifiganConfig, reads_mels: bool) -> JointTraining:
    """The defaults for a vocoder, from scratch.

    The harmonic vocoder cannot do without its loss at several resolutions, nor without the repulsion of two sounds:
    both keep their share of the mel loss, which has the weight of the papers.
    """
    if isinstance(model, HarmonicConfig):
        own = VocoderTrainingConfig()
        scale = MEL_WEIGHT / own.mel_weight
        own = dataclasses.replace(
            own,
            mel_weight=MEL_WEIGHT,
            stft_weight=own.stft_weight * scale,
            gradient_clip=own.gradient_clip * scale,
            mel_blur=0.0,
            adversarial_frames=0,
        )
    else:
        own = hifigan_training()
        gain = own.gain_decibels if reads_mels else 0.0  # states have no level that could be moved
        own = dataclasses.replace(own, gain_decibels=gain)
    return JointTraining(
        AcousticTraining(batch_size=BATCH_SIZE, accumulate=ACCUMULATE, learning_rate=1e-3),
        dataclasses.replace(
            own,
            batch_size=BATCH_SIZE,
            accumulate=ACCUMULATE,
            segment_frames=SEGMENT_FRAMES,
            adversarial_from=ADVERSARIAL_FROM,
        ),
    )


def joint_training_from_json(values: Any) -> JointTraining:
    """The inverse of `to_json`."""
    halves = {
        "acoustic": from_json(AcousticTraining, values.get("acoustic")),
        "vocoder": from_json(VocoderTrainingConfig, values.get("vocoder")),
    }
    return from_json(JointTraining, values | halves)
