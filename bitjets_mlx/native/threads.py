"""The threads that C code runs on: it lets go of Python's lock, so that as many work at once as there are cores.

Layers that take less than a millisecond have threads of their own, in C (`sources/threads.c`).
"""

import functools
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from bitjets_mlx.native.processor import cpu_cores

Given = TypeVar("Given")
Result = TypeVar("Result")


def side_by_side(function: Callable[[Given], Result], given: Iterable[Given]) -> list[Result]:
    """[function(a) for a in given], on all cores. No MLX graphs: these belong to the thread that made them."""
    arguments = list(given)
    if len(arguments) == 1:
        return [function(arguments[0])]
    return list(_pool().map(function, arguments))


@functools.cache
def _pool() -> ThreadPoolExecutor:
    os.register_at_fork(after_in_child=_pool.cache_clear)  # a forked process has none of them
    return ThreadPoolExecutor(cpu_cores())
