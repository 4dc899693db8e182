"""Forward-sum loss and monotonic search over alignment scores, on the host.

Both are recursions of a few thousand tiny steps, which is what a GPU is worst at. They run in the C of
`native/sources/alignment.c` or, where no compiler is, in numpy, vectorized over the batch. The forward-sum works with
scaled float64 probabilities (Rabiner 1989, section V.A) and falls back to log space for an utterance that underflows;
`forward_sum_reference` is the plain log-space form.
"""

import ctypes

import numpy as np

from bitjets_mlx.native.loader import addresses, library

NEVER = -1e30
SMALLEST = 1e-250  # probabilities below are not trusted: float64 ends at 1e-308


def forward_sum(
    log_probabilities: np.ndarray, token_lengths: np.ndarray, frame_lengths: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """CTC with targets 1..N (arXiv:2108.10447, section 2.1), and its gradient.

    log_probabilities (B, T, N + 1), blank first; lengths (B,). Returns the losses (B,), each divided by its number of
    tokens, and their gradients with respect to the log-probabilities (B, T, N + 1). An utterance with fewer frames
    than tokens cannot be aligned: ValueError.
    """
    if np.any(frame_lengths < token_lengths):
        raise ValueError("an utterance has fewer frames than tokens and cannot be aligned")
    if kernels := library("training"):
        return _forward_sum_kernels(kernels, log_probabilities, token_lengths, frame_lengths)
    return forward_sum_numpy(log_probabilities, token_lengths, frame_lengths)


def _forward_sum_kernels(
    kernels: ctypes.CDLL, log_probabilities: np.ndarray, token_lengths: np.ndarray, frame_lengths: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    given = np.ascontiguousarray(log_probabilities, dtype=np.float64)
    losses, gradient = np.zeros(len(given)), np.zeros(given.shape, dtype=np.float32)
    for row, (n, t) in enumerate(zip(token_lengths.tolist(), frame_lengths.tolist(), strict=True)):
        loss, fits, scratch = ctypes.c_double(), ctypes.c_int(), np.empty((2 * t + 2) * (2 * n + 1))
        kernels.bitjets_forward_sum(
            given[row].ctypes.data, t, n, given.shape[2], SMALLEST, gradient[row].ctypes.data,
            ctypes.byref(loss), ctypes.byref(fits), scratch.ctypes.data,
        )  # fmt: skip
        losses[row] = loss.value
        if not fits.value:
            losses[row], gradient[row, :t, : n + 1] = forward_sum_reference(given[row, :t, : n + 1])
            losses[row], gradient[row] = losses[row] / n, gradient[row] / n
    return losses, gradient


def forward_sum_numpy(
    log_probabilities: np.ndarray, token_lengths: np.ndarray, frame_lengths: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """`forward_sum` where there is no C compiler."""
    tokens = log_probabilities.shape[2] - 1
    emission = _state_emissions(np.exp(log_probabilities.astype(np.float64)), 1.0)  # (T, B, 2 N + 1)
    alive = np.arange(2 * tokens + 1)[None, :] <= 2 * token_lengths[:, None]  # (B, 2 N + 1)
    forward, log_scales = _scaled_forward(emission, alive)
    last = frame_lengths - 1
    rows = np.arange(len(last))
    final = forward[last, rows]  # (B, 2 N + 1)
    mass = final[rows, 2 * token_lengths] + final[rows, 2 * token_lengths - 1]
    backward = _scaled_backward(emission, token_lengths, frame_lengths)
    posterior = forward * backward
    totals = posterior.sum(axis=2)  # (T, B)
    inside = np.arange(emission.shape[0])[:, None] < frame_lengths[None, :]
    lost = totals < SMALLEST
    posterior *= (inside / np.where(lost, 1.0, totals))[:, :, None]
    losses = -(np.where(inside, log_scales, 0.0).sum(axis=0) + np.log(np.maximum(mass, SMALLEST)))
    underflow = (mass < SMALLEST) | np.any(inside & lost, axis=0)
    gradient = np.zeros(log_probabilities.shape)
    gradient[:, :, 0] = -posterior[:, :, 0::2].sum(axis=2).T
    gradient[:, :, 1:] = -posterior[:, :, 1::2].transpose(1, 0, 2)
    for row in np.flatnonzero(underflow):
        n, t = int(token_lengths[row]), int(frame_lengths[row])
        losses[row], gradient[row, :t, : n + 1] = forward_sum_reference(log_probabilities[row, :t, : n + 1])
    per_token = 1.0 / token_lengths
    return losses * per_token, (gradient * per_token[:, None, None]).astype(np.float32)


def forward_sum_reference(log_probabilities: np.ndarray) -> tuple[float, np.ndarray]:
    """One utterance in log space: (T, N + 1) -> (-log of the sum over all paths, its gradient (T, N + 1))."""
    log_probabilities = log_probabilities.astype(np.float64)
    frames, tokens = log_probabilities.shape[0], log_probabilities.shape[1] - 1
    emission = _state_emissions(log_probabilities[None], NEVER)[:, 0]  # (T, 2 N + 1)
    states = emission.shape[1]
    forward = np.full((frames, states), -np.inf)
    backward = np.full((frames, states), -np.inf)
    forward[0, :2] = emission[0, :2]
    backward[-1, -2:] = 0.0
    for t in range(1, frames):
        forward[t] = _arriving(forward[t - 1]) + emission[t]
    for t in range(frames - 2, -1, -1):
        backward[t] = _arriving((backward[t + 1] + emission[t + 1])[::-1])[::-1]  # the same moves, seen from the end
    total = np.logaddexp(forward[-1, -1], forward[-1, -2])
    posterior = np.exp(forward + backward - total)
    gradient = np.zeros((frames, tokens + 1))
    gradient[:, 0] = -posterior[:, 0::2].sum(axis=1)
    gradient[:, 1:] = -posterior[:, 1::2]
    return float(-total), gradient


def _arriving(before: np.ndarray) -> np.ndarray:
    """Log of the mass that arrives in each state (2 N + 1,): by staying, by one step, token to token over a blank."""
    arriving = before.copy()
    arriving[1:] = np.logaddexp(arriving[1:], before[:-1])
    arriving[3::2] = np.logaddexp(arriving[3::2], before[1:-2:2])
    return arriving


def _state_emissions(values: np.ndarray, fill: float) -> np.ndarray:
    """Values of (blank, tokens) laid out over CTC's states, blanks between tokens: (B, T, N + 1) -> (T, B, 2 N + 1)."""
    batch, frames, classes = values.shape
    states = np.full((frames, batch, 2 * classes - 1), fill)
    states[:, :, 0::2] = values[:, :, :1].transpose(1, 0, 2)
    states[:, :, 1::2] = values[:, :, 1:].transpose(1, 0, 2)
    return states


def _scaled_forward(emission: np.ndarray, alive: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Forward probabilities normalized at every frame (T, B, S), and the logs of the normalizers (T, B)."""
    frames, batch, states = emission.shape
    forward = np.zeros((frames, batch, states))
    log_scales = np.zeros((frames, batch))
    current = np.zeros((batch, states))
    current[:, :2] = emission[0, :, :2]
    for t in range(frames):
        if t > 0:
            moved = current.copy()
            moved[:, 1:] += current[:, :-1]
            moved[:, 3::2] += current[:, 1:-2:2]  # from token to next token, over the blank
            current = moved * emission[t] * alive
        total = current.sum(axis=1)
        np.maximum(total, SMALLEST, out=total)
        current = current / total[:, None]
        forward[t], log_scales[t] = current, np.log(total)
    return forward, log_scales


def _scaled_backward(emission: np.ndarray, token_lengths: np.ndarray, frame_lengths: np.ndarray) -> np.ndarray:
    """Backward probabilities, each frame normalized to sum 1: (T, B, S)."""
    frames, batch, states = emission.shape
    rows = np.arange(batch)
    final = np.zeros((batch, states))
    final[rows, 2 * token_lengths] = final[rows, 2 * token_lengths - 1] = 0.5
    backward = np.zeros((frames, batch, states))
    current = final
    for t in range(frames - 1, -1, -1):
        if t + 1 < frames:
            arriving = current * emission[t + 1]
            current = arriving.copy()
            current[:, :-1] += arriving[:, 1:]
            current[:, 1:-2:2] += arriving[:, 3::2]
            current /= np.maximum(current.sum(axis=1, keepdims=True), SMALLEST)
        ends_here = (frame_lengths - 1 == t)[:, None]
        current = np.where(ends_here, final, current * (frame_lengths - 1 >= t)[:, None])
        backward[t] = current
    return backward


def monotonic_search(log_probabilities: np.ndarray, token_lengths: np.ndarray, frame_lengths: np.ndarray) -> np.ndarray:
    """Durations (B, N) of the best monotonic alignment (Viterbi; Glow-TTS, arXiv:2005.11129, section 3.2).

    log_probabilities (B, T, N); every token gets at least one frame; durations sum to `frame_lengths`.
    """
    kernels = library("training")
    if kernels is None:
        return monotonic_search_numpy(log_probabilities, token_lengths, frame_lengths)
    given = np.ascontiguousarray(log_probabilities, dtype=np.float64)
    durations = np.zeros((len(given), given.shape[2]), dtype=np.int32)
    for row, (n, t) in enumerate(zip(token_lengths.tolist(), frame_lengths.tolist(), strict=True)):
        best, stepped = np.empty(n), np.empty((t, n), dtype=np.uint8)
        kernels.bitjets_monotonic_search(
            given[row].ctypes.data, t, n, given.shape[2], *addresses(durations[row], best, stepped)
        )
    return durations


def monotonic_search_numpy(
    log_probabilities: np.ndarray, token_lengths: np.ndarray, frame_lengths: np.ndarray
) -> np.ndarray:
    """`monotonic_search` where there is no C compiler."""
    batch, frames, tokens = log_probabilities.shape
    scores = log_probabilities.astype(np.float64).transpose(1, 0, 2)  # (T, B, N)
    best = np.full((batch, tokens), NEVER)
    best[:, 0] = scores[0, :, 0]
    stepped = np.zeros((frames, batch, tokens), dtype=bool)  # token n at frame t came from n - 1
    for t in range(1, frames):
        from_previous = np.full((batch, tokens), NEVER)
        from_previous[:, 1:] = best[:, :-1]
        stepped[t] = from_previous > best
        best = np.maximum(best, from_previous) + scores[t]
    durations = np.zeros((batch, tokens), dtype=np.int32)
    rows = np.arange(batch)
    position = token_lengths - 1
    for t in range(frames - 1, -1, -1):
        active = t < frame_lengths
        durations[rows, position] += active
        # Enough frames must be left for the tokens before this one: take the step when none is to spare.
        step = active & (position > 0) & (stepped[t, rows, position] | (position == t))
        position = position - step
    return durations


def path_matrix(durations: np.ndarray, frames: int) -> np.ndarray:
    """One-hot alignment (B, frames, N) float32 of durations (B, N); rows beyond the end are zero."""
    ends = np.cumsum(durations, axis=1)[:, None, :]  # (B, 1, N)
    starts = ends - durations[:, None, :]
    times = np.arange(frames)[None, :, None]
    return ((times >= starts) & (times < ends)).astype(np.float32)
