"""Ternary arithmetic: quantization against numpy, exact integer sums, training path against inference path."""

import mlx.core as mx
import numpy as np
import pytest

from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.native import loader
from bitjets_mlx.ternary import matmul
from bitjets_mlx.ternary.layers import BitConv1d, BitLinear
from bitjets_mlx.ternary.matmul import ternary_conv1d
from bitjets_mlx.ternary.quantize import (
    blend,
    fake_integer_weights,
    fake_quantized_activations,
    fake_quantized_weights,
    int8_activations,
    ternary_weights,
)


def random(*shape: int, seed: int = 0, scale: float = 1.0) -> mx.array:
    return mx.array((scale * np.random.default_rng(seed).normal(size=shape)).astype(np.float32))


def layer(inputs: int, outputs: int, kernel: int, ternary: bool = True) -> BitConv1d:
    mx.random.seed(3)
    made = BitConv1d(inputs, outputs, kernel, ternary)
    made.bias = random(outputs, seed=4, scale=0.1)
    made.gain = 1.0 + random(inputs, seed=5, scale=0.1)
    return made


def ones_mask(x: mx.array) -> mx.array:
    return mx.ones((*x.shape[:2], 1))


# -- quantization --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(7,), (5, 3, 8), (4, 1, 33)])
def test_weights_are_absmean_quantized_as_in_numpy(shape: tuple[int, ...]) -> None:
    weight = np.array(random(*shape, seed=sum(shape)))
    trits, beta = ternary_weights(mx.array(weight))
    expected_beta = np.abs(weight).mean(dtype=np.float64)
    expected = np.clip(np.rint(weight / np.float32(expected_beta + 1e-5)), -1, 1)
    assert float(beta) == pytest.approx(expected_beta, rel=1e-6)
    np.testing.assert_array_equal(np.array(trits), expected)
    assert trits.shape == shape


@pytest.mark.parametrize("bits", [4, 8])
def test_integer_weights_are_multiples_of_a_channels_own_step(bits: int) -> None:
    weight = random(5, 3, 8) * mx.array([1.0, 1e-3, 30.0, 0.0, 1.0])[:, None, None]
    quantized = np.array(fake_integer_weights(weight, bits))
    largest = 2 ** (bits - 1) - 1
    for row, latent in zip(quantized, np.array(weight), strict=True):
        step = max(np.abs(latent).max(), 1e-5) / largest
        np.testing.assert_allclose(row / step, np.rint(latent / step), atol=1e-3)
        assert np.abs(row - latent).max() <= 0.501 * step
    assert np.abs(quantized[0]).max() == pytest.approx(float(mx.max(mx.abs(weight[0]))))
    gradient = mx.grad(lambda w: mx.sum(fake_integer_weights(w, bits) * weight))(weight)
    np.testing.assert_array_equal(np.array(gradient), np.array(weight))


def test_an_integer_layer_is_its_quantized_parts_in_full_precision() -> None:
    x, mask = random(2, 7, 6), mx.ones((2, 7, 1))
    made, plain = layer(6, 4, 3, ternary=False), layer(6, 4, 3, ternary=False)
    before = np.array(made(x, mask))
    np.testing.assert_array_equal(before, np.array(plain(x, mask)))
    made.bits = 4
    plain.weight = fake_integer_weights(made.weight, 4)
    after = np.array(made(x, mask))
    coarse = np.abs(after - np.array(plain(x, mask))).max()
    assert 0 < coarse < 0.05 < np.abs(after - before).max()  # int8 activations do little, 4-bit weights more


def test_activations_are_absmax_quantized_for_each_token_as_in_numpy() -> None:
    x = np.array(random(2, 9, 16, scale=3.0))
    integers, scale = int8_activations(mx.array(x))
    expected_scale = np.float32(127.0) / np.maximum(np.abs(x).max(-1, keepdims=True), np.float32(1e-5))
    np.testing.assert_allclose(np.array(scale), expected_scale, rtol=1e-6)
    np.testing.assert_array_equal(np.array(integers), np.clip(np.rint(x * np.array(scale)), -128, 127))
    assert np.abs(np.array(integers)).max(-1).tolist() == [[127.0] * 9] * 2


