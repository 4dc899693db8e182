"""Distill-MOS: a predicted mean opinion score of naturalness and quality, 1 to 5.

B. Stahl and H. Gamper 2025, "Distillation and pruning for scalable self-supervised representation-based speech quality
assessment"; the package distillmos holds code and weights (MIT). It wants torch; of torchaudio only what reads files,
which is not needed here, so that an empty module stands in for it while the package is imported.
"""

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from functools import lru_cache
from types import ModuleType
from typing import Any

import numpy as np

from bitjets_mlx.evaluation.packages import optional
from bitjets_mlx.evaluation.waveforms import at_16_khz, at_one_level

NEEDS = ("torch", "distillmos")


def score(waveforms: Sequence[np.ndarray], sample_rate: int) -> np.ndarray:
    """Predicted MOS (N,) of N waveforms, each float (S,); NaN for one without samples.

    BitjetsError where the packages are not installed.
    """
    torch, model = optional("torch"), _model()
    scores = np.full(len(waveforms), np.nan)
    for index, waveform in enumerate(waveforms):
        if not len(waveform):
            continue
        samples = at_one_level(at_16_khz(waveform, sample_rate))
        with torch.no_grad():
            scores[index] = float(model(torch.from_numpy(samples)[None])[0])
    return scores


@lru_cache(maxsize=1)
def _model() -> Any:
    """One model per process: its weights take a second to load."""
    optional("torch")
    with without_torchaudio(), open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        return optional("distillmos").ConvTransformerSQAModel().eval()  # it prints where its weights are


@contextlib.contextmanager
def without_torchaudio() -> Iterator[None]:
    """Inside, `import torchaudio` finds an empty module."""
    audio, transforms = ModuleType("torchaudio"), ModuleType("torchaudio.transforms")
    stand_ins = {"torchaudio": audio, "torchaudio.transforms": transforms}
    for name in ("MFCC", "Resample"):
        setattr(transforms, name, object)
    audio.transforms = transforms  # type: ignore[attr-defined]
    before = {name: sys.modules.get(name) for name in stand_ins}
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        for name, module in before.items():
            sys.modules.pop(name) if module is None else sys.modules.update({name: module})
