"""The Metal kernels of `kernels/`, behind functions that check shapes and types and choose tiles and grids.

Everything here also runs inside `mx.export_function` on a machine without Metal, which is how tests get the source.
"""

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx

SOURCES = Path(__file__).parent / "kernels"
ACTIVATIONS = {None: 0, "relu": 1, "gelu": 2}
TYPES = (mx.float32, mx.float16, mx.bfloat16)
GEMV_ROWS = 4  # more rows than this go to the tiled kernel
GEMV_SIMDGROUPS = 4
SIMD = 32
INPUT_GROUP = 32  # inputs are padded to a multiple of this: two words of codes, eight words of int8


@dataclass(frozen=True)
class Tile:
    """How the tiled kernel divides its output: WM x WN simdgroups of FM x FN matrices of 8 x 8."""

    wm: int
    wn: int
    fm: int
    fn: int

    @property
    def rows(self) -> int:
        return 8 * self.wm * self.fm

    @property
    def columns(self) -> int:
        return 8 * self.wn * self.fn

    @property
    def threads(self) -> int:
        return SIMD * self.wm * self.wn


SMALL, MEDIUM, LARGE = Tile(1, 4, 2, 2), Tile(2, 2, 2, 2), Tile(2, 2, 4, 4)  # 16 x 64, 32 x 32, 64 x 64
LARGE_TILES = 80  # threadgroups that keep a laptop's GPU (10 cores) busy