def test_silence_is_quantized_to_zeros_without_a_division_by_zero() -> None:
    integers, scale = int8_activations(mx.zeros((1, 2, 4)))
    assert float(mx.abs(integers).max()) == 0.0
    assert np.array(scale) == pytest.approx(127.0 / 1e-5, rel=1e-6)
    trits, beta = ternary_weights(mx.zeros((3, 1, 4)))
    assert float(mx.abs(trits).max()) == 0.0
    assert float(beta) == 0.0


def test_ties_are_rounded_half_to_even() -> None:
    x = mx.array([[127.0, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 63.5]])  # the largest is 127, so s = 1
    integers, scale = int8_activations(x)
    assert float(scale) == 1.0
    assert integers.tolist() == [[127.0, 0.0, 2.0, 2.0, 0.0, -2.0, -2.0, 64.0]]
    # mean|W| + 1e-5 = 1 up to rounding in fp32, so 0.5 and -0.5 lie between two trits: the even one is 0.
    beta = np.float32(1.0 - 1e-5)
    assert np.float32(beta + np.float32(1e-5)) == 1.0
    weight = np.array([0.5, -0.5, 1.5, 0.0], np.float32)
    weight = np.append(weight, np.float32(5 * beta - np.abs(weight).sum()))
    trits, found = ternary_weights(mx.array(weight))
    assert float(found) == pytest.approx(float(beta), abs=1e-7)
    assert trits[2:].tolist() == [1.0, 0.0, 1.0]
    assert float(found + 1e-5) == 1.0
    assert trits[:2].tolist() == [0.0, 0.0]


def test_gradients_pass_straight_through() -> None:
    x, weights = random(3, 8), random(3, 8, seed=1)
    for fake in (fake_quantized_weights, fake_quantized_activations):
        gradient = mx.grad(lambda x, fake=fake: mx.sum(fake(x) * weights))(x)
        assert bool(mx.array_equal(gradient, weights))


def test_fake_quantized_values_are_the_quantized_ones() -> None:
    x = random(4, 16, seed=2)
    trits, beta = ternary_weights(x)
    assert bool(mx.array_equal(fake_quantized_weights(x), trits * beta))
    integers, scale = int8_activations(x)
    assert bool(mx.array_equal(fake_quantized_activations(x), integers / scale))


def test_activations_in_bfloat16_are_measured_in_fp32() -> None:
    x = random(4, 64, seed=2).astype(mx.bfloat16)
    fake = fake_quantized_activations(x)
    assert fake.dtype == mx.bfloat16
    exact = fake_quantized_activations(x.astype(mx.float32))
    assert bool(mx.array_equal(fake, exact.astype(mx.bfloat16)))


# -- the product ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("inputs", "outputs", "kernel"), [(8, 4, 1), (24, 16, 3), (5, 3, 5), (192, 8, 3)])
def test_sums_are_integers_and_equal_to_int64_arithmetic(inputs: int, outputs: int, kernel: int) -> None:
    generator = np.random.default_rng(inputs)
    integers = generator.integers(-128, 128, (2, 11, inputs))
    trits = generator.integers(-1, 2, (outputs, kernel, inputs))
    one = mx.ones((2, 11, 1))
    found = ternary_conv1d(
        mx.array(integers.astype(np.float32)), one, mx.array(trits.astype(np.float32)), mx.array(1.0)
    )
    reach = kernel // 2
    padded = np.pad(integers, [(0, 0), (reach, reach), (0, 0)])
    expected = sum(padded[:, tap : tap + 11] @ trits[:, tap].T for tap in range(kernel))
    np.testing.assert_array_equal(np.array(found).astype(np.int64), expected)
    assert bool(mx.array_equal(found, mx.round(found)))


def test_the_largest_sums_are_exact_in_fp32() -> None:
    integers, trits = mx.full((1, 1, 131072), -128.0), mx.ones((1, 1, 131072))
    found = ternary_conv1d(integers, mx.ones((1, 1, 1)), trits, mx.array(1.0))
    assert float(found.item()) == -128.0 * 131072


