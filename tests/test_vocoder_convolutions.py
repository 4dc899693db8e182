"""Every fast form of a convolution against the plain one: values and gradients."""

from collections.abc import Callable

import mlx.core as mx
import numpy as np
import pytest

from bitjets_mlx.native import loader
from bitjets_mlx.ops import convolution as c

Form = Callable[..., mx.array]


def agree(fast: Form, plain: Form, x: mx.array, weight: mx.array, *options: int) -> None:
    """Same values, and same gradients by input and weight, under a random cotangent."""
    expected = plain(x, weight, *options)
    got = fast(x, weight, *options)
    assert got.shape == expected.shape
    cotangent = mx.random.normal(expected.shape, key=mx.random.key(7))
    gradients = [
        mx.vjp(lambda *a, form=form: form(*a, *options), [x, weight], [cotangent])[1] for form in (fast, plain)
    ]
    for ours, theirs in [(got, expected), *zip(*gradients, strict=True)]:
        scale = max(1.0, float(mx.max(mx.abs(theirs))))
        np.testing.assert_allclose(np.array(ours) / scale, np.array(theirs) / scale, atol=2e-5)


def normal(seed: int, *shape: int) -> mx.array:
    return mx.random.normal(shape, key=mx.random.key(seed))


@pytest.mark.parametrize("samples", [29, 30, 31, 32])
@pytest.mark.parametrize(("stride", "padding", "dilation", "size"), [
    (1, 0, 1, 5), (1, 3, 1, 7), (2, 2, 1, 5), (3, 2, 1, 5), (4, 20, 1, 41), (1, 6, 3, 5), (2, 6, 3, 5), (3, 0, 1, 1),
])  # fmt: skip
def test_conv1d(samples: int, stride: int, padding: int, dilation: int, size: int) -> None:
    x, weight = normal(1, 2, samples, 3), normal(2, 4, size, 3)
    agree(c.conv1d_matmul, c.conv1d_plain, x, weight, stride, padding, dilation)


def test_depthwise_conv1d() -> None:
    agree(c.depthwise_conv1d_shifts, c.depthwise_conv1d_plain, normal(1, 2, 20, 6), normal(2, 6, 7))


@pytest.mark.parametrize(("stride", "groups"), [(1, 4), (2, 4), (4, 2)])
def test_grouped_conv1d(stride: int, groups: int) -> None:
    agree(
        c.grouped_conv1d_matmul,
        c.grouped_conv1d_plain,
        normal(1, 2, 33, 8),
        normal(2, 12, 7, 8 // groups),
        stride,
        3,
        groups,
    )


@pytest.mark.parametrize("samples", [61, 64])
@pytest.mark.parametrize("dilation", [1, 3, 12])
@pytest.mark.parametrize(("channels", "size"), [(8, 3), (8, 11), (16, 7), (16, 17), (24, 11)])
def test_same_conv1d(samples: int, dilation: int, channels: int, size: int) -> None:
    x, weight = normal(1, 2, samples, channels), normal(2, channels, size, channels)
    agree(c.same_conv1d_folded, c.same_conv1d_plain, x, weight, dilation)


@pytest.mark.parametrize(("stride", "size"), [(8, 16), (4, 8), (2, 4), (5, 11), (3, 3)])
def test_conv_transpose1d(stride: int, size: int) -> None:
    padding = (size - stride) // 2
    agree(c.conv_transpose1d, c.conv_transpose1d_plain, normal(1, 2, 9, 6), normal(2, 4, size, 6), stride, padding)


@pytest.mark.parametrize("matmul", [False, True])
def test_device_decides(matmul: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """One function chooses between the forms."""
    monkeypatch.setattr(loader, "on_cpu", lambda: matmul)
    monkeypatch.setattr(c, "conv1d_plain", lambda *_: "plain")
    monkeypatch.setattr(c, "conv1d_matmul", lambda *_: "matmul")
    assert c.conv1d(normal(1, 1, 9, 2), normal(2, 2, 3, 2)) == ("matmul" if matmul else "plain")
