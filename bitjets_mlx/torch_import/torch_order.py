"""Sums in the order of PyTorch's CPU kernels, for models that were trained there and round to int8.

An activation that lies on the edge between two integers falls to the side that the last bit of a float decides, and
everything behind it follows. So the last bits are made the same: LayerNorm, the mean of a weight and a projection are
summed here in the order in which PyTorch on an x86 processor sums them (2.13, two threads; vectors of eight floats,
fused multiply-add). numpy on the host, whatever device the rest runs on.
"""

import numpy as np

LANES = 8  # floats in a vector
CHUNK = 16  # vectors that one run of Welford's algorithm goes over
SUMS = 4  # vectors that a long sum is spread over
THREADS = 2  # that share a sum of many numbers; PyTorch with another number of threads differs from itself
FEWEST_SHARED = 32768  # numbers
LEVELS = 4  # of a long sum: blocks, blocks of blocks, ...
SMALLEST_BLOCK = 4  # powers of two
PRODUCT_BLOCK = 192  # inputs of a matrix product, at most, that are summed before they are added to the rest

Moments = tuple[int, np.ndarray, np.ndarray]  # how many; their mean; their squared distances from it, summed


def layer_norm(x: np.ndarray, gain: np.ndarray, bias: np.ndarray, eps: float) -> np.ndarray:
    """LayerNorm over the last axis: (..., D), (D,), (D,), float32 -> (..., D)."""
    rows = x.reshape(-1, x.shape[-1])  # (R, D)
    mean, squares = _moments(rows)
    scale = np.float32(1.0) / np.sqrt(squares / np.float32(x.shape[-1]) + np.float32(eps))
    return _fused((rows - mean[:, None]) * scale[:, None], gain, bias).reshape(x.shape)


