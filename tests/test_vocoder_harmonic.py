"""The harmonic vocoder: its excitation, its framing, its determinism, its gradients."""

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten

from bitjets_mlx.audio.spectrogram import log_mel, stft_parts
from bitjets_mlx.config import HarmonicConfig
from bitjets_mlx.vocoder import HarmonicVocoder, build_vocoder
from bitjets_mlx.vocoder.harmonic import MARGIN, excitation_samples, frame_spectrum, pulse_train
from bitjets_mlx.vocoder.noise import white_noise, white_noise_table

STEP = 0.3  # of finite differences; smaller ones drown in float32's rounding
SMALL = HarmonicConfig(width=16, hidden=24, layers=2)


@pytest.fixture(scope="module")
def model() -> HarmonicVocoder:
    mx.random.seed(0)
    return HarmonicVocoder(SMALL)


def features(frames: int, batch: int = 1) -> tuple[mx.array, mx.array, mx.array]:
    rng = np.random.default_rng(0)
    mel = mx.array(rng.normal(-4.0, 1.0, (batch, frames, 80)).astype(np.float32))
    log_f0 = mx.array(np.log(180.0 + 20.0 * np.sin(np.arange(frames) / 9.0)).astype(np.float32))
    voiced = mx.array((np.arange(frames) % 20 < 14).astype(np.float32))
    return mel, mx.broadcast_to(log_f0, (batch, frames)), mx.broadcast_to(voiced, (batch, frames))


def test_pulses_are_the_sum_of_cosines() -> None:
    hertz, frames, start = 210.0, 12, 0.3
    constant = mx.full((1, frames), float(np.log(hertz)))
    pulses = np.array(pulse_train(constant, mx.ones((1, frames)), mx.array([start]))[0])
    assert pulses.shape == (excitation_samples(frames),) == (frames * 256 + 768,)
    harmonics = int(22050 / 2 / hertz)
    time = np.arange(len(pulses)) / 22050
    angle = 2 * np.pi * (hertz * time[None] + start) * np.arange(1, harmonics + 1)[:, None]
    expected = np.sqrt(2 / harmonics) * np.cos(angle).sum(0)
    np.testing.assert_allclose(pulses, expected, atol=0.05)
    assert abs(np.mean(pulses**2) - 1.0) < 0.05  # unit power


def test_pulses_follow_a_gliding_pitch() -> None:
    """The phase is the integral of F0, linear between frame centres, and stays so for minutes."""
    frames = 20_000  # 3.9 minutes
    hertz = 200.0 + 50.0 * np.sin(np.arange(frames) / 40.0)
    log_f0 = mx.array(np.log(hertz).astype(np.float32))[None]
    pulses = np.array(pulse_train(log_f0, mx.ones((1, frames)), mx.zeros((1,)))[0])
    centres = np.arange(frames) * 256 + 128 + MARGIN
    frequency = np.interp(np.arange(len(pulses)), centres, np.exp(np.log(hertz).astype(np.float32).astype(float)))
    phase = np.concatenate([[0.0], np.cumsum((frequency[1:] + frequency[:-1]) / 2 / 22050)])
    last = slice(-256 * 200, None)
    peaks = np.flatnonzero(pulses[last] > 0.7 * pulses[last].max())
    away = phase[last][peaks] - np.round(phase[last][peaks])
    assert np.abs(away).max() < 0.02  # cycles, after 47,000 of them


def test_pulses_stop_where_unvoiced() -> None:
    voiced = mx.array([[0.0] * 8 + [1.0] * 8])
    pulses = np.array(pulse_train(mx.full((1, 16), 5.3), voiced, mx.zeros((1,)))[0])
    assert np.all(pulses[: MARGIN + 7 * 256 + 128] == 0.0)
    assert np.abs(pulses[MARGIN + 9 * 256 :]).max() > 1.0


def test_excitation_frames_lie_where_the_mel_frames_lie() -> None:
    audio = mx.random.normal((2, excitation_samples(10)), key=mx.random.key(0))
    model = HarmonicVocoder(SMALL)
    real, imaginary = frame_spectrum(audio, model._window)
    expected = stft_parts(audio[:, MARGIN:-MARGIN])
    inside = slice(2, -2)  # there no frame reaches the padding
    for ours, theirs in zip((real, imaginary), expected, strict=True):
        assert ours.shape == (2, 10, 513)
        np.testing.assert_allclose(np.array(ours[:, inside]), np.array(theirs[:, inside]), atol=1e-3)


