"""Training's forms for the CPU backend equal the plain ones beside them, values and gradients."""

from collections.abc import Callable

import mlx.core as mx
import numpy as np
import pytest

from bitjets_mlx.acoustic.cpu_attention import attention_fused, attention_plain, exp2_nonpositive
from bitjets_mlx.ternary.cpu_training import rms_norm_fused, rms_norm_plain, round_small
from bitjets_mlx.ternary.quantise import fake_quantised_activations


def arrays(*shapes: tuple[int, ...], seed: int = 0) -> list[mx.array]:
    random = np.random.default_rng(seed)
    return [mx.array(random.normal(size=shape).astype(np.float32)) for shape in shapes]


def length_mask(lengths: list[int], size: int) -> mx.array:
    """(B, size, 1)."""
    return mx.array(np.arange(size)[None, :, None] < np.array(lengths)[:, None, None]).astype(mx.float32)


def assert_same(plain: Callable[..., mx.array], fused: Callable[..., mx.array], given: list[mx.array]) -> None:
    """Outputs and the gradients of a weighted sum of them, each relative to its largest entry."""
    weight = arrays(plain(*given).shape, seed=9)[0]

    def both(function: Callable[..., mx.array]) -> list[mx.array]:
        gradients = mx.grad(lambda *x: mx.sum(function(*x) * weight), argnums=tuple(range(len(given))))(*given)
        return [function(*given), *gradients]

    for expected, found in zip(both(plain), both(fused), strict=True):
        scale = float(mx.abs(expected).max())
        assert scale > 0.0
        np.testing.assert_allclose(np.array(found), np.array(expected), rtol=0, atol=2e-5 * scale)


def test_rounding_by_addition_is_half_to_even() -> None:
    values = np.concatenate([np.arange(-130, 130, 0.25), [0.49999997, -0.49999997, 2.5000002]]).astype(np.float32)
    np.testing.assert_array_equal(np.array(round_small(mx.array(values))), np.rint(values))


def test_rms_norm_and_quantisation_in_one() -> None:
    x, gain = arrays((3, 11, 24), (24,))
    mask = length_mask([11, 7, 1], 11)
    assert_same(
        lambda x, gain: fake_quantised_activations(rms_norm_plain(x, gain, mask)),
        lambda x, gain: rms_norm_fused(x, gain, mask),
        [x, gain],
    )
    found = np.array(rms_norm_fused(x, gain, mask))
    assert not found[1, 7:].any() and not found[2, 1:].any()


def test_silence_stays_silent() -> None:
    x, gain = mx.zeros((1, 4, 8)), mx.ones((8,))
    value, gradient = mx.value_and_grad(lambda x: mx.sum(rms_norm_fused(x, gain, mx.ones((1, 4, 1)))))(x)
    assert float(value) == 0.0 and np.isfinite(np.array(gradient)).all()


def test_a_value_that_is_not_a_number_stays_one() -> None:
    """Or a broken update would go unnoticed."""
    x = mx.array([[[1.0, float("nan"), 2.0, 0.5]]])
    assert np.isnan(np.array(rms_norm_fused(x, mx.ones((4,)), mx.ones((1, 1, 1))))).any()
    query = mx.broadcast_to(x[:, None], (1, 1, 3, 4))
    assert np.isnan(np.array(attention_fused(query, query, query, mx.zeros((1, 1, 1, 3))))).all()


def test_powers_of_two() -> None:
    x = -np.concatenate([np.linspace(0, 89.9, 20001), np.arange(0, 90, 0.5)]).astype(np.float32)
    found = np.array(exp2_nonpositive(mx.array(x))).astype(np.float64)
    np.testing.assert_allclose(found, np.exp2(x.astype(np.float64)), rtol=3e-7)
    far = np.array(exp2_nonpositive(mx.array([-91.0, -1e9, -float("inf")])))
    assert (far >= np.finfo(np.float32).tiny).all() and (far < 1e-26).all()


@pytest.mark.parametrize("spread", [0.3, 3.0])
def test_attention(spread: float) -> None:
    query, key, value = arrays((3, 2, 19, 8), (3, 2, 19, 8), (3, 2, 19, 8), seed=1)
    bias = (1.0 - length_mask([19, 8, 1], 19).transpose(0, 2, 1)[:, None]) * -1e9  # (B, 1, 1, T)
    assert_same(
        lambda *x: attention_plain(*x, bias), lambda *x: attention_fused(*x, bias), [spread * query, key, value]
    )
    _, key_gradient, value_gradient = mx.grad(
        lambda *x: mx.sum(mx.square(attention_fused(*x, bias))), argnums=(0, 1, 2)
    )(query, key, value)
    assert float(mx.abs(key_gradient[1, :, 8:]).max()) < 1e-20 and float(mx.abs(value_gradient[1, :, 8:]).max()) < 1e-20
