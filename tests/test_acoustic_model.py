"""BitJETS as a whole: shapes, batches against single utterances, upsampling, losses and their gradients."""

from dataclasses import replace
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten, tree_map, tree_unflatten

from bitjets_mlx.acoustic import blocks
from bitjets_mlx.acoustic.model import BitJets, Frames, Variance, length_mask, whole_durations
from bitjets_mlx.acoustic.variance import VariancePredictor, token_means
from bitjets_mlx.config import AcousticConfig
from bitjets_mlx.ops.upsampling import upsample
from bitjets_mlx.ternary import layers
from bitjets_mlx.ternary.layers import Amount, BitConv1d
from bitjets_mlx.text.symbols import SYMBOLS
from bitjets_mlx.training.acoustic_data import counts_of
from bitjets_mlx.training.acoustic_losses import (
    AcousticBatch,
    AcousticLossWeights,
    Alignment,
    Counts,
    acoustic_loss,
    align_on_host,
    align_scores,
)

CONFIG = AcousticConfig(
    symbols=20,
    speakers=2,
    n_mels=6,
    width=16,
    heads=2,
    feed_forward=24,
    encoder_layers=2,
    decoder_layers=2,
    predictors=((12, 2, 3),) * 3,
    aligner_width=8,
)
TOKENS, FRAMES = (7, 4, 5), (20, 13, 17)


def small_model(dtype: mx.Dtype = mx.float32, **changes: object) -> BitJets:
    mx.random.seed(0)
    return BitJets(replace(CONFIG, **changes), with_aligner=True, dtype=dtype)  # type: ignore[arg-type]


def small_batch(rows: tuple[int, ...] = (0, 1, 2), tokens: int = 8, frames: int = 24) -> AcousticBatch:
    """Some of three utterances, padded to the same shape; what lies beyond an end is zero."""
    made = []
    for row in rows:
        random, n, t = np.random.default_rng(row), TOKENS[row], FRAMES[row]
        voiced = np.pad((random.random(t) < 0.7).astype(np.float32), (0, frames - t))
        values = [np.pad(random.normal(size=t), (0, frames - t)).astype(np.float32) for _ in range(2)]
        made.append(
            (
                np.pad(random.integers(1, 20, n), (0, tokens - n)),
                np.pad(random.normal(size=(t, 6)), [(0, frames - t), (0, 0)]).astype(np.float32),
                values[0] * voiced,
                voiced,
                values[1],
            )
        )
    ids, mel, log_f0, voiced_rows, energy = (mx.array(np.stack(column)) for column in zip(*made, strict=True))
    return AcousticBatch(
        tokens=ids,
        token_lengths=mx.array([TOKENS[row] for row in rows]),
        speakers=mx.array([row % 2 for row in rows]),
        mel=mel,
        log_f0=log_f0,
        voiced=voiced_rows,
        energy=energy,
        frame_lengths=mx.array([FRAMES[row] for row in rows]),
        prior=mx.zeros((len(rows), frames, tokens)),
    )


def run(model: BitJets, batch: AcousticBatch, amount: Amount = None) -> tuple[Variance, Frames, Alignment]:
    """Everything the model computes, with the alignment it finds."""
    mask = length_mask(batch.token_lengths, batch.tokens.shape[1])
    frame_mask = length_mask(batch.frame_lengths, batch.mel.shape[1])
    alignment = align_on_host(batch, *align_scores(model, batch))
    states = model.encode(batch.tokens, batch.speakers, mask, amount)
    variance = model.predict_variance(batch.tokens, batch.speakers, states, mask, amount)
    frames = model.decode(states, variance, alignment.durations, mask, frame_mask, amount)
    return variance, frames, alignment


def loss_of(model: BitJets, batch: AcousticBatch, amount: Amount, counts: Counts | None = None) -> mx.array:
    alignment = align_on_host(batch, *align_scores(model, batch))
    counts = counts or Counts(*counts_of(batch))
    return acoustic_loss(model, batch, alignment, counts, AcousticLossWeights(), amount, mx.array(1.0), None)[0]


# -- the model -----------------------------------------------------------------------------------------------------


