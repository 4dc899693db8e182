"""Voices: the Python API, and voices on disk, checked before they are trusted."""

from bitjets_mlx.voice.frame_vocoder import FrameVocoder
from bitjets_mlx.voice.prediction import Prediction, Style
from bitjets_mlx.voice.speaking import Voice, load_vocoder, load_voice

__all__ = ["FrameVocoder", "Prediction", "Style", "Voice", "load_vocoder", "load_voice"]
