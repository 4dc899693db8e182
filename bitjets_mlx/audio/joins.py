"""From vocoded sentences to running speech: soft ends, pauses, and a limiter. Plain numpy.

Training clips are trimmed to some 50 ms around the speech, so a sentence comes without a pause. Its first and last
frame, room tone, are held for a moment and faded, which lets every sound ring out; silence makes up the rest.
"""

from collections.abc import Sequence

import numpy as np

from bitjets_mlx.config import HOP

LEAD_FRAMES = 1  # held and faded in, 12 ms
TAIL_FRAMES = 10  # held and faded out before a pause, 116 ms
LAST_TAIL_FRAMES = 4  # and at the very end, where no pause follows
PAUSES = {".": 0.42, "?": 0.42, "!": 0.42, ";": 0.3, ":": 0.3, ",": 0.2, "-": 0.25}  # seconds after a sentence
CEILING = 0.98
LIMITER_WINDOW = 441  # 20 ms to either side


def held_edges(
    mel: np.ndarray, f0: np.ndarray, voiced: np.ndarray, last: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hold the first and last frame, unvoiced, for as long as `finished_sentence` fades: T -> T + 11 or T + 5."""
    width = (LEAD_FRAMES, LAST_TAIL_FRAMES if last else TAIL_FRAMES)
    return np.pad(mel, (width, (0, 0)), mode="edge"), np.pad(f0, width, mode="edge"), np.pad(voiced, width)


def finished_sentence(
    samples: np.ndarray,
    phonemes: Sequence[str],
    last: bool,
    speed: float,
    sample_rate: int,
    pause: float | None = None,
) -> np.ndarray:
    """Fade the held edges of a sentence, limit its peaks, and append a pause: as its punctuation asks for, or given."""
    lead, tail = LEAD_FRAMES * HOP, (LAST_TAIL_FRAMES if last else TAIL_FRAMES) * HOP
    samples = limited(samples)
    samples[:lead] *= 0.5 - 0.5 * np.cos(np.pi * np.arange(lead) / lead, dtype=np.float32)
    samples[-tail:] *= 0.5 + 0.5 * np.cos(np.pi * np.arange(1, tail + 1) / tail, dtype=np.float32)
    if last:
        return samples
    mark = next((symbol for symbol in reversed(phonemes) if symbol in PAUSES), ".")
    seconds = PAUSES[mark] / speed if pause is None else pause
    silence = max(0, round(seconds * sample_rate) - lead - tail)
    return np.concatenate([samples, np.zeros(silence, np.float32)])


def limited(samples: np.ndarray) -> np.ndarray:
    """A copy whose peaks stay below full scale: a gain that turns down smoothly around each, and nowhere else."""
    if not samples.size or np.abs(samples).max() <= CEILING:
        return samples.copy()
    wanted = CEILING / np.maximum(np.abs(samples), CEILING)
    # The least gain wanted within a window, then a mean over the same window: never above what is wanted.
    around = np.pad(wanted, 2 * LIMITER_WINDOW, constant_values=1.0)
    least = np.lib.stride_tricks.sliding_window_view(around, 2 * LIMITER_WINDOW + 1).min(axis=1)
    sums = np.cumsum(np.concatenate([[0.0], least]))
    width = 2 * LIMITER_WINDOW + 1
    gain = (sums[width:] - sums[:-width]) / width
    return (samples * gain).astype(np.float32)
