"""Bars beside each other, a small picture for each measure."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.files import atomic_write

OURS, OTHERS = "#0072b2", "#999999"


def draw_bars(path: Path, names: Sequence[str], measures: Mapping[str, Sequence[float]], caption: str) -> None:
    """One column of bars a measure, names at the left, logarithmic, our own in color; written atomically."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise BitjetsError("--plot needs matplotlib: run pip install -r requirements.txt.") from None
    figure = Figure(figsize=(4 + 2.6 * len(measures), 1.4 + 0.36 * len(names)), layout="constrained")
    axes = figure.subplots(1, len(measures), sharey=True, squeeze=False)[0]
    places = range(len(names) - 1, -1, -1)
    colors = [OURS if name.startswith("bitjets_mlx") else OTHERS for name in names]
    for axis, (measure, values) in zip(axes, measures.items(), strict=True):
        axis.barh(places, values, color=colors)
        for place, value in zip(places, values, strict=True):
            axis.text(value, place, f" {value:.3g}", va="center", fontsize=8)
        axis.set_xscale("log")
        axis.set_xlim(min(values) / 3, max(values) * 4)
        axis.set_title(measure, fontsize=9)
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_yticks(list(places), names)
    figure.supxlabel(caption, fontsize=7)
    try:
        with atomic_write(path) as temporary:
            figure.savefig(temporary, dpi=110)
    except ValueError as error:  # a suffix that matplotlib does not know
        raise BitjetsError(f"{path} cannot be drawn ({error}): give a name that ends in .png.") from None
