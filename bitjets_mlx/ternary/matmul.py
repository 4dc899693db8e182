"""The one function through which every ternary product goes. Backends are chosen here and nowhere else.

The convolution's taps are scaled one by one, since every input frame has its own activation scale
(y[t] = beta sum_j (xq[t+j] . Wt_j) / s[t+j]). The sums inside the brackets are integers and exact in fp32.
"""

import mlx.core as mx


def ternary_conv1d(integers: mx.array, scale: mx.array, trits: mx.array, beta: mx.array) -> mx.array:
    """Ternary convolution of stride 1 with "same" zero padding; a kernel of 1 is a linear layer.

    integers (B, T, I) whole numbers of int8 size; scale (B, T, 1) as `int8_activations` gives it;
    trits (O, K, I) in {-1, 0, 1}, K odd; beta () or (O,). Returns (B, T, O).
    """
    outputs, taps, inputs = trits.shape
    weight = trits.transpose(1, 0, 2).reshape(taps * outputs, inputs)  # (K O, I)
    sums = integers @ weight.T  # (B, T, K O), integer sums, one group a tap
    scaled = sums / scale
    if taps > 1:
        scaled = _shift_and_add(scaled, taps, outputs)  # (B, T, O)
    return scaled * beta


def _shift_and_add(taps_out: mx.array, taps: int, outputs: int) -> mx.array:
    """Frame t gathers tap j from frame t + j - K // 2: (B, T, K O) -> (B, T, O)."""
    length, reach = taps_out.shape[1], taps // 2
    padded = mx.pad(taps_out, [(0, 0), (reach, reach), (0, 0)])  # (B, T + K - 1, K O)
    total = padded[:, 0:length, :outputs]
    for tap in range(1, taps):
        total = total + padded[:, tap : tap + length, tap * outputs : (tap + 1) * outputs]
    return total
