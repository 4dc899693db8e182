"""Whole models in C, for speaking: what their packed weights and buffers have in common.

MLX's CPU backend runs an operation at a time, on one core but for matrix products, and convolutions that are dilated or
transposed slowly. The kernels do whole stages on pieces of time that stay in the cache, side by side on all cores. They
have no gradients. The plain form of what they compute is `vocoder/hifigan.py` and `vocoder/harmonic.py`.
"""

import ctypes
from collections.abc import Callable, Mapping
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_flatten

from bitjets_mlx.native import loader
from bitjets_mlx.native.processor import cpu_cores

BLOCK = 8  # outputs that a packed weight holds side by side


class Packed:
    """A model's weights as its kernel reads them, packed again when the model has others."""

    def __init__(self, pack: Callable[[ctypes.CDLL, Mapping[str, mx.array]], Any]) -> None:
        self._pack, self._packed = pack, None
        self._made_of: list[Any] = []

    def of(self, model: nn.Module) -> Any | None:
        """What `pack` made of the model's weights; None in training, which needs gradients, and where no C runs."""
        kernels = None if model.training else loader.here("vocoder")
        if kernels is None:
            return None
        weights = dict(tree_flatten(model.parameters()))
        made_of = [kernels, *weights.values()]
        if len(made_of) != len(self._made_of) or any(a is not b for a, b in zip(made_of, self._made_of, strict=True)):
            self._packed, self._made_of = self._pack(kernels, weights), made_of
        return self._packed


def pieces(total: int, longest: int, multiple: int = 1) -> list[tuple[int, int]]:
    """Cut 0 to `total` into pieces about as long as each other, as many as fill the cores, at multiples of a number."""
    cores = cpu_cores()
    count = -(-total // longest)
    count = -(-count // cores) * cores
    length = -(-total // (count * multiple)) * multiple
    return [(begin, min(begin + length, total)) for begin in range(0, total, length)]


def packed(weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """A convolution (O, K, I) and bias (O,) as the kernels read them: (ceil(O / 8), I, K, 8), then the bias; flat."""
    outputs, taps, inputs = weight.shape
    blocks = -(-outputs // BLOCK)
    padded = np.zeros((blocks * BLOCK, taps, inputs), dtype=np.float32)
    padded[:outputs] = weight
    biases = np.zeros(blocks * BLOCK, dtype=np.float32)
    biases[:outputs] = bias
    order = padded.reshape(blocks, BLOCK, taps, inputs).transpose(0, 3, 2, 1)
    return np.concatenate([order.reshape(-1), biases])


def scratch(count: int) -> np.ndarray:
    """float32 (count,), of any value, at the beginning of a line of the cache."""
    buffer = np.empty(count + 16, dtype=np.float32)
    skip = -(buffer.ctypes.data // 4) % 16
    return buffer[skip : skip + count]


def zeros(count: int) -> np.ndarray:
    """Zeros (count,), float32, at the beginning of a line of the cache."""
    array = scratch(count)
    array.fill(0.0)
    return array


def row_stride(count: int) -> int:
    """As in convolution.c: whole vectors, and no multiple of two lines of the cache."""
    return 16 * (-(-count // 16) | 1)
