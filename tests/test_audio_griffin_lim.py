"""Griffin-Lim: the sound has the mel it was made from."""

import mlx.core as mx
import numpy as np
import pytest

from bitjets_mlx.audio.griffin_lim import griffin_lim, mel_to_magnitude
from bitjets_mlx.audio.spectrogram import log_mel, magnitude_to_log_mel
from bitjets_mlx.errors import BitjetsError


def chirp(samples: int = 256 * 60) -> np.ndarray:
    time = np.arange(samples) / 22050
    phase = 2 * np.pi * np.cumsum(150 + 100 * time) / 22050
    noise = 0.01 * np.random.default_rng(0).normal(size=samples)
    return (0.2 * sum(np.sin(phase * h) / h for h in range(1, 20)) + noise).astype(np.float32)


def mel_of(audio: np.ndarray) -> np.ndarray:
    return np.array(log_mel(mx.array(audio)[None])[0])


def test_magnitudes_have_the_mel_they_were_made_from() -> None:
    mel = mel_of(chirp())
    magnitudes = mel_to_magnitude(mx.array(mel)[None])
    assert magnitudes.shape == (1, 60, 513)
    assert float(magnitudes.min()) >= 0
    np.testing.assert_allclose(np.array(magnitude_to_log_mel(magnitudes)[0]), mel, atol=0.05)


def test_sound_has_the_mel_it_was_made_from() -> None:
    mel = mel_of(chirp())
    audio = griffin_lim(mel)
    assert audio.shape == (256 * 60,) and audio.dtype == np.float32
    assert np.abs(mel_of(audio) - mel).mean() < 0.2
    assert np.abs(mel_of(griffin_lim(mel, iterations=0)) - mel).mean() > 0.3  # the iterations are what does it


def test_seed_decides() -> None:
    mel = mel_of(chirp(256 * 8))
    first, again, other = (griffin_lim(mel, iterations=2, seed=seed) for seed in (0, 0, 1))
    assert (first == again).all()
    assert np.abs(first - other).max() > 1e-3


def test_silence_stays_silent() -> None:
    assert np.abs(griffin_lim(np.full((10, 80), np.log(1e-5), np.float32), iterations=3)).max() < 1e-2


@pytest.mark.parametrize("mel", [np.zeros((10, 40)), np.zeros((0, 80)), np.zeros(80), np.full((10, 80), np.nan)])
def test_bad_mel_is_refused(mel: np.ndarray) -> None:
    with pytest.raises(BitjetsError):
        griffin_lim(mel)
