"""Harmonic vocoder: a frame-rate ConvNeXt stack that filters a pulse train and white noise (the shipped default).

The phase of voiced speech comes from a pulse train with the right F0, so the network only has to predict, per frame
and frequency bin, a filter for the pulses (log-magnitude and phase) and one for the noise (log-magnitude). Relatives:
NHV (Liu et al. 2020), Vocos (Siuzdak 2023), HiFTNet (Li et al. 2023). All frames, those of the mel, of F0 and of
the STFT of the excitation, are centred on sample 256 i + 128.
"""

import math

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from bitjets_mlx.audio.spectrogram import istft_parts, real_fft
from bitjets_mlx.config import HOP, N_FFT, SAMPLE_RATE, HarmonicConfig
from bitjets_mlx.native.harmonic import PackedHarmonic
from bitjets_mlx.native.loader import as_numpy
from bitjets_mlx.native.vocoder import Packed
from bitjets_mlx.ops.convolution import conv1d, depthwise_conv1d
from bitjets_mlx.vocoder.noise import white_noise, white_noise_numpy

BINS = N_FFT // 2 + 1
OVERLAP = N_FFT // HOP
EDGE = 2  # frames added at either end, so that every STFT frame lies inside the excitation
MARGIN = EDGE * HOP - HOP // 2  # 384 samples of excitation before the first output sample and after the last
PHASE_STEPS = 2**24  # a phase is a whole number of these steps: exact in int32 and in float32


def excitation_samples(frames: int) -> int:
    """Samples of excitation for `frames` frames: the output and a margin of 384 at both ends."""
    return frames * HOP + 2 * MARGIN


def pulse_train(log_f0: mx.array, voiced: mx.array, initial_phase: mx.array) -> mx.array:
    """Band-limited pulses of unit power where voiced: (B, T), (B, T), (B,) -> (B, S + 768).

    log_f0: natural log of Hz at the frame centres, also given where unvoiced. initial_phase: in cycles, 0 to 1.
    The sum of the cosines up to Nyquist in closed form, times sqrt(2 / K), with F0 linear between frame centres.
    """
    frequency, phase = frame_phases(log_f0, initial_phase)
    left, right = frequency[:, :-1], frequency[:, 1:]  # (B, T+3)
    n = mx.arange(HOP, dtype=mx.float32)
    slope = (right - left) / HOP
    cycles = phase[..., None] + n * (left[..., None] + n * (0.5 * slope[..., None]))  # (B, T+3, 256)
    cycles = cycles - mx.round(cycles)  # -0.5 to 0.5
    now = left[..., None] + n * slope[..., None]
    harmonics = mx.floor(0.5 / now)
    gate = extended(voiced)
    gate = gate[:, :-1, None] + (gate[:, 1:, None] - gate[:, :-1, None]) * (n / HOP)
    at_peak = mx.abs(cycles) < 1e-6
    half_angle = math.pi * mx.where(at_peak, 0.25, cycles)
    ratio = mx.sin((2 * harmonics + 1) * half_angle) / mx.sin(half_angle)
    total = 0.5 * (mx.where(at_peak, 2 * harmonics + 1, ratio) - 1.0)
    return (total * mx.sqrt(2.0 / harmonics) * gate).flatten(1)  # (B, S+768)


def frame_phases(log_f0: mx.array, initial_phase: mx.array) -> tuple[mx.array, mx.array]:
    """Cycles per sample at all frame centres (B, T+4), and the phase at all but the last, in cycles (B, T+3).

    Whole steps in uint32 wrap around exactly, so hours of speech lose no precision.
    """
    frequency = mx.clip(mx.exp(extended(log_f0)), 30.0, 1500.0) / SAMPLE_RATE  # (B, T+4)
    advance = mx.floor(((frequency[:, :-1] + frequency[:, 1:]) * (HOP / 2) % 1.0) * PHASE_STEPS).astype(mx.uint32)
    start = mx.floor((initial_phase % 1.0) * PHASE_STEPS).astype(mx.uint32)[:, None]  # (B, 1)
    steps = (mx.cumsum(advance, axis=1) - advance + start) % PHASE_STEPS
    return frequency, steps.astype(mx.float32) / PHASE_STEPS