def test_untrained_filters_already_follow_the_mel() -> None:
    """The envelope in front of the network gives the right level and spectrum within a fraction of a neper."""
    mel, log_f0, _ = features(60)
    smooth = -4.0 + mx.sin(mx.arange(80) / 8.0) + 0.0 * mel
    mx.random.seed(0)
    audio = build_vocoder(HarmonicConfig())(smooth, log_f0, mx.zeros((1, 60)))
    error = mx.abs(log_mel(audio) - smooth)[:, 3:-3]
    assert float(mx.mean(error)) < 0.5


@pytest.mark.parametrize("frames", [1, 2, 3, 57])
def test_length_and_determinism(model: HarmonicVocoder, frames: int) -> None:
    inputs = features(frames, batch=2)
    first, again, other = model(*inputs, seed=0), model(*inputs, seed=0), model(*inputs, seed=1)
    assert first.shape == (2, frames * 256)
    assert bool(mx.array_equal(first, again))
    assert not bool(mx.array_equal(first, other))
    assert bool(mx.all(mx.isfinite(first)))


def test_extreme_features_stay_finite(model: HarmonicVocoder) -> None:
    mel = mx.concatenate([mx.full((1, 5, 80), -50.0), mx.full((1, 5, 80), 50.0)], axis=1)
    log_f0 = mx.array([[-5.0, 0.0, 20.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0]])
    assert bool(mx.all(mx.isfinite(model(mel, log_f0, mx.ones((1, 10))))))


def test_noise_has_unit_variance_and_depends_on_the_key() -> None:
    noise = white_noise(mx.random.key(1), 4, excitation_samples(100))
    assert noise.shape == (4, excitation_samples(100))
    assert abs(float(mx.var(noise)) - 1.0) < 0.02
    assert abs(float(mx.mean(noise))) < 0.01
    assert not bool(mx.array_equal(noise[0], noise[1]))
    assert not bool(mx.array_equal(noise, white_noise(mx.random.key(2), 4, excitation_samples(100))))
    assert bool(mx.array_equal(noise, white_noise(mx.random.key(1), 4, excitation_samples(100))))


def test_noise_is_white_and_bell_shaped() -> None:
    noise = np.array(white_noise_table())
    assert abs(np.mean(noise**4) - 3.0) < 0.2  # Gaussian: neither pulses nor a tone
    spectrum = np.abs(np.fft.rfft(noise)) ** 2 / len(noise)
    assert np.abs(spectrum[1:].reshape(64, -1).mean(axis=1) - 1.0).max() < 0.2  # in 64 bands, all the same
    correlation = np.fft.irfft(spectrum)[22:8000]  # lags from 1 ms: nothing repeats
    assert np.abs(correlation).max() < 0.03


def test_sounds_of_one_call_differ_by_their_noise_only(model: HarmonicVocoder) -> None:
    inputs, phase = features(12), mx.array([0.25])
    noises = [white_noise(mx.random.key(seed), 1, excitation_samples(12)) for seed in (1, 2, 1)]
    first, second, again = model.synthesize(*inputs, phase, *noises)
    assert bool(mx.array_equal(first, again))
    assert not bool(mx.array_equal(first, second))
    assert bool(mx.array_equal(second, model.synthesize(*inputs, phase, noises[1])[0]))


def test_gradient_by_finite_differences(model: HarmonicVocoder) -> None:
    inputs = features(6)
    noise, phase = white_noise(mx.random.key(0), 1, excitation_samples(6)), mx.array([0.25])
    target = 0.1 * mx.random.normal((1, 6 * 256), key=mx.random.key(5))

    def loss(parameters: dict) -> mx.array:
        model.update(parameters)
        return mx.mean(mx.square(model.synthesize(*inputs, phase, noise)[0] - target)) * 100

    parameters = model.parameters()
    gradient = dict(tree_flatten(mx.grad(loss)(parameters)))
    for name in ("output.weight", "blocks.0.depthwise", "input_weight", "blocks.1.scale"):
        direction = mx.random.normal(gradient[name].shape, key=mx.random.key(3))
        direction = direction * (STEP / mx.linalg.norm(direction.flatten()))
        values = []
        for sign in (1.0, -1.0):
            moved = [(key, leaf + sign * direction if key == name else leaf) for key, leaf in tree_flatten(parameters)]
            model.load_weights(moved)
            values.append(float(loss(model.parameters())))
        model.load_weights(list(tree_flatten(parameters)))
        expected = (values[0] - values[1]) / 2
        assert float(mx.sum(gradient[name] * direction)) == pytest.approx(expected, rel=0.05, abs=2e-5), name


def test_default_size() -> None:
    parameters = tree_flatten(build_vocoder(HarmonicConfig()).parameters())
    assert sum(leaf.size for _, leaf in parameters) * 2 <= 4_500_000  # bytes in fp16
