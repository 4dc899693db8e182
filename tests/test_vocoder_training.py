"""Losses of vocoder training and the step's functions."""

import math

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten

from bitjets_mlx.config import DiscriminatorConfig, HarmonicConfig, HifiganConfig
from bitjets_mlx.training import vocoder_losses as losses
from bitjets_mlx.training.config import VocoderTraining
from bitjets_mlx.training.vocoder_step import (
    augment,
    blur,
    crop,
    discriminator_loss,
    generate,
    generator_loss,
    waveform_loss,
)
from bitjets_mlx.vocoder import HarmonicVocoder, HifiganGenerator
from bitjets_mlx.vocoder.discriminators import Discriminators

CONFIG = VocoderTraining(adversarial_frames=6)
ONE = mx.array(1.0)


def batch(seed: int = 0, size: int = 4, frames: int = 10) -> dict[str, mx.array]:
    rng = np.random.default_rng(seed)
    return {
        "mel": mx.array(rng.normal(-4, 1, (size, frames, 80)).astype(np.float32)),
        "log_f0": mx.full((size, frames), 5.3),
        "voiced": mx.ones((size, frames)),
        "audio": mx.array((0.1 * rng.normal(size=(size, frames * 256))).astype(np.float32)),
        "key": mx.random.key(seed),
    }


@pytest.fixture(scope="module")
def generator() -> HarmonicVocoder:
    mx.random.seed(0)
    return HarmonicVocoder(HarmonicConfig(width=16, hidden=24, layers=1))


@pytest.fixture(scope="module")
def discriminators() -> Discriminators:
    mx.random.seed(1)
    return Discriminators(DiscriminatorConfig(band_sizes=(512,), bands=4, band_channels=8, periods=(3,)))


def spectral(x: mx.array, y: mx.array) -> list[float]:
    return [float(loss) for loss in losses.spectral_losses(losses.spectra(x), losses.spectra(y))]


def test_spectral_losses_are_zero_for_the_same_sound_and_know_the_level() -> None:
    x = batch()["audio"]
    assert spectral(x, x) == pytest.approx([0.0, 0.0], abs=0.002)
    stft_loss, mel_loss = spectral(2.0 * x, x)
    assert mel_loss == pytest.approx(math.log(2.0), rel=1e-3)
    assert stft_loss == pytest.approx(1.0 + math.log(2.0), rel=1e-2)  # convergence 1, log distance ln 2


def test_spectral_losses_of_a_batch_are_the_mean_of_its_clips() -> None:
    x, y = batch(0)["audio"], batch(1)["audio"] * mx.array([[1.0], [0.5], [3.0], [0.1]])
    alone = [spectral(x[i : i + 1], y[i : i + 1]) for i in range(4)]
    assert spectral(x, y) == pytest.approx(np.mean(alone, axis=0), rel=1e-5)


def test_energy_distance_is_smallest_at_the_true_level_of_noise() -> None:
    """Noise as loud as the real one is best at weight 1; at 0 a quieter one is, and a constant tone too."""
    real, one, other = (mx.random.normal((8, 4096), key=mx.random.key(seed)) for seed in range(3))
    for weight, best in ((1.0, 1.0), (0.0, 0.8)):
        levels = np.arange(0.6, 1.5, 0.1)
        values = [
            float(losses.energy_distance_losses(float(level) * one, float(level) * other, real, weight)[0])
            for level in levels
        ]
        assert levels[int(np.argmin(values))] == pytest.approx(best, abs=0.11)
    plain = 0.5 * (np.array(spectral(one, real)) + np.array(spectral(other, real)))
    got = [float(loss) for loss in losses.energy_distance_losses(one, other, real, 0.0)]
    assert got == pytest.approx(plain, rel=1e-5)


def test_adversarial_losses() -> None:
    real, fake = [mx.full((2, 3), 0.5), mx.ones((4,))], [mx.full((2, 3), 0.25), mx.zeros((4,))]
    assert float(losses.discriminator_adversarial_loss(real, fake)) == pytest.approx(0.25 + 0.0625 + 0.0 + 0.0)
    assert float(losses.generator_adversarial_loss(fake)) == pytest.approx(0.5625 + 1.0)
    assert float(losses.feature_matching_loss([real, real], [fake, fake])) == pytest.approx(2 * (0.25 + 1.0))