def mean_magnitude(weight: np.ndarray) -> np.float32:
    """mean|W| of float32, in the order in which W lies in memory."""
    flat = np.abs(weight).reshape(-1)
    size = len(flat) if len(flat) < FEWEST_SHARED else -(-len(flat) // THREADS)
    parts = [_sum(flat[begin : begin + size]) for begin in range(0, len(flat), size)]
    return np.float32(_in_order(np.stack(parts)) / np.float32(len(flat)))


def linear(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """x (..., I), weight (O, I), bias (O,), float32 -> (..., O): the bias, plus one block of inputs after the other."""
    width = weight.shape[1]
    size = width if width <= PRODUCT_BLOCK else min(PRODUCT_BLOCK, -(-width // 2))
    total = bias
    for begin in range(0, width, size):
        block = np.zeros((*x.shape[:-1], len(weight)), np.float32)
        for index in range(begin, min(begin + size, width)):
            block = _fused(x[..., index, None], weight[:, index], block)
        total = total + block
    return total


def _fused(a: np.ndarray, b: np.ndarray | np.float32, c: np.ndarray) -> np.ndarray:
    """a b + c, rounded once: the product of two floats is exact in float64."""
    wide: np.ndarray = a.astype(np.float64) * b + c
    return wide.astype(np.float32)


# -- mean and variance ---------------------------------------------------------------------------------------------


def _moments(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(R, D) -> mean (R,), sum of squared distances from it (R,): Welford's algorithm, lane by lane."""
    count, width = rows.shape
    vectors = width // LANES
    lanes = rows[:, : vectors * LANES].reshape(count, vectors, LANES)
    _, means, squares = _lane_moments(lanes)  # each (R, LANES)
    total = _empty(rows[:, 0])
    for index in range(vectors * LANES, width):  # what fills no vector
        total = _joined_number(total, rows[:, index])
    for lane in range(LANES if vectors else 0):
        total = _joined(total, (vectors, means[:, lane], squares[:, lane]))
    return total[1], total[2]


def _lane_moments(lanes: np.ndarray) -> Moments:
    """(R, V, LANES) -> moments over V, chunk by chunk, the chunks joined in pairs, pairs of pairs and so on."""
    chunks = -(-lanes.shape[1] // CHUNK)
    depth = max(1, (chunks - 1).bit_length())
    none = _empty(lanes[:, 0]) if chunks else _empty(lanes.sum(axis=1))
    levels = [none] * depth
    for number in range(chunks):
        levels[0] = _joined_lanes(levels[0], _chunk_moments(lanes[:, number * CHUNK : (number + 1) * CHUNK]))
        done = number + 1
        for level in range(1, depth):
            if done % 2:
                break
            levels[level] = _joined_lanes(levels[level], levels[level - 1])
            levels[level - 1] = none
            done //= 2
    total = levels[0]
    for more in levels[1:]:
        total = _joined_lanes(total, more)
    return total


def _chunk_moments(chunk: np.ndarray) -> Moments:
    """Welford over axis 1 of (R, V, LANES)."""
    _, mean, squares = _empty(chunk[:, 0])
    for index in range(chunk.shape[1]):
        value = chunk[:, index]
        delta = value - mean
        mean = _fused(delta, np.float32(1.0) / np.float32(index + 1), mean)
        squares = _fused(delta, value - mean, squares)
    return chunk.shape[1], mean, squares


def _joined_lanes(some: Moments, more: Moments) -> Moments:
    """Moments of both combined, rounded as the vectorized kernel rounds."""
    share, delta = _share(some, more), more[1] - some[1]
    step = delta * share
    squares = _fused(delta * np.float32(some[0]), step, some[2] + more[2])
    return some[0] + more[0], some[1] + step, squares


def _joined(some: Moments, more: Moments) -> Moments:
    """The same; the way of rounding of single numbers."""
    share, delta = _share(some, more), more[1] - some[1]
    squares = some[2] + _fused(delta * delta * share, np.float32(some[0]), more[2])
    return some[0] + more[0], _fused(delta, share, some[1]), squares


def _joined_number(some: Moments, value: np.ndarray) -> Moments:
    """With one more number."""
    delta = value - some[1]
    mean = some[1] + delta / np.float32(some[0] + 1)
    return some[0] + 1, mean, some[2] + delta * (value - mean)


def _share(some: Moments, more: Moments) -> np.float32:
    return np.float32(more[0]) / np.float32(max(some[0] + more[0], 1))


def _empty(like: np.ndarray) -> Moments:
    return 0, np.zeros_like(like), np.zeros_like(like)


# -- long sums -----------------------------------------------------------------------------------------------------


def _sum(numbers: np.ndarray) -> np.float32:
    """One thread's share: what fills no vector, then the lanes."""
    whole = len(numbers) // LANES * LANES
    return np.float32(_in_order(np.concatenate([numbers[whole:], _long_sum(numbers[:whole].reshape(-1, LANES))])))


def _long_sum(vectors: np.ndarray) -> np.ndarray:
    """(V, LANES) -> (LANES,): four sums side by side, each of blocks of blocks, then the rest and the four together."""
    groups = len(vectors) // SUMS
    block = 1 << max(SMALLEST_BLOCK, max(1, (groups - 1).bit_length()) // LEVELS)
    level, rests = vectors[: groups * SUMS].reshape(groups, SUMS, LANES), []
    for _ in range(LEVELS - 1):
        whole = len(level) // block * block
        rests.append(_in_order(level[whole:]))
        level = _in_order(level[:whole].reshape(-1, block, SUMS, LANES).swapaxes(0, 1))
    rests.append(_in_order(level))
    sums = _in_order(np.stack(rests))  # (SUMS, LANES)
    return _in_order(np.concatenate([sums[:1], vectors[groups * SUMS :], sums[1:]]))


def _in_order(terms: np.ndarray) -> np.ndarray:
    """Sum over axis 0, one after the other; zeros of nothing."""
    if not len(terms):
        return np.zeros(terms.shape[1:], np.float32)
    last: np.ndarray = np.add.accumulate(terms, axis=0)[-1]
    return last
