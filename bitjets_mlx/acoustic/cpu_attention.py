"""Attention, and its form for MLX's CPU backend on Linux: matrix products and the C of `native/sources/softmax.c`.

That backend's `exp` is scalar, 12 ns an element, most of a softmax. Like `ternary.cpu_training` this runs at once, in
the thread that calls, and looks at no frame beyond an utterance's end.
"""

import ctypes
from typing import cast

import mlx.core as mx
import numpy as np

from bitjets_mlx.native.build import SOURCES, pointer, training_kernels
from bitjets_mlx.ternary.cpu_training import on_host

SOURCE = SOURCES / "softmax.c"
MASKED = -1e9  # not -inf: a row that is masked all over must not become NaN


def attention_plain(qkv: mx.array, mask: mx.array, heads: int) -> mx.array:
    """softmax(q k^T / sqrt(D / H)) v over the frames inside: qkv (B, T, 3 D), mask (B, T, 1) -> (B, T, D)."""
    batch, length, width = qkv.shape[0], qkv.shape[1], qkv.shape[2] // 3
    parts = qkv.reshape(batch, length, 3, heads, width // heads)
    query, key, value = parts.transpose(2, 0, 3, 1, 4)  # each (B, H, T, D / H)
    bias = ((mask - 1.0) * -MASKED).astype(mx.float32).transpose(0, 2, 1)[:, None]  # (B, 1, 1, T)
    scores = query * (width // heads) ** -0.5 @ key.swapaxes(-1, -2) + bias  # (B, H, T, T), fp32
    mixed = mx.softmax(scores, axis=-1).astype(value.dtype) @ value  # (B, H, T, D / H)
    return mixed.transpose(0, 2, 1, 3).reshape(batch, length, width)


def attention_kernels(qkv: mx.array, mask: mx.array, heads: int) -> mx.array:
    """`attention_plain`, its gradient by hand; zeros beyond each utterance's end, where the plain form has anything."""
    kernels = training_kernels(SOURCE)
    assert kernels is not None, "asked for kernels that are not here"
    batch, length, width = qkv.shape[0], qkv.shape[1], qkv.shape[2] // 3
    size = width // heads
    scale = ctypes.c_float(size**-0.5)
    lengths = [int(row.sum()) for row in on_host(mask)[0]]
    probabilities: list[np.ndarray] = []  # (t, t) of every utterance and head

    def parts(array: np.ndarray, utterance: int, head: int) -> list[np.ndarray]:
        """Query, key and value of a head, (t, D / H) each, where they lie in (B, T, 3 D)."""
        begins = [part * width + head * size for part in range(3)]
        return [array[utterance, : lengths[utterance], begin : begin + size] for begin in begins]

    @mx.custom_function
    def attend(qkv: mx.array) -> mx.array:
        given, mixed = on_host(qkv)[0], np.zeros((batch, length, width), dtype=np.float32)
        for utterance, head in np.ndindex(batch, heads):
            query, key, value = parts(given, utterance, head)
            scores = query @ key.T  # (t, t)
            kernels.bitjets_softmax(pointer(scores), *scores.shape, scale)
            np.matmul(scores, value, out=mixed[utterance, : len(value), head * size : (head + 1) * size])
            probabilities.append(scores)
        return mx.array(mixed)

    @attend.vjp
    def attend_vjp(primals: mx.array, cotangent: mx.array, _: mx.array) -> mx.array:
        given, behind = on_host(primals, cotangent)
        gradient = np.zeros_like(given)
        for index, (utterance, head) in enumerate(np.ndindex(batch, heads)):
            query, key, value = parts(given, utterance, head)
            of_query, of_key, of_value = parts(gradient, utterance, head)
            from_here = behind[utterance, : len(value), head * size : (head + 1) * size]
            of_scores = from_here @ value.T  # (t, t)
            np.matmul(probabilities[index].T, from_here, out=of_value)
            kernels.bitjets_softmax_gradient(pointer(probabilities[index]), pointer(of_scores), *of_scores.shape, scale)
            np.matmul(of_scores, key, out=of_query)
            np.matmul(of_scores.T, query, out=of_key)
        return mx.array(gradient)

    return cast(mx.array, attend(qkv))
