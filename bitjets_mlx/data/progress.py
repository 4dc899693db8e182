"""A progress bar of a few lines: rewritten in place on a terminal, a line every tenth otherwise."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def progress(items: Iterable[T], total: int, label: str) -> Iterator[T]:
    """Pass `items` on, showing how many of `total` are done and how long the rest will take."""
    begun, shown, terminal = time.monotonic(), 0.0, sys.stderr.isatty()
    for done, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        tenth = done * 10 // total > (done - 1) * 10 // total
        if done == total or (terminal and now - shown > 0.1) or (not terminal and tenth and now - begun > 2):
            shown = now
            left = (now - begun) / done * (total - done)
            bar = "#" * (30 * done // total)
            line = f"{label} [{bar:<30}] {done}/{total} {now - begun:.0f} s, {left:.0f} s left"
            print("\r" + line if terminal else line, end="" if terminal else "\n", file=sys.stderr, flush=True)
    if terminal and total:
        print(file=sys.stderr)
