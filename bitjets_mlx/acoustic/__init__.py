"""Acoustic models. BitJETS: phonemes in, mel + F0 + voicing out; the older one reads characters and gives a mel."""

import mlx.core as mx

from bitjets_mlx.acoustic.characters import CharacterJets
from bitjets_mlx.acoustic.model import BitJets
from bitjets_mlx.config import AcousticConfig, CharacterConfig

AcousticModel = BitJets | CharacterJets


def build_acoustic(
    config: AcousticConfig | CharacterConfig, with_aligner: bool = False, dtype: mx.Dtype = mx.float32
) -> AcousticModel:
    """The acoustic model of a configuration, with random weights."""
    if isinstance(config, CharacterConfig):
        return CharacterJets(config, with_aligner, dtype)
    return BitJets(config, with_aligner, dtype)
