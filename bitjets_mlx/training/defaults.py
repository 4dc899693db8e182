"""How models are trained where nothing else is asked for."""

import dataclasses
from typing import Literal

from bitjets_mlx.config import HIFIGAN_VERSIONS, AcousticConfig, HarmonicConfig, HifiganConfig, JointConfig
from bitjets_mlx.text.symbols import SYMBOLS
from bitjets_mlx.training.config import (
    MEL_WEIGHT,
    AcousticTraining,
    DataConfig,
    JointWeights,
    Model,
    OptimizerConfig,
    Stage,
    TrainConfig,
    Vocoder,
    VocoderTraining,
)
from bitjets_mlx.training.shards import on_cpu

VOCODERS: dict[str, Vocoder] = {  # of --vocoder
    "harmonic": HarmonicConfig(),
    "hifigan": HifiganConfig(),
    **{f"hifigan-{version.lower()}": config for version, config in HIFIGAN_VERSIONS.items()},
}


def new_acoustic(speakers: int) -> AcousticConfig:
    """The acoustic model that is trained where no init checkpoint says otherwise."""
    return with_pitch_of_phonemes(AcousticConfig(symbols=len(SYMBOLS), speakers=speakers))


def with_pitch_of_phonemes(model: AcousticConfig) -> AcousticConfig:
    """With a pitch predictor that sees 16 phonemes to either side: what stands for stress, words and phrases."""
    duration, _, energy = model.predictors
    return dataclasses.replace(model, pitch_reads="phonemes", predictors=(duration, (64, 4, 9), energy))


def default_config(stage: Stage, model: Model, data: DataConfig, full_discriminators: bool = False) -> TrainConfig:
    """The training of a model from scratch; `full_discriminators`: an init checkpoint brings HiFi-GAN's own.

    HiFi-GAN is trained against those where there is a GPU, and against small ones on a CPU.
    """
    if stage == "acoustic":
        return TrainConfig(stage, model, data, acoustic=AcousticTraining())
    vocoder = model.vocoder if isinstance(model, JointConfig) else model
    size: Literal["small", "full"] = (
        "full" if isinstance(vocoder, HifiganConfig) and (full_discriminators or not on_cpu()) else "small"
    )
    own = hifigan_training() if isinstance(vocoder, HifiganConfig) else VocoderTraining()
    own = dataclasses.replace(own, discriminators=size)
    if stage == "vocoder":
        config = TrainConfig(stage, model, data, vocoder=own)
        return (
            dataclasses.replace(config, batch_size=16, accumulate=1) if isinstance(vocoder, HifiganConfig) else config
        )
    assert isinstance(model, JointConfig)
    acoustic = AcousticTraining(OptimizerConfig(learning_rate=1e-3))
    own = _joint_vocoder(own, model)
    return TrainConfig(stage, model, data, accumulate=2, acoustic=acoustic, vocoder=own, joint=JointWeights())


def hifigan_training() -> VocoderTraining:
    """As HiFi-GAN was trained (arXiv:2010.05646, section 3 and config_v1.json), but for the decay of the rates.

    Its learning rates fall by a thousandth an epoch, without an end; here the run's length is known.
    """
    own = VocoderTraining()
    return dataclasses.replace(
        own,
        optimizer=dataclasses.replace(own.optimizer, learning_rate=2e-4, warm_up=1, gradient_clip=1000.0),
        discriminator_learning_rate=2e-4,
        segment_frames=32,
        stft_weight=0.0,
        mel_weight=MEL_WEIGHT,
        energy_distance_weight=0.0,
        adversarial_from=0.0,
        adversarial_ramp=1,
        adversarial_frames=0,
        mel_blur=0.0,
    )


def _joint_vocoder(own: VocoderTraining, model: JointConfig) -> VocoderTraining:
    """A vocoder's half of a joint training: JETS's segments, discriminators once the acoustic model is ternary.

    The harmonic vocoder needs its loss at several resolutions as well as its energy distance: both keep their share of
    the mel loss, which has the weight of the papers.
    """
    own = dataclasses.replace(own, segment_frames=64, adversarial_from=0.3)
    if isinstance(model.vocoder, HifiganConfig):
        gain = own.gain_decibels if model.acoustic.mel else 0.0  # states have no level that could be moved
        return dataclasses.replace(own, gain_decibels=gain)
    scale = MEL_WEIGHT / own.mel_weight
    return dataclasses.replace(
        own,
        optimizer=dataclasses.replace(own.optimizer, gradient_clip=own.optimizer.gradient_clip * scale),
        mel_weight=MEL_WEIGHT,
        stft_weight=own.stft_weight * scale,
        mel_blur=0.0,
        adversarial_frames=0,
    )