def extended(x: mx.array) -> mx.array:
    """Repeat the first and the last frame: (B, T) -> (B, T+4)."""
    return mx.concatenate([x[:, :1]] * EDGE + [x] + [x[:, -1:]] * EDGE, axis=1).astype(mx.float32)


def frame_spectrum(x: mx.array, window: mx.array) -> tuple[mx.array, mx.array]:
    """STFT of an excitation with its margins: (B, S + 768) -> 2 x (B, T, 513), frame i centred on 256 i + 128."""
    blocks = x.reshape(x.shape[0], -1, HOP)  # (B, T+3, 256)
    frames = blocks.shape[1] - OVERLAP + 1
    parts = [blocks[:, k : k + frames] for k in range(OVERLAP)]
    return real_fft(mx.concatenate(parts, axis=-1) * window)  # 2 x (B, T, 513)


def gate(x: mx.array) -> mx.array:
    """x times an algebraic sigmoid: the shape of GELU, without the erf, which MLX's CPU backend evaluates slowly."""
    return x * (0.5 + 0.5 * x * mx.rsqrt(1.0 + x * x))


class ConvNextBlock(nn.Module):
    """Depthwise convolution, LayerNorm, two linear layers, scaled residual (Liu et al. 2022)."""

    def __init__(self, width: int, hidden: int, kernel: int) -> None:
        super().__init__()
        bound = 1.0 / math.sqrt(kernel)
        self.depthwise = mx.random.uniform(-bound, bound, (width, kernel))
        self.norm = nn.LayerNorm(width)
        self.widen = nn.Linear(width, hidden)
        self.narrow = nn.Linear(hidden, width)
        self.scale = mx.full((width,), 0.2)

    def __call__(self, x: mx.array) -> mx.array:
        """(B, T, D) -> (B, T, D)."""
        y = self.norm(depthwise_conv1d(x, self.depthwise))
        return x + self.scale * self.narrow(gate(self.widen(y)))


