"""What a validation clip shows: recorded and predicted mel, the alignment, the sound. For pictures, not for losses."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from bitjets_mlx.data.prepared import Clip

CLIPS = 16  # that losses are measured on: fewer make pitch jump about, more take longer than they tell


class Example(NamedTuple):
    """One clip as a stage reproduces it."""

    name: str  # speaker/id
    recorded: np.ndarray  # (T, 80) log mel
    predicted: np.ndarray  # (T, 80) log mel
    phonemes: tuple[str, ...]
    alignment: np.ndarray | None  # (T, N) probabilities
    audio: np.ndarray | None  # (T * 256,)


def spread(clips: Sequence[Clip], speakers: Sequence[str], count: int) -> list[Clip]:
    """About `count` clips, as many of each speaker, of all lengths but the most extreme; always the same ones."""
    chosen = []
    for speaker in speakers:
        own = sorted((clip for clip in clips if clip.speaker == speaker), key=lambda clip: (clip.frames, clip.id))
        wanted = min(len(own), -(-count // len(speakers)))
        chosen += [own[int((i + 0.5) / wanted * len(own))] for i in range(wanted)]
    return chosen[:count]