def test_shapes() -> None:
    variance, frames, alignment = run(small_model(), small_batch())
    assert [value.shape for value in variance] == [(3, 8)] * 3
    assert frames.mel.shape == (3, 24, 6)
    assert frames.log_f0.shape == frames.voicing.shape == (3, 24)
    assert alignment.durations.sum(axis=1).tolist() == list(FRAMES)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("amount", [None, 0.0, 0.5])
def test_a_batch_gives_what_single_utterances_give(training: bool, amount: float | None) -> None:
    """From phonemes to mel, alignment included, whatever the padding."""
    model = small_model()
    model.train(training)
    how_far = mx.array(amount) if amount == 0.5 else amount
    together = run(model, small_batch(), how_far)
    for row, (n, t) in enumerate(zip(TOKENS, FRAMES, strict=True)):
        alone = run(model, small_batch((row,), tokens=n, frames=t), how_far)
        for ours, theirs in zip(together[0], alone[0], strict=True):
            np.testing.assert_allclose(np.array(ours[row, :n]), np.array(theirs[0]), atol=2e-5)
            assert not np.array(ours[row, n:]).any()
        for ours, theirs in zip(together[1], alone[1], strict=True):
            np.testing.assert_allclose(np.array(ours[row, :t]), np.array(theirs[0]), atol=2e-5)
            assert not np.array(ours[row, t:]).any()
        assert bool(mx.array_equal(together[2].durations[row, :n], alone[2].durations[0]))


def test_speakers_and_order_of_tokens_matter() -> None:
    model, batch = small_model(), small_batch()
    plain = run(model, batch)[1].mel
    other = run(model, batch._replace(speakers=1 - batch.speakers))[1].mel
    assert float(mx.abs(plain - other).max()) > 1e-3
    swapped = batch.tokens[:, mx.array([1, 0, 2, 3, 4, 5, 6, 7])]
    assert float(mx.abs(plain - run(model, batch._replace(tokens=swapped))[1].mel).max()) > 1e-3


def test_pitch_of_phonemes_is_none_of_the_encoders_business() -> None:
    """What it says depends on phonemes and speaker, and its loss teaches the encoder nothing."""
    model, batch = small_model(pitch_reads="phonemes").eval(), small_batch()
    mask = length_mask(batch.token_lengths, 8)
    said = [
        model.predict_variance(batch.tokens, speakers, states, mask)
        for speakers in (batch.speakers, 1 - batch.speakers)
        for states in (mx.zeros((3, 8, 16)), mx.ones((3, 8, 16)))
    ]
    assert mx.array_equal(said[0].pitch, said[1].pitch) and not mx.allclose(said[0].pitch, said[2].pitch)
    assert not mx.allclose(said[0].log_durations, said[1].log_durations)
    assert not mx.any(said[0].pitch * (1.0 - mask[..., 0]))

    def pitch_loss(parameters: Any) -> mx.array:
        model.update(parameters)
        states = model.encode(batch.tokens, batch.speakers, mask, 0.0)
        return model.predict_variance(batch.tokens, batch.speakers, states, mask, 0.0).pitch.square().sum()

    gradient = mx.grad(pitch_loss)(model.train().parameters())
    assert all(not mx.any(leaf) for _, leaf in tree_flatten(gradient["encoder"]))
    assert all(mx.any(leaf) for _, leaf in tree_flatten(gradient["pitch"]))


def test_default_model_is_ternary_and_small() -> None:
    """At least 2 million ternary weights, 90 % of all but the aligner, in every layer of the three parts."""
    model = BitJets(AcousticConfig(symbols=len(SYMBOLS), speakers=2))
    names = {name: value.size for name, value in tree_flatten(model.parameters())}
    modules = dict(model.named_modules())
    ternary = {f"{name}.weight" for name, module in modules.items() if isinstance(module, BitConv1d) and module.ternary}
    count = sum(names[name] for name in ternary)
    assert count >= 2_000_000
    assert count / sum(names.values()) >= 0.90
    heads = {f"{part}.head" for part in ("duration", "pitch", "energy")}
    for name, module in modules.items():
        if name.split(".")[0] in ("encoder", "decoder", "duration", "pitch", "energy") and name not in heads:
            assert not isinstance(module, nn.Linear | nn.Conv1d), f"{name} is not ternary"
    matrices = {name for name, value in tree_flatten(model.parameters()) if value.ndim >= 2}
    inside = {name for name in matrices if name.split(".")[0] in ("encoder", "decoder", "duration", "pitch", "energy")}
    assert inside - {f"{head}.weight" for head in heads} == ternary