def test_every_tap_has_the_scale_of_the_frame_it_reads() -> None:
    x = random(1, 6, 8) * mx.array([1.0, 100.0, 0.01, 1.0, 10.0, 5.0])[None, :, None]
    conv = layer(8, 4, 3)
    trits, beta = ternary_weights(conv.weight)
    integers, scale = int8_activations(x)
    found = np.array(ternary_conv1d(integers, scale, trits, beta))[0]
    q, s, w = (np.array(array, dtype=np.float64) for array in (integers[0], scale[0], trits))
    for t in range(6):
        expected = np.zeros(4)
        for tap in range(3):
            frame = t + tap - 1
            if 0 <= frame < 6:
                expected += (q[frame] @ w[:, tap].T) / s[frame]
        np.testing.assert_allclose(found[t], float(beta) * expected, rtol=1e-5, atol=1e-6)


def test_a_beta_for_each_output_channel_is_applied_to_its_channel() -> None:
    integers, scale, trits = mx.ones((1, 3, 4)), mx.ones((1, 3, 1)), mx.ones((2, 1, 4))
    assert ternary_conv1d(integers, scale, trits, mx.array([1.0, 10.0])).tolist() == [[[4.0, 40.0]] * 3]


# -- layers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_inference_gives_what_training_computed(kernel: int) -> None:
    conv, x = layer(24, 16, kernel), random(2, 13, 24, scale=2.0)
    trained = conv(x, ones_mask(x))
    conv.eval()
    spoken = conv(x, ones_mask(x))
    np.testing.assert_allclose(np.array(trained), np.array(spoken), rtol=1e-5, atol=1e-5)


