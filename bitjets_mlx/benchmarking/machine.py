"""The machine that a benchmark ran on, and the fastest that a core of it multiplies."""

import platform
import statistics
import time
from importlib.metadata import version
from pathlib import Path

import mlx.core as mx
import numpy as np

from bitjets_mlx.native.blas import fast_blas, set_blas_threads
from bitjets_mlx.native.processor import cpu_cores


def describe_machine() -> str:
    """One line: processor, cores, system, MLX and its device."""
    device = "CPU backend" if mx.default_device() == mx.Device(mx.cpu) else "GPU"
    cores = "one core" if cpu_cores() == 1 else f"{cpu_cores()} cores"
    return (
        f"{_processor()}, {cores}, {platform.system()} {platform.machine()}; "
        f"Python {platform.python_version()}, MLX {version('mlx')} ({device}; BLAS: {fast_blas()})"
    )


def _processor() -> str:
    """The processor's name; on virtual machines often no more than its family."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    found = dict(line.split(":", 1) for line in lines if ":" in line)
    named = {key.strip(): value.strip() for key, value in found.items()}
    family = f" (family {named['cpu family']}, model {named['model']})" if "cpu family" in named else ""
    return named.get("model name", platform.machine()) + family


def peak_gflops(size: int = 1024, tries: int = 25) -> float:
    """What one core reaches in a product of two float32 matrices: GFLOP per second of processor time, median."""
    set_blas_threads(1)
    random = np.random.default_rng(0)
    a = random.standard_normal((size, size)).astype(np.float32)
    taken = []
    for _ in range(tries):
        began = time.process_time()
        a @ a
        taken.append(time.process_time() - began)
    return 2.0 * size**3 / statistics.median(taken) / 1e9
