"""STFT, mel and their inverses against librosa, and their gradients against MLX's own and finite differences."""

import mlx.core as mx
import numpy as np
import pytest

from bitjets_mlx.audio import spectrogram
from bitjets_mlx.config import AudioConfig
from bitjets_mlx.errors import BitjetsError

librosa = pytest.importorskip("librosa")


def speechlike(seed: int, batch: int = 2, samples: int = 11025) -> np.ndarray:
    """Harmonics, noise and a silent stretch: (batch, samples) float32."""
    random = np.random.default_rng(seed)
    time = np.arange(samples) / 22050
    sound = [sum(np.sin(2 * np.pi * f0 * h * time) / h for h in range(1, 30)) for f0 in random.uniform(90, 400, batch)]
    sound = 0.1 * np.stack(sound) + 0.02 * random.normal(size=(batch, samples))
    sound[:, 3000:5000] = 0
    return sound.astype(np.float32)


def reference_magnitude(audio: np.ndarray, n_fft: int, hop: int) -> np.ndarray:
    padded = np.pad(audio, (n_fft - hop) // 2, mode="reflect")
    spectrum = librosa.stft(padded, n_fft=n_fft, hop_length=hop, center=False)
    return np.sqrt(np.abs(spectrum) ** 2 + 1e-9).T


@pytest.mark.parametrize(("n_fft", "hop"), [(1024, 256), (512, 128), (2048, 512), (256, 64)])
@pytest.mark.parametrize("samples", [2048, 11025, 16384 + 255])
def test_magnitude_equals_librosa(n_fft: int, hop: int, samples: int) -> None:
    audio = speechlike(0, samples=samples)
    ours = np.array(spectrogram.magnitude(mx.array(audio), n_fft, hop))
    assert ours.shape == (2, samples // hop, n_fft // 2 + 1)
    for row, sound in zip(ours, audio, strict=True):
        np.testing.assert_allclose(row, reference_magnitude(sound, n_fft, hop), atol=1e-4, rtol=1e-5)


def test_log_mel_equals_librosa() -> None:
    audio = speechlike(1)
    bank = librosa.filters.mel(sr=22050, n_fft=1024, n_mels=80, fmin=0, fmax=8000)
    ours = np.array(spectrogram.log_mel(mx.array(audio)))
    for row, sound in zip(ours, audio, strict=True):
        reference = np.log(np.maximum(reference_magnitude(sound, 1024, 256) @ bank.T, 1e-5))
        np.testing.assert_allclose(row, reference, atol=1e-3)


def test_log_mel_of_real_speech_equals_librosa(shared) -> None:  # type: ignore[no-untyped-def]
    from bitjets_mlx.audio.files import read_audio

    audio = read_audio(shared / "speech" / "lj" / "wavs" / "LJ001-0002.flac")
    bank = librosa.filters.mel(sr=22050, n_fft=1024, n_mels=80, fmin=0, fmax=8000)
    reference = np.log(np.maximum(reference_magnitude(audio, 1024, 256) @ bank.T, 1e-5))
    np.testing.assert_allclose(np.array(spectrogram.log_mel(mx.array(audio)[None])[0]), reference, atol=1e-3)


@pytest.mark.parametrize(
    "config",
    [
        AudioConfig(),
        AudioConfig(n_mels=40, f_min=55, f_max=7600),
        AudioConfig(sample_rate=16000, n_fft=512, f_max=8000),
        AudioConfig(f_max=900),
    ],
)
def test_mel_filterbank_equals_librosa(config: AudioConfig) -> None:
    reference = librosa.filters.mel(
        sr=config.sample_rate, n_fft=config.n_fft, n_mels=config.n_mels, fmin=config.f_min, fmax=config.f_max
    )
    np.testing.assert_allclose(spectrogram.mel_filterbank(config), reference, atol=1e-7)


def test_frames_are_centred_half_a_hop_after_their_start() -> None:
    audio = np.zeros((1, 256 * 20), np.float32)
    audio[0, 256 * 7 + 128] = 1.0  # a click in the middle of frame 7
    frames = np.array(spectrogram.frame(mx.array(audio)))[0]
    assert frames[7, 512] == 1.0
    assert frames.sum() == 4  # and in its neighbors, within four hops


def test_energy_is_the_norm_of_the_magnitude_frame() -> None:
    magnitudes = spectrogram.magnitude(mx.array(speechlike(2)))
    expected = np.sqrt(np.square(np.array(magnitudes)).sum(axis=-1))
    np.testing.assert_allclose(np.array(spectrogram.energy(magnitudes)), expected, rtol=1e-5)


@pytest.mark.parametrize(("n_fft", "hop"), [(1024, 256), (512, 128)])
def test_istft_inverts_stft(n_fft: int, hop: int) -> None:
    audio = speechlike(3, samples=hop * 40)
    back = spectrogram.istft_parts(*spectrogram.stft_parts(mx.array(audio), n_fft, hop), hop)
    assert back.shape == audio.shape
    np.testing.assert_allclose(np.array(back), audio, atol=2e-6)


def test_gradient_equals_that_of_plain_operations() -> None:
    audio = mx.array(speechlike(4, samples=4096))

    def plain(sound: mx.array) -> mx.array:
        padded = mx.concatenate([sound[:, 384:0:-1], sound, sound[:, -2:-386:-1]], axis=1)
        frames = mx.stack([padded[:, 256 * i : 256 * i + 1024] for i in range(16)], axis=1)
        window = 0.5 - 0.5 * mx.cos(2 * np.pi * mx.arange(1024) / 1024)
        spectrum = mx.fft.rfft(frames * window)
        power = mx.square(mx.real(spectrum)) + mx.square(mx.imag(spectrum))
        return mx.sum(mx.log(mx.sqrt(power + 1e-9) + 0.01) * mx.arange(513))

    def ours(sound: mx.array) -> mx.array:
        return mx.sum(mx.log(spectrogram.magnitude(sound) + 0.01) * mx.arange(513))

    reference = np.array(mx.grad(plain)(audio))
    for gradient in (mx.grad(ours), mx.compile(mx.grad(ours))):
        np.testing.assert_allclose(np.array(gradient(audio)), reference, atol=2e-5 * np.abs(reference).max())


def test_gradient_of_the_inverse_equals_finite_differences() -> None:
    random = np.random.default_rng(5)
    real, imaginary = (mx.array(random.normal(size=(1, 5, 17)).astype(np.float32)) for _ in range(2))
    weight = mx.array(random.normal(size=(1, 5 * 8)).astype(np.float32))

    def loss(re: mx.array, im: mx.array) -> mx.array:
        return mx.sum(spectrogram.istft_parts(re, im, hop=8) * weight)

    gradients = mx.grad(loss, argnums=(0, 1))(real, imaginary)
    for which in range(2):
        for frame, bin_ in [(0, 0), (2, 0), (1, 5), (4, 16), (3, 16), (2, 9)]:
            step = np.zeros((1, 5, 17), np.float32)
            step[0, frame, bin_] = 0.5  # the map is linear: any step is exact
            arguments = [real, imaginary]
            arguments[which] = arguments[which] + mx.array(step)
            difference = (loss(*arguments) - loss(real, imaginary)).item() / 0.5
            assert gradients[which][0, frame, bin_].item() == pytest.approx(difference, abs=2e-5)


def test_gradient_at_silence_is_finite() -> None:
    gradient = mx.grad(lambda sound: spectrogram.log_mel(sound).sum())(mx.zeros((1, 2048)))
    assert np.isfinite(np.array(gradient)).all()


def test_batched_equals_single() -> None:
    audio = mx.array(speechlike(6, batch=3))
    together = spectrogram.log_mel(audio)
    alone = mx.concatenate([spectrogram.log_mel(audio[i : i + 1]) for i in range(3)])
    np.testing.assert_allclose(np.array(together), np.array(alone), atol=1e-5)


def test_too_short_is_refused() -> None:
    assert spectrogram.log_mel(mx.zeros((1, 385))).shape == (1, 1, 80)
    with pytest.raises(BitjetsError, match="too short"):
        spectrogram.log_mel(mx.zeros((1, 384)))
    with pytest.raises(BitjetsError, match="multiple of the hop"):
        spectrogram.frame(mx.zeros((1, 4096)), 1024, 300)
