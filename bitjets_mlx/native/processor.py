"""What this machine's processor is."""

import ctypes
import functools
import os
import sys
from pathlib import Path


@functools.cache
def cpu_flags() -> frozenset[str]:
    """The instruction sets that /proc/cpuinfo lists; on macOS the processor's name; nothing on other systems."""
    if sys.platform == "darwin":
        return frozenset([_apple_processor()])
    try:
        info = Path("/proc/cpuinfo").read_text()
    except OSError:
        return frozenset()
    listed = (line.split(":", 1)[1].split() for line in info.splitlines() if line.startswith(("flags", "Features")))
    return frozenset(next(listed, ()))


def _apple_processor() -> str:
    """Such as "Apple M4"."""
    name, size = ctypes.create_string_buffer(128), ctypes.c_size_t(128)
    ctypes.CDLL(None).sysctlbyname(b"machdep.cpu.brand_string", name, ctypes.byref(size), None, ctypes.c_size_t(0))
    return name.value.decode()


@functools.cache
def kernel_threads() -> int:
    """For one ternary layer, attention or upsampling: more would find nothing to do in work this small."""
    return min(cpu_cores(), 8)


def cpu_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