def test_full_band_mel_loss_hears_what_is_above_8_khz() -> None:
    x = 0.1 * mx.random.normal((2, 4096), key=mx.random.key(0))
    hiss = 0.3 * mx.sin(2 * math.pi * 9500 / 22050 * mx.arange(4096.0))
    assert float(losses.full_band_mel_loss(x, x)) == 0.0
    assert float(losses.full_band_mel_loss(2.0 * x, x)) == pytest.approx(math.log(2.0), rel=1e-3)
    assert 10 * spectral(x + hiss, x)[1] < 0.03 < float(losses.full_band_mel_loss(x + hiss, x))


def test_multi_resolution_mel_loss_hears_what_is_above_8_khz_too() -> None:
    """And it is the same for the same sound, and twice ln 2 for a doubled level and its half."""
    x, config = batch()["audio"], VocoderTraining(mel_loss="multi", energy_distance_weight=0.0)
    hiss = 0.3 * mx.sin(2 * math.pi * 9500 / 22050 * mx.arange(float(x.shape[1])))

    def multi(y: mx.array) -> float:
        return float(waveform_loss([y], None, {"audio": x}, ONE, config)[1]["mel_loss"])

    assert multi(x) == pytest.approx(0.0, abs=0.002)
    assert multi(2.0 * x) == pytest.approx(math.log(2.0), rel=1e-2)
    assert multi(x + hiss) > 1.5 * spectral(x + hiss, x)[1]
    both = waveform_loss([2.0 * x, 2.0 * x], None, {"audio": x}, ONE, config)[1]["mel_loss"]
    assert float(both) == pytest.approx(multi(2.0 * x), rel=1e-5)


def test_gain_moves_mel_and_audio_together() -> None:
    plain, config = batch(), VocoderTraining(gain_decibels=6.0, mel_blur=0.0)
    moved = augment(plain, config)
    gain = moved["mel"] - plain["mel"]
    assert 0.1 < float(mx.max(mx.abs(gain))) <= 6.0 / 20.0 * math.log(10.0) + 1e-5
    assert len({round(float(g), 5) for g in gain[:, 0, 0]}) == 4  # a gain for each clip
    ratio = moved["audio"] / plain["audio"]
    np.testing.assert_allclose(
        np.log(np.array(ratio[:, :50])),
        np.array(gain[:, :50, 0].mean(1, keepdims=True)) + 0 * np.array(ratio[:, :50]),
        atol=1e-4,
    )
    still = augment(plain, VocoderTraining(gain_decibels=0.0, mel_blur=0.0))
    assert bool(mx.array_equal(still["audio"], plain["audio"]))


def test_blur_takes_the_harmonics_and_leaves_the_level() -> None:
    ripple = mx.cos(2 * math.pi * mx.arange(80) / 5) + mx.zeros((1, 20, 1))  # a peak every 5 bands
    slope = 0.1 * mx.arange(80) + mx.zeros((1, 20, 1))
    np.testing.assert_allclose(np.array(blur(slope))[..., 2:-2], np.array(slope)[..., 2:-2], atol=1e-5)
    assert float(mx.max(mx.abs(blur(ripple)[..., 2:-2]))) < 0.3
    assert blur(ripple).shape == ripple.shape


def test_about_half_of_the_mels_are_blurred_and_no_audio() -> None:
    plain = batch(size=64)
    moved = augment(plain, VocoderTraining(gain_decibels=0.0, mel_blur=1.0))
    changed = mx.max(mx.abs(moved["mel"] - plain["mel"]), axis=(1, 2)) > 1e-4
    assert 20 <= int(mx.sum(changed)) <= 44
    assert bool(mx.array_equal(moved["audio"], plain["audio"]))


