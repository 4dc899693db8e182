"""Convolutions, channels-last, in forms that are fast on MLX's Linux CPU backend.

That backend runs plain stride-1 convolutions as a matrix product, and everything else (dilation, strides, groups,
transposed convolution, and most backward passes) in scalar loops at about 1 GFLOP/s. So each function here has a
second form made of slices and one matrix product. The plain form beside it is the reference, and what other
devices run. Weights are in MLX's layout, (outputs, taps, inputs / groups).
"""

import sys

import mlx.core as mx


def prefers_matmul() -> bool:
    """True where the slice-and-matmul forms are the faster ones: the CPU backend on Linux."""
    return sys.platform.startswith("linux") and mx.default_device() == mx.Device(mx.cpu)


def taps(x: mx.array, size: int, stride: int, dilation: int) -> list[mx.array]:
    """The input of each of `size` taps of an unpadded convolution along axis 1: size x (B, L, ...)."""
    length = (x.shape[1] - dilation * (size - 1) - 1) // stride + 1
    span = stride * (length - 1) + 1
    return [x[:, k * dilation : k * dilation + span : stride] for k in range(size)]


def pad_time(x: mx.array, before: int, after: int) -> mx.array:
    """Zeros before and after along axis 1."""
    if before == 0 and after == 0:
        return x
    return mx.pad(x, [(0, 0), (before, after)] + [(0, 0)] * (x.ndim - 2))


def conv1d_plain(x: mx.array, weight: mx.array, stride: int = 1, padding: int = 0, dilation: int = 1) -> mx.array:
    """MLX's own convolution: (B, S, I), (O, K, I) -> (B, L, O)."""
    return mx.conv1d(x, weight, stride=stride, padding=padding, dilation=dilation)


def conv1d_matmul(x: mx.array, weight: mx.array, stride: int = 1, padding: int = 0, dilation: int = 1) -> mx.array:
    """The same as slices side by side and one matrix product."""
    outputs, size, inputs = weight.shape
    x = pad_time(x, padding, padding)
    columns = mx.concatenate(taps(x, size, stride, dilation), axis=-1)  # (B, L, K*I)
    return columns @ weight.reshape(outputs, size * inputs).T  # (B, L, O)


def conv1d(x: mx.array, weight: mx.array, stride: int = 1, padding: int = 0, dilation: int = 1) -> mx.array:
    """Convolution along time in the device's faster form: (B, S, I), (O, K, I) -> (B, L, O)."""
    form = conv1d_matmul if prefers_matmul() else conv1d_plain
    return form(x, weight, stride, padding, dilation)


def depthwise_conv1d_plain(x: mx.array, weight: mx.array) -> mx.array:
    """One odd-length filter a channel, zero-padded to the same length: (B, T, C), (C, K) -> (B, T, C)."""
    return mx.conv1d(x, weight[:, :, None], padding=weight.shape[1] // 2, groups=x.shape[-1])


def depthwise_conv1d_shifts(x: mx.array, weight: mx.array) -> mx.array:
    """The same as shifted copies, multiplied and added."""
    size = weight.shape[1]
    shifted = taps(pad_time(x, size // 2, size // 2), size, 1, 1)
    total = shifted[0] * weight[:, 0]
    for k in range(1, size):
        total = total + shifted[k] * weight[:, k]
    return total  # (B, T, C)


def depthwise_conv1d(x: mx.array, weight: mx.array) -> mx.array:
    """Depthwise convolution in the device's faster form: (B, T, C), (C, K) -> (B, T, C)."""
    return depthwise_conv1d_shifts(x, weight) if prefers_matmul() else depthwise_conv1d_plain(x, weight)
