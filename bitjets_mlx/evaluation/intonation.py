"""How pitch moves at the end of a sentence: up in a question that asks for yes or no, down in a statement."""

import re

import numpy as np

from bitjets_mlx.audio.pitch import PitchConfig, extract_pitch

SPAN = 0.3  # seconds of voiced speech at the end
LOUD, SOFTEST = 95.0, 25.0  # percentile of the frames' power, and dB below it from which a frame does not count
FEWEST = 8  # voiced frames, 93 ms: below, there is no slope
AUXILIARIES = (  # what a yes/no question begins with; "ca", "wo", "sha" and "ai" with "n't" behind
    "am is are was were do does did have has had can ca could will wo would shall sha should may might must need ai"
)


def sentence_kind(text: str) -> str:
    """ "yes/no question", "other question" or "statement"; an exclamation and what is left open are "other"."""
    ending = re.sub(r"[\s\"'”’)\]]+$", "", text)[-1:]
    if ending == "?":
        first = re.match(r"[\W_]*([a-z'’]+)", text.lower())
        word = first[1].replace("’", "'").removesuffix("n't") if first else ""
        return "yes/no question" if word in AUXILIARIES.split() else "other question"
    return "statement" if ending == "." else "other"


def final_slope(waveform: np.ndarray) -> float:
    """Slope of F0 over the last 0.3 s that are voiced, semitones per second, of samples (S,) at 22,050 Hz.

    Frames far below the speech are left out: in creaky and dying voice no tracker is sure of the octave. The slope is
    the median of those between all pairs of frames (P. K. Sen 1968, "Estimates of the regression coefficient based on
    Kendall's tau"), so that a few wrong octaves do not change it. NaN for too little voice.
    """
    config = PitchConfig()
    count = len(waveform) // config.hop
    if not count:
        return float("nan")
    waveform = np.asarray(waveform, np.float32)
    f0, voiced = extract_pitch(waveform)
    power = np.square(waveform[: count * config.hop].reshape(count, config.hop)).mean(axis=1)  # (T,)
    loud = power > np.percentile(power, LOUD) * 10.0 ** (-SOFTEST / 10.0)
    frames = np.flatnonzero(voiced[:count] & loud)[-round(SPAN * config.sample_rate / config.hop) :]  # (K,)
    if len(frames) < FEWEST:
        return float("nan")
    semitones, seconds = 12.0 * np.log2(f0[frames]), frames * config.hop / config.sample_rate
    first, second = np.triu_indices(len(frames), 1)
    return float(np.median((semitones[second] - semitones[first]) / (seconds[second] - seconds[first])))
