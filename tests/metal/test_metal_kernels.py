"""Every Metal kernel against integer arithmetic and the reference rounding; emulator.py says where it runs."""

from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from emulator import Gpu, emulated_metal
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from products import expected_output, full_output, operands, product, tap_sums

from bitjets_mlx.ternary import metal
from bitjets_mlx.ternary.packing import CODE_GROUP

TYPES = pytest.mark.parametrize("dtype", [mx.float32, mx.float16, mx.bfloat16], ids=["fp32", "fp16", "bf16"])


def assert_sums_are_equal(*shape: int, tile: metal.Tile | None = None) -> None:
    made = operands(*shape)
    np.testing.assert_array_equal(product(made, tile=tile), sum(sums for sums, _ in tap_sums(made)))


# -- integer sums ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [1, 2, 3, 4])
@pytest.mark.parametrize(("inputs", "outputs"), [(16, 5), (192, 192), (200, 67), (1000, 33), (1536, 2050)])
def test_gemv_sums_are_the_integers(gpu: Any, rows: int, inputs: int, outputs: int) -> None:
    assert_sums_are_equal(1, rows, inputs, outputs)
    assert gpu is None or gpu.launches[-1].kernel == "gemv"


@pytest.mark.parametrize(
    ("rows", "inputs", "outputs"),
    [
        (5, 16, 1),
        (12, 192, 576),
        (16, 384, 192),
        (17, 33, 31),
        (37, 192, 192),
        (64, 1536, 64),
        (100, 384, 200),
        (1500, 192, 65),
        (1025, 100, 33),
    ],
)
def test_gemm_sums_are_the_integers(gpu: Any, rows: int, inputs: int, outputs: int) -> None:
    assert_sums_are_equal(1, rows, inputs, outputs)
    assert gpu is None or gpu.launches[-1].kernel == "tiled"


@pytest.mark.parametrize("tile", [metal.SMALL, metal.MEDIUM, metal.LARGE], ids=["small", "medium", "large"])
@pytest.mark.parametrize(("batch", "frames", "taps"), [(1, 1, 3), (1, 16, 1), (2, 65, 3), (3, 31, 5)])
def test_every_tile_gives_the_same_sums(gpu: Any, tile: metal.Tile, batch: int, frames: int, taps: int) -> None:
    assert_sums_are_equal(batch, frames, 48, 70, taps, 1, tile=tile)


@pytest.mark.parametrize("taps", [1, 3, 5, 9, 11])
@pytest.mark.parametrize("dilation", [1, 2, 3, 5])
@pytest.mark.parametrize(("batch", "frames", "inputs", "outputs"), [(2, 45, 40, 35), (1, 7, 16, 3)])
def test_convolution_sums_are_the_integers(
    gpu: Any, taps: int, dilation: int, batch: int, frames: int, inputs: int, outputs: int
) -> None:
    assert_sums_are_equal(batch, frames, inputs, outputs, taps, dilation)


def test_the_voice_s_own_convolution(gpu: Any) -> None:
    assert_sums_are_equal(1, 400, 192, 384, 3)


def test_the_largest_sums_are_exact(gpu: Any) -> None:
    """128 * 131,072 = 2^24 is the last whole number that fp32 counts up to."""
    for rows in (1, 5):
        made = operands(1, rows, 131072, 1)
        made.integers[:], made.trits[:] = -128, 1
        assert np.array_equal(product(made), np.full((1, rows, 1), -(2.0**24)))


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    batch=st.integers(1, 3),
    frames=st.integers(1, 70),
    inputs=st.integers(1, 130),
    outputs=st.integers(1, 80),
    taps=st.sampled_from([1, 3, 5, 7]),
    dilation=st.integers(1, 5),
    tile=st.sampled_from([None, metal.SMALL, metal.MEDIUM, metal.LARGE]),
    seed=st.integers(0, 7),
)
def test_any_shape_under_any_schedule(emulator: None, tile: metal.Tile | None, seed: int, **shape: int) -> None:
    with emulated_metal(seed):
        assert_sums_are_equal(*shape.values(), tile=tile)


# -- the epilogue ----------------------------------------------------------------------------------------------------


