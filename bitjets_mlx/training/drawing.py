"""Pictures of a training: loss curves, alignments, mel spectrograms. Only drawing imports matplotlib."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.files import atomic_write
from bitjets_mlx.training.validation import Example

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = 3
PANEL = 2.4  # inches
VALIDATION = "validation_"


def draw_losses(lines: Sequence[dict[str, float]]) -> "Figure":
    """Every logged number over the updates, validation losses in the panel of the training losses."""
    names = list(dict.fromkeys(name.removeprefix(VALIDATION) for line in lines for name in line if name != "update"))
    rows = math.ceil(len(names) / COLUMNS)
    figure = _figure(4.5 * COLUMNS, PANEL * rows)
    panels = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    for axes, name in zip(panels, names, strict=False):
        for key, label in ((name, "training"), (VALIDATION + name, "validation")):
            points = [(line["update"], line[key]) for line in lines if key in line]
            if points:
                axes.plot(*zip(*points, strict=True), label=label, linewidth=1.2)
        axes.set_title(name, fontsize=10)
        axes.grid(alpha=0.3)
        if any(VALIDATION + name in line for line in lines):
            axes.legend(fontsize=8)
    for axes in panels[len(names) :]:
        axes.set_visible(False)
    return figure


def draw_example(example: Example) -> "Figure":
    """One clip: recorded mel, predicted mel, and the alignment where there is one."""
    mels = [("recorded", example.recorded), ("predicted", example.predicted)]
    heights = [PANEL] * len(mels)
    if example.alignment is not None:
        heights.append(max(PANEL, 0.1 * len(example.phonemes)))  # so that the phonemes can be read
    figure = _figure(max(6.0, 0.015 * len(example.recorded)), sum(heights))
    figure.suptitle(example.name, fontsize=10)
    panels = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights).ravel()
    low, high = float(np.min(example.recorded)), float(np.max(example.recorded))
    for axes, (title, mel) in zip(panels, mels, strict=False):
        axes.imshow(mel.T, origin="lower", aspect="auto", cmap="magma", vmin=low, vmax=high)
        axes.set_title(f"{title} mel", fontsize=10)
        axes.set_ylabel("band")
    if example.alignment is not None:
        panels[-1].imshow(example.alignment.T, origin="lower", aspect="auto", cmap="viridis", vmin=0.0, vmax=1.0)
        panels[-1].set_title("alignment", fontsize=10)
        panels[-1].set_yticks(range(len(example.phonemes)), example.phonemes, fontsize=6)
    panels[-1].set_xlabel("frame")
    return figure


def save_picture(figure: "Figure", path: Path) -> None:
    """Write a figure as an image, whole or not at all."""
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=100)


def pixels(figure: "Figure") -> np.ndarray:
    """A figure as an image, (height, width, 3) uint8."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _figure(width: float, height: float) -> "Figure":
    try:
        from matplotlib.figure import Figure  # without pyplot: no window system is asked for
    except ImportError:
        raise BitjetsError("drawing needs matplotlib: run pip install matplotlib.") from None
    return Figure(figsize=(width, height), layout="constrained")
