"""Which process speaks: MLX's threads do not survive a fork, and a child that waits for them waits forever."""

import functools
import os

from bitjets_mlx.errors import BitjetsError


def check_process() -> None:
    """BitjetsError in a process that was forked after a voice had been used, where it would wait forever."""
    if _first_user() != os.getpid():
        raise BitjetsError(
            "this process was forked after a voice had been used, which MLX does not survive: start it with "
            'multiprocessing.get_context("spawn"), or load the voice after the fork only.'
        )


@functools.cache
def _first_user() -> int:
    """The process that first asked; its children inherit the answer."""
    return os.getpid()