@TYPES
@pytest.mark.parametrize("activation", [None, "relu", "gelu"])
@pytest.mark.parametrize(
    "shape", [(1, 3, 64, 20), (1, 33, 64, 40), (2, 20, 32, 33, 3, 2)], ids=["gemv", "gemm", "conv"]
)
def test_output_is_the_reference_s_rounding(
    gpu: Any, dtype: mx.Dtype, activation: str | None, shape: tuple[int, ...]
) -> None:
    """Scales of each tap's own frame, beta, bias, activation and residual, in one launch."""
    made = operands(*shape, channels=activation != "relu") if len(shape) == 6 else operands(*shape, seed=3)
    found, expected = full_output(made, activation, dtype), expected_output(made, activation, dtype)
    assert found.dtype == dtype
    if activation is None or activation == "relu":
        assert bool(mx.array_equal(found, expected))
    else:  # tanh is the library's
        error = mx.abs(found.astype(mx.float32) - expected.astype(mx.float32))
        step = {mx.float32: 3e-6, mx.float16: 2e-3, mx.bfloat16: 2e-2}[dtype]
        assert float((error / (1.0 + mx.abs(expected.astype(mx.float32)))).max()) < step
    assert gpu is None or len(gpu.launches) == 1


@TYPES
@pytest.mark.parametrize(
    "shape",
    [
        (1, 1, 1536, 33),
        (1, 12, 1536, 70),
        (1, 100, 384, 201),
        (1, 1500, 16, 9),
        (2, 45, 40, 35, 11, 5),
        (1, 7, 17, 3, 9, 2),
    ],
    ids=["one row", "twelve rows", "tails", "1500 rows", "dilated", "shorter than its reach"],
)
def test_output_over_the_grid(gpu: Any, dtype: mx.Dtype, shape: tuple[int, ...]) -> None:
    made = operands(*shape)
    assert bool(mx.array_equal(full_output(made, "relu", dtype), expected_output(made, "relu", dtype)))


def test_without_bias_and_residual_and_with_one_beta(gpu: Any) -> None:
    for rows in (2, 40):
        made = operands(1, rows, 64, 20, channels=False)
        integers, codes = made.packed
        found = metal.product(integers, mx.array(made.inverse_scale), codes, mx.array(made.beta[0]))
        made.bias[:], made.residual[:] = 0, 0
        assert bool(mx.array_equal(found, expected_output(made, None, mx.float32)))


# -- the prologue ----------------------------------------------------------------------------------------------------


