"""Acoustic models. BitJETS: phonemes in, mel + F0 + voicing out; the older one reads characters and gives a mel."""

from typing import TYPE_CHECKING, Union

import mlx.core as mx

from bitjets_mlx.acoustic.model import BitJets
from bitjets_mlx.config import AcousticConfig, CharacterConfig

if TYPE_CHECKING:
    from bitjets_mlx.torch_import.characters import CharacterJets

AcousticModel = Union[BitJets, "CharacterJets"]


def build_acoustic(
    config: AcousticConfig | CharacterConfig, with_aligner: bool = False, dtype: mx.Dtype = mx.float32
) -> AcousticModel:
    """The acoustic model of a configuration, with random weights."""
    if isinstance(config, CharacterConfig):
        from bitjets_mlx.torch_import.characters import CharacterJets  # nothing but such a voice needs it

        return CharacterJets(config, with_aligner, dtype)
    return BitJets(config, with_aligner, dtype)
