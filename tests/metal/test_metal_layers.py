"""Layers, models and training on the Metal backend: the same integers, the straight-through gradient, packed memory."""

from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from emulator import Mutation, emulated_metal

from bitjets_mlx.acoustic import AcousticModel
from bitjets_mlx.acoustic.model import BitJets
from bitjets_mlx.benchmarking import cost, kernels
from bitjets_mlx.config import AcousticConfig
from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.native.loader import library
from bitjets_mlx.ternary import cpu, matmul, metal
from bitjets_mlx.ternary.layers import BitConv1d
from bitjets_mlx.ternary.packing import unpack_codes
from bitjets_mlx.ternary.quantize import int8_activations, ternary_weights
from bitjets_mlx.voice import Voice, load_voice
from bitjets_mlx.voice.arrays import ternary_layers
from bitjets_mlx.voice.folder import read_acoustic
from bitjets_mlx.voice.voice_config import read_config

VOICE = Path(__file__).resolve().parents[2] / "weights" / "duo"


def on(monkeypatch: pytest.MonkeyPatch, backend: str) -> None:
    monkeypatch.setattr(matmul, "backend", lambda: backend)


def acoustic() -> AcousticModel:
    """The shipped voice's acoustic model, packed for the backend of the moment."""
    return read_acoustic(VOICE, read_config(VOICE))