def test_crop_is_random_and_the_same_for_both_sounds() -> None:
    plain = batch()
    starts = set()
    for seed in range(8):
        plain["key"] = mx.random.key(seed)
        ramp = mx.broadcast_to(mx.arange(2560.0), (4, 2560))
        piece = crop(ramp, plain, 6)
        assert piece.shape == (4, 6 * 256)
        assert float(piece[0, 0]) % 256 == 0
        assert bool(mx.array_equal(piece, crop(ramp, plain, 6)))
        starts.add(float(piece[0, 0]))
    assert len(starts) > 2
    assert crop(plain["audio"], plain, 10).shape == (4, 2560)


def test_everything_random_comes_from_the_key(generator: HarmonicVocoder, discriminators: Discriminators) -> None:
    values = []
    for seed, noise in ((0, 1), (0, 2), (3, 1)):
        mx.random.seed(noise)  # must change nothing
        one = batch() | {"key": mx.random.key(seed)}
        values.append(
            (
                float(generator_loss(generator, discriminators, one, ONE, CONFIG)[0]),
                float(discriminator_loss(discriminators, generator, one, CONFIG)[0]),
            )
        )
    assert values[0] == values[1]
    assert values[0] != values[2]


def test_discriminator_loss_leaves_the_generator_alone(
    generator: HarmonicVocoder, discriminators: Discriminators
) -> None:
    def loss(g: HarmonicVocoder) -> mx.array:
        return discriminator_loss(discriminators, g, batch(), CONFIG)[0]

    gradient = nn.value_and_grad(generator, loss)(generator)[1]
    assert all(float(mx.max(mx.abs(leaf))) == 0.0 for _, leaf in tree_flatten(gradient))


def test_adversarial_weight_reaches_the_gradient(generator: HarmonicVocoder, discriminators: Discriminators) -> None:
    def gradient(weight: float) -> mx.array:
        def loss(g: HarmonicVocoder) -> mx.array:
            return generator_loss(g, discriminators, batch(), mx.array(weight), CONFIG)[0]

        return nn.value_and_grad(generator, loss)(generator)[1]["output"]["bias"]

    def without(g: HarmonicVocoder) -> mx.array:
        return generator_loss(g, None, batch(), ONE, CONFIG)[0]

    alone = nn.value_and_grad(generator, without)(generator)[1]["output"]["bias"]
    np.testing.assert_allclose(np.array(gradient(0.0)), np.array(alone), atol=1e-6)
    assert float(mx.max(mx.abs(gradient(1.0) - alone))) > 1e-5


def test_a_few_updates_learn() -> None:
    """Spectral loss falls on one batch, in a compiled step."""
    mx.random.seed(0)
    model = HarmonicVocoder(HarmonicConfig(width=16, hidden=24, layers=1))
    one = batch()

    @mx.compile
    def step(parameters: dict) -> tuple[mx.array, dict]:
        def loss(p: dict) -> mx.array:
            model.update(p)
            return generator_loss(model, None, one, ONE, CONFIG)[0]

        value, gradient = mx.value_and_grad(loss)(parameters)
        return value, gradient

    parameters, values = model.parameters(), []
    for _ in range(20):
        value, gradient = step(parameters)
        values.append(float(value))
        parameters = nn.utils.tree_map(lambda p, g: p - 0.5 * g, parameters, gradient)
    assert values[-1] < 0.9 * values[0]


def test_hifigan_trains_with_the_same_functions(discriminators: Discriminators) -> None:
    mx.random.seed(0)
    model = HifiganGenerator(HifiganConfig(upsample_initial_channel=16))
    one = batch(size=1)
    assert [sound.shape for sound in generate(model, one, 2)] == [(1, 2560)]
    loss, metrics = generator_loss(model, discriminators, one, ONE, CONFIG)
    assert bool(mx.isfinite(loss))
    adversarial = "generator_adversarial_loss"
    assert set(metrics) >= {"stft_loss", "mel_loss", adversarial, "feature_matching_loss", "loss"}
    families = [metrics[f"{adversarial}_{name}"] for name in ("band", "period")]  # one discriminator of each
    assert float(families[0] + families[1]) == pytest.approx(float(metrics[adversarial]), rel=1e-5)
