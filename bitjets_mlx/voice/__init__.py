"""Voices: the Python API, and voices on disk, checked before they are trusted."""

from bitjets_mlx.voice.speaking import (
    LONGEST_PIECE,
    FrameVocoder,
    Prediction,
    Style,
    Voice,
    load_vocoder,
    load_voice,
    text_to_phonemes,
)

__all__ = [
    "LONGEST_PIECE",
    "FrameVocoder",
    "Prediction",
    "Style",
    "Voice",
    "load_vocoder",
    "load_voice",
    "text_to_phonemes",
]