@TYPES
@pytest.mark.parametrize(
    ("rows", "inputs"), [(1, 16), (3, 1), (5, 33), (7, 192), (2, 384), (3, 1000), (2, 1100), (1, 4096)]
)
def test_rms_norm_and_quantization(gpu: Any, dtype: mx.Dtype, rows: int, inputs: int) -> None:
    random = np.random.default_rng(inputs)
    x = mx.array((3 * random.normal(size=(1, rows, inputs))).astype(np.float32)).astype(dtype)
    gain = (1 + 0.1 * random.normal(size=inputs)).astype(np.float32)
    mask = np.ones((1, rows, 1), np.float32)
    mask[0, -1] = rows == 1
    packed, inverse = metal.quantize(x, mx.array(gain), mx.array(mask), 1e-6)
    words = -(-inputs // CODE_GROUP) * 8
    assert packed.shape == (1, rows, words) and inverse.shape == (1, rows)
    whole = np.array(packed).view(np.int8)[0]
    exact = np.array(x.astype(mx.float32))[0].astype(np.float64)
    normed = exact / np.sqrt((exact**2).mean(-1, keepdims=True) + 1e-6) * gain * mask[0]
    scale = 127.0 / np.maximum(np.abs(normed).max(-1), 1e-5)
    np.testing.assert_allclose(np.array(inverse)[0], 1 / scale, rtol=1e-6)
    real = normed * scale[:, None]
    # Rounded as the reference, but for what lies so near a half that fp32 cannot tell.
    near_a_half = np.abs(np.abs(real - np.floor(real)) - 0.5) < 1e-4
    wrong = (whole[:, :inputs] != np.clip(np.rint(real), -128, 127)) & ~near_a_half
    assert not wrong.any()
    assert not whole[:, inputs:].any()
    assert np.abs(whole).max(-1).tolist()[:1] == [127]


def test_ties_are_rounded_half_to_even(gpu: Any) -> None:
    """Metal's own round() is half away from zero. The largest value is 127 and the norm a power of two."""
    x = np.zeros((1, 1, 16), np.float32)
    x[0, 0, :8] = [127.0, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 63.5]
    packed, _ = metal.quantize(mx.array(x), mx.ones(16), mx.ones((1, 1, 1)), float(4096 - (x**2).mean()))
    assert np.array(packed).view(np.int8)[0, 0, :8].tolist() == [127, 0, 2, 2, 0, -2, -2, 64]


# -- what a launch is ------------------------------------------------------------------------------------------------


def test_the_convolution_reads_the_activations_as_they_are(emulator: None) -> None:
    """No im2col on the host: one launch, whose activations are those of the frames, once."""
    made = operands(2, 40, 64, 48, 5, 3)
    with emulated_metal() as gpu:
        full_output(made, None, mx.float32)
    (launch,) = gpu.launches
    assert launch.inputs["integers"] == (2, 40, 64 // 4)
    assert launch.inputs["codes"] == (5, 48, 64 // 16)


def test_weights_are_decoded_once_for_each_tile(emulator: None) -> None:
    """A word of codes is shared by two threads, half of it each; nobody else of the threadgroup reads it again."""
    made = operands(1, 64, 64, 64, 3)
    for tile in (metal.LARGE, metal.MEDIUM, metal.SMALL):
        with emulated_metal() as gpu:
            product(made, tile=tile)
        assert gpu.launches[0].bytes["codes"] == 2 * made.trits.size // 4 * (64 // tile.rows)
    with emulated_metal() as gpu:
        product(operands(1, 4, 192, 64))
    assert gpu.launches[0].bytes["codes"] == 64 * 192 // 4  # once for all four rows


@pytest.mark.parametrize("seed", range(8))
def test_schedules(emulator: None, seed: int) -> None:
    with emulated_metal(seed):
        assert_sums_are_equal(1, 70, 96, 70)
        assert_sums_are_equal(2, 20, 64, 40, 3, 2)
        assert_sums_are_equal(1, 4, 192, 50)
        test_rms_norm_and_quantization(Gpu(), mx.float32, 2, 1100)


def test_empty_inputs_give_empty_outputs() -> None:
    integers, inverse = metal.quantize(mx.zeros((1, 0, 32)), mx.ones(32), mx.ones((1, 0, 1)), 1e-6)
    codes = mx.zeros((1, 5, 2), mx.uint32)
    assert metal.product(integers, inverse, codes, mx.array(1.0)).shape == (1, 0, 5)


def test_shapes_and_types_that_do_not_fit_are_refused() -> None:
    made = operands(1, 4, 64, 6)
    integers, codes = made.packed
    scale, beta = mx.ones((1, 4)), mx.array(1.0)
    for arguments, options, message in (
        ((integers[0], scale, codes, beta), {}, "dimensions"),
        ((integers.astype(mx.int32), scale, codes, beta), {}, "uint32"),
        ((integers[..., :8], scale, codes, beta), {}, "do not fit"),
        ((integers, scale[:, :3], codes, beta), {}, "inverse_scale"),
        ((integers, scale, mx.concatenate([codes, codes]), beta), {}, "odd"),
        ((integers, scale, codes, mx.ones(5)), {}, "beta"),
        ((integers, scale, codes, beta), {"bias": mx.ones(5)}, "bias"),
        ((integers, scale, codes, beta), {"activation": "tanh"}, "activation"),
        ((integers, scale, codes, beta), {"dilation": 0}, "dilation"),
        ((integers, scale, codes, beta), {"dtype": mx.int8}, "dtype"),
        ((integers, scale, codes, beta), {"residual": mx.ones((1, 4, 6)), "dtype": mx.float16}, "residual"),
    ):
        with pytest.raises(ValueError, match=message):
            metal.product(*arguments, **options)
    with pytest.raises(ValueError, match="gain"):
        metal.quantize(mx.ones((1, 2, 8)), mx.ones(7), mx.ones((1, 2, 1)), 1e-6)
    with pytest.raises(ValueError, match="mask"):
        metal.quantize(mx.ones((1, 2, 8)), mx.ones(8), mx.ones((1, 2)), 1e-6)
    with pytest.raises(ValueError, match="int32"):
        metal.quantize(mx.ones((1, 2, 8), mx.int32), mx.ones(8), mx.ones((1, 2, 1)), 1e-6)