def test_layer_against_numpy() -> None:
    conv, x = layer(12, 5, 3), random(1, 7, 12)
    conv.eval()
    value = np.array(x[0], dtype=np.float64)
    normed = value / np.sqrt((value**2).mean(-1, keepdims=True) + 1e-6) * np.array(conv.gain)
    scale = 127 / np.abs(normed).max(-1, keepdims=True)
    quantized = np.clip(np.rint(normed * scale), -128, 127) / scale
    weight = np.array(conv.weight, dtype=np.float64)
    beta = np.abs(weight).mean()
    trits = np.clip(np.rint(weight / (beta + 1e-5)), -1, 1)
    padded = np.pad(quantized, [(1, 1), (0, 0)])
    expected = beta * sum(padded[tap : tap + 7] @ trits[:, tap].T for tap in range(3)) + np.array(conv.bias)
    np.testing.assert_allclose(np.array(conv(x, ones_mask(x)))[0], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("training", [True, False])
def test_a_batch_gives_what_single_utterances_give(training: bool) -> None:
    conv = layer(16, 8, 3)
    conv.train(training)
    lengths, x = [9, 4, 1], random(3, 9, 16)
    mask = mx.array(np.arange(9)[None, :, None] < np.array(lengths)[:, None, None]).astype(mx.float32)
    together = conv(x, mask)  # what lies beyond the ends is not zero here: the mask must see to it
    for row, length in enumerate(lengths):
        alone = x[row : row + 1, :length]
        difference = together[row, :length] - conv(alone, ones_mask(alone))[0]
        assert float(mx.abs(difference).max()) < 1e-6


def test_the_ends_of_the_blend_are_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the plain form; the C of training adds up in another order."""
    monkeypatch.setattr(loader, "library", lambda *_: None)
    conv, x = layer(16, 8, 3), random(2, 5, 16)
    mask = ones_mask(x)
    assert bool(mx.allclose(conv(x, mask, mx.array(1.0)), conv(x, mask), rtol=1e-5, atol=1e-5))  # C on some machines
    assert bool(mx.array_equal(conv(x, mask, mx.array(0.0)), conv(x, mask, 0.0)))
    plain = layer(16, 8, 3, ternary=False)
    assert bool(mx.array_equal(conv(x, mask, 0.0), plain(x, mask)))
    half = conv(x, mask, mx.array(0.5))
    assert not bool(mx.allclose(half, conv(x, mask))) and not bool(mx.allclose(half, plain(x, mask)))
    full, quantized = random(5), random(5, seed=1)
    assert bool(mx.array_equal(blend(full, quantized, mx.array(0.0)), full))
    assert bool(mx.array_equal(blend(full, quantized, mx.array(1.0)), quantized))


@pytest.mark.parametrize("chosen", ["blas", "cpu", "cuda"])
@pytest.mark.parametrize(("inputs", "outputs", "kernel"), [(16, 8, 3), (33, 40, 1), (192, 100, 5)])
def test_frozen_trits_speak_as_the_latent_weights_did(
    monkeypatch: pytest.MonkeyPatch, chosen: str, inputs: int, outputs: int, kernel: int
) -> None:
    """In whatever form they are held. (cuda: its product, MLX's 2-bit one, runs here as well, only slowly.)"""
    if chosen == "cpu" and loader.library("speaking") is None:
        pytest.skip("needs x86-64 with AVX2 and a C compiler")
    monkeypatch.setattr(matmul, "backend", lambda: chosen)
    conv, x, residual = layer(inputs, outputs, kernel), random(2, 5, inputs), random(2, 5, outputs, seed=8)
    mask = ones_mask(x)
    conv.eval()
    before, full = conv(x, mask), conv(x, mask, None, "relu", residual)
    trits, beta = ternary_weights(conv.weight)
    conv.freeze_trits(np.array(trits).astype(np.int8), beta)
    assert conv.packed.codes.dtype == {"blas": mx.float32, "cpu": mx.uint8, "cuda": mx.uint32}[chosen]
    after = conv(x, mask)
    if chosen == "cpu":  # its RMSNorm sums in another order
        np.testing.assert_allclose(np.array(after), np.array(before), rtol=1e-5, atol=1e-5)
    else:
        assert bool(mx.array_equal(before, after))
    np.testing.assert_allclose(np.array(conv(x, mask, None, "relu", residual)), np.array(full), rtol=1e-5, atol=1e-5)
    # beta is the stored one: derived again from the trits it would be another.
    conv.freeze_trits(np.array(trits).astype(np.int8), 2.0 * beta)
    np.testing.assert_allclose(
        np.array(conv(x, mask) - conv.bias), 2.0 * np.array(before - conv.bias), rtol=1e-5, atol=1e-5
    )


def test_a_backend_that_is_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(matmul.VARIABLE, "blas")
    assert matmul.backend() == "blas"
    monkeypatch.setenv(matmul.VARIABLE, "abacus")
    with pytest.raises(BitjetsError, match="take one of metal, cuda, cpu, blas"):
        matmul.backend()
    monkeypatch.setattr(matmul, "available", lambda name: name == "blas")
    monkeypatch.setenv(matmul.VARIABLE, "metal")
    with pytest.raises(BitjetsError, match="asks for metal, which is not here: take one of blas"):
        matmul.backend()


def test_a_linear_layer_is_a_convolution_of_kernel_one() -> None:
    mx.random.seed(0)
    linear = BitLinear(6, 3)
    assert linear.weight.shape == (3, 1, 6)
    x = random(1, 4, 6)
    by_hand = mx.fast.rms_norm(x, linear.gain, 1e-6)
    expected = fake_quantized_activations(by_hand) @ fake_quantized_weights(linear.weight)[:, 0].T
    np.testing.assert_allclose(np.array(linear(x, ones_mask(x))), np.array(expected), atol=1e-6)


def test_an_even_kernel_is_refused() -> None:
    with pytest.raises(ValueError, match="odd"):
        BitConv1d(4, 4, 2)


def test_gradients_reach_latent_weights_as_if_there_were_no_quantization() -> None:
    """d loss / d W is what the quantized product's own operands give: STE, not zero."""
    conv, x = layer(6, 4, 3), random(1, 5, 6)
    cotangent = random(1, 5, 4, seed=9)

    def loss(weight: mx.array) -> mx.array:
        conv.weight = weight
        return mx.sum(conv(x, ones_mask(x)) * cotangent)

    latent = conv.weight
    gradient = np.array(mx.grad(loss)(latent))
    normed = np.array(fake_quantized_activations(mx.fast.rms_norm(x, conv.gain, 1e-6)))[0]
    padded = np.pad(normed, [(1, 1), (0, 0)])
    expected = np.stack([np.array(cotangent)[0].T @ padded[tap : tap + 5] for tap in range(3)], axis=1)
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-5)


def test_bfloat16_stays_bfloat16_and_close() -> None:
    conv, x = layer(32, 16, 3), random(2, 7, 32)
    exact = conv(x, ones_mask(x))
    for amount in (None, 0.0, mx.array(0.5)):
        found = conv(x.astype(mx.bfloat16), ones_mask(x), amount)
        assert found.dtype == mx.bfloat16
    error = mx.abs(conv(x.astype(mx.bfloat16), ones_mask(x)).astype(mx.float32) - exact)
    assert float(error.max()) < 0.05 * float(mx.abs(exact).max())
