"""STFT, mel spectrogram and their inverse in MLX: batched, differentiable, equal to librosa.

Conventions (those of the official HiFi-GAN, so that its checkpoints work): reflect-pad (n_fft - hop) / 2
samples on both sides, no centring, so S samples give S // hop frames and frame i is centred on sample
hop * i + hop / 2; periodic Hann window; magnitude sqrt(re^2 + im^2 + 1e-9).
"""

from functools import lru_cache

import mlx.core as mx
import numpy as np

from bitjets_mlx.config import AudioConfig
from bitjets_mlx.errors import BitjetsError

MAGNITUDE_FLOOR = 1e-9  # inside the square root: keeps the gradient finite at silence


def real_fft(frames: mx.array) -> tuple[mx.array, mx.array]:
    """Real and imaginary part of the FFT of real frames: (..., N) -> 2 x (..., N / 2 + 1).

    The same as `mx.fft.rfft`, with a gradient that is one inverse real FFT: MLX's own goes through a full
    complex one, and is eight times slower on the CPU backend.
    """
    real, imaginary = _real_fft(frames)
    return real, imaginary


def inverse_real_fft(real: mx.array, imaginary: mx.array) -> mx.array:
    """The inverse of `real_fft`: 2 x (..., N / 2 + 1) -> (..., N); the gradient is one real FFT."""
    return _inverse_real_fft(real, imaginary)


@mx.custom_function
def _real_fft(frames: mx.array) -> tuple[mx.array, mx.array]:
    spectrum = mx.fft.rfft(frames)  # (..., N / 2 + 1)
    return mx.real(spectrum), mx.imag(spectrum)


@_real_fft.vjp
def _real_fft_vjp(frames, cotangents, _):  # type: ignore[no-untyped-def]
    size = frames.shape[-1]
    weight = _bin_weights(size)
    real, imaginary = cotangents
    return mx.fft.irfft((real + 1j * imaginary) * (size / weight), n=size)


@mx.custom_function
def _inverse_real_fft(real: mx.array, imaginary: mx.array) -> mx.array:
    return mx.fft.irfft(real + 1j * imaginary, n=2 * (real.shape[-1] - 1))


@_inverse_real_fft.vjp
def _inverse_real_fft_vjp(primals, cotangent, _):  # type: ignore[no-untyped-def]
    size = cotangent.shape[-1]
    spectrum = mx.fft.rfft(cotangent)
    weight = _bin_weights(size) / size
    inner = weight * (_bin_weights(size) > 1)  # the imaginary parts at 0 Hz and at Nyquist do not count
    return mx.real(spectrum) * weight, mx.imag(spectrum) * inner


