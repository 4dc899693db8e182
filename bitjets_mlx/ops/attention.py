"""Multi-head self-attention: softmax(q k^T / sqrt(D / H)) v over the frames inside (arXiv:1706.03762, 3.2)."""

import ctypes
from typing import cast

import mlx.core as mx
import numpy as np

from bitjets_mlx.native import loader
from bitjets_mlx.native.loader import addresses, as_numpy, on_host
from bitjets_mlx.native.processor import kernel_threads

MASKED = -1e9  # not -inf: a row that is masked all over must not become NaN


def attention(qkv: mx.array, mask: mx.array, heads: int, gradients: bool) -> mx.array:
    """qkv (B, T, 3 D), mask (B, T, 1) -> (B, T, D); anything beyond an utterance's end.

    The columns of qkv are queries, keys, values, head by head. `gradients`: whether there must be a gradient. MLX's own
    fused attention is slower on the CPU backend and as fast as the plain form at these sizes on a GPU.
    """
    if not gradients and (speaking := loader.here("speaking")):
        return attention_speaking(speaking, qkv, mask, heads)
    if qkv.dtype == mx.float32 and (training := loader.here("training")):
        return attention_training(training, qkv, mask, heads)
    return attention_plain(qkv, mask, heads)


def attention_plain(qkv: mx.array, mask: mx.array, heads: int) -> mx.array:
    """The reference, in MLX."""
    batch, length, width = qkv.shape[0], qkv.shape[1], qkv.shape[2] // 3
    parts = qkv.reshape(batch, length, 3, heads, width // heads)
    query, key, value = parts.transpose(2, 0, 3, 1, 4)  # each (B, H, T, D / H)
    bias = ((mask - 1.0) * -MASKED).astype(mx.float32).transpose(0, 2, 1)[:, None]  # (B, 1, 1, T)
    scores = query * (width // heads) ** -0.5 @ key.swapaxes(-1, -2) + bias  # (B, H, T, T), fp32
    mixed = mx.softmax(scores, axis=-1).astype(value.dtype) @ value  # (B, H, T, D / H)
    return mixed.transpose(0, 2, 1, 3).reshape(batch, length, width)


def attention_speaking(kernels: ctypes.CDLL, qkv: mx.array, mask: mx.array, heads: int, threads: int = 0) -> mx.array:
    """In C, on all cores (`attention.c`): no gradient. Evaluates its inputs."""
    batch, frames, width = qkv.shape
    if width % (3 * heads) or mask.shape != (batch, frames, 1):
        raise ValueError(f"qkv {qkv.shape}, mask {mask.shape} and {heads} heads do not fit")
    threads, depth = threads or kernel_threads(), width // (3 * heads)
    given = [as_numpy(qkv), as_numpy(mask)]
    out = np.empty((batch, frames, width // 3), dtype=np.float32)
    scratch = np.empty(kernels.bitjets_attention_scratch(batch, frames, heads, depth, threads), dtype=np.float32)
    kernels.bitjets_attention(*addresses(*given, out), batch, frames, heads, depth, scratch.ctypes.data, threads)
    return mx.array(out).astype(qkv.dtype)


def attention_training(kernels: ctypes.CDLL, qkv: mx.array, mask: mx.array, heads: int) -> mx.array:
    """Matrix products and C (`softmax.c`), with a gradient by hand; zeros beyond each utterance's end.

    The `exp` of MLX's CPU backend is scalar, 12 ns an element, most of a softmax. This runs at once, in the thread that
    calls, and looks at no frame beyond an utterance's end.
    """
    batch, length, width = qkv.shape[0], qkv.shape[1], qkv.shape[2] // 3
    size = width // heads
    scale = size**-0.5
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
            kernels.bitjets_softmax(*addresses(scores), *scores.shape, scale)
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
            kernels.bitjets_softmax_gradient(*addresses(probabilities[index], of_scores), *of_scores.shape, scale)
            np.matmul(of_scores, key, out=of_query)
            np.matmul(of_scores.T, query, out=of_key)
        return mx.array(gradient)

    return cast(mx.array, attend(qkv))
