"""A vocoder's weights on disk: matrices and kernels as integers, one step size per output channel; the rest as fp16.

int8; for a vocoder trained at 4 bits or fewer (`vocoder.quantized`) two 4-bit integers to a byte, except in the last
layer. Half and a quarter of the size of fp16, and inaudible: see docs/quantization.md. Once loaded, all is fp32.
"""

from collections.abc import Mapping

import numpy as np

from bitjets_mlx.vocoder.quantized import LAST_LAYERS

Arrays = dict[str, np.ndarray]

LARGEST, LARGEST_OF_4 = 127, 7
NIBBLE_ZERO = 8  # what 0 is stored as in 4 bits
STEP = ".step"


def pack_integers(weights: Mapping[str, np.ndarray], bits: float = 8) -> Arrays:
    """Weights (O, ...) by name -> `name` and fp16 `name.step` (O,); vectors -> fp16 `name`.

    `name` is int8 (O, ...), or where `bits`, those that the weights were trained at, are 4 or fewer uint8 (O, K / 2): a
    row's K weights two to a byte, the first in the low half, a row of odd length filled up with 0.
    """
    arrays: Arrays = {}
    for name, weight in weights.items():
        if weight.ndim < 2:
            arrays[name] = weight.astype(np.float16)
            continue
        narrow = 0 < bits <= 4 and name not in LAST_LAYERS
        largest = LARGEST_OF_4 if narrow else LARGEST
        rows = weight.astype(np.float32).reshape(len(weight), -1)  # (O, K)
        step = (np.abs(rows).max(axis=1) / largest).astype(np.float16)
        divisor = np.where(step > 0, step, 1).astype(np.float32)[:, None]
        integers = np.clip(np.rint(rows / divisor), -largest, largest).astype(np.int8)
        arrays[name] = _two_a_byte(integers) if narrow else integers.reshape(weight.shape)
        arrays[name + STEP] = step
    return arrays


def packed_shapes(
    shapes: Mapping[str, tuple[int, ...]], arrays: Mapping[str, np.ndarray]
) -> dict[str, tuple[int, ...]]:
    """What a file must hold for a model of these shapes: a step size with every tensor of integers."""
    packed = dict(shapes)
    for name, shape in shapes.items():
        if name in arrays and arrays[name].dtype in (np.int8, np.uint8) and shape:
            packed[name + STEP] = shape[:1]
            if arrays[name].dtype == np.uint8:
                packed[name] = (shape[0], (int(np.prod(shape[1:])) + 1) // 2)
    return packed


def unpack_integers(arrays: Arrays, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Put fp32 weights of `shapes` in the place of each tensor of integers and its step size."""
    for name in [name.removesuffix(STEP) for name in arrays if name.endswith(STEP)]:
        step, integers, shape = arrays.pop(name + STEP).astype(np.float32), arrays[name], shapes[name]
        if integers.dtype == np.uint8:
            integers = _one_each(integers)[:, : int(np.prod(shape[1:]))].reshape(shape)
        arrays[name] = integers * step.reshape(-1, *[1] * (len(shape) - 1))


def _two_a_byte(rows: np.ndarray) -> np.ndarray:
    """Integers of -7 to 7 (O, K) -> bytes (O, ceil(K / 2))."""
    nibbles = (np.pad(rows, ((0, 0), (0, rows.shape[1] % 2))) + NIBBLE_ZERO).astype(np.uint8)
    return nibbles[:, ::2] | nibbles[:, 1::2] << 4


def _one_each(packed: np.ndarray) -> np.ndarray:
    """Bytes (O, B) -> integers (O, 2 B)."""
    nibbles = np.stack([packed & 15, packed >> 4], axis=-1).reshape(len(packed), -1)  # (O, 2 B)
    return nibbles.astype(np.int8) - NIBBLE_ZERO
