"""A progress bar: rewritten in place on a terminal, a line now and then otherwise."""

import sys
from collections.abc import Iterable
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")
QUIET_SECONDS = 30.0  # between lines where the output is not a terminal


def interval() -> float:
    """Seconds between two states of a bar."""
    return 0.1 if sys.stderr.isatty() else QUIET_SECONDS


def progress(items: Iterable[T], total: int, label: str) -> Iterable[T]:
    """Pass `items` on, showing how many of `total` are done and how long the rest will take."""
    bar: Iterable[T] = tqdm(items, label, total, mininterval=interval(), dynamic_ncols=True)
    return bar
