"""DNSMOS P.808: a predicted mean opinion score of overall quality, 1 to 5.

C. Reddy, V. Gopal and R. Cutler 2021, "DNSMOS: a non-intrusive perceptual objective speech quality metric to evaluate
noise suppressors". The package speechmos holds the network and its features; what it does with a waveform (windows of
9.01 s every second, a shorter one repeated) is done here, without its second network, which nothing here reports.
"""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from bitjets_mlx.evaluation.packages import optional
from bitjets_mlx.evaluation.waveforms import RATE, at_16_khz, at_one_level

NEEDS = ("onnxruntime", "librosa", "requests", "speechmos")
WINDOW, STEP = int(9.01 * RATE), RATE
TRIMMED = 160  # samples at the end of a window, as in the package


def score(waveforms: Sequence[np.ndarray], sample_rate: int) -> np.ndarray:
    """Predicted MOS (N,) of N waveforms, each float (S,); NaN for one without samples.

    BitjetsError where the packages are not installed.
    """
    return np.array([_score(waveform, sample_rate) for waveform in waveforms])


def _score(waveform: np.ndarray, sample_rate: int) -> float:
    features, network = _network()
    if not len(waveform):
        return float("nan")
    samples = at_one_level(at_16_khz(waveform, sample_rate))
    while len(samples) < WINDOW:
        samples = np.append(samples, samples)
    count = int(np.floor(len(samples) / RATE) - WINDOW / RATE) + 1
    found = []
    for start in range(0, count * STEP, STEP):
        mel = features(None, audio=samples[start : start + WINDOW - TRIMMED])
        found.append(network.run(None, {"input_1": np.asarray(mel, np.float32)[None]})[0][0, 0])
    return float(np.mean(found))


@lru_cache(maxsize=1)
def _network() -> tuple[Any, Any]:
    """Its features and its network, one per process."""
    runtime, package = optional("onnxruntime"), optional("speechmos.dnsmos")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1  # worker processes fill the cores already
    path = Path(str(package.__file__)).parent / "dnsmos_models" / "model_v8.onnx"
    session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return package.DNSMOS.audio_melspec, session
