"""How a micro-batch is spread over the cores of the CPU backend, and where its random keys come from.

MLX uses one thread for everything but matrix products on the CPU. A stream has a thread of its own, but one `mx.eval`
feeds the streams one after the other, so each shard also gets a Python thread: two cores then do twice the work.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import mlx.core as mx
import numpy as np

from bitjets_mlx.platform import cpu_cores, set_blas_threads


class ShardPool:
    """Runs one function a shard side by side: on the CPU as many shards as cores divide the batch, on a GPU one."""

    def __init__(self, batch_size: int) -> None:
        on_cpu = mx.default_device().type == mx.DeviceType.cpu
        cores = cpu_cores() if on_cpu else 1
        self.count = max(n for n in range(1, cores + 1) if batch_size % n == 0)
        if on_cpu:
            set_blas_threads(max(1, cores // self.count))
        self._threads = [ThreadPoolExecutor(1) for _ in range(self.count if self.count > 1 else 0)]
        # A stream belongs to the thread that made it.
        self._streams = [thread.submit(mx.new_stream, mx.cpu).result() for thread in self._threads]

    def run(self, functions: Sequence[Callable[..., Any]], arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        """[f(*a) for f, a in zip(functions, arguments)], evaluated; the arguments must be evaluated already."""
        if not self._threads:
            results = [function(*given) for function, given in zip(functions, arguments, strict=True)]
            mx.eval(results)
            return results
        waiting = [
            thread.submit(_on_stream, stream, function, given)
            for thread, stream, function, given in zip(self._threads, self._streams, functions, arguments, strict=True)
        ]
        return [future.result() for future in waiting]


def _on_stream(stream: mx.Stream, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    with mx.stream(stream):
        result = function(*arguments)
        mx.eval(result)
    return result


def seeds_for(*words: int, count: int) -> list[int]:
    """`count` seeds from (seed, update, micro-batch, process): a resumed run draws the same random numbers."""
    return [int(word) for word in np.random.SeedSequence(words).generate_state(count, np.uint32)]
