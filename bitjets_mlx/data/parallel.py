"""Work on many items in several processes."""

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from threading import Thread
from typing import TypeVar

from bitjets_mlx.errors import BitjetsError

In = TypeVar("In")
Out = TypeVar("Out")


def parallel(work: Callable[[In], Out], items: Sequence[In], workers: int) -> Iterator[Out]:
    """`map` over processes, in order. Fresh processes, not forks: MLX does not survive a fork."""
    if workers <= 1 or len(items) < 8:
        yield from map(work, items)
        return
    threads = {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    os.environ.update({name: "1" for name in threads})  # inherited: the processes fill the cores already
    pool = ProcessPoolExecutor(min(workers, len(items)), get_context("spawn"), start_worker)
    try:
        yield from pool.map(work, items, chunksize=4)
    except BrokenProcessPool:
        raise BitjetsError("A worker process died, perhaps for lack of memory: try again with --workers 1.") from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        for name, value in threads.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def start_worker() -> None:
    """Leave Ctrl-C to the parent process, and end with it, even where it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=end_with_parent, daemon=True).start()


def end_with_parent() -> None:
    """Wait for the parent process to end, then end at once: nobody would take the results."""
    parent = parent_process()
    if parent:
        parent.join()
        os._exit(1)
