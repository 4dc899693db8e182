"""PyTorch's order of summing: the last bit is the same (`make_fixtures.sums` wrote what PyTorch makes of the same)."""

from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from torch_reference.known_numbers import known_numbers

from bitjets_mlx.torch_import.characters import LayerNorm, Linear
from bitjets_mlx.torch_import.torch_order import layer_norm, linear, mean_magnitude

EXPECTED = np.load(Path(__file__).parent / "data" / "torch" / "sums.npz")


@pytest.mark.parametrize("width", [7, 20, 192, 256, 600])
def test_layer_norm(width: int) -> None:
    x = np.float32(3.0) * known_numbers("x", (5, width)) + np.float32(0.5)
    gain, bias = known_numbers("g", (width,)), known_numbers("b", (width,))
    np.testing.assert_array_equal(layer_norm(x, gain, bias, 1e-5), EXPECTED[f"norm_{width}"])
    split = layer_norm(x.reshape(1, 5, width), gain, bias, 1e-5)
    assert split.shape == (1, 5, width) and np.array_equal(split[0], EXPECTED[f"norm_{width}"])
    exact = x.astype(np.float64)
    exact = (exact - exact.mean(axis=1, keepdims=True)) / np.sqrt(exact.var(axis=1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(split[0], exact * gain + bias, atol=2e-6)


@pytest.mark.parametrize("shape", [(3, 3, 1), (24, 24, 5), (192, 192, 5), (256, 256, 3)])
def test_mean_magnitude(shape: tuple[int, int, int]) -> None:
    weight = known_numbers("w", shape)
    found = mean_magnitude(weight)
    assert found.dtype == np.float32 and found == EXPECTED["mean_" + "_".join(map(str, shape))]
    np.testing.assert_allclose(found, np.abs(weight).mean(dtype=np.float64), rtol=1e-6)


@pytest.mark.parametrize("inputs", [150, 256, 500])
def test_linear(inputs: int) -> None:
    x, weight, bias = known_numbers("x", (100, inputs)), known_numbers("w", (96, inputs)), known_numbers("b", (96,))
    found = linear(x, weight, bias)
    np.testing.assert_array_equal(found[::10], EXPECTED[f"linear_{inputs}"])
    np.testing.assert_array_equal(linear(x[None, :3], weight, bias)[0], found[:3])
    np.testing.assert_allclose(found, x.astype(np.float64) @ weight.T + bias, atol=1e-5)


def test_training_computes_the_same_but_for_the_last_bits() -> None:
    norm, projection = LayerNorm(192), Linear(192, 24)
    norm.weight, norm.bias = mx.array(known_numbers("g", (192,))), mx.array(known_numbers("b", (192,)))
    x = mx.array(known_numbers("x", (2, 5, 192)))
    for layer in (norm, projection):
        trained = layer(x)
        layer.eval()
        np.testing.assert_allclose(np.array(layer(x)), np.array(trained), atol=2e-6)
