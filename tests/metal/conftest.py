"""The GPU that kernel tests run on: the emulated one, or, marked `metal`, a real one where there is one."""

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

import mlx.core as mx
import pytest
from emulator import COMPILER, emulated_metal

NO_EMULATOR = None if COMPILER and sys.platform == "linux" else "emulating a GPU needs Linux and g++ or clang++"


@pytest.fixture(params=["emulated", pytest.param("metal", marks=pytest.mark.metal)])
def gpu(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Under it `bitjets_mlx.ternary.metal` works. Yields the emulated GPU, or None for a real one."""
    if request.param == "metal":
        if not mx.metal.is_available():
            pytest.skip("needs a Mac: there is no Metal device here")
        with contextlib.nullcontext():
            yield None
    else:
        if NO_EMULATOR:
            pytest.skip(NO_EMULATOR)
        with emulated_metal(seed=1) as emulated:
            yield emulated


@pytest.fixture
def emulator() -> None:
    """For tests that can only run on the emulated GPU."""
    if NO_EMULATOR:
        pytest.skip(NO_EMULATOR)
