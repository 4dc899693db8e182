"""Training's forms for the CPU backend, in C, equal the plain ones beside them, values and gradients."""

from collections.abc import Callable

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten

from bitjets_mlx.native import loader
from bitjets_mlx.ops.attention import attention_plain, attention_training
from bitjets_mlx.ternary.training import layer_kernels, layer_plain
from bitjets_mlx.training.optimize import Optimizer

KERNELS = loader.here("training")
pytestmark = pytest.mark.skipif(KERNELS is None, reason="for MLX's CPU backend, with a C compiler")


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


@pytest.mark.parametrize("taps", [1, 3, 5])
@pytest.mark.parametrize("relu", [False, True])
def test_a_ternary_layer(taps: int, relu: bool) -> None:
    """Of one frame, of fewer frames than the convolution reaches, and with silence beyond an utterance's end."""
    for frames, lengths in ((11, [11, 7, 1]), (2, [2, 2, 1]), (1, [1, 1, 1])):
        x, gain, weight, bias = arrays((3, frames, 24), (24,), (10, taps, 24), (10,))
        mask = length_mask(lengths, frames)
        assert_same(
            lambda *given, mask=mask: layer_plain(*given, mask, relu),
            lambda *given, mask=mask: layer_kernels(KERNELS, *given, mask, relu),
            [x, gain, weight, bias],
        )


def test_silence_stays_silent() -> None:
    gain, weight, bias = mx.ones((8,)), arrays((6, 3, 8))[0], mx.zeros((6,))
    value, gradient = mx.value_and_grad(
        lambda x: mx.sum(layer_kernels(KERNELS, x, gain, weight, bias, mx.ones((1, 4, 1)), False))
    )(mx.zeros((1, 4, 8)))
    assert float(value) == 0.0 and np.isfinite(np.array(gradient)).all()


def test_a_value_that_is_not_a_number_stays_one() -> None:
    """Or a broken update would go unnoticed."""
    x, weight = arrays((1, 3, 24), (24, 1, 24))
    broken = mx.where(mx.arange(72).reshape(1, 3, 24) == 30, float("nan"), x)
    for relu in (False, True):
        found = layer_kernels(KERNELS, broken, mx.ones((24,)), weight, mx.zeros((24,)), mx.ones((1, 3, 1)), relu)
        assert relu or np.isnan(np.array(found)).any()
    gradient = mx.grad(
        lambda weight: mx.sum(
            layer_kernels(KERNELS, broken, mx.ones((24,)), weight, mx.zeros((24,)), mx.ones((1, 3, 1)), False)
        )
    )(weight)
    assert np.isnan(np.array(gradient)).any()
    assert np.isnan(np.array(attention_training(KERNELS, broken, mx.ones((1, 3, 1)), 2))).any()


@pytest.mark.parametrize("spread", [0.3, 3.0, 100.0])
def test_attention(spread: float) -> None:
    """Inside each utterance; the gradient sees nothing of what lies beyond."""
    mask = length_mask([19, 8, 1], 19)
    qkv = arrays((3, 19, 48), seed=1)[0] * spread
    assert_same(
        lambda x: attention_plain(x, mask, 2) * mask, lambda x: attention_training(KERNELS, x, mask, 2) * mask, [qkv]
    )
    gradient = mx.grad(lambda x: mx.sum(mx.square(attention_training(KERNELS, x, mask, 2))))(qkv)
    assert float(mx.abs(gradient[1, 8:]).max()) == 0.0


def test_the_optimizer(monkeypatch: pytest.MonkeyPatch) -> None:
    """One pass in C and MLX's dozen: weights, moments, average and norm."""

    def trained() -> tuple[list[mx.array], list[float]]:
        tree = dict(zip("abc", arrays((300, 90), (7,), (5000,)), strict=True))
        optimizer, norms = Optimizer(tree, (0.9, 0.98), clip=1.0, ema_decay=0.999), []
        for update in range(1, 4):
            given = dict(zip("abc", arrays((300, 90), (7,), (5000,), seed=update), strict=True))
            tree, norm = optimizer.step(tree, given, update, rate=0.01, decay=0.1)
            norms.append(norm)
        return [leaf for _, leaf in tree_flatten([tree, optimizer.ema, optimizer.state])], norms

    found, norms = trained()
    monkeypatch.setattr(loader, "library", lambda *_: None)
    expected, expected_norms = trained()
    assert norms == pytest.approx(expected_norms, rel=1e-5)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(np.array(ours), np.array(theirs), rtol=2e-5, atol=1e-7)