def test_embedding_and_its_gradient_are_those_of_mlx() -> None:
    mx.random.seed(0)
    plain, indices, cotangent = nn.Embedding(7, 5), mx.array([[1, 3, 1], [0, 6, 3]]), mx.random.normal((2, 3, 5))

    def gradient(layer: nn.Module) -> mx.array:
        def loss(table: mx.array) -> mx.array:
            layer.weight = table
            return mx.sum(layer(indices) * cotangent)

        return mx.grad(loss)(plain.weight)

    made = blocks.Embedding(7, 5)
    made.weight = plain.weight
    assert bool(mx.array_equal(made(indices), plain(indices)))
    np.testing.assert_allclose(np.array(gradient(made)), np.array(gradient(nn.Embedding(7, 5))), atol=1e-6)


def test_full_precision_switch() -> None:
    model = small_model(ternary=False)
    assert not any(module.ternary for _, module in model.named_modules() if isinstance(module, BitConv1d))
    plain, ternary = run(model, small_batch())[1].mel, run(small_model(), small_batch(), 0.0)[1].mel
    assert bool(mx.array_equal(plain, ternary))  # the same weights, not quantized


def test_whole_durations() -> None:
    logs = mx.log(mx.array([[1.0, 3.0, 8.0, 5.0]]))  # log(frames + 1)
    mask = mx.array([[1.0, 1.0, 1.0, 0.0]])[..., None]
    assert whole_durations(logs, mask).tolist() == [[1.0, 2.0, 7.0, 0.0]]  # at least one frame per token
    assert whole_durations(logs, mask, speed=2.0).tolist() == [[1.0, 1.0, 4.0, 0.0]]


# -- upsampling ----------------------------------------------------------------------------------------------------


def test_gaussian_upsampling_against_a_plain_loop() -> None:
    random = np.random.default_rng(0)
    tokens = random.normal(size=(2, 4, 3)).astype(np.float32)
    durations, lengths, frames = np.array([[2, 1, 5, 3], [4, 2, 0, 0]]), [4, 2], 12
    mask = length_mask(mx.array(lengths), 4)
    found = np.array(
        upsample(mx.array(tokens), mx.array(durations.astype(np.float32)), mask, frames, 0.5, gradients=True)
    )
    for row, n in enumerate(lengths):
        centres = [durations[row, :i].sum() + durations[row, i] / 2 for i in range(n)]
        for t in range(frames):
            weights = np.array([np.exp(-0.1 * (t + 0.5 - centre) ** 2) for centre in centres])
            expected = (weights / weights.sum()) @ tokens[row, :n]
            np.testing.assert_allclose(found[row, t], expected, rtol=1e-4, atol=1e-5)


def test_token_means_against_a_plain_loop() -> None:
    random = np.random.default_rng(1)
    values = random.normal(size=(2, 10)).astype(np.float32)
    voiced = (random.random((2, 10)) < 0.5).astype(np.float32)
    durations = np.array([[3, 4, 3], [2, 5, 0]])
    voiced[0, 3:7] = 0.0  # a token without any voiced frame
    ends = np.cumsum(durations, 1)
    path = np.zeros((2, 10, 3), np.float32)
    for row, token in np.ndindex(2, 3):
        path[row, ends[row, token] - durations[row, token] : ends[row, token], token] = 1.0
    found = np.array(token_means(mx.array(values), mx.array(voiced), mx.array(path)))
    for row, token in np.ndindex(2, 3):
        part = slice(ends[row, token] - durations[row, token], ends[row, token])
        chosen = values[row, part][voiced[row, part] > 0]
        assert found[row, token] == pytest.approx(chosen.mean() if len(chosen) else 0.0, abs=1e-6)


# -- losses --------------------------------------------------------------------------------------------------------


