"""How to speak, and what an acoustic model predicts of an utterance."""

import numbers
from dataclasses import dataclass

import numpy as np

from bitjets_mlx.errors import BitjetsError

LIMITS = {"speed": (0.25, 4.0), "pitch": (-24.0, 24.0), "energy": (0.1, 4.0)}


@dataclass(frozen=True)
class Style:
    """How to speak. speed: 2 is twice as fast; pitch: semitones up; energy: factor on the amplitude."""

    speed: float = 1.0
    pitch: float = 0.0
    energy: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, (low, high) in LIMITS.items():
            value = getattr(self, name)
            if not isinstance(value, numbers.Real) or not low <= value <= high:  # type: ignore[operator]  # False for NaN too
                raise BitjetsError(f"{name} is {value!r:.60}: give a number from {low:g} to {high:g}.")
        if not isinstance(self.seed, numbers.Integral) or not 0 <= self.seed < 2**32:
            raise BitjetsError(f"seed is {self.seed!r:.60}: give a whole number from 0 to {2**32 - 1}.")


@dataclass(frozen=True)
class Prediction:
    """What the acoustic model says of one utterance of N tokens and T frames of 256 samples. All numpy.

    durations: whole frames (N,), which sum to T; log_durations: as predicted, log(frames + 1) before speed (N,);
    pitch, energy: (N,) in standard deviations from the speaker's mean log F0 and log energy; mel: (T, 80) natural
    log; f0: (T,) Hz, interpolated through unvoiced frames; voiced: (T,) bool.

    Some models say less. The character-level BitJETS: no pitch, energy and F0 (zeros), and its mel is in the convention
    of `voice.config.audio`. JETS, converted or trained with `--vocoder-reads states`: no F0, and in place of the mel
    its decoder's states (T, D).
    """

    phonemes: tuple[str, ...]
    durations: np.ndarray
    log_durations: np.ndarray
    pitch: np.ndarray
    energy: np.ndarray
    mel: np.ndarray
    f0: np.ndarray
    voiced: np.ndarray
