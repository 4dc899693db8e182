"""A picture of the recordings: what is usual, and what falls out of it. Needs matplotlib."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bitjets_mlx.data.checks import Inspection
from bitjets_mlx.files import atomic_write


def draw_checks(path: Path, inspections: Sequence[Inspection]) -> None:
    """Length, level and pace of every readable clip; crosses are left out, and named where there is room."""
    from matplotlib.figure import Figure  # without pyplot: no window system is asked for

    figure = Figure(figsize=(13, 8), layout="constrained")
    lengths, levels, paces, noise = figure.subplots(2, 2).ravel()
    for index, speaker in enumerate(sorted({item.speaker for item in inspections})):
        own = [item for item in inspections if item.speaker == speaker and item.seconds > 0]
        color = f"C{index}"
        seconds = [item.seconds for item in own]
        lengths.hist(seconds, bins=40, alpha=0.6, label=f"{speaker} ({len(own)} readable)", color=color)
        for used, marker in ((True, "."), (False, "x")):
            part = [item for item in own if (not item.faults) == used]
            loud, quiet, peak = (
                20 * np.log10(np.maximum([getattr(item, name) for item in part], 1e-5))
                for name in ("loud", "quiet", "peak")
            )
            levels.plot(loud, peak, marker, color=color, alpha=0.5)
            paces.plot(
                [item.seconds for item in part],
                [item.characters for item in part],
                marker,
                color=color,
                alpha=0.5,
            )
            noise.plot(loud, quiet, marker, color=color, alpha=0.5)
    for item in [item for item in inspections if item.faults and item.seconds > 0][:20]:
        paces.annotate(item.id, (item.seconds, item.characters), fontsize=7)
    lengths.set(title="length", xlabel="seconds", ylabel="clips")
    lengths.legend(loc="upper right")
    levels.set(title="level (x: left out)", xlabel="loud frames, dB", ylabel="peak, dB")
    paces.set(title="text against audio (x: left out)", xlabel="seconds", ylabel="characters")
    noise.set(title="noise floor (x: left out)", xlabel="loud frames, dB", ylabel="quiet frames, dB")
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=90)
