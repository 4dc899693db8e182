"""Forward-sum loss, monotonic search and prior of the aligner, against brute force."""

import itertools
import math
from collections.abc import Iterator

import mlx.core as mx
import numpy as np
import pytest

from bitjets_mlx.acoustic.aligner import Aligner, beta_binomial_prior, with_blank
from bitjets_mlx.ops import alignment
from bitjets_mlx.ops.alignment import forward_sum, forward_sum_reference, monotonic_search, path_matrix


@pytest.fixture(params=["C", "numpy"], autouse=True)
def form(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test sees both forms."""
    if request.param == "numpy":
        monkeypatch.setattr(alignment, "library", lambda _: None)
    elif alignment.library("training") is None:
        pytest.skip("needs Linux and a C compiler")


def log_softmax(values: np.ndarray) -> np.ndarray:
    shifted = values - values.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def scores(*shape: int, seed: int = 0, spread: float = 1.0) -> np.ndarray:
    return log_softmax(spread * np.random.default_rng(seed).normal(size=shape)).astype(np.float32)


def ctc_paths(frames: int, tokens: int) -> Iterator[tuple[int, ...]]:
    """Every sequence of classes 0 (blank) to N that collapses to 1..N."""
    for path in itertools.product(range(tokens + 1), repeat=frames):
        collapsed = [label for label, _ in itertools.groupby(path) if label != 0]
        if collapsed == list(range(1, tokens + 1)):
            yield path


def alignments(frames: int, tokens: int) -> Iterator[tuple[int, ...]]:
    """Every tuple of durations of at least 1 that sum to `frames`."""
    for cuts in itertools.combinations(range(1, frames), tokens - 1):
        edges = (0, *cuts, frames)
        yield tuple(b - a for a, b in itertools.pairwise(edges))


# -- forward-sum ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("frames", "tokens"), [(1, 1), (3, 1), (3, 3), (5, 2), (6, 3), (7, 4)])
def test_forward_sum_is_the_sum_over_all_paths(frames: int, tokens: int) -> None:
    values = scores(1, frames, tokens + 1, seed=frames * tokens)
    loss, gradient = forward_sum(values, np.array([tokens]), np.array([frames]))
    total, visits = 0.0, np.zeros((frames, tokens + 1))
    for path in ctc_paths(frames, tokens):
        probability = math.exp(sum(float(values[0, t, label]) for t, label in enumerate(path)))
        total += probability
        visits[np.arange(frames), path] += probability
    assert loss[0] == pytest.approx(-math.log(total) / tokens, rel=1e-6)
    np.testing.assert_allclose(gradient[0], -visits / total / tokens, atol=1e-6)


def test_forward_sum_equals_the_plain_log_space_form_for_a_padded_batch() -> None:
    token_lengths, frame_lengths = np.array([7, 3, 9, 1]), np.array([20, 24, 9, 11])
    values = scores(4, 24, 10, seed=1, spread=3.0)
    losses, gradients = forward_sum(values, token_lengths, frame_lengths)
    for row, (n, t) in enumerate(zip(token_lengths, frame_lengths, strict=True)):
        loss, gradient = forward_sum_reference(values[row, :t, : n + 1])
        assert losses[row] == pytest.approx(loss / n, rel=1e-9)
        np.testing.assert_allclose(gradients[row, :t, : n + 1], gradient / n, atol=1e-6)
        assert not gradients[row, t:].any() and not gradients[row, :, n + 1 :].any()  # nothing beyond the ends


def test_gradient_of_forward_sum_against_finite_differences() -> None:
    values = scores(2, 6, 4, seed=2).astype(np.float64)
    lengths = np.array([3, 2]), np.array([6, 5])
    _, gradient = forward_sum(values, *lengths)
    step = 1e-5
    for index in np.ndindex(values.shape):
        up, down = values.copy(), values.copy()
        up[index] += step
        down[index] -= step
        difference = (forward_sum(up, *lengths)[0].sum() - forward_sum(down, *lengths)[0].sum()) / (2 * step)
        assert gradient[index] == pytest.approx(difference, abs=1e-5)


def test_gradient_of_the_whole_loss_through_softmax_against_finite_differences() -> None:
    """The chain that training uses: aligner scores -> blank -> host gradient -> back through MLX."""
    values = mx.array(scores(1, 5, 3, seed=3))
    lengths = np.array([3]), np.array([5])
    host = mx.array(forward_sum(np.array(with_blank(values)), *lengths)[1])
    gradient = np.array(mx.grad(lambda x: mx.sum(with_blank(x) * host))(values))

    def loss(array: np.ndarray) -> float:
        blank = np.concatenate([np.full((*array.shape[:2], 1), -1.0), array], axis=-1)
        return float(forward_sum(log_softmax(blank), *lengths)[0][0])

    plain, step = np.array(values, dtype=np.float64), 1e-5
    for index in np.ndindex(plain.shape):
        up, down = plain.copy(), plain.copy()
        up[index] += step
        down[index] -= step
        assert gradient[index] == pytest.approx((loss(up) - loss(down)) / (2 * step), abs=1e-5)


def test_an_utterance_that_underflows_is_done_in_log_space() -> None:
    """All but impossible scores: e^-800 a frame is below what float64 holds."""
    values = np.full((2, 6, 4), -800.0, dtype=np.float32)
    values[1] = scores(6, 4, seed=4)
    lengths = np.array([3, 3]), np.array([6, 6])
    losses, gradient = forward_sum(values, *lengths)
    paths = sum(1 for _ in ctc_paths(6, 3))
    assert losses[0] == pytest.approx((6 * 800.0 - math.log(paths)) / 3, rel=1e-9)
    assert gradient[0].sum() == pytest.approx(-6 / 3, rel=1e-6)  # every frame is somewhere
    assert losses[1] == pytest.approx(forward_sum_reference(values[1])[0] / 3, rel=1e-9)
    assert np.isfinite(gradient).all()


def test_every_frame_carries_one_unit_of_gradient_in_a_long_utterance() -> None:
    values = scores(1, 900, 131, seed=5, spread=4.0)
    losses, gradient = forward_sum(values, np.array([130]), np.array([900]))
    assert np.isfinite(losses).all()
    np.testing.assert_allclose(gradient[0].sum(-1), -1.0 / 130, rtol=1e-5)


def test_fewer_frames_than_tokens_are_refused() -> None:
    with pytest.raises(ValueError, match="fewer frames than tokens"):
        forward_sum(scores(1, 3, 5), np.array([4]), np.array([3]))


def test_scores_that_are_not_numbers_give_a_loss_that_is_none_and_no_crash() -> None:
    """The update is then skipped: its gradient is not finite."""
    values = scores(2, 5, 4)
    values[0, 2] = np.nan
    losses, gradient = forward_sum(values, np.array([3, 3]), np.array([5, 5]))
    assert not np.isfinite(losses[0]) and np.isfinite(losses[1])
    assert not np.isfinite(gradient[0]).all() and np.isfinite(gradient[1]).all()
    assert monotonic_search(values[:, :, 1:], np.array([3, 3]), np.array([5, 5])).sum() == 10


# -- monotonic search ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("frames", "tokens"), [(1, 1), (4, 1), (4, 4), (6, 3), (8, 4), (9, 2)])
def test_search_finds_the_best_of_all_alignments(frames: int, tokens: int) -> None:
    values = scores(5, frames, tokens, seed=frames + tokens, spread=2.0)
    found = monotonic_search(values, np.full(5, tokens), np.full(5, frames))
    for row in range(5):

        def total(durations: tuple[int, ...], row: int = row) -> float:
            owners = np.repeat(np.arange(tokens), durations)
            return float(values[row, np.arange(frames), owners].astype(np.float64).sum())

        best = max(alignments(frames, tokens), key=total)
        assert tuple(found[row]) == best


def test_search_in_a_padded_batch_is_that_of_single_utterances() -> None:
    token_lengths, frame_lengths = np.array([5, 2, 8]), np.array([12, 15, 8])
    values = scores(3, 15, 8, seed=6, spread=2.0)
    found = monotonic_search(values, token_lengths, frame_lengths)
    for row, (n, t) in enumerate(zip(token_lengths, frame_lengths, strict=True)):
        alone = monotonic_search(values[row : row + 1, :t, :n], np.array([n]), np.array([t]))
        np.testing.assert_array_equal(found[row, :n], alone[0])
        assert not found[row, n:].any()
        assert found[row].sum() == t and found[row, :n].min() >= 1


def test_path_matrix_is_one_hot_inside_and_zero_beyond_the_end() -> None:
    durations = np.array([[2, 1, 3], [1, 1, 0]])
    path = path_matrix(durations, 7)
    assert path.shape == (2, 7, 3)
    assert path[0].argmax(-1).tolist() == [0, 0, 1, 2, 2, 2, 0]
    assert path.sum(-1).tolist() == [[1, 1, 1, 1, 1, 1, 0], [1, 1, 0, 0, 0, 0, 0]]
    np.testing.assert_array_equal(path.sum(1), durations)


# -- the aligner ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("tokens", "frames"), [(1, 1), (3, 10), (40, 200)])
def test_prior_is_the_beta_binomial_distribution(tokens: int, frames: int) -> None:
    found = beta_binomial_prior(tokens, frames)
    assert found.shape == (frames, tokens)

    def log_beta(x: float, y: float) -> float:
        return math.lgamma(x) + math.lgamma(y) - math.lgamma(x + y)

    for t in {1, max(1, frames // 2), frames}:
        a, b = t, frames - t + 1
        for k in range(tokens):
            choose = math.lgamma(tokens + 1) - math.lgamma(k + 1) - math.lgamma(tokens - k + 1)
            expected = choose + log_beta(k + a, tokens - k + b) - log_beta(a, b)
            assert found[t - 1, k] == pytest.approx(expected, abs=1e-4)


def test_prior_equals_scipys() -> None:
    stats = pytest.importorskip("scipy.stats")
    found = beta_binomial_prior(12, 50)
    t = np.arange(1, 51)[:, None]
    expected = stats.betabinom.logpmf(np.arange(12)[None, :], 12, t, 50 - t + 1)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_prior_follows_the_diagonal() -> None:
    best = beta_binomial_prior(20, 100).argmax(-1)
    assert (np.diff(best) >= 0).all()
    assert np.abs(best - np.arange(100) / 5).max() < 2


def test_blank_has_its_score_and_everything_sums_to_one() -> None:
    values = mx.array(scores(2, 4, 3, seed=7))
    found = np.array(with_blank(values))
    assert found.shape == (2, 4, 4)
    np.testing.assert_allclose(np.exp(found).sum(-1), 1.0, rtol=1e-6)
    np.testing.assert_allclose(found[..., 1:] - found[..., :1], np.array(values) + 1.0, atol=1e-5)


def test_aligner_scores_are_distances_and_a_batch_gives_what_single_utterances_give() -> None:
    mx.random.seed(0)
    aligner = Aligner(symbols=10, n_mels=6, embedding=8, width=4)
    random = np.random.default_rng(8)
    token_lengths, frame_lengths = [5, 3], [9, 6]
    tokens, mel = mx.array(random.integers(1, 10, (2, 5))), mx.array(random.normal(size=(2, 9, 6)).astype(np.float32))
    prior = mx.zeros((2, 9, 5))
    inside = [
        mx.arange(size)[None, :, None] < mx.array(n)[:, None, None]
        for size, n in ((5, token_lengths), (9, frame_lengths))
    ]
    together = np.array(aligner(tokens, mel, *(mask.astype(mx.float32) for mask in inside), prior))
    for row, (n, t) in enumerate(zip(token_lengths, frame_lengths, strict=True)):
        alone = aligner(
            tokens[row : row + 1, :n], mel[row : row + 1, :t], mx.ones((1, n, 1)), mx.ones((1, t, 1)), prior[:1, :t, :n]
        )
        np.testing.assert_allclose(together[row, :t, :n], np.array(alone[0]), atol=1e-5)
    np.testing.assert_allclose(np.exp(together[1, :6, :3]).sum(-1), 1.0, rtol=1e-5)
    assert (together[1, :6, 3:] < -1e8).all()
