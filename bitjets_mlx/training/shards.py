"""How a micro-batch is spread over the cores of the CPU backend, and where its random keys come from."""

import mlx.core as mx
import numpy as np

from bitjets_mlx.platform import cpu_cores, set_blas_threads


def shard_streams(batch_size: int) -> list[mx.Stream]:
    """One stream on a GPU; on the CPU backend as many as cores divide the batch, with one BLAS thread each.

    MLX uses one thread for everything but matrix products on the CPU, so shards on streams of their own are what
    keeps the other cores busy.
    """
    if mx.default_device().type != mx.DeviceType.cpu:
        return [mx.default_stream(mx.default_device())]
    shards = max(n for n in range(1, cpu_cores() + 1) if batch_size % n == 0)
    set_blas_threads(max(1, cpu_cores() // shards))
    return [mx.new_stream(mx.cpu) for _ in range(shards)]


def seeds_for(*words: int, count: int) -> list[int]:
    """`count` seeds from (seed, update, micro-batch, process): a resumed run draws the same random numbers."""
    return [int(word) for word in np.random.SeedSequence(words).generate_state(count, np.uint32)]
