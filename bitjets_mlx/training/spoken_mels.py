"""Mels as an acoustic model says them, for a vocoder to learn on (HiFi-GAN's fine-tuning, arXiv:2010.05646, 4.4).

An acoustic model's mels are smoother than recorded ones. A vocoder that has met them, each with the recording that it
stands for, makes of them what the recording has. Durations, pitch and energy are the recorded ones, so that frames fit.
"""

import copy
from pathlib import Path

import numpy as np

from bitjets_mlx.acoustic.model import BitJets
from bitjets_mlx.config import AcousticConfig
from bitjets_mlx.data.prepared import Clip, PreparedData
from bitjets_mlx.data.progress import progress
from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.training.acoustic_validation import example
from bitjets_mlx.training.settings import check_mels, read_initial
from bitjets_mlx.voice.weights_file import read_weights, write_weights


def spoken_mels(source: Path, data: PreparedData, clips: list[Clip], cache: Path, write: bool) -> list[np.ndarray]:
    """What the acoustic run or `_trainable` folder `source` makes of every clip: (T, 80) float16, log mel.

    Kept in the file `cache` (written where `write` says so): a resumed run reads them, and does not notice that
    `source` was trained on. BitjetsError where `source` does not know the data's speakers, or a clip cannot be aligned.
    """
    names = [f"{clip.speaker}/{clip.id}" for clip in clips]
    if cache.exists():
        mels = read_weights(cache)
        if set(mels) != set(names):
            raise BitjetsError(f"{cache} is of other clips: begin a new run with another --out.")
        return [mels[name] for name in names]
    initial = read_initial(source, "acoustic")
    check_mels(source, initial, data.audio.n_mels)
    assert isinstance(initial.model, AcousticConfig) and initial.statistics is not None
    if initial.speakers != data.speakers:
        raise BitjetsError(
            f"{source} speaks as {', '.join(initial.speakers)}, the data's speakers are {', '.join(data.speakers)}: "
            "give an acoustic model that was trained on this data."
        )
    model = BitJets(initial.model, with_aligner=True)
    model.update(initial.weights)
    own = copy.copy(data)
    own.statistics = initial.statistics
    spoken = (example(model, own, clip).predicted.astype(np.float16) for clip in clips)
    mels = dict(zip(names, progress(spoken, len(clips), "mels of the acoustic model"), strict=True))
    if write:
        cache.parent.mkdir(parents=True, exist_ok=True)
        write_weights(cache, mels)
    return [mels[name] for name in names]
