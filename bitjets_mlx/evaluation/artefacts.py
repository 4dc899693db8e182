"""What a listener would call a fault of the waveform itself: hiss in pauses, cut endings, clicks where sentences join.

Levels are those of frames of 20 ms, every 10 ms: 10 log10 of the mean square, in dB below full scale, at least -100.
"""

import numpy as np

from bitjets_mlx.config import SAMPLE_RATE

FRAME, STEP = 441, 220  # 20 and 10 ms
LOWEST = 1e-10  # mean square: -100 dB
EDGE = 0.1  # seconds at either end that are no pause: a voice fades there
SOFT, LOUD = 5.0, 95.0  # percentiles of the frames' levels
ENDING = 0.03  # seconds
CUT = -30.0  # dB: an ending this little below the speech was cut
AT_JOIN, AROUND_JOIN = 0.005, 0.1  # seconds
INAUDIBLE = 1e-4  # of full scale: a bend of the waveform at -80 dB
CLICK = 6.0  # dB: a bend this much larger than around it is a click


def frame_levels(audio: np.ndarray) -> np.ndarray:
    """Samples (S,) -> levels (T,) in dB; one frame for what is shorter than one."""
    if len(audio) < FRAME:
        audio = np.pad(audio, (0, FRAME - len(audio)))
    frames = np.lib.stride_tricks.sliding_window_view(audio.astype(np.float64), FRAME)[::STEP]
    return 10.0 * np.log10(np.maximum(np.square(frames).mean(axis=1), LOWEST))


def noise_floor(audio: np.ndarray) -> float:
    """Level of the pauses of an utterance (S,), dB: the 5th percentile of its frames, without 0.1 s at either end.

    A percentile and no threshold: where a vocoder hisses, no frame may be below any threshold.
    """
    edge = round(EDGE * SAMPLE_RATE)
    inside = audio[edge:-edge] if len(audio) > 2 * edge + FRAME else audio
    return float(np.percentile(frame_levels(inside), SOFT))


def ending_level(audio: np.ndarray) -> float:
    """Level of the last 30 ms of an utterance (S,) in dB against its loud frames (their 95th percentile)."""
    last = audio[-round(ENDING * SAMPLE_RATE) :].astype(np.float64)
    level = 10.0 * np.log10(max(float(np.square(last).mean()), LOWEST)) if len(last) else -100.0
    return float(level - np.percentile(frame_levels(audio), LOUD))


def join_click(audio: np.ndarray, position: int) -> float:
    """How much the waveform bends at a join, in dB against its neighborhood; above 6 it clicks.

    The largest second difference |x[n-1] - 2 x[n] + x[n+1]| within 5 ms of sample `position`, against the largest of
    the rest of the 0.1 s on either side, which counts as no smaller than -80 dB of full scale.
    """
    near, far = round(AT_JOIN * SAMPLE_RATE), round(AROUND_JOIN * SAMPLE_RATE)
    begin = max(0, position - far)
    part = audio[begin : position + far].astype(np.float64)
    if len(part) < 3:
        return float("-inf")
    bends = np.abs(part[:-2] - 2.0 * part[1:-1] + part[2:])  # of sample begin + 1 + index
    away = np.abs(begin + 1 + np.arange(len(bends)) - position)
    at_join = float(bends[away <= near].max(initial=0.0))
    around = max(float(bends[away > near].max(initial=0.0)), INAUDIBLE)
    return float(20.0 * np.log10(max(at_join, 1e-12) / around))