class HarmonicVocoder(nn.Module):
    """Mel, log F0 and voicing to samples, at frame rate throughout."""

    def __init__(self, config: HarmonicConfig) -> None:
        super().__init__()
        self.config = config
        inputs = config.n_mels + 2
        bound = 1.0 / math.sqrt(inputs * config.kernel)
        self.input_weight = mx.random.uniform(-bound, bound, (config.width, config.kernel, inputs))
        self.input_bias = mx.zeros((config.width,))
        self.blocks = [ConvNextBlock(config.width, config.hidden, config.kernel) for _ in range(config.layers)]
        self.norm = nn.LayerNorm(config.width)
        self.output = nn.Linear(config.width, 4 * BINS)
        self.output.weight = 0.01 * mx.random.normal(self.output.weight.shape)
        self.output.bias = mx.zeros((4 * BINS,))
        self._window = mx.array(np.hanning(N_FFT + 1)[:-1].astype(np.float32))  # periodic Hann
        self._envelope = mx.array(envelope_matrix(config.n_mels))
        low, share = envelope_positions(config.n_mels)
        self._in_c = Packed(lambda kernels, weights: PackedHarmonic(kernels, config, weights, low, share))

    def filters(self, mel: mx.array, log_f0: mx.array, voiced: mx.array) -> tuple[mx.array, mx.array, mx.array]:
        """Pulse filter (real, imaginary) and noise gain: (B, T, 80), 2 x (B, T) -> 3 x (B, T, 513)."""
        pitch = mx.stack([(log_f0 - 5.3) * 2.0, voiced.astype(mx.float32)], axis=-1)  # (B, T, 2)
        x = mx.concatenate([(mel + 5.0) / 2.5, pitch], axis=-1)  # (B, T, 82)
        x = conv1d(x, self.input_weight, padding=self.config.kernel // 2) + self.input_bias  # (B, T, D)
        for block in self.blocks:
            x = block(x)
        x = self.output(self.norm(x))  # (B, T, 4*513)
        pulse_log, noise_log, real, imaginary = mx.split(x, 4, axis=-1)  # 4 x (B, T, 513)
        envelope = mel @ self._envelope  # (B, T, 513): the network corrects this first guess
        pulse_gain = mx.exp(mx.clip(pulse_log + envelope, -12.0, 4.0))
        noise_gain = mx.exp(mx.clip(noise_log + envelope, -12.0, 4.0))
        real = real + 1.0  # no phase shift at the start
        pulse_gain = pulse_gain * mx.rsqrt(real * real + imaginary * imaginary + 1e-6)
        return pulse_gain * real, pulse_gain * imaginary, noise_gain

    def synthesize(
        self,
        mel: mx.array,
        log_f0: mx.array,
        voiced: mx.array,
        initial_phase: mx.array,
        *noises: mx.array,
    ) -> list[mx.array]:
        """Samples for given randomness, once for each noise: phase (B,) in cycles, noise (B, S + 768) -> (B, S)."""
        pulses = pulse_train(log_f0, voiced, initial_phase)  # (B, S+768)
        pulse_real, pulse_imaginary = map(mx.stop_gradient, frame_spectrum(pulses, self._window))
        real, imaginary, gain = self.filters(mel, log_f0, voiced)  # 3 x (B, T, 513)
        voice_real = pulse_real * real - pulse_imaginary * imaginary
        voice_imaginary = pulse_real * imaginary + pulse_imaginary * real
        sounds = []
        for noise in noises:
            noise_real, noise_imaginary = map(mx.stop_gradient, frame_spectrum(noise, self._window))
            sounds.append(istft_parts(voice_real + noise_real * gain, voice_imaginary + noise_imaginary * gain, HOP))
        return sounds  # (B, S) each

    def __call__(self, mel: mx.array, log_f0: mx.array, voiced: mx.array, seed: int = 0) -> mx.array:
        """(B, T, 80), (B, T), (B, T) -> (B, T * 256); the same seed gives the same samples."""
        noise_key, phase_key = mx.random.split(mx.random.key(seed))
        phase = mx.random.uniform(shape=(mel.shape[0],), key=phase_key)
        samples = excitation_samples(mel.shape[1])
        in_c = self._in_c.of(self)
        if in_c is not None:
            noise = white_noise_numpy(noise_key, mel.shape[0], samples)
            return synthesize_in_c(in_c, mel, log_f0, voiced, phase, noise)
        return self.synthesize(mel, log_f0, voiced, phase, white_noise(noise_key, mel.shape[0], samples))[0]


def synthesize_in_c(
    kernel: PackedHarmonic,
    mel: mx.array,
    log_f0: mx.array,
    voiced: mx.array,
    initial_phase: mx.array,
    noise: np.ndarray,
) -> mx.array:
    """`HarmonicVocoder.synthesize` with one noise, by its kernel: no gradients."""
    frequency, phase = frame_phases(log_f0, initial_phase)
    given = {"mel": mel, "log_f0": log_f0, "voiced": voiced, "phase": phase}
    given |= {"frequency": frequency, "gate": extended(voiced)}
    arrays = {name: as_numpy(array) for name, array in given.items()} | {"noise": noise}
    rows = [kernel(**{name: array[i] for name, array in arrays.items()}) for i in range(mel.shape[0])]
    return mx.array(np.stack(rows))  # (B, S)


def envelope_positions(n_mels: int) -> tuple[np.ndarray, np.ndarray]:
    """Where each STFT bin lies among the mel bands: the band below it and the share of the next one, 2 x (513,)."""
    step = 200.0 / 3.0  # Slaney scale: linear to 1 kHz, 27 bands an octave-ish factor of 6.4 above
    hertz = np.linspace(0.0, SAMPLE_RATE / 2, BINS)
    log_part = 15.0 + 27.0 * np.log(np.maximum(hertz, 1000.0) / 1000.0) / math.log(6.4)
    mels = np.where(hertz < 1000.0, hertz / step, log_part)
    top = 15.0 + 27.0 * math.log(8.0) / math.log(6.4)  # 8 kHz
    position = np.clip(mels / top * (n_mels + 1) - 1.0, 0.0, n_mels - 1.0)
    low = np.minimum(position.astype(int), n_mels - 2)
    return low, position - low


def envelope_matrix(n_mels: int) -> np.ndarray:
    """(80, 513): interpolates a log-mel frame to the STFT bins, holding the last band up to Nyquist."""
    low, share = envelope_positions(n_mels)
    matrix = np.zeros((n_mels, BINS), np.float32)
    matrix[low, np.arange(BINS)] = 1.0 - share
    matrix[low + 1, np.arange(BINS)] = share
    return matrix
