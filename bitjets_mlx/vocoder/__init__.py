"""Vocoders: mel frames, and for the harmonic one F0 and voicing, to samples."""

from bitjets_mlx.config import HarmonicConfig, HifiganConfig
from bitjets_mlx.vocoder.harmonic import HarmonicVocoder
from bitjets_mlx.vocoder.hifigan import HifiganGenerator

Vocoder = HarmonicVocoder | HifiganGenerator


def build_vocoder(config: HarmonicConfig | HifiganConfig) -> Vocoder:
    """The vocoder of a configuration, with random weights."""
    if isinstance(config, HarmonicConfig):
        return HarmonicVocoder(config)
    return HifiganGenerator(config)
