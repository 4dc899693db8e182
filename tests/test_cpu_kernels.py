"""The C kernels of speaking: every set of instructions and number of threads against plain MLX and numpy."""

import threading
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from bitjets_mlx.native.loader import library
from bitjets_mlx.ops.attention import attention_plain, attention_speaking
from bitjets_mlx.ops.upsampling import upsample_plain, upsample_speaking
from bitjets_mlx.ternary import cpu
from bitjets_mlx.ternary.matmul import RMS_EPS, VARIABLE, scaled_taps, tap_sums
from bitjets_mlx.ternary.quantize import int8_activations
from bitjets_mlx.voice.arrays import ternary_layers
from bitjets_mlx.voice.folder import read_acoustic
from bitjets_mlx.voice.voice_config import read_config

pytestmark = pytest.mark.skipif(library("speaking") is None, reason="needs x86-64 with AVX2 and a C compiler")

VOICE = Path(__file__).resolve().parents[1] / "weights" / "duo"
PLAIN = ("-DBITJETS_PLAIN",)
INSTRUCTIONS = pytest.mark.parametrize("options", [(), ("-mno-avx512f",), PLAIN], ids=["best", "AVX2", "plain"])
THREADS = pytest.mark.parametrize("threads", [1, 2, 5])


def random(*shape: int, seed: int = 0) -> mx.array:
    return mx.array(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


def length_mask(lengths: list[int], size: int) -> mx.array:
    return mx.array((np.arange(size)[None, :] < np.array(lengths)[:, None]).astype(np.float32)[..., None])


def layer(frames: int, inputs: int, outputs: int, taps: int) -> tuple[Any, ...]:
    """What `cpu.bit_conv1d` takes, up to its options."""
    trits = np.random.default_rng(1).integers(-1, 2, (taps, outputs, inputs)).astype(np.int8)
    return (
        random(2, frames, inputs),
        length_mask([frames, max(1, frames - 3)], frames),
        1.0 + 0.1 * random(inputs, seed=1),
        mx.array(cpu.blocked(trits)),
        random(outputs, seed=2),
        random(outputs, seed=3),
        RMS_EPS,
        "relu",
        random(2, frames, outputs, seed=4),
    )


@INSTRUCTIONS
@THREADS
def test_layers(options: tuple[str, ...], threads: int) -> None:
    for shape in ((1, 5, 3, 1), (13, 192, 200, 3), (8, 600, 64, 1), (7, 33, 17, 5), (150, 40, 70, 11)):
        given = layer(*shape)
        expected = cpu.bit_conv1d(*given, kernels=library("speaking", *PLAIN), threads=1)
        found = cpu.bit_conv1d(*given, kernels=library("speaking", *options), threads=threads)
        np.testing.assert_array_equal(np.array(found), np.array(expected))  # no order of sums, no choice of rounding


def test_layers_multiply_what_quantization_gives() -> None:
    """Whole numbers and scales are those of `int8_activations`, but for values that fp32 cannot tell from a half."""
    x, mask, gain = random(2, 20, 33), length_mask([20, 7], 20), 1.0 + 0.1 * random(33, seed=1)
    normed = mx.fast.rms_norm(x, gain, RMS_EPS) * mask
    whole, scale = int8_activations(normed)
    found, inverse = cpu.quantize(x, mask, gain, RMS_EPS)
    np.testing.assert_allclose(inverse, 1.0 / np.array(scale)[..., 0], rtol=1e-6)
    away = np.abs(np.abs(np.array(normed * scale) % 1.0) - 0.5) > 1e-4
    assert away.mean() > 0.99 and np.array_equal(found[away], np.array(whole)[away])


@pytest.mark.skipif(not VOICE.is_dir(), reason="weights/duo is not in this checkout")
def test_every_layer_of_the_voice_has_the_sums_of_its_expanded_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """int8 codes in C against fp32 trits and exact sums, given the integers that the kernel multiplies."""
    held = {}
    for backend in ("cpu", "blas"):
        monkeypatch.setenv(VARIABLE, backend)
        held[backend] = ternary_layers(read_acoustic(VOICE, read_config(VOICE)))
    assert len(held["cpu"]) == 40
    for name, layer in held["cpu"].items():
        expanded = held["blas"][name]
        x = random(1, 30, layer.gain.size, seed=len(name))
        mask = mx.ones((1, 30, 1))
        integers, inverse = cpu.quantize(x, mask, layer.gain, RMS_EPS)
        sums = tap_sums(mx.array(integers.astype(np.float32)), expanded.packed.codes)
        expected = (
            scaled_taps(sums, 1.0 / mx.array(inverse)[..., None], layer.bias.size) * expanded.packed.beta
            + expanded.bias
        )
        np.testing.assert_allclose(np.array(layer(x, mask)), np.array(expected), rtol=1e-5, atol=1e-5)


@INSTRUCTIONS
@THREADS
@pytest.mark.parametrize(
    ("batch", "frames", "heads", "depth"), [(1, 1, 1, 1), (2, 13, 2, 96), (3, 100, 4, 20), (1, 211, 2, 50)]
)
def test_attention(options: tuple[str, ...], threads: int, batch: int, frames: int, heads: int, depth: int) -> None:
    qkv = 2.0 * random(batch, frames, 3 * heads * depth)
    mask = length_mask([max(1, frames - 7 * row) for row in range(batch)], frames)
    parts = np.array(qkv, dtype=np.float64).reshape(batch, frames, 3, heads, depth).transpose(2, 0, 3, 1, 4)
    scores = parts[0] @ parts[1].swapaxes(-1, -2) / np.sqrt(depth) + (np.array(mask)[:, None, None, :, 0] - 1.0) * 1e9
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    expected = (powers / powers.sum(-1, keepdims=True) @ parts[2]).transpose(0, 2, 1, 3).reshape(batch, frames, -1)
    found = attention_speaking(library("speaking", *options), qkv, mask, heads, threads)
    np.testing.assert_allclose(np.array(found), expected, atol=3e-5)
    plain = attention_plain(qkv, mask, heads)
    np.testing.assert_allclose(np.array(found), np.array(plain), atol=5e-5)


def test_attention_of_a_batch_is_that_of_single_utterances_bit_for_bit() -> None:
    qkv, lengths = random(3, 70, 3 * 40), [70, 48, 1]
    kernels = library("speaking")
    together = attention_speaking(kernels, qkv, length_mask(lengths, 70), 2)
    for row, length in enumerate(lengths):
        alone = attention_speaking(kernels, qkv[row : row + 1, :length], mx.ones((1, length, 1)), 2)
        assert bool(mx.array_equal(together[row, :length], alone[0]))


def test_attention_to_one_frame_is_that_frame() -> None:
    """Scores that lie far apart: powers below 2^-90 are zero, and nothing overflows."""
    qkv = np.zeros((1, 50, 3, 4), np.float32)
    qkv[0, :, 0, 0], qkv[0, 17, 1, 0], qkv[0, :, 2] = 1e4, 1e4, random(50, 4)
    found = attention_speaking(library("speaking"), mx.array(qkv.reshape(1, 50, 12)), mx.ones((1, 50, 1)), 1)
    np.testing.assert_array_equal(np.array(found)[0], np.repeat(qkv[0, 17:18, 2], 50, axis=0))


@INSTRUCTIONS
@THREADS
@pytest.mark.parametrize("least", [0, 1])
def test_upsampling(options: tuple[str, ...], threads: int, least: int) -> None:
    """Long tokens, whose middle hears nobody else, tokens of no length, padding, and frames behind the last token."""
    for batch, count, width in ((1, 1, 5), (3, 20, 33), (2, 60, 192)):
        mask = length_mask([count - 5 * row for row in range(batch)], count)
        durations = np.random.default_rng(count).integers(least, 9, (batch, count)).astype(np.float32)
        durations[0, 0] = 70
        durations *= np.array(mask)[..., 0]
        frames, tokens = int(durations.sum(axis=1).max()), random(batch, count, width)
        for first in (0.0, 0.5):
            centers = mx.array(np.cumsum(durations, axis=1) - durations / 2)
            expected = upsample_plain(tokens, centers, mask, frames, first)
            kernels = library("speaking", *options)
            found = upsample_speaking(kernels, tokens, centers, mask, frames, first, threads)
            np.testing.assert_allclose(np.array(found), np.array(expected), atol=3e-6)


def test_shapes_that_do_not_fit_are_refused() -> None:
    given = layer(4, 8, 6, 3)
    for changed in (
        (random(2, 4, 9), *given[1:]),
        (given[0], mx.ones((2, 4)), *given[2:]),
        (*given[:4], mx.ones(5), *given[5:]),
        (*given[:7], "gelu", given[8]),
    ):
        with pytest.raises(ValueError, match="do not fit"):
            cpu.bit_conv1d(*changed)
    with pytest.raises(ValueError, match="do not fit"):
        attention_speaking(library("speaking"), mx.zeros((1, 4, 10)), mx.ones((1, 4, 1)), 2)
    with pytest.raises(ValueError, match="do not fit"):
        upsample_speaking(library("speaking"), mx.zeros((1, 4, 10)), mx.zeros((1, 3)), mx.ones((1, 4, 1)), 9, 0.5)


# -- threads ---------------------------------------------------------------------------------------------------------


def test_many_callers_at_once() -> None:
    """The threads help one caller at a time, the others work alone, and everybody gets the right answer."""
    given = layer(150, 40, 70, 3)
    expected = cpu.bit_conv1d(*given, threads=1)
    right = []

    def call() -> None:
        for _ in range(50):
            right.append(bool(mx.array_equal(cpu.bit_conv1d(*given, threads=4), expected)))

    callers = [threading.Thread(target=call) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert len(right) == 200 and all(right)