def random(*shape: int, seed: int = 0) -> mx.array:
    return mx.array(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


def conv(inputs: int, outputs: int, kernel: int) -> BitConv1d:
    mx.random.seed(1)
    made = BitConv1d(inputs, outputs, kernel)
    made.bias, made.gain = random(outputs, seed=2), 1.0 + 0.1 * random(inputs, seed=3)
    return made


@pytest.mark.parametrize(("frames", "kernel"), [(3, 1), (9, 1), (20, 3)])
def test_a_packed_layer_gives_what_its_latent_weights_gave(
    gpu: Any, monkeypatch: pytest.MonkeyPatch, frames: int, kernel: int
) -> None:
    layer, x, residual = conv(40, 24, kernel).eval(), random(2, frames, 40), random(2, frames, 24, seed=5)
    mask = mx.array(np.arange(frames)[None, :, None] < np.array([frames, 2])[:, None, None]).astype(mx.float32)
    on(monkeypatch, "blas")
    expected = layer(x, mask, None, "relu", residual)
    on(monkeypatch, "metal")
    trits, beta = ternary_weights(layer.weight)
    layer.freeze_trits(np.array(trits).astype(np.int8), beta)
    assert layer.packed.codes.dtype == mx.uint32
    found = layer(x, mask, None, "relu", residual)
    np.testing.assert_allclose(np.array(found), np.array(expected), rtol=1e-5, atol=2e-5)
    assert gpu is None or [launch.kernel == "rms_quantize" for launch in gpu.launches] == [True, False]


# -- the shipped voice -----------------------------------------------------------------------------------------------


def test_every_layer_of_the_voice_gives_the_same_sums_packed_and_expanded(
    emulator: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exactly, for integers drawn at random: 2-bit codes by the kernels and by MLX's product, int8, and fp32."""
    held = {}
    for backend in ("blas", "metal", "cpu"):
        on(monkeypatch, backend)
        held[backend] = ternary_layers(acoustic())
    assert len(held["blas"]) == 40
    seen = set()
    for name, layer in held["blas"].items():
        trits = layer.packed.codes
        taps, outputs, inputs = trits.shape
        whole = np.random.default_rng(0).integers(-128, 128, (1, 20, inputs))
        integers = mx.array(whole.astype(np.float32))
        sums = matmul.tap_sums(integers, trits)  # (1, 20, K O)
        codes = held["metal"][name].packed.codes
        assert bool(mx.array_equal(mx.array(unpack_codes(np.array(codes), inputs)), trits.astype(mx.int8)))
        assert bool(mx.array_equal(matmul.tap_sums_of_codes(integers, codes), sums))
        assert np.array_equal(np.array(held["cpu"][name].packed.codes), cpu.blocked(np.array(trits).astype(np.int8)))
        if (taps, outputs, inputs) not in seen:  # the emulated GPU is slow: once a shape
            seen.add((taps, outputs, inputs))
            expected = matmul.scaled_taps(sums, mx.ones((1, 20, 1)), outputs)
            with emulated_metal(2):
                packed = mx.array(whole.astype(np.int8).view(np.uint32))
                found = metal.product(packed, mx.ones((1, 20)), codes, mx.array(1.0))
            assert bool(mx.array_equal(found, expected))
    assert len(seen) == 7


def spoken(monkeypatch: pytest.MonkeyPatch, backend: str) -> tuple[Voice, np.ndarray]:
    on(monkeypatch, backend)
    voice = load_voice(VOICE)
    return voice, voice.speak("Ternary.", seed=1)


def test_a_packed_voice_gives_the_same_audio_as_an_expanded_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bit for bit, since quantization is the same and the sums are: here 2-bit codes by MLX's product, and fp32."""
    _, expanded = spoken(monkeypatch, "blas")
    _, samples = spoken(monkeypatch, "cuda")
    assert all(layer.packed.codes.dtype == mx.uint32 for layer in ternary_layers(acoustic()).values())
    assert np.array_equal(samples, expanded)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["metal", "cpu"])
def test_a_voice_on_another_backend_says_the_same(
    emulator: None, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    """Backends sum squares in different orders, and a value within 1e-7 of a half may be rounded the other way.

    Such a step is 1 in 127, and the next layers carry it on; so durations are equal and mels close, not identical.
    """
    if backend == "cpu" and library("speaking") is None:
        pytest.skip("needs x86-64 with AVX2 and a C compiler")
    expected = spoken(monkeypatch, "blas")[0].predict("Ternary.")
    on(monkeypatch, backend)
    with emulated_metal(3):
        found = load_voice(VOICE).predict("Ternary.")
    assert np.array_equal(found.durations, expected.durations)
    assert np.median(np.abs(found.mel - expected.mel)) < 1e-2
    assert np.abs(found.mel - expected.mel).max() < 0.2


def test_packed_weights_take_at_most_a_fifteenth_of_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    """On metal and cuda; the C kernels take a quarter. `benchmark cost` says the same of every backend."""
    for backend, share in (("metal", 15), ("cuda", 15), ("cpu", 3.9)):
        on(monkeypatch, backend)
        model = acoustic()
        layers = ternary_layers(model).values()
        full = sum(4 * layer.gain.size * layer.bias.size * layer.packed.codes.shape[0] for layer in layers)
        held = sum(layer.packed.codes.nbytes + layer.packed.beta.nbytes for layer in layers)
        assert held <= full / share
        assert held == sum(cost.held_bytes(layer, backend) for layer in cost.ternary_layers(model.config, 80, 400))


def test_the_benchmark_checks_every_kernel_before_it_times_any(emulator: None) -> None:
    """`benchmark kernels` on a Mac: right kernels pass, and a wrong constant in any of them ends it."""
    cases = (
        kernels.Case("convolution", 9, 40, 24, 3),
        kernels.Case("linear", 3, 40, 24),
        kernels.Case("wide", 9, 40, 24),
    )

    def check(mutate: Mutation | None) -> None:
        for case in cases:
            trits = np.random.default_rng(0).integers(-1, 2, (case.outputs, case.taps, case.inputs)).astype(np.int8)
            with emulated_metal(mutate=mutate):
                kernels._check("metal", case, trits)
                kernels._check_quantization("metal", case)

    check(None)
    for right, wrong in (("rint(", "floor("), ("8388609.0f", "8388608.0f"), ("1025.0f", "1024.0f")):
        with pytest.raises(BitjetsError, match="wrong on metal"):
            check(lambda source, right=right, wrong=wrong: source.replace(right, wrong))


# -- training --------------------------------------------------------------------------------------------------------


def test_gradients_are_those_of_the_straight_through_definition(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """STE: the gradient of the product at its quantized operands, here by central differences in float64."""
    x, weight, cotangent = random(2, 4, 6), random(3, 3, 6, seed=1), random(2, 4, 3, seed=2)

    def loss(x: mx.array, weight: mx.array) -> mx.array:
        return mx.sum(matmul.packed_conv1d(x, weight) * cotangent)

    value, (dx, dw) = mx.value_and_grad(loss, argnums=(0, 1))(x, weight)
    (whole, scale), (trits, beta) = int8_activations(x), ternary_weights(weight)
    operands = [np.array(whole / scale).astype(np.float64), np.array(trits * beta).astype(np.float64)]

    def defined(x: np.ndarray, weight: np.ndarray) -> float:
        padded = np.pad(x, [(0, 0), (1, 1), (0, 0)])
        product = sum(padded[:, tap : tap + 4] @ weight[:, tap].T for tap in range(3))
        return float((product * np.array(cotangent)).sum())

    assert float(value) == pytest.approx(defined(*operands), rel=1e-5)
    for which, found in ((0, dx), (1, dw)):
        for index in np.ndindex(*found.shape):
            sides = []
            for step in (1e-4, -1e-4):
                moved = [operand.copy() for operand in operands]
                moved[which][index] += step
                sides.append(defined(*moved))
            assert float(found[index].item()) == pytest.approx((sides[0] - sides[1]) / 2e-4, rel=1e-4, abs=1e-5)


def test_training_through_the_kernels_is_training_as_before(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x, mask = conv(24, 16, 3), random(2, 7, 24), mx.ones((2, 7, 1))

    def loss(weight: mx.array) -> mx.array:
        layer.weight = weight
        return mx.sum(mx.square(layer(x, mask)))

    latent = layer.weight
    on(monkeypatch, "blas")
    expected = mx.value_and_grad(loss)(latent)
    on(monkeypatch, "metal")
    found = mx.value_and_grad(loss)(latent)
    assert gpu is None or gpu.launches
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(np.array(one), np.array(other), rtol=1e-4, atol=1e-4)


def test_a_frame_costs_two_launches_a_layer(emulator: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """RMSNorm, mask and quantization in one, product, scales, bias, ReLU and residual in the other."""
    on(monkeypatch, "metal")
    config = AcousticConfig(
        symbols=5,
        speakers=1,
        width=32,
        heads=2,
        feed_forward=32,
        encoder_layers=1,
        decoder_layers=1,
        predictors=((32, 2, 3),) * 3,
    )
    model = BitJets(config).eval()
    layers = ternary_layers(model)
    for layer in layers.values():
        trits, beta = ternary_weights(layer.weight)
        layer.freeze_trits(np.array(trits).astype(np.int8), beta)
    mask = mx.ones((1, 6, 1))
    with emulated_metal() as gpu:
        tokens, speakers = mx.arange(5)[None], mx.array([0])
        states = model.encode(tokens, speakers, mask[:, :5])
        model.predict_variance(tokens, speakers, states, mask[:, :5])
        encoder = [name for name in layers if not name.startswith("decoder")]
    assert len(gpu.launches) == 2 * len(encoder)
