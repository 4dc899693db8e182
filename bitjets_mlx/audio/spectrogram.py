"""STFT, mel spectrogram and their inverse in MLX: batched, differentiable, equal to librosa.

Conventions (those of the official HiFi-GAN, so that its checkpoints work): reflect-pad (n_fft - hop) / 2
samples on both sides, no centring, so S samples give S // hop frames and frame i is centred on sample
hop * i + hop / 2; periodic Hann window; magnitude sqrt(re^2 + im^2 + 1e-9).
"""

from collections.abc import Callable
from functools import lru_cache
from typing import cast

import mlx.core as mx
import numpy as np

from bitjets_mlx.config import HOP, N_FFT, AudioConfig
from bitjets_mlx.errors import BitjetsError

MAGNITUDE_FLOOR = 1e-9  # inside the square root: keeps the gradient finite at silence


def real_fft(frames: mx.array) -> tuple[mx.array, mx.array]:
    """Real and imaginary part of the FFT of real frames: (..., N) -> 2 x (..., N / 2 + 1).

    The same as `mx.fft.rfft`, with a gradient that is one inverse real FFT: MLX's own goes through a full
    complex one, and is eight times slower on the CPU backend.
    """
    return cast(tuple[mx.array, mx.array], _real_fft(frames))


def inverse_real_fft(real: mx.array, imaginary: mx.array) -> mx.array:
    """The inverse of `real_fft`: 2 x (..., N / 2 + 1) -> (..., N); the gradient is one real FFT."""
    return cast(mx.array, _inverse_real_fft(real, imaginary))


@mx.custom_function
def _real_fft(frames: mx.array) -> tuple[mx.array, mx.array]:
    spectrum = mx.fft.rfft(frames)  # (..., N / 2 + 1)
    return mx.real(spectrum), mx.imag(spectrum)


@_real_fft.vjp
def _real_fft_vjp(frames, cotangents, _):  # type: ignore[no-untyped-def]
    size = frames.shape[-1]
    scale = size / _bin_weights(size)
    return mx.fft.irfft(as_complex(cotangents[0] * scale, cotangents[1] * scale), n=size)


@mx.custom_function
def _inverse_real_fft(real: mx.array, imaginary: mx.array) -> mx.array:
    return mx.fft.irfft(as_complex(real, imaginary), n=2 * (real.shape[-1] - 1))


@_inverse_real_fft.vjp
def _inverse_real_fft_vjp(primals, cotangent, _):  # type: ignore[no-untyped-def]
    size = cotangent.shape[-1]
    spectrum = mx.fft.rfft(cotangent)
    weight = _bin_weights(size) / size
    inner = weight * (_bin_weights(size) > 1)  # the imaginary parts at 0 Hz and at Nyquist do not count
    return mx.real(spectrum) * weight, mx.imag(spectrum) * inner


def as_complex(real: mx.array, imaginary: mx.array) -> mx.array:
    """real + i imaginary, by laying the two side by side: complex arithmetic is slow on the CPU backend."""
    return mx.stack([real, imaginary], axis=-1).view(mx.complex64)[..., 0]


