"""Losses of vocoder training, as pure functions on arrays.

Multi-resolution STFT loss: Parallel WaveGAN (Yamamoto et al. 2020, section 3.1). Mel, least-squares adversarial and
feature matching losses: HiFi-GAN (Kong et al. 2020, section 2.4).
"""

import dataclasses
from collections.abc import Sequence

import mlx.core as mx

from bitjets_mlx.audio.spectrogram import log_mel, magnitude, magnitude_to_log_mel
from bitjets_mlx.config import AudioConfig

RESOLUTIONS = ((256, 64), (512, 128), (1024, 256), (2048, 512))  # (n_fft, hop)
MAGNITUDE_MINIMUM = 1e-5
FULL_BAND = AudioConfig(f_max=AudioConfig.sample_rate / 2)

Features = Sequence[Sequence[mx.array]]  # of each discriminator, of each layer


def spectral_convergence(generated: mx.array, real: mx.array, reference: mx.array) -> mx.array:
    """Frobenius distance of two magnitude spectrograms (B, T, F) relative to `reference`, mean over the batch."""
    distance = mx.sqrt(mx.sum(mx.square(generated - real), axis=(1, 2)) + 1e-8)  # (B,)
    return mx.mean(distance / mx.sqrt(mx.sum(mx.square(reference), axis=(1, 2)) + 1e-2))


def log_magnitude_distance(generated: mx.array, real: mx.array) -> mx.array:
    """Mean absolute difference of the natural logs of two magnitude spectrograms (B, T, F); a scalar."""
    floor = MAGNITUDE_MINIMUM
    return mx.mean(mx.abs(mx.log(mx.maximum(generated, floor)) - mx.log(mx.maximum(real, floor))))


def mel_distance(generated: mx.array, real: mx.array, config: AudioConfig) -> mx.array:
    """Mean absolute difference of the log mels of two magnitude spectrograms (B, T, F); a scalar."""
    return mx.mean(mx.abs(magnitude_to_log_mel(generated, config) - magnitude_to_log_mel(real, config)))


def spectra(audio: mx.array) -> list[mx.array]:
    """Magnitude spectrograms at the four resolutions: (B, S) -> 4 x (B, S / hop, n_fft / 2 + 1)."""
    return [magnitude(audio, n_fft, hop) for n_fft, hop in RESOLUTIONS]


def spectral_losses(
    generated: list[mx.array],
    real: list[mx.array],
    reference: list[mx.array] | None = None,
    mel_loss_kind: str = "single",
) -> tuple[mx.array, mx.array]:
    """Multi-resolution STFT loss and mel loss of two waveforms' `spectra`: 2 scalars.

    The first is spectral convergence + log-magnitude distance, mean over the resolutions; the second the mean
    absolute difference of the log-mel spectrograms. `reference`: whose norm the convergence is relative to, `real`
    by default. `mel_loss_kind`: "single", 80 bands up to 8 kHz at the vocoder's own resolution, or "multi", the mean
    over all four with 20 to 160 bands up to Nyquist (as in DAC, Kumar et al. 2023, section 3.5).
    """
    stft_loss, mel_loss = mx.array(0.0), mx.array(0.0)
    for (n_fft, _), ours, theirs, base in zip(RESOLUTIONS, generated, real, reference or real, strict=True):
        stft_loss = stft_loss + spectral_convergence(ours, theirs, base) + log_magnitude_distance(ours, theirs)
        if mel_loss_kind == "multi":
            bands = dataclasses.replace(FULL_BAND, n_fft=n_fft, n_mels=n_fft * FULL_BAND.n_mels // FULL_BAND.n_fft)
            mel_loss = mel_loss + mel_distance(ours, theirs, bands) / len(RESOLUTIONS)
        elif n_fft == AudioConfig.n_fft:
            mel_loss = mel_distance(ours, theirs, AudioConfig())
    return stft_loss / len(RESOLUTIONS), mel_loss


def energy_distance_losses(
    first: mx.array, second: mx.array, real: mx.array, weight: float, mel_loss_kind: str = "single"
) -> tuple[mx.array, mx.array]:
    """The spectral losses as a generalized energy distance (Gritsenko et al. 2020): 3 x (B, S) -> 2 scalars.

    first and second: what the generator made of the same features with different noise. Their mean distance to the
    real waveform, minus half `weight` times their distance to each other. At 1 the minimum is where the waveforms
    are spread as the real ones are; at 0 it is where they are closest on average, for which pulses always beat
    noise: speech turns buzzy, and hiss too quiet.
    """
    one, other, target = spectra(first), spectra(second), spectra(real)
    pairs = [spectral_losses(*pair, target, mel_loss_kind) for pair in ((one, target), (other, target), (one, other))]
    stft_loss, mel_loss = (0.5 * (a + b - weight * c) for a, b, c in zip(*pairs, strict=True))
    return stft_loss, mel_loss


def full_band_mel_loss(generated: mx.array, real: mx.array) -> mx.array:
    """HiFi-GAN's mel loss (section 2.4.2): mean |log mel - log mel| of (B, S) twice, over bands up to Nyquist."""
    return mx.mean(mx.abs(log_mel(generated, FULL_BAND) - log_mel(real, FULL_BAND)))


def discriminator_adversarial_loss(real_scores: Sequence[mx.array], fake_scores: Sequence[mx.array]) -> mx.array:
    """LSGAN: real scores towards 1, fake ones towards 0; the sum over the discriminators (HiFi-GAN, equation 1)."""
    total = mx.array(0.0)
    for real, fake in zip(real_scores, fake_scores, strict=True):
        total = total + mx.mean(mx.square(real - 1.0)) + mx.mean(mx.square(fake))
    return total


def generator_adversarial_loss(fake_scores: Sequence[mx.array]) -> mx.array:
    """LSGAN: fake scores towards 1; the sum over the discriminators (HiFi-GAN, equation 2)."""
    total = mx.array(0.0)
    for fake in fake_scores:
        total = total + mx.mean(mx.square(fake - 1.0))
    return total


def feature_matching_loss(real: Features, fake: Features) -> mx.array:
    """Mean absolute difference of a layer's outputs, the sum over layers and discriminators (HiFi-GAN, equation 4)."""
    total = mx.array(0.0)
    for real_layers, fake_layers in zip(real, fake, strict=True):
        for ours, theirs in zip(fake_layers, real_layers, strict=True):
            total = total + mx.mean(mx.abs(ours - mx.stop_gradient(theirs)))
    return total