def _bin_weights(size: int) -> mx.array:
    """How often each bin of a real FFT stands in the full one: 1 at both ends, 2 between."""
    bins = mx.arange(size // 2 + 1)
    return mx.where((bins == 0) | (bins == size // 2), 1.0, 2.0)


@lru_cache(maxsize=16)
def _hann(size: int) -> np.ndarray:
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)).astype(np.float32)


def frame(audio: mx.array, n_fft: int = 1024, hop: int = 256) -> mx.array:
    """Overlapping frames, reflect-padded, not yet windowed: (B, S) -> (B, S // hop, n_fft)."""
    if n_fft % hop:
        raise BitjetsError(f"The FFT size ({n_fft}) must be a multiple of the hop ({hop}).")
    pad = (n_fft - hop) // 2
    samples = audio.shape[-1]
    if samples <= max(pad, hop - 1):
        raise BitjetsError(
            f"The audio is too short: {samples} samples, but at least {max(pad + 1, hop)} are needed."
        )
    left, right = audio[:, pad:0:-1], audio[:, -2 : -pad - 2 : -1]  # (B, pad) each
    frames = samples // hop
    blocks = frames + n_fft // hop - 1
    padded = mx.concatenate([left, audio, right], axis=1)[:, : blocks * hop]
    padded = padded.reshape(audio.shape[0], blocks, hop)  # (B, blocks, hop)
    return mx.concatenate([padded[:, i : i + frames] for i in range(n_fft // hop)], axis=-1)  # (B, T, n_fft)


def stft_parts(audio: mx.array, n_fft: int = 1024, hop: int = 256) -> tuple[mx.array, mx.array]:
    """Real and imaginary part of the STFT: (B, S) -> 2 x (B, S // hop, n_fft / 2 + 1)."""
    return real_fft(frame(audio, n_fft, hop) * mx.array(_hann(n_fft)))


def stft(audio: mx.array, n_fft: int = 1024, hop: int = 256) -> mx.array:
    """Complex STFT: (B, S) -> (B, S // hop, n_fft / 2 + 1)."""
    real, imaginary = stft_parts(audio, n_fft, hop)
    return real + 1j * imaginary


def istft_parts(real: mx.array, imaginary: mx.array, hop: int = 256) -> mx.array:
    """Inverse of `stft_parts` by windowed overlap-add: 2 x (B, T, n_fft / 2 + 1) -> (B, T * hop).

    The least-squares inverse (Griffin and Lim 1984, equation 6): divided by the sum of squared windows.
    """
    n_fft = 2 * (real.shape[-1] - 1)
    window = mx.array(_hann(n_fft))
    frames = inverse_real_fft(real, imaginary) * window  # (B, T, n_fft)
    count = frames.shape[1]
    sound = _overlap_add(frames, hop)  # (B, (T - 1) * hop + n_fft)
    weight = _overlap_add(mx.broadcast_to(window * window, (1, count, n_fft)), hop)
    pad = (n_fft - hop) // 2
    return (sound / mx.maximum(weight, 1e-8))[:, pad : pad + count * hop]  # (B, T * hop)


def istft(spectrum: mx.array, hop: int = 256) -> mx.array:
    """Inverse of `stft`: complex (B, T, n_fft / 2 + 1) -> (B, T * hop)."""
    return istft_parts(mx.real(spectrum), mx.imag(spectrum), hop)


def _overlap_add(frames: mx.array, hop: int) -> mx.array:
    """Frames every `hop` samples summed: (B, T, N) -> (B, (T - 1) * hop + N)."""
    batch, count, size = frames.shape
    overlap = size // hop
    blocks = frames.reshape(batch, count, overlap, hop)
    total = sum(mx.pad(blocks[:, :, i], ((0, 0), (i, overlap - 1 - i), (0, 0))) for i in range(overlap))
    return total.reshape(batch, (count + overlap - 1) * hop)  # type: ignore[union-attr]


def magnitude(audio: mx.array, n_fft: int = 1024, hop: int = 256) -> mx.array:
    """Magnitude spectrogram sqrt(re^2 + im^2 + 1e-9): (B, S) -> (B, S // hop, n_fft / 2 + 1)."""
    real, imaginary = stft_parts(audio, n_fft, hop)
    return mx.sqrt(real * real + imaginary * imaginary + MAGNITUDE_FLOOR)


def magnitude_to_log_mel(magnitudes: mx.array, config: AudioConfig | None = None) -> mx.array:
    """Natural log of the mel bands, floored at `log_floor`: (B, T, 513) -> (B, T, 80)."""
    config = config or AudioConfig()
    bands = magnitudes @ mx.array(mel_filterbank(config).T)  # (B, T, 80)
    return mx.log(mx.maximum(bands, config.log_floor))


def log_mel(audio: mx.array, config: AudioConfig | None = None) -> mx.array:
    """Log mel spectrogram: samples in [-1, 1], (B, S) -> (B, S // 256, 80)."""
    config = config or AudioConfig()
    return magnitude_to_log_mel(magnitude(audio, config.n_fft, config.hop), config)


def energy(magnitudes: mx.array) -> mx.array:
    """L2 norm of each magnitude frame, linear: (B, T, 513) -> (B, T)."""
    return mx.linalg.norm(magnitudes, axis=-1)


@lru_cache(maxsize=8)
def mel_filterbank(config: AudioConfig) -> np.ndarray:
    """Triangular filters on Slaney's mel scale, each of unit area ("Slaney norm"): (n_mels, n_fft / 2 + 1)."""
    bins = np.linspace(0.0, config.sample_rate / 2, config.n_fft // 2 + 1)
    edges = _mel_to_hz(np.linspace(_hz_to_mel(config.f_min), _hz_to_mel(config.f_max), config.n_mels + 2))
    ramps = edges[:, None] - bins[None, :]  # (n_mels + 2, bins)
    widths = np.diff(edges)[:, None]
    rising, falling = -ramps[:-2] / widths[:-1], ramps[2:] / widths[1:]
    weights = np.maximum(0.0, np.minimum(rising, falling))  # (n_mels, bins)
    return (weights * (2.0 / (edges[2:] - edges[:-2]))[:, None]).astype(np.float32)


# Slaney's Auditory Toolbox: linear to 1 kHz (200/3 Hz a mel), then 27 logarithmic steps per factor 6.4.
_HZ_PER_MEL, _BREAK_HZ, _LOG_STEP = 200.0 / 3, 1000.0, np.log(6.4) / 27.0


def _hz_to_mel(hz: float) -> float:
    if hz < _BREAK_HZ:
        return hz / _HZ_PER_MEL
    return float(_BREAK_HZ / _HZ_PER_MEL + np.log(hz / _BREAK_HZ) / _LOG_STEP)


def _mel_to_hz(mel: np.ndarray) -> np.ndarray:
    break_mel = _BREAK_HZ / _HZ_PER_MEL
    return np.where(mel < break_mel, mel * _HZ_PER_MEL, _BREAK_HZ * np.exp(_LOG_STEP * (mel - break_mel)))
