"""Every operation chooses between its forms by itself, and all forms say the same."""

from collections.abc import Callable

import mlx.core as mx
import numpy as np
import pytest

from bitjets_mlx.native import loader
from bitjets_mlx.ops.adamw import Scalars, adamw, norm
from bitjets_mlx.ops.attention import attention, attention_plain
from bitjets_mlx.ops.upsampling import upsample, upsample_plain


def random(*shape: int, seed: int = 0) -> mx.array:
    return mx.array(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


MASK = mx.array((np.arange(9)[None, :] < np.array([9, 6])[:, None]).astype(np.float32)[..., None])  # (2, 9, 1)
DURATIONS = mx.array(np.random.default_rng(1).integers(1, 5, (2, 9)).astype(np.float32)) * MASK[..., 0]
CENTERS = mx.cumsum(DURATIONS, axis=1) - DURATIONS / 2
OPERATIONS: dict[str, tuple[Callable[..., mx.array], Callable[..., mx.array], mx.array]] = {
    "attention": (
        lambda x, gradients: attention(x, MASK, 2, gradients) * MASK.astype(x.dtype),
        lambda x: attention_plain(x, MASK, 2) * MASK.astype(x.dtype),
        random(2, 9, 24),
    ),
    "upsampling": (
        lambda x, gradients: upsample(x, DURATIONS, MASK, 20, 0.5, gradients),
        lambda x: upsample_plain(x, CENTERS, MASK, 20, 0.5),
        random(2, 9, 6),
    ),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_without_gradients_the_samples_are_those_of_the_reference(name: str) -> None:
    chosen, plain, x = OPERATIONS[name]
    np.testing.assert_allclose(np.array(chosen(x, False)), np.array(plain(x)), atol=1e-5)
    half = chosen(x.astype(mx.bfloat16), False)
    assert half.dtype == mx.bfloat16
    np.testing.assert_allclose(np.array(half.astype(mx.float32)), np.array(plain(x)), atol=0.1)


@pytest.mark.parametrize("name", OPERATIONS)
def test_gradients_that_are_wanted_are_there(name: str) -> None:
    chosen, plain, x = OPERATIONS[name]
    expected, found = (mx.grad(lambda x, f=f: mx.sum(mx.square(f(x))))(x) for f in (plain, lambda x: chosen(x, True)))
    assert float(mx.abs(expected).max()) > 0.1
    np.testing.assert_allclose(np.array(found), np.array(expected), atol=1e-4)


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("gradients", [False, True])
def test_a_gpu_runs_the_reference(name: str, gradients: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader, "on_cpu", lambda: False)
    chosen, plain, x = OPERATIONS[name]
    assert bool(mx.array_equal(chosen(x, gradients), plain(x)))


@pytest.mark.parametrize("compiled", [False, True])
def test_adamw_is_that_of_its_reference(compiled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """By hand in float64; an update whose result is not finite says so."""
    if not compiled:
        monkeypatch.setattr(loader, "library", lambda *_: None)
    elif loader.library("training") is None:
        pytest.skip("needs a C compiler")
    groups = [[random(*shape, seed=seed) ** 2 for seed in range(5)] for shape in ((70, 30), (5,))]
    scalars = Scalars(scale=0.5, keep=0.99, rate=0.01, correction=1.2, fraction=0.1)
    moved, finite = adamw(groups, (0.9, 0.98), scalars)
    assert finite
    for group, found in zip(groups, moved, strict=True):
        parameter, gradient, first, second, average = (np.array(x, dtype=np.float64) for x in group)
        gradient = 0.5 * gradient
        first, second = 0.9 * first + 0.1 * gradient, 0.98 * second + 0.02 * gradient**2
        parameter = 0.99 * parameter - 0.01 * first / (np.sqrt(second) * 1.2 + 1e-8)
        expected = parameter, first, second, average + 0.1 * (parameter - average)
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(np.array(one), other, rtol=1e-5, atol=1e-7)
    groups[1][1] = mx.full((5,), float("nan"))
    assert not adamw(groups, (0.9, 0.98), scalars)[1]
    arrays = [random(5000), random(3, 4, seed=1), random(1, seed=2)]
    squares = sum(float((np.array(x, dtype=np.float64) ** 2).sum()) for x in arrays)
    assert norm(arrays) == pytest.approx(np.sqrt(squares), rel=1e-6)
