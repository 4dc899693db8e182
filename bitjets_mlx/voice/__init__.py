"""Voices: the Python API, and voices on disk, checked before they are trusted."""

from bitjets_mlx.voice.frame_vocoder import FrameVocoder
from bitjets_mlx.voice.prediction import Prediction, Style
from bitjets_mlx.voice.speaking import Voice, load_vocoder, load_voice
from bitjets_mlx.voice.timing import MarkTiming, PhonemeTiming, SentenceTiming, TimedSpeech, Timing, WordTiming
from bitjets_mlx.voice.timing_files import write_timing

__all__ = [
    "FrameVocoder",
    "MarkTiming",
    "PhonemeTiming",
    "Prediction",
    "SentenceTiming",
    "Style",
    "TimedSpeech",
    "Timing",
    "Voice",
    "WordTiming",
    "load_vocoder",
    "load_voice",
    "write_timing",
]
