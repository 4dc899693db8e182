"""A picture of what was spoken: mel spectrogram, pitch where voiced, and the phonemes below."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bitjets_mlx.config import AudioConfig
from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.files import atomic_write

if TYPE_CHECKING:
    from bitjets_mlx.voice import Prediction

INCHES_A_SECOND = 2.4
SECONDS_A_FRAME = AudioConfig.hop / AudioConfig.sample_rate


def plot_predictions(path: Path, predictions: "Sequence[Prediction]") -> None:
    """Draw utterances one after the other into an image file (its suffix decides which kind), atomically."""
    try:
        from matplotlib.figure import Figure  # without pyplot: no window system is asked for
    except ImportError:
        raise BitjetsError("--plot needs matplotlib: run pip install -r requirements.txt.") from None
    mel = np.concatenate([p.mel for p in predictions])  # (T, 80)
    f0 = np.concatenate([np.where(p.voiced, p.f0, np.nan) for p in predictions])
    symbols = [symbol for p in predictions for symbol in p.phonemes]
    ends = np.cumsum(np.concatenate([p.durations for p in predictions]))
    centres = ends - np.concatenate([p.durations for p in predictions]) / 2
    seconds = len(mel) * SECONDS_A_FRAME
    figure = Figure(figsize=(max(6.0, 1.5 + INCHES_A_SECOND * seconds), 4.0), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(
        mel.T, origin="lower", aspect="auto", extent=(0.0, seconds, -0.5, mel.shape[1] - 0.5), cmap="magma"
    )
    figure.colorbar(image, ax=axes, label="log mel", pad=0.07)
    axes.set_ylabel("mel band")
    axes.set_xticks(centres * SECONDS_A_FRAME, symbols, fontsize=7, rotation=90)
    pitch = axes.twinx()
    pitch.plot((np.arange(len(f0)) + 0.5) * SECONDS_A_FRAME, f0, color="cyan", linewidth=1.2)
    pitch.set_ylabel("F0 (Hz)")
    pitch.set_ylim(50, 500)
    try:
        with atomic_write(path) as temporary:
            figure.savefig(temporary, dpi=100)
    except ValueError as error:  # a suffix that matplotlib does not know
        raise BitjetsError(f"{path} cannot be drawn ({error}): give a name that ends in .png.") from None