def test_alignment_found_on_the_way_is_the_one_found_apart() -> None:
    model, batch = small_model(), small_batch()
    counts = Counts(*counts_of(batch))

    def losses(alignment: Alignment | None) -> dict[str, np.ndarray]:
        def loss(parameters: dict) -> tuple[mx.array, dict[str, mx.array]]:
            model.update(parameters)
            total, named, _ = acoustic_loss(
                model, batch, alignment, counts, AcousticLossWeights(), None, mx.array(1.0), None
            )
            return total, named

        (total, named), gradients = mx.value_and_grad(loss)(model.parameters())
        return {name: np.array(value) for name, value in tree_flatten({"": total, "losses": named, "of": gradients})}

    apart, on_the_way = losses(align_on_host(batch, *align_scores(model, batch))), losses(None)
    assert apart["losses.forward_sum"] > 0.0
    assert apart.keys() == on_the_way.keys()
    for name, value in apart.items():
        np.testing.assert_array_equal(on_the_way[name], value, err_msg=name)


def test_gradients_of_the_losses_against_finite_differences() -> None:
    """Without quantization, whose gradient is straight-through by design; one direction a tensor."""
    model, batch = small_model(), small_batch()
    alignment = align_on_host(batch, *align_scores(model, batch))
    counts = Counts(*counts_of(batch))

    def loss(parameters: dict) -> mx.array:
        model.update(parameters)
        return acoustic_loss(model, batch, alignment, counts, AcousticLossWeights(), 0.0, mx.array(1.0), None)[0]

    parameters = model.parameters()
    flat, slopes = dict(tree_flatten(parameters)), dict(tree_flatten(mx.grad(loss)(parameters)))
    checked = 0
    for index, name in enumerate(flat):
        size = float(mx.linalg.norm(slopes[name]))
        if size < 1e-3:
            continue
        noise = mx.array(np.random.default_rng(index).normal(size=flat[name].shape).astype(np.float32))
        direction = slopes[name] / size + noise / mx.linalg.norm(noise)  # half along the gradient, half anywhere
        expected, step, ends = float((direction * slopes[name]).sum()), 2e-4, []
        for sign in (1.0, -1.0):
            moved = flat | {name: flat[name] + sign * step * direction}
            ends.append(float(loss(tree_unflatten(list(moved.items())))))
        assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(expected, rel=0.03, abs=0.01), name
        checked += 1
    assert checked > 0.7 * len(flat)


def test_losses_of_shards_add_up_to_those_of_the_batch() -> None:
    """With the counts of the whole effective batch; value and gradient, relative 1e-4."""
    model, batch = small_model(), small_batch()
    counts = Counts(*counts_of(batch))
    parameters = model.parameters()

    def gradient(part: AcousticBatch) -> tuple[mx.array, dict]:
        alignment = align_on_host(part, *align_scores(model, part))

        def loss(parameters: dict) -> mx.array:
            model.update(parameters)
            return acoustic_loss(model, part, alignment, counts, AcousticLossWeights(), None, mx.array(1.0), None)[0]

        found = mx.value_and_grad(loss)(parameters)
        model.update(parameters)
        return found

    value, whole = gradient(batch)
    parts = [gradient(small_batch((row,))) for row in range(3)]
    assert sum(float(part[0]) for part in parts) == pytest.approx(float(value), rel=1e-5)
    total = tree_map(lambda *leaves: sum(leaves), *[part[1] for part in parts])
    ours, theirs = dict(tree_flatten(total)), dict(tree_flatten(whole))
    scale = max(float(mx.abs(leaf).max()) for leaf in theirs.values())
    for name, leaf in theirs.items():
        assert float(mx.abs(ours[name] - leaf).max()) < 1e-4 * scale, name


def test_padding_changes_no_loss() -> None:
    model = small_model()
    short = loss_of(model, small_batch(tokens=7, frames=20), None)
    long = loss_of(model, small_batch(tokens=16, frames=40), None)
    assert float(short) == pytest.approx(float(long), rel=1e-5)


