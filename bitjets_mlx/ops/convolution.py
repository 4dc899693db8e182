"""Convolutions, channels-last, in forms that are fast on MLX's Linux CPU backend.

That backend runs plain stride-1 convolutions as a matrix product, and everything else (dilation, strides, groups,
transposed convolution, and most backward passes) in scalar loops at about 1 GFLOP/s. So each function here has a
second form made of slices and one matrix product. The plain form beside it is the reference, and what other
devices run. Weights are in MLX's layout, (outputs, taps, inputs / groups).
"""

import mlx.core as mx
import numpy as np

from bitjets_mlx.native import loader


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


def settled(x: mx.array, gradients: bool) -> mx.array:
    """x; without gradients computed by now on the CPU backend, which keeps all inputs of convolutions until then."""
    if not gradients and loader.on_cpu():
        mx.eval(x)
    return x


def conv1d_plain(x: mx.array, weight: mx.array, stride: int = 1, padding: int = 0, dilation: int = 1) -> mx.array:
    """MLX's own convolution: (B, S, I), (O, K, I) -> (B, L, O)."""
    return mx.conv1d(x, weight, stride=stride, padding=padding, dilation=dilation)


def conv1d_matmul(x: mx.array, weight: mx.array, stride: int = 1, padding: int = 0, dilation: int = 1) -> mx.array:
    """The same as slices side by side and one matrix product.

    With a stride, `stride` neighboring samples become the channels of one, and the stride is gone: strided slices
    are slow here, above all backwards.
    """
    outputs, size, inputs = weight.shape
    samples = x.shape[1] + 2 * padding
    length = (samples - dilation * (size - 1) - 1) // stride + 1
    if stride > 1 and dilation == 1:
        size = -(-size // stride)  # folded taps; the last may be part empty
        missing = (length + size - 1) * stride - samples
        x = pad_time(x, padding, padding + max(missing, 0))[:, : (length + size - 1) * stride]
        x = x.reshape(x.shape[0], -1, stride * inputs)  # (B, S/stride, stride*I)
        weight = mx.pad(weight, [(0, 0), (0, size * stride - weight.shape[1]), (0, 0)])
        padding, stride, inputs = 0, 1, stride * inputs
    columns = mx.concatenate(taps(pad_time(x, padding, padding), size, stride, dilation), axis=-1)  # (B, L, K*I)
    return columns @ weight.reshape(outputs, size * inputs).T  # (B, L, O)


def conv1d(x: mx.array, weight: mx.array, stride: int = 1, padding: int = 0, dilation: int = 1) -> mx.array:
    """Convolution along time in the device's faster form: (B, S, I), (O, K, I) -> (B, L, O)."""
    form = conv1d_matmul if loader.on_cpu() else conv1d_plain
    return form(x, weight, stride, padding, dilation)


def depthwise_conv1d_plain(x: mx.array, weight: mx.array) -> mx.array:
    """One odd-length filter per channel, zero-padded to the same length: (B, T, C), (C, K) -> (B, T, C)."""
    reach = weight.shape[1] // 2  # padded beforehand: MLX's depthwise kernel for Metal wants it so
    return mx.conv1d(pad_time(x, reach, reach), weight[:, :, None], groups=x.shape[-1])


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
    return depthwise_conv1d_shifts(x, weight) if loader.on_cpu() else depthwise_conv1d_plain(x, weight)


def grouped_conv1d_plain(x: mx.array, weight: mx.array, stride: int, padding: int, groups: int) -> mx.array:
    """MLX's own grouped convolution: (B, S, I), (O, K, I / groups) -> (B, L, O)."""
    return mx.conv1d(x, weight, stride=stride, padding=padding, groups=groups)


def grouped_conv1d_matmul(x: mx.array, weight: mx.array, stride: int, padding: int, groups: int) -> mx.array:
    """The same as slices and one batched matrix product, one batch entry per group."""
    outputs, size, width = weight.shape
    parts = [part[:, :, None] for part in taps(pad_time(x, padding, padding), size, stride, 1)]
    columns = mx.concatenate(parts, axis=2)  # (B, L, K, I)
    batch, length = columns.shape[:2]
    columns = columns.reshape(batch * length, size, groups, width).transpose(2, 0, 1, 3)  # (G, B*L, K, I/G)
    kernels = weight.reshape(groups, outputs // groups, size * width).swapaxes(1, 2)  # (G, K*I/G, O/G)
    y = columns.reshape(groups, batch * length, size * width) @ kernels  # (G, B*L, O/G)
    return y.swapaxes(0, 1).reshape(batch, length, outputs)


def grouped_conv1d(x: mx.array, weight: mx.array, stride: int, padding: int, groups: int) -> mx.array:
    """Grouped convolution in the device's faster form: (B, S, I), (O, K, I / groups) -> (B, L, O)."""
    form = grouped_conv1d_matmul if loader.on_cpu() else grouped_conv1d_plain
    return form(x, weight, stride, padding, groups)


def same_conv1d_plain(x: mx.array, weight: mx.array, dilation: int = 1) -> mx.array:
    """MLX's own convolution, zero-padded to the same length: (B, S, I), (O, K, I) -> (B, S, O); K is odd."""
    return mx.conv1d(x, weight, padding=dilation * (weight.shape[1] // 2), dilation=dilation)


def same_conv1d_folded(x: mx.array, weight: mx.array, dilation: int = 1) -> mx.array:
    """The same with the dilation folded into the batch axis: phase p holds samples p, p + dilation, ..."""
    batch, samples, inputs = x.shape
    if dilation > 1:
        x = pad_time(x, 0, -samples % dilation).reshape(batch, -1, dilation, inputs)
        x = x.swapaxes(1, 2).reshape(batch * dilation, -1, inputs)  # (B*d, S/d, I)
    outputs, size, _ = weight.shape
    narrow = inputs <= 16 and outputs <= 16 and 5 < size <= 2 * BLOCK + 1
    y = _conv1d_blocked(x, weight) if narrow else conv1d_plain(x, weight, padding=size // 2)
    if dilation > 1:
        y = y.reshape(batch, dilation, -1, outputs).swapaxes(1, 2).reshape(batch, -1, outputs)[:, :samples]
    return y  # (B, S, O)


def same_conv1d(x: mx.array, weight: mx.array, dilation: int = 1) -> mx.array:
    """Same-length convolution in the device's faster form: (B, S, I), (O, K, I) -> (B, S, O); K is odd."""
    form = same_conv1d_folded if loader.on_cpu() else same_conv1d_plain
    return form(x, weight, dilation)


BLOCK = 8  # samples that one row of `_conv1d_blocked` holds


def _conv1d_blocked(x: mx.array, weight: mx.array) -> mx.array:
    """Few channels, many taps: rows of 8 samples, and a banded matrix for the row before, this one, the next.

    Twice the arithmetic at ten times the speed: products with 8 columns are slow, and nothing is copied here.
    """
    outputs, size, inputs = weight.shape
    batch, samples, _ = x.shape
    rows = pad_time(x, BLOCK, BLOCK + -samples % BLOCK).reshape(batch, -1, BLOCK * inputs)
    # Entry (i, j): which tap connects input i of the 3 rows with output j of this row; `size` is a zero tap.
    index = np.arange(3 * BLOCK)[:, None] - BLOCK - np.arange(BLOCK)[None] + size // 2
    index = np.where((index < 0) | (index >= size), size, index)
    tap_first = mx.pad(weight, [(0, 0), (0, 1), (0, 0)]).transpose(1, 2, 0)  # (K+1, I, O)
    band = tap_first[mx.array(index)].swapaxes(1, 2)  # (3*8, I, 8, O)
    before, here, after = band.reshape(3, BLOCK * inputs, BLOCK * outputs)
    y = rows[:, :-2] @ before + rows[:, 1:-1] @ here + rows[:, 2:] @ after
    return y.reshape(batch, -1, outputs)[:, :samples]


def conv_transpose1d_plain(x: mx.array, weight: mx.array, stride: int, padding: int) -> mx.array:
    """MLX's own transposed convolution: (B, T, I), (O, K, I) -> (B, (T - 1) * stride - 2 * padding + K, O)."""
    return mx.conv_transpose1d(x, weight, stride=stride, padding=padding)


def conv_transpose1d(x: mx.array, weight: mx.array, stride: int, padding: int) -> mx.array:
    """Transposed convolution: (B, T, I), (O, K, I) -> (B, stride * T, O) for HiFi-GAN.

    As one matrix product, then overlap-add of blocks of `stride` samples, on every device: MLX's own multiplies the
    zeros between the frames too, six times the arithmetic for HiFi-GAN V1.
    """
    outputs, size, inputs = weight.shape
    batch, frames, _ = x.shape
    overlap = -(-size // stride)
    weight = mx.pad(weight, [(0, 0), (0, overlap * stride - size), (0, 0)])
    y = x @ weight.transpose(2, 1, 0).reshape(inputs, -1)  # (B, T, overlap*stride*O)
    y = y.reshape(batch, frames, overlap, stride * outputs)
    parts = [pad_time(y[:, :, k], k, overlap - 1 - k) for k in range(overlap)]
    total = parts[0]
    for part in parts[1:]:
        total = total + part  # (B, T+overlap-1, stride*O)
    length = (frames - 1) * stride - 2 * padding + size
    return total.reshape(batch, -1, outputs)[:, padding : padding + length]
