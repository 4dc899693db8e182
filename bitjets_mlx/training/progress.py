"""The progress bar of a training: losses, speed, memory, time left."""

import math
import shutil
import sys
import time
from datetime import timedelta

import mlx.core as mx

LOSSES_SHOWN = 8
WIDTH = 16  # of the bar
QUIET_SECONDS = 30.0  # between lines where the output is no terminal
MEMORY = 20.0  # updates over which the speed is averaged


class ProgressBar:
    """One line that rewrites itself on a terminal; elsewhere a new line now and then."""

    def __init__(self, start: int, total: int) -> None:
        self.start, self.total = start, total
        self.terminal = sys.stderr.isatty()
        self._last = time.monotonic()
        self._seconds = 0.0  # an update, averaged over the last few
        self._shown = -math.inf

    def show(self, done: int, losses: dict[str, float]) -> None:
        """`done` updates are done; `losses` are recent means, the most telling ones first."""
        now = time.monotonic()
        weight = max(1.0 / (done - self.start), 1.0 / MEMORY)
        self._seconds += weight * (now - self._last - self._seconds)
        self._last = now
        if now - self._shown < (0.1 if self.terminal else QUIET_SECONDS) and done != self.total:
            return
        self._shown = now
        line = progress_line(done, self.total, losses, self._seconds, mx.get_peak_memory())
        if self.terminal:
            line = "\r\x1b[K" + line[: shutil.get_terminal_size().columns - 1]
        print(line, end="" if self.terminal else "\n", file=sys.stderr, flush=True)

    def close(self) -> None:
        """End the line."""
        if self.terminal:
            print(file=sys.stderr)


def progress_line(done: int, total: int, losses: dict[str, float], seconds: float, memory: int) -> str:
    """The text: bar, count, speed (`seconds` an update), time left, peak memory (bytes), losses."""
    bar = "#" * (WIDTH * done // total)
    left = timedelta(seconds=round(seconds * (total - done)))
    shown = " ".join(f"{name} {value:.3g}" for name, value in list(losses.items())[:LOSSES_SHOWN])
    return f"[{bar:<{WIDTH}}] {done}/{total} {seconds:.2f} s/update, {left} left, {memory / 1e9:.1f} GB | {shown}"
