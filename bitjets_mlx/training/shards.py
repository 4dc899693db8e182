"""How an update is spread over the machine: shards on the CPU backend's cores, compilation, random keys.

MLX uses one thread for everything but matrix products on the CPU. So each shard has a Python thread with a stream of
its own, in which its graph is built and evaluated: two cores then do twice the work.
"""

import ctypes
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import mlx.core as mx
import numpy as np
from mlx.utils import tree_map

from bitjets_mlx.native.blas import set_blas_threads
from bitjets_mlx.native.loader import on_cpu
from bitjets_mlx.native.processor import cpu_cores

# Seconds for which a Python thread may keep the interpreter from one that is back from a kernel. With Python's own
# 0.005 a shard that builds its graph stops the others for that long, a dozen times per update.
SWITCH_INTERVAL = 1e-4


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """`mx.compile(function)` on a GPU, and the function itself on the CPU backend.

    Measured there, default acoustic model, batch 8, two cores, processor seconds an update: 0.75 plain, 0.88 compiled,
    after 100 s of the C++ compiler, which compiling needs at run time and a user may not have.
    """
    return function if on_cpu() else mx.compile(function)


def keep_freed_memory() -> None:
    """Have glibc keep freed memory for the next update instead of handing it back to the system (nothing elsewhere).

    MLX's CPU backend has no buffer cache of its own: every array is a fresh `malloc`, and by default glibc maps and
    unmaps large ones, so that the kernel clears every page again: a tenth of the processor time of an update.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform.startswith("linux") else None
    if mallopt is not None:
        trim_threshold, mmap_threshold, arenas = -1, -3, -8  # from malloc.h
        mallopt(trim_threshold, 2**31 - 1)
        mallopt(mmap_threshold, 2**30) or mallopt(mmap_threshold, 2**25)  # an older glibc takes no more than 32 MB
        mallopt(arenas, 1)  # those of threads are mapped and unmapped all the same


class ShardPool:
    """Runs one function a shard side by side: on the CPU as many shards as cores divide the batch, on a GPU one."""

    def __init__(self, batch_size: int) -> None:
        cores = cpu_cores() if on_cpu() else 1
        self.count = max(n for n in range(1, cores + 1) if batch_size % n == 0)
        if on_cpu():
            keep_freed_memory()
            sys.setswitchinterval(SWITCH_INTERVAL)
            set_blas_threads(max(1, cores // self.count))
        self._threads = [ThreadPoolExecutor(1) for _ in range(self.count if self.count > 1 else 0)]
        # A stream belongs to the thread that made it.
        self._streams = [thread.submit(mx.new_stream, mx.cpu).result() for thread in self._threads]

    def run(self, functions: Sequence[Callable[..., Any]], arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        """[f(*a) for f, a in zip(functions, arguments)], evaluated."""
        if not self._threads:
            results = [function(*given) for function, given in zip(functions, arguments, strict=True)]
            mx.eval(results)
            return results
        mx.eval(arguments)  # another thread could not: what is pending here is pending on this thread's stream
        waiting = [
            thread.submit(_run, stream, function, given)
            for thread, stream, function, given in zip(self._threads, self._streams, functions, arguments, strict=True)
        ]
        return [result.result() for result in waiting]


def _run(stream: mx.Stream, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """function(*arguments), evaluated on `stream`.

    While `mx.grad` runs it puts its own arrays into the dicts and lists it was given, so threads cannot share these.
    """
    with mx.stream(stream):
        result = function(*tree_map(lambda leaf: leaf, arguments))
        mx.eval(result)
        return result


def seeds_for(*words: int, count: int) -> list[int]:
    """`count` seeds from (seed, update, micro-batch, process): a resumed run draws the same random numbers."""
    return [int(word) for word in np.random.SeedSequence(words).generate_state(count, np.uint32)]