def choose_tile(batch: int, frames: int, outputs: int) -> Tile:
    """Up to 16 rows: SMALL, for the fewest bytes. Else LARGE where there are enough of them for every core."""
    if frames <= SMALL.rows:
        return SMALL
    large = batch * -(-frames // LARGE.rows) * -(-outputs // LARGE.columns)
    return LARGE if large >= LARGE_TILES else MEDIUM


def quantize(
    x: mx.array, gain: mx.array, mask: mx.array, eps: float, verbose: bool = False
) -> tuple[mx.array, mx.array]:
    """RMSNorm, mask and int8 quantization. x (B, T, I) fp32, fp16 or bf16, gain (I,), mask (B, T, 1).

    Returns (integers (B, T, ceil(I / 32) * 8) uint32: four int8 a word, lowest byte first, zeros beyond I;
    1 / s (B, T) fp32). ValueError where shapes or types do not fit.
    """
    batch, frames, inputs = _shape("x", x, 3)
    _expect(x.dtype in TYPES, f"x is {x.dtype}, not one of {TYPES}")
    _expect(gain.shape == (inputs,), f"gain is {gain.shape}, not ({inputs},)")
    _expect(mask.shape == (batch, frames, 1), f"mask is {mask.shape}, not ({batch}, {frames}, 1)")
    rows, words = batch * frames, -(-inputs // INPUT_GROUP) * 8
    _small_enough(rows * words * 4)
    if rows == 0:
        return mx.zeros((batch, frames, words), mx.uint32), mx.zeros((batch, frames))
    simdgroups = 1 if inputs <= 1024 else 8
    threads = SIMD * simdgroups
    integers, inverse_scale = _launch(
        "rms_quantize",
        [x.reshape(rows, inputs), gain.astype(mx.float32), mask.astype(mx.float32).reshape(rows), mx.array([eps])],
        {"T": x.dtype, "SIMDGROUPS": simdgroups, "GROUPS": -(-words // threads)},
        grid=(rows * threads, 1, 1),
        threadgroup=(threads, 1, 1),
        outputs=[((rows, words), mx.uint32), ((rows,), mx.float32)],
    )
    return integers.reshape(batch, frames, words), inverse_scale.reshape(batch, frames)


def product(
    integers: mx.array,
    inverse_scale: mx.array,
    codes: mx.array,
    beta: mx.array,
    bias: mx.array | None = None,
    activation: str | None = None,
    residual: mx.array | None = None,
    dilation: int = 1,
    dtype: mx.Dtype = mx.float32,
    tile: Tile | None = None,
) -> mx.array:
    """activate(beta * ternary convolution / s + bias) + residual, of stride 1 with "same" zero padding.

    integers (B, T, 4 W) and inverse_scale (B, T) as `quantize` gives them; codes (K, O, W) uint32 as `pack_codes`
    makes them, K odd; beta () or (O,); bias (O,); activation None, "relu" or "gelu" (tanh form); residual (B, T, O)
    of type `dtype`, which is the result's. `tile` overrides the choice of kernel. Returns (B, T, O).
    ValueError where shapes or types do not fit.
    """
    shape = _product_shape(integers, inverse_scale, codes, beta, bias, activation, residual, dilation, dtype)
    batch, frames, outputs = shape
    if batch * frames == 0:
        return mx.zeros(shape, dtype)
    beta = beta.astype(mx.float32).reshape(-1)
    inputs = [
        integers,
        inverse_scale.astype(mx.float32),
        codes,
        beta,
        _unused(mx.float32) if bias is None else bias.astype(mx.float32),
        _unused(dtype) if residual is None else residual,
    ]
    template = {
        "T": dtype,
        "ACTIVATION": ACTIVATIONS[activation],
        "HAS_BIAS": bias is not None,
        "HAS_RESIDUAL": residual is not None,
        "BETA_A_CHANNEL": beta.size > 1,
    }
    if codes.shape[0] == 1:  # a linear layer knows no utterances
        inputs[0], inputs[1] = integers.reshape(1, -1, integers.shape[-1]), inputs[1].reshape(1, -1)
        batch, frames = 1, batch * frames
        if frames <= GEMV_ROWS and tile is None:
            return _gemv(inputs, template, frames, outputs, codes.shape[-1]).reshape(shape)
    tile = tile or choose_tile(batch, frames, outputs)
    return _tiled(inputs, template, (batch, frames, outputs), dilation, tile).reshape(shape)


@functools.cache
def _unused(dtype: mx.Dtype) -> mx.array:
    """Stands where an input is not read: made of data and kept, since `mx.zeros` would be a launch of its own."""
    return mx.array([0.0] * 8, dtype)


def _product_shape(
    integers: mx.array,
    inverse_scale: mx.array,
    codes: mx.array,
    beta: mx.array,
    bias: mx.array | None,
    activation: str | None,
    residual: mx.array | None,
    dilation: int,
    dtype: mx.Dtype,
) -> tuple[int, int, int]:
    """The shape (B, T, O) of a product; ValueError where its operands do not fit."""
    batch, frames, packed = _shape("integers", integers, 3)
    taps, outputs, words = _shape("codes", codes, 3)
    _expect(integers.dtype == codes.dtype == mx.uint32, "integers and codes must be uint32")
    _expect(packed == 4 * words and words % 2 == 0, f"{packed} words of integers do not fit {words} words of codes")
    _expect(taps % 2 == 1, f"a kernel of {taps} taps is not odd")
    _expect(dilation >= 1, f"dilation is {dilation}, not a positive number")
    _expect(inverse_scale.shape == (batch, frames), f"inverse_scale is {inverse_scale.shape}, not ({batch}, {frames})")
    _expect(beta.size == 1 or beta.shape == (outputs,), f"beta is {beta.shape}, neither () nor ({outputs},)")
    _expect(bias is None or bias.shape == (outputs,), f"bias must be ({outputs},)")
    _expect(activation in ACTIVATIONS, f"activation is {activation!r}, not one of {tuple(ACTIVATIONS)}")
    _expect(dtype in TYPES, f"dtype is {dtype}, not one of {TYPES}")
    shape = (batch, frames, outputs)
    fits = residual is None or (residual.shape == shape and residual.dtype == dtype)
    _expect(fits, f"residual must be {shape} of type {dtype}")
    _small_enough(max(batch * frames * max(outputs, 4 * packed), codes.size))
    return shape


def _tiled(
    inputs: list[mx.array], template: dict[str, Any], shape: tuple[int, int, int], dilation: int, tile: Tile
) -> mx.array:
    """The kernel for many rows and for convolutions, (B, T, O)."""
    batch, frames, outputs = shape
    (out,) = _launch(
        "tiled",
        [*inputs, mx.array([dilation], dtype=mx.int32)],
        template | {"WM": tile.wm, "WN": tile.wn, "FM": tile.fm, "FN": tile.fn},
        grid=(-(-outputs // tile.columns) * tile.threads, -(-frames // tile.rows), batch),
        threadgroup=(tile.threads, 1, 1),
        outputs=[(shape, template["T"])],
    )
    return out


def _gemv(inputs: list[mx.array], template: dict[str, Any], rows: int, outputs: int, words: int) -> mx.array:
    """The few-rows kernel: as many lanes a channel as it has words, and several channels a lane when there are many."""
    lanes = next((lanes for lanes in (4, 8, 16) if words <= 2 * lanes), SIMD)
    channels = 4 if outputs >= 2048 else 1
    a_threadgroup = GEMV_SIMDGROUPS * (SIMD // lanes) * channels
    threads = SIMD * GEMV_SIMDGROUPS
    (out,) = _launch(
        "gemv",
        inputs,
        template | {"ROWS": rows, "LANES": lanes, "OUTPUTS": channels, "SIMDGROUPS": GEMV_SIMDGROUPS},
        grid=(-(-outputs // a_threadgroup) * threads, 1, 1),
        threadgroup=(threads, 1, 1),
        outputs=[((rows, outputs), template["T"])],
    )
    return out


_PRODUCT_INPUTS = ["integers", "inverse_scale", "codes", "beta", "bias", "residual"]
_NAMES = {
    "rms_quantize": (["x", "gain", "mask", "settings"], ["integers", "inverse_scale"]),
    "gemv": (_PRODUCT_INPUTS, ["out"]),
    "tiled": ([*_PRODUCT_INPUTS, "settings"], ["out"]),
}


@functools.cache
def _kernel(name: str) -> Any:
    inputs, outputs = _NAMES[name]
    return mx.fast.metal_kernel(
        name=f"bitjets_{name}",
        input_names=inputs,
        output_names=outputs,
        source=(SOURCES / f"{name}.metal").read_text(encoding="utf-8"),
        header=(SOURCES / "arithmetic.metal").read_text(encoding="utf-8"),
    )


def _launch(
    name: str,
    inputs: list[mx.array],
    template: dict[str, Any],
    grid: tuple[int, int, int],
    threadgroup: tuple[int, int, int],
    outputs: list[tuple[tuple[int, ...], mx.Dtype]],
) -> list[mx.array]:
    """Run a kernel. `grid` counts threads, and must be whole threadgroups: the kernels' barriers need every thread."""
    assert all(size % group == 0 for size, group in zip(grid, threadgroup, strict=True))
    made: list[mx.array] = _kernel(name)(
        inputs=inputs,
        template=list(template.items()),
        grid=grid,
        threadgroup=threadgroup,
        output_shapes=[shape for shape, _ in outputs],
        output_dtypes=[dtype for _, dtype in outputs],
    )
    return made


def _shape(name: str, array: mx.array, dimensions: int) -> tuple[int, ...]:
    _expect(array.ndim == dimensions, f"{name} is {array.shape}, not of {dimensions} dimensions")
    return array.shape


def _small_enough(elements: int) -> None:
    _expect(elements < 2**31, f"{elements} elements are more than the kernels' 32-bit indices reach")


def _expect(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)
