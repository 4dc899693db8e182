"""The C libraries: what they are made of, their functions, and whether they are used here.

speaking    ternary layers, attention and upsampling without gradients; x86-64 with AVX2
vocoder     whole vocoders without gradients
training    ternary layers, softmax, AdamW, alignment, with gradients
"""

import ctypes
import functools
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import mlx.core as mx
import numpy as np

from bitjets_mlx.native.build import BuildError, load, say_slower
from bitjets_mlx.native.processor import cpu_flags

SOURCES = Path(__file__).parent / "sources"
PLAIN_FLAGS = ("-O3", "-fno-math-errno", "-fno-trapping-math")
# Sums may be reordered for vector instructions. (-ffast-math would change the whole process.)
REORDERED = (*PLAIN_FLAGS, "-fno-signed-zeros", "-fassociative-math")
FINITE = (*REORDERED, "-ffinite-math-only", "-pthread")  # no NaN comes here

_POINTER, _INT, _LONG, _SIZE = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64, ctypes.c_size_t
_FLOAT, _DOUBLE = ctypes.c_float, ctypes.c_double
Signatures = Mapping[str, tuple[Any, list[Any]]]  # of a function: result, arguments


class Library(NamedTuple):
    """Sources, which are compiled as one after the other; flags for the compiler; functions."""

    sources: tuple[str, ...]
    flags: tuple[str, ...]
    functions: Signatures


LIBRARIES = {
    "speaking": Library(
        ("exp2", "threads", "layer", "attention", "upsampling"),
        FINITE,
        {
            "bitjets_instructions": (ctypes.c_char_p, []),
            "bitjets_layer_scratch": (_SIZE, [_INT] * 2),
            "bitjets_layer": (None, [_POINTER] * 8 + [_INT] * 7 + [_FLOAT, _POINTER, _INT]),
            "bitjets_quantize": (None, [_POINTER] * 3 + [_INT] * 2 + [_FLOAT, _POINTER, _POINTER]),
            "bitjets_attention_scratch": (_SIZE, [_INT] * 5),
            "bitjets_attention": (None, [_POINTER] * 3 + [_INT] * 4 + [_POINTER, _INT]),
            "bitjets_upsampling": (None, [_POINTER] * 4 + [_INT] * 4 + [_FLOAT] * 2 + [_INT]),
        },
    ),
    "vocoder": Library(
        ("convolution", "hifigan", "harmonic"),
        PLAIN_FLAGS,
        {
            "bitjets_hifigan_work": (_LONG, [_POINTER, _LONG]),
            "bitjets_hifigan_stage": (None, [_POINTER] * 3 + [_LONG] * 4 + [_POINTER, _LONG, _POINTER]),
            "bitjets_hifigan_pre": (None, [_POINTER] * 2 + [_LONG] + [_INT] * 3 + [_LONG] * 2 + [_POINTER, _LONG]),
            "bitjets_harmonic_tables": (_LONG, [_POINTER]),
            "bitjets_harmonic_work": (_LONG, [_POINTER, _LONG]),
            "bitjets_harmonic": (None, [_POINTER] * 4 + [_INT] * 2 + [_POINTER] * 2),
        },
    ),
    "training": Library(
        ("exp2", "softmax", "training_layer", "adamw", "alignment"),
        REORDERED,
        {
            "bitjets_softmax": (None, [_POINTER, _INT, _INT, _FLOAT]),
            "bitjets_softmax_gradient": (None, [_POINTER] * 2 + [_INT] * 2 + [_FLOAT]),
            "bitjets_quantize_weights": (None, [_POINTER] * 2 + [ctypes.c_long, _FLOAT]),
            "bitjets_norm_columns": (None, [_POINTER] * 5 + [_INT] * 4 + [_FLOAT] * 2),
            "bitjets_norm_columns_gradient": (None, [_POINTER] * 6 + [_INT] * 4),
            "bitjets_bias": (None, [_POINTER] * 2 + [ctypes.c_long, _INT, _INT]),
            "bitjets_bias_gradient": (None, [_POINTER] * 4 + [ctypes.c_long, _INT, _INT]),
            "bitjets_sum_of_squares": (None, [_POINTER, ctypes.c_long, _POINTER]),
            "bitjets_adamw": (_INT, [_POINTER] * 9 + [ctypes.c_long, _POINTER]),
            "bitjets_forward_sum": (None, [_POINTER] + [_INT] * 3 + [_DOUBLE] + [_POINTER] * 4),
            "bitjets_monotonic_search": (None, [_POINTER] + [_INT] * 3 + [_POINTER] * 3),
        },
    ),
}


def on_cpu() -> bool:
    """Whether MLX computes on its CPU backend, which has faster forms of its own of most operations here."""
    return mx.default_device() == mx.Device(mx.cpu)


def here(name: str) -> ctypes.CDLL | None:
    """The library that takes the place of MLX's operations: None on a GPU, and where it cannot be had."""
    return library(name) if on_cpu() else None


@functools.cache
def library(name: str, *options: str) -> ctypes.CDLL | None:
    """A library, compiled on first use; None, and a line on stderr, where it cannot be had.

    `options` are more flags for the compiler.
    """
    made = LIBRARIES[name]
    try:
        if name == "speaking" and (platform.machine() not in ("x86_64", "AMD64") or "avx2" not in cpu_flags()):
            raise BuildError("the C of ternary layers is for x86-64 processors with AVX2")
        source = "\n".join((SOURCES / f"{part}.c").read_text(encoding="utf-8") for part in made.sources)
        loaded = load(name, source, (*made.flags, *options))
    except BuildError as error:
        say_slower(str(error))
        return None
    for function, (result, arguments) in made.functions.items():
        getattr(loaded, function).restype, getattr(loaded, function).argtypes = result, arguments
    return loaded


def as_numpy(array: mx.array) -> np.ndarray:
    """float32 and row-major, evaluated, without a copy where it is so already."""
    return np.ascontiguousarray(np.asarray(array.astype(mx.float32)))


def on_host(*arrays: mx.array) -> list[np.ndarray]:
    """Evaluated, as numpy sees them, row-major. (numpy would evaluate them too, but keep the interpreter's lock.)"""
    mx.eval(arrays)
    return [np.ascontiguousarray(np.asarray(array)) for array in arrays]


def addresses(*arrays: np.ndarray) -> list[int]:
    """Where the numbers of row-major arrays lie, for a C function. The arrays must outlive the call."""
    return [array.ctypes.data for array in arrays]