def _bin_weights(size: int) -> mx.array:
    """How often each bin of a real FFT stands in the full one: 1 at both ends, 2 between."""
    bins = mx.arange(size // 2 + 1)
    return mx.where((bins == 0) | (bins == size // 2), 1.0, 2.0)


@lru_cache(maxsize=16)
def _hann(size: int) -> np.ndarray:
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)).astype(np.float32)


def frame(audio: mx.array, n_fft: int = N_FFT, hop: int = HOP) -> mx.array:
    """Overlapping frames, reflect-padded, not yet windowed: (B, S) -> (B, S // hop, n_fft)."""
    if n_fft % hop:
        raise BitjetsError(f"The FFT size ({n_fft}) must be a multiple of the hop ({hop}).")
    pad, count = (n_fft - hop) // 2, audio.shape[-1] // hop
    if audio.shape[-1] <= max(pad, hop - 1):
        raise BitjetsError(f"The sound is too short for a spectrum: {audio.shape[-1]} samples, hop {hop}.")
    cut, _ = _cutting(n_fft, hop)
    return cut(_reflect_pad(audio, pad)[:, : (count - 1) * hop + n_fft])


def _reflect_pad(audio: mx.array, pad: int) -> mx.array:
    """(B, S) -> (B, pad + S + pad), mirrored at both ends without repeating the last sample."""
    return mx.concatenate([audio[:, pad:0:-1], audio, audio[:, -2 : -pad - 2 : -1]], axis=1)


@lru_cache(maxsize=16)
def _cutting(n_fft: int, hop: int) -> tuple[Callable[[mx.array], mx.array], Callable[[mx.array], mx.array]]:
    """Cutting sound into frames, (B, (T - 1) hop + n_fft) -> (B, T, n_fft), and overlap-add, the way back.

    Each is the other's gradient, said here outright: what MLX derives from the slices is ten times slower.
    """
    overlap = n_fft // hop

    def cut_(sound: mx.array) -> mx.array:
        blocks = sound.reshape(sound.shape[0], -1, hop)  # (B, T + overlap - 1, hop)
        count = blocks.shape[1] - overlap + 1
        return mx.concatenate([blocks[:, i : i + count] for i in range(overlap)], axis=-1)  # (B, T, n_fft)

    def add_(frames: mx.array) -> mx.array:
        batch, count, _ = frames.shape
        blocks = frames.reshape(batch, count, overlap, hop)
        total = mx.zeros((batch, count + overlap - 1, hop), frames.dtype)
        for i in range(overlap):
            total = total + mx.pad(blocks[:, :, i], [(0, 0), (i, overlap - 1 - i), (0, 0)])
        return total.reshape(batch, -1)  # (B, (T - 1) hop + n_fft)

    cut, add = mx.custom_function(cut_), mx.custom_function(add_)
    cut.vjp(lambda _primals, cotangent, _output: add_(cotangent))
    add.vjp(lambda _primals, cotangent, _output: cut_(cotangent))
    return cast(Callable[[mx.array], mx.array], cut), cast(Callable[[mx.array], mx.array], add)


def stft_parts(audio: mx.array, n_fft: int = N_FFT, hop: int = HOP) -> tuple[mx.array, mx.array]:
    """Real and imaginary part of the STFT: (B, S) -> 2 x (B, S // hop, n_fft / 2 + 1)."""
    return real_fft(frame(audio, n_fft, hop) * mx.array(_hann(n_fft)))


def istft_parts(real: mx.array, imaginary: mx.array, hop: int = HOP) -> mx.array:
    """Inverse of `stft_parts` by windowed overlap-add: 2 x (B, T, n_fft / 2 + 1) -> (B, T * hop).

    The least-squares inverse (Griffin and Lim 1984, equation 6): divided by the sum of squared windows.
    """
    n_fft = 2 * (real.shape[-1] - 1)
    pad, count = (n_fft - hop) // 2, real.shape[1]
    _, overlap_add = _cutting(n_fft, hop)
    sound = overlap_add(inverse_real_fft(real, imaginary) * mx.array(_hann(n_fft)))  # (B, (T - 1) hop + n_fft)
    weight = overlap_add(mx.broadcast_to(mx.array(_hann(n_fft) ** 2), (1, count, n_fft)))
    return (sound / mx.maximum(weight, 1e-8))[:, pad : pad + count * hop]  # (B, T * hop)


def magnitude(audio: mx.array, n_fft: int = N_FFT, hop: int = HOP) -> mx.array:
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
    """Triangles on the mel scale of `config`, by default Slaney's and of unit area: (n_mels, n_fft / 2 + 1)."""
    bins = np.linspace(0.0, config.sample_rate / 2, config.n_fft // 2 + 1)
    to_mel, to_hz = (_htk_hz_to_mel, _htk_mel_to_hz) if config.mel_scale == "htk" else (_hz_to_mel, _mel_to_hz)
    edges = to_hz(np.linspace(to_mel(config.f_min), to_mel(config.f_max), config.n_mels + 2))
    ramps = edges[:, None] - bins[None, :]  # (n_mels + 2, bins)
    widths = np.diff(edges)[:, None]
    rising, falling = -ramps[:-2] / widths[:-1], ramps[2:] / widths[1:]
    weights = np.maximum(0.0, np.minimum(rising, falling))  # (n_mels, bins)
    if config.mel_norm == "slaney":
        weights = weights * (2.0 / (edges[2:] - edges[:-2]))[:, None]
    return weights.astype(np.float32)


def _htk_hz_to_mel(hz: float) -> float:
    return float(2595.0 * np.log10(1.0 + hz / 700.0))


def _htk_mel_to_hz(mel: np.ndarray) -> np.ndarray:
    return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)


# Slaney's Auditory Toolbox: linear to 1 kHz (200/3 Hz per mel), then 27 logarithmic steps per factor 6.4.
_HZ_PER_MEL, _BREAK_HZ, _LOG_STEP = 200.0 / 3, 1000.0, np.log(6.4) / 27.0


def _hz_to_mel(hz: float) -> float:
    if hz < _BREAK_HZ:
        return hz / _HZ_PER_MEL
    return float(_BREAK_HZ / _HZ_PER_MEL + np.log(hz / _BREAK_HZ) / _LOG_STEP)


def _mel_to_hz(mel: np.ndarray) -> np.ndarray:
    break_mel = _BREAK_HZ / _HZ_PER_MEL
    return np.where(mel < break_mel, mel * _HZ_PER_MEL, _BREAK_HZ * np.exp(_LOG_STEP * (mel - break_mel)))
