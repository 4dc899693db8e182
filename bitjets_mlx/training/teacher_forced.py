"""Teacher-forced mels for a vocoder to learn on (HiFi-GAN's fine-tuning, arXiv:2010.05646, section 4.4), or GTA.

An acoustic model's mels are smoother than recorded ones. A vocoder that has met them, each with its recording, gives
them back what they lack. Durations, pitch and energy are the recorded ones, so that the frames fit.
"""

from pathlib import Path

import numpy as np

from bitjets_mlx.acoustic.model import BitJets
from bitjets_mlx.config import AcousticConfig
from bitjets_mlx.data.prepared import Clip, PreparedData
from bitjets_mlx.data.progress import progress
from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.training.acoustic_validation import example
from bitjets_mlx.training.warm_start import check_mels, read_init
from bitjets_mlx.voice.weights_file import read_weights, write_weights

CACHES = ("teacher_forced_mels.safetensors", "spoken_mels.safetensors")  # of this version, and of older runs


def teacher_forced_mels(
    source: Path, data: PreparedData, clips: list[Clip], run: Path, write: bool
) -> list[np.ndarray]:
    """The mels of the acoustic run or `_trainable` folder `source` for every clip: (T, 80) float16, log mel.

    Kept in the folder `run` (written where `write` says so): a resumed run reads them, and does not notice that
    `source` was trained on. BitjetsError where `source` does not have the data's speakers, or a clip cannot be aligned.
    """
    names = [f"{clip.speaker}/{clip.id}" for clip in clips]
    for cache in (run / name for name in CACHES):
        if cache.exists():
            mels = read_weights(cache)
            if set(mels) != set(names):
                raise BitjetsError(f"{cache} is of other clips: begin a new run with another --out.")
            return [mels[name] for name in names]
    init = read_init(source, "acoustic")
    check_mels(source, init, data.audio.n_mels)
    assert isinstance(init.model, AcousticConfig) and init.statistics is not None
    if init.speakers != data.speakers:
        raise BitjetsError(
            f"{source} has the speakers {', '.join(init.speakers)}, the data {', '.join(data.speakers)}: "
            "give an acoustic model that was trained on this data."
        )
    model = BitJets(init.model, with_aligner=True)
    model.update(init.weights)
    own = data.with_statistics(init.statistics)
    forced = (example(model, own, clip).predicted.astype(np.float16) for clip in clips)
    mels = dict(zip(names, progress(forced, len(clips), "teacher-forced mels"), strict=True))
    if write:
        run.mkdir(parents=True, exist_ok=True)
        write_weights(run / CACHES[0], mels)
    return [mels[name] for name in names]
