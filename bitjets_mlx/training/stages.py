"""The three stages by name."""

from pathlib import Path

from bitjets_mlx.data.prepared import PreparedData
from bitjets_mlx.training.acoustic_stage import AcousticStage
from bitjets_mlx.training.config import TrainConfig
from bitjets_mlx.training.joint_stage import JointStage
from bitjets_mlx.training.trainer import Trainer
from bitjets_mlx.training.vocoder_stage import VocoderStage


def build(data: PreparedData, config: TrainConfig, run: Path) -> Trainer:
    """The stage of a configuration."""
    if config.stage == "joint":
        return JointStage(data, config)
    return AcousticStage(data, config) if config.stage == "acoustic" else VocoderStage(data, config, run)
