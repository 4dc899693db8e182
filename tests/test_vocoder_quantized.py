"""Vocoders with few bits per weight: what is rounded, to what, and that training goes through it."""

from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten
from tiny_training import begin_run, run_train, tiny_data
from tiny_voice import HARMONIC, HIFIGAN

from bitjets_mlx.config import HarmonicConfig, HifiganConfig
from bitjets_mlx.data.prepared import PreparedData
from bitjets_mlx.pack import vocoder_part
from bitjets_mlx.training.runs import run_weights
from bitjets_mlx.vocoder import build_vocoder
from bitjets_mlx.vocoder.quantized import LAST_LAYERS, quantized
from bitjets_mlx.vocoder.storage import STEP, unpack_integers


@pytest.mark.parametrize("config", [HARMONIC, HIFIGAN])
@pytest.mark.parametrize(("bits", "levels"), [(8, 255), (4, 15), (1.58, 3)])
def test_all_kernels_but_the_last_have_few_levels_a_channel(
    config: HarmonicConfig | HifiganConfig, bits: float, levels: int
) -> None:
    mx.random.seed(0)
    weights = build_vocoder(config).parameters()
    before, after = dict(tree_flatten(weights)), dict(tree_flatten(quantized(weights, bits)))
    assert before.keys() == after.keys() and any(name in LAST_LAYERS for name in before)
    for name, weight in before.items():
        if weight.ndim < 2 or name in LAST_LAYERS:
            assert mx.array_equal(after[name], weight)
            continue
        rows = np.array(after[name]).reshape(len(weight), -1)
        assert all(len(np.unique(row.round(7))) <= levels for row in rows)
        assert not mx.array_equal(after[name], weight)
    assert quantized(weights, 0) is weights


def test_ternary_kernels_are_absmean_quantized_a_channel() -> None:
    weight = np.random.default_rng(0).standard_normal((3, 5, 4)).astype(np.float32) * [[[1.0]], [[9.0]], [[0.1]]]
    result = np.array(quantized({"kernel": mx.array(weight)}, 1.58)["kernel"])
    for row, latent in zip(result, weight, strict=True):
        beta = np.abs(latent).mean()
        np.testing.assert_allclose(row, np.clip(np.rint(latent / (beta + 1e-5)), -1, 1) * beta, rtol=1e-5)


def test_the_gradient_goes_straight_through() -> None:
    weight, factor = mx.array(np.random.default_rng(1).standard_normal((3, 6))), mx.arange(18).reshape(3, 6)
    for bits in (8, 4, 1.58):
        gradient = mx.grad(lambda w, bits=bits: mx.sum(quantized({"w": w}, bits)["w"] * factor))(weight)
        assert mx.array_equal(gradient, factor)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    return tiny_data(tmp_path_factory.mktemp("data"))


@pytest.mark.slow
def test_what_is_trained_at_few_bits_is_packed_so(data: PreparedData, tmp_path: Path) -> None:
    begin_run(tmp_path / "run", data, "vocoder", updates=2, accumulate=1, weight_bits=4.0)
    done = run_train(data, tmp_path / "run", "vocoder", "--resume")
    assert done.returncode == 0, done.stderr
    latent = dict(tree_flatten(run_weights(tmp_path / "run")[1]))
    arrays = vocoder_part(tmp_path / "run").arrays
    assert {arrays[name].dtype.name for name in arrays if name + STEP in arrays} == {"uint8", "int8"}
    unpack_integers(arrays, {name: weight.shape for name, weight in latent.items()})
    for name, weight in latent.items():
        if weight.ndim > 1 and name not in LAST_LAYERS:
            assert len(np.unique(weight[0])) > 15 or weight[0].size <= 15
            assert all(len(np.unique(row)) <= 15 for row in arrays[name])
