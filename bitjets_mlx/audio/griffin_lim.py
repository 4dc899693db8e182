"""From mel to sound without any trained weights: the fallback when a voice has no vocoder.

D. Griffin and J. Lim 1984, "Signal estimation from modified short-time Fourier transform"; the momentum is
that of N. Perraudin, P. Balazs and P. Sondergaard 2013, "A fast Griffin-Lim algorithm", algorithm 2.
"""

import mlx.core as mx
import numpy as np

from bitjets_mlx.audio.spectrogram import istft_parts, mel_filterbank, stft_parts
from bitjets_mlx.config import AudioConfig
from bitjets_mlx.errors import BitjetsError

MOMENTUM = 0.99  # the value the paper recommends


def griffin_lim(
    log_mel: np.ndarray, config: AudioConfig | None = None, iterations: int = 30, seed: int = 0
) -> np.ndarray:
    """Sound whose spectrogram comes near a log mel one: (T, 80) natural log -> float32 (T * 256,).

    Same seed, same samples. BitjetsError for a mel of another shape, empty, or with NaN.
    """
    config = config or AudioConfig()
    mel = np.asarray(log_mel, np.float32)
    if mel.ndim != 2 or mel.shape[1] != config.n_mels or len(mel) < 2:
        raise BitjetsError(f"Griffin-Lim needs a mel of shape (T, {config.n_mels}) with T > 1, not {mel.shape}.")
    if not np.isfinite(mel).all():
        raise BitjetsError("The mel holds NaN or infinity: the model's weights are damaged.")
    target = mel_to_magnitude(mx.array(mel)[None], config)  # (1, T, 513)
    angle = 2 * np.pi * mx.random.uniform(shape=target.shape, key=mx.random.key(seed))
    real, imaginary = target * mx.cos(angle), target * mx.sin(angle)
    previous = mx.zeros_like(real), mx.zeros_like(imaginary)
    for _ in range(iterations):
        consistent = stft_parts(istft_parts(real, imaginary, config.hop), config.n_fft, config.hop)
        ahead = [now + MOMENTUM * (now - before) for now, before in zip(consistent, previous, strict=True)]
        real, imaginary = _with_magnitude(target, *ahead)
        previous = consistent
        mx.eval(real, imaginary)  # one iteration at a time, or the graph grows with their number
    return np.array(istft_parts(real, imaginary, config.hop)[0])  # (T * 256,)


def _with_magnitude(target: mx.array, real: mx.array, imaginary: mx.array) -> tuple[mx.array, mx.array]:
    """The given magnitude with the phase of the given spectrum."""
    scale = target * mx.rsqrt(real * real + imaginary * imaginary + 1e-16)
    return real * scale, imaginary * scale


def mel_to_magnitude(log_mel: mx.array, config: AudioConfig | None = None, iterations: int = 20) -> mx.array:
    """A non-negative magnitude spectrogram that has the given mel: (B, T, 80) -> (B, T, 513).

    Multiplicative updates for least squares (D. Lee and S. Seung 2000, "Algorithms for non-negative matrix
    factorization"), each mel band weighted by one over its target, so that quiet bands count too. They start
    flat within each band and so leave the undetermined detail smooth. Beyond the last band it is zero.
    """
    bank = mx.array(mel_filterbank(config or AudioConfig()))  # (80, 513)
    target = mx.exp(log_mel)  # (B, T, 80)
    weight = 1 / mx.square(target)
    magnitudes = (target / bank.sum(axis=1)) @ (bank / mx.maximum(bank.sum(axis=0), 1e-8))  # (B, T, 513)
    wanted = (weight * target) @ bank
    for _ in range(iterations):
        magnitudes = magnitudes * wanted / mx.maximum((weight * (magnitudes @ bank.T)) @ bank, 1e-12)
    return magnitudes
