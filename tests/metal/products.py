"""Random operands for the kernels, and what the product of them must be, in numpy."""

from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from bitjets_mlx.ternary import metal
from bitjets_mlx.ternary.packing import CODE_GROUP, pack_codes

NUMPY = {mx.float32: np.float32, mx.float16: np.float16}


@dataclass(frozen=True)
class Operands:
    """integers (B, T, I), trits (O, K, I) and the rest as numpy, and the same packed as the kernels take it."""

    integers: np.ndarray
    trits: np.ndarray
    inverse_scale: np.ndarray
    beta: np.ndarray
    bias: np.ndarray
    residual: np.ndarray
    dilation: int

    @property
    def packed(self) -> tuple[mx.array, mx.array]:
        fill = -self.integers.shape[-1] % CODE_GROUP
        whole = np.pad(self.integers, [(0, 0), (0, 0), (0, fill)]).astype(np.int8)
        return mx.array(whole.view(np.uint32)), mx.array(pack_codes(self.trits.transpose(1, 0, 2)))


def operands(
    batch: int,
    frames: int,
    inputs: int,
    outputs: int,
    taps: int = 1,
    dilation: int = 1,
    channels: bool = True,
    seed: int = 0,
) -> Operands:
    """`channels`: whether beta is one number for every output channel."""
    random = np.random.default_rng([seed, batch, frames, inputs, outputs, taps, dilation])
    return Operands(
        random.integers(-128, 128, (batch, frames, inputs)),
        random.integers(-1, 2, (outputs, taps, inputs)),
        (random.random((batch, frames)) + 0.5).astype(np.float32),
        (random.random(outputs if channels else 1) + 0.5).astype(np.float32) / 64,
        random.normal(size=outputs).astype(np.float32),
        random.normal(size=(batch, frames, outputs)).astype(np.float32),
        dilation,
    )


def tap_sums(given: Operands) -> list[tuple[np.ndarray, np.ndarray]]:
    """For every tap the integer sums (B, T, O) and 1 / s of the frames it saw (B, T, 1), 0 beyond the ends."""
    taps = given.trits.shape[1]
    frames, reach = given.integers.shape[1], taps // 2 * given.dilation
    padded = np.pad(given.integers, [(0, 0), (reach, reach), (0, 0)]).astype(np.int32)
    scales = np.pad(given.inverse_scale, [(0, 0), (reach, reach)])
    seen = [slice(tap * given.dilation, tap * given.dilation + frames) for tap in range(taps)]
    # int32 sums in float64, which is exact far beyond them, because numpy has no fast integer product.
    exact = [padded[:, at].astype(np.float64) @ given.trits[:, tap].astype(np.float64).T for tap, at in enumerate(seen)]
    return [(sums.astype(np.int32), scales[:, at, None]) for sums, at in zip(exact, seen, strict=True)]


def product(given: Operands, dtype: mx.Dtype = mx.float32, tile: metal.Tile | None = None) -> np.ndarray:
    """The kernel's plain sums over all taps, every scale being 1: (B, T, O), whole numbers."""
    integers, codes = given.packed
    ones = mx.ones(given.inverse_scale.shape)
    out = metal.product(integers, ones, codes, mx.array(1.0), dilation=given.dilation, dtype=dtype, tile=tile)
    return np.array(out.astype(mx.float32))


def expected_output(given: Operands, activation: str | None, dtype: mx.Dtype) -> mx.array:
    """What the epilogue must give, rounded where the kernel rounds: fp32 after every fused product and sum."""
    total = np.zeros(given.residual.shape, np.float32)
    for sums, inverse in tap_sums(given):
        total = (sums.astype(np.float64) * inverse + total).astype(np.float32)
    value = (total.astype(np.float64) * given.beta + given.bias).astype(np.float32)
    if activation == "relu":
        value = np.maximum(value, np.float32(0))
    if activation == "gelu":
        inner = 0.7978845608 * (value + 0.044715 * value.astype(np.float64) ** 3)
        value = (0.5 * value * (1 + np.tanh(inner))).astype(np.float32)
    residual = mx.array(given.residual).astype(dtype).astype(mx.float32)
    return (mx.array(value) + residual).astype(dtype)


def full_output(given: Operands, activation: str | None, dtype: mx.Dtype, tile: metal.Tile | None = None) -> mx.array:
    """The kernel with all of its epilogue."""
    integers, codes = given.packed
    scale, beta, bias = mx.array(given.inverse_scale), mx.array(given.beta), mx.array(given.bias)
    residual = mx.array(given.residual).astype(dtype)
    return metal.product(
        integers, scale, codes, beta, bias, activation, residual, given.dilation, dtype=dtype, tile=tile
    )
