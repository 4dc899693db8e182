"""Discriminators: sizes, that every parameter learns, and that both forms of every convolution agree."""

from pathlib import Path
from typing import Any

from bitjets_mlx import load_vocoder  # isort: skip  before mlx
import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten

from bitjets_mlx.audio.files import read_audio
from bitjets_mlx.config import DiscriminatorConfig, hifigan_discriminators
from bitjets_mlx.data.features import extract
from bitjets_mlx.native import loader
from bitjets_mlx.training.optimize import Optimizer
from bitjets_mlx.training.vocoder_losses import discriminator_adversarial_loss
from bitjets_mlx.vocoder.discriminators import Discriminators, ScaleDiscriminator, _halve
from bitjets_mlx.voice import FrameVocoder

REPOSITORY = Path(__file__).resolve().parents[1]
TINY = DiscriminatorConfig(
    band_sizes=(512,),
    bands=4,
    band_channels=8,
    periods=(2, 3),
    period_channels=(4, 8),
)


def audio(batch: int = 2, samples: int = 2048) -> mx.array:
    return 0.1 * mx.random.normal((batch, samples), key=mx.random.key(0))


def build(config: DiscriminatorConfig) -> Discriminators:
    mx.random.seed(0)
    return Discriminators(config)


def size(model: nn.Module) -> int:
    return sum(leaf.size for _, leaf in tree_flatten(model.parameters()))


def total(model: Discriminators, x: mx.array) -> mx.array:
    scores, features = model(x)
    return sum(mx.mean(mx.square(one)) for one in scores) + sum(mx.mean(mx.abs(f)) for fs in features for f in fs)


def test_forms_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    """Values, and gradients by parameters and audio, with and without the CPU backend's forms."""
    model, x = build(TINY), audio()
    results = []
    for matmul in (False, True):
        monkeypatch.setattr(loader, "on_cpu", lambda matmul=matmul: matmul)
        value, gradient = nn.value_and_grad(model, total)(model, x)
        by_audio = mx.grad(lambda y: total(model, y))(x)
        results.append([value, by_audio, *[leaf for _, leaf in tree_flatten(gradient)]])
    for plain, fast in zip(*results, strict=True):
        scale = max(float(mx.max(mx.abs(plain))), 1e-3)
        np.testing.assert_allclose(np.array(fast) / scale, np.array(plain) / scale, atol=1e-3)


def test_every_parameter_gets_a_gradient() -> None:
    model = build(TINY)
    gradient = nn.value_and_grad(model, total)(model, audio())[1]
    dead = [name for name, leaf in tree_flatten(gradient) if float(mx.max(mx.abs(leaf))) == 0.0]
    assert dead == []


def test_shapes_and_layers() -> None:
    scores, features = build(DiscriminatorConfig())(audio(2, 8192))
    assert len(scores) == len(features) == 8
    assert [one.shape[:3] for one in scores[:3]] == [(8, 2, 64), (8, 2, 32), (8, 2, 16)]
    assert [one.shape[0] for one in scores[3:]] == [2 * p for p in (2, 3, 5, 7, 11)]
    for score, layers in zip(scores, features, strict=True):
        assert bool(mx.array_equal(score, layers[-1]))


def test_sizes() -> None:
    assert size(build(DiscriminatorConfig())) < 2_100_000
    mpd = build(DiscriminatorConfig(band_sizes=(), period_channels=(32, 128, 512, 1024)))
    assert size(mpd) == 5 * 8_218_433  # HiFi-GAN's MPD, without the g of weight norm
    assert size(ScaleDiscriminator(0)) == 9_870_209  # one of HiFi-GAN's three scales
    assert len(hifigan_discriminators().periods) == 5 and hifigan_discriminators().scales == 3


def test_scores_of_a_clip_do_not_depend_on_its_batch() -> None:
    model, x = build(TINY), audio(3)
    together, alone = model(x)[0], model(x[1:2])[0]
    np.testing.assert_allclose(np.array(together[0][:, 1]), np.array(alone[0][:, 0]), atol=1e-4)  # bands first
    np.testing.assert_allclose(np.array(together[1][2:4]), np.array(alone[1]), atol=1e-4)


def test_halving_is_average_pooling() -> None:
    x = np.random.default_rng(0).normal(size=11).astype(np.float32)
    padded = np.pad(x, 2)
    expected = [padded[i : i + 4].mean() for i in range(0, len(padded) - 3, 2)]  # torch's AvgPool1d(4, 2, padding=2)
    np.testing.assert_allclose(np.array(_halve(mx.array(x)[None, :, None]))[0, :, 0], expected, atol=1e-6)


def test_full_size_scales_run() -> None:
    mx.random.seed(0)
    scores, features = ScaleDiscriminator(1)(audio(1, 4096))
    assert scores.shape == (1, 33, 1)
    assert [f.shape[-1] for f in features] == [128, 128, 256, 512, 1024, 1024, 1024, 1]


@pytest.mark.slow
def test_the_small_discriminators_tell_real_speech_from_copies(shared: Path) -> None:
    """Trained alone on a few clips and their copy synthesis they come clearly below chance, 4 for eight of them."""
    names = sorted((shared / "speech" / "lj" / "wavs").glob("*.flac"))[:6]
    vocoder = load_vocoder(REPOSITORY / "weights" / "duo")
    pairs = [_real_and_copy(vocoder, path) for path in names]
    mx.random.seed(0)
    discriminators = Discriminators(DiscriminatorConfig())
    parameters = discriminators.parameters()
    optimizer = Optimizer(parameters, (0.8, 0.99), 1000.0, None)
    random, losses = np.random.default_rng(0), []

    def loss(parameters: Any, real: mx.array, fake: mx.array) -> mx.array:
        discriminators.update(parameters)
        return discriminator_adversarial_loss(discriminators(real)[0], discriminators(fake)[0])

    for number in range(150):
        real, fake = (mx.array(x) for x in _segments(pairs, random, 6, 8192))
        value, gradients = mx.value_and_grad(loss)(parameters, real, fake)
        parameters, _ = optimizer.step(parameters, gradients, number + 1, 1e-3, 0.0)
        losses.append(float(value))
    assert np.mean(losses[-20:]) < 3.8


def _real_and_copy(vocoder: FrameVocoder, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """A recording and its copy synthesis, of the same length."""
    features = extract(read_audio(path))
    copy = vocoder(features.mel, f0=np.exp(features.log_f0), voiced=features.voiced)
    return features.audio[: len(copy)], copy


def _segments(
    pairs: list[tuple[np.ndarray, np.ndarray]], random: np.random.Generator, count: int, samples: int
) -> tuple[np.ndarray, np.ndarray]:
    """`count` random stretches: real and copied, 2 x (count, samples)."""
    rows = []
    for real, copy in (pairs[i] for i in random.integers(0, len(pairs), count)):
        start = random.integers(0, len(copy) - samples)
        rows.append((real[start : start + samples], copy[start : start + samples]))
    return np.stack([real for real, _ in rows]), np.stack([copy for _, copy in rows])
