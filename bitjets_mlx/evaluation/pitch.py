"""How near synthetic F0, voicing and duration come to the recording's."""

from typing import NamedTuple

import numpy as np


class Contour(NamedTuple):
    """F0 in Hz (T,), interpolated through unvoiced stretches or not, and voicing (T,)."""

    f0: np.ndarray
    voiced: np.ndarray

    def voiced_log_f0(self) -> np.ndarray:
        """Log F0 of the voiced frames only."""
        return np.log(self.f0[self.voiced])


def log_f0_errors(natural: Contour, synthetic: Contour, path: np.ndarray) -> np.ndarray:
    """Differences of log F0 where both are voiced, along a DTW path (L, 2): (K,), K <= L."""
    i, j = path[:, 0], path[:, 1]
    both = natural.voiced[i] & synthetic.voiced[j]
    return np.log(synthetic.f0[j[both]]) - np.log(natural.f0[i[both]])


def root_mean_square(values: np.ndarray) -> float:
    """NaN for no values at all."""
    return float(np.sqrt(np.mean(np.square(values)))) if len(values) else float("nan")


def voicing_error(natural: Contour, synthetic: Contour, path: np.ndarray) -> float:
    """Share of a DTW path's frames that are voiced in one and not in the other."""
    return float(np.mean(natural.voiced[path[:, 0]] != synthetic.voiced[path[:, 1]]))


def duration_error(natural_frames: int, synthetic_frames: int) -> float:
    """Relative difference of the total length; positive where the synthesis is longer."""
    return (synthetic_frames - natural_frames) / natural_frames