def test_dropout_comes_from_the_key_alone() -> None:
    x = mx.ones((4, 50))
    key = mx.random.key(1)
    mx.random.seed(5)
    first = blocks.dropout(x, 0.25, key)
    mx.random.seed(6)
    assert bool(mx.array_equal(first, blocks.dropout(x, 0.25, key)))
    assert not bool(mx.array_equal(first, blocks.dropout(x, 0.25, mx.random.key(2))))
    assert np.unique(np.array(first)).tolist() == pytest.approx([0.0, 1.0 / 0.75])
    assert bool(mx.array_equal(blocks.dropout(x, 0.25, None), x))


@pytest.mark.parametrize("amount", [0.0, None])  # without quantization; with it, by whatever kernels are here
def test_a_layer_says_on_average_with_dropout_what_it_says_without(amount: float | None) -> None:
    """RMSNorm divides by what dropout made larger: without the gain's correction this would be 0.77 of it."""
    mx.random.seed(0)
    layer = BitConv1d(64, 8, 3)
    layer.train()
    x, mask = mx.maximum(mx.random.normal((2, 30, 64)), 0.0), mx.ones((2, 30, 1))  # as a ReLU leaves it
    exact = np.array(layer(x, mask, amount) - layer.bias)
    keys = mx.random.split(mx.random.key(1), 300)
    said = [np.array(layer(blocks.dropout(x, 0.4, key), mask, amount, dropped=0.4) - layer.bias) for key in keys]
    scale = float(np.sum(np.mean(said, axis=0) * exact) / np.sum(exact**2))
    assert scale == pytest.approx(1.0, abs=0.04)


def test_what_a_predictor_learns_with_dropout_holds_without() -> None:
    """What it says without dropout is as wide as the mean of what it says with: 1.35 times as wide uncorrected."""
    mx.random.seed(0)
    config = replace(small_model().config, width=64)
    predictor = VariancePredictor(config, (64, 2, 3), dropout=0.4)
    predictor.train()
    x, mask = mx.random.normal((4, 40, 64)), mx.ones((4, 40, 1))
    exact = np.array(predictor(x, mask, 0.0))
    said = np.mean([np.array(predictor(x, mask, 0.0, key)) for key in mx.random.split(mx.random.key(1), 300)], axis=0)
    assert np.std(said) == pytest.approx(np.std(exact), rel=0.12)


def test_unvoiced_batch_has_no_f0_loss_and_no_nan() -> None:
    batch = small_batch()
    silent = batch._replace(voiced=mx.zeros(batch.voiced.shape), log_f0=mx.zeros(batch.voiced.shape))
    assert bool(mx.isfinite(loss_of(small_model(), silent, None)))


# -- bfloat16 ------------------------------------------------------------------------------------------------------


def test_bf16_really_computes_in_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every ternary product gets bfloat16 operands, the losses are fp32, and the gradient is nearly the same."""
    seen = []
    plain = layers.convolve
    monkeypatch.setattr(layers, "convolve", lambda x, weight: seen.append(x.dtype) or plain(x, weight))
    gradients = {}
    for dtype in (mx.float32, mx.bfloat16):
        model, batch = small_model(dtype), small_batch()
        alignment = align_on_host(batch, *align_scores(model, batch))

        def loss(parameters: dict, model: BitJets = model, alignment: Alignment = alignment) -> mx.array:
            model.update(parameters)
            counts = Counts(*counts_of(small_batch()))
            value, losses, _ = acoustic_loss(
                model, small_batch(), alignment, counts, AcousticLossWeights(), mx.array(0.5), mx.array(1.0), None
            )
            assert all(part.dtype == mx.float32 for part in losses.values())
            return value

        seen.clear()
        value, gradient = mx.value_and_grad(loss)(model.parameters())
        assert set(seen) == {dtype}
        assert len(seen) == 4 * 4 + 3 * 2  # two encoder and two decoder blocks, three predictors of two layers
        assert value.dtype == mx.float32
        gradients[dtype] = dict(tree_flatten(gradient))
        assert all(leaf.dtype == mx.float32 for leaf in gradients[dtype].values())
    exact, rounded = gradients[mx.float32], gradients[mx.bfloat16]
    size = sum(float(mx.sum(mx.square(leaf))) for leaf in exact.values())
    error = sum(float(mx.sum(mx.square(exact[name] - rounded[name]))) for name in exact)
    assert 0.0 < error < 0.02 * size
