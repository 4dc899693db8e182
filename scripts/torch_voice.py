"""The PyTorch twin of a whole voice, for speaking: what `python -m bitjets_mlx.benchmark voice` compares us with.

Not part of the package: the benchmark's own processes and tests import it, and torch is in requirements-bench.txt
alone. It imports no MLX, so that its memory and its start are its own. A fair opponent: inference mode, as many threads
as there are cores, ternary weights expanded to float32 beforehand, weight normalization folded, fused operations
(RMSNorm, LayerNorm, attention), in-place activations, convolutions of many inputs as one matrix product, HiFi-GAN as
oneDNN's convolutions. From the same weights it makes the same mels and samples (tests/test_torch_voice.py).
`torch_twin.py` is the twin of the acoustic model in training.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

RMS_EPS = 1e-6
ACTIVATION_EPS = 1e-5
UPSAMPLING_DELTA = 0.1
SAMPLE_RATE, HOP, N_FFT, BINS, EDGE = 22050, 256, 1024, 513, 2

Weights = Mapping[str, Tensor]


class Spoken(NamedTuple):
    """What the acoustic model says, in normalized units: durations (N,) in frames, and (T, 82)."""

    durations: Tensor
    frames: Tensor


def read_export(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """config.json and weights.npz, as `bitjets_mlx.benchmarking.torch_export` writes them."""
    config = json.loads((folder / "config.json").read_text())
    with np.load(folder / "weights.npz") as arrays:
        return config, {name: torch.from_numpy(arrays[name]) for name in arrays.files}


def part(weights: Weights, prefix: str) -> dict[str, Tensor]:
    """The weights whose names begin with `prefix` and a dot, without it."""
    return {name[len(prefix) + 1 :]: leaf for name, leaf in weights.items() if name.startswith(prefix + ".")}


def convolve(x: Tensor, weight: Tensor, bias: Tensor, taps: int) -> Tensor:
    """Convolution with "same" zero padding as one matrix product: (T, I), (O, K I), (O,) -> (T, O)."""
    if taps > 1:
        length, reach = x.shape[0], taps // 2
        padded = F.pad(x, (0, 0, reach, reach))  # (T + K - 1, I)
        x = torch.cat([padded[tap : tap + length] for tap in range(taps)], dim=-1)  # (T, K I)
    return F.linear(x, weight, bias)


class BitConv1d:
    """RMSNorm -> int8 activations -> ternary convolution, the weights expanded beforehand: (O, K, I) times beta."""

    def __init__(self, weights: Weights, prefix: str) -> None:
        own = part(weights, prefix)
        self.gain, self.bias, self.taps = own["gain"], own["bias"], own["weight"].shape[1]
        self.weight = own["weight"].flatten(1).contiguous()  # (O, K I)

    def __call__(self, x: Tensor) -> Tensor:
        """(T, I) -> (T, O)."""
        x = F.rms_norm(x, (x.shape[-1],), self.gain, RMS_EPS)
        scale = 127.0 / torch.linalg.vector_norm(x, ord=math.inf, dim=-1, keepdim=True).clamp_(min=ACTIVATION_EPS)
        x = x.mul_(scale).round_().div_(scale)  # nothing is beyond 127
        return convolve(x, self.weight, self.bias, self.taps)


class FftBlock:
    """Self-attention, then a convolutional feed-forward layer; x + F(x)."""

    def __init__(self, weights: Weights, prefix: str, heads: int) -> None:
        self.heads = heads
        self.qkv, self.out = (
            BitConv1d(weights, f"{prefix}.attention.qkv"),
            BitConv1d(weights, f"{prefix}.attention.out"),
        )
        self.expand, self.contract = BitConv1d(weights, f"{prefix}.expand"), BitConv1d(weights, f"{prefix}.contract")

    def __call__(self, x: Tensor) -> Tensor:
        """(T, D) -> (T, D)."""
        length, width = x.shape
        query, key, value = self.qkv(x).view(1, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(query, key, value)  # (1, H, T, D / H)
        x = x + self.out(mixed.transpose(1, 2).reshape(length, width))
        return x.add_(self.contract(self.expand(x).relu_()))


class TorchAcoustic:
    """Our acoustic model: tokens to normalized mel, log F0 and voicing."""

    def __init__(self, config: Mapping[str, Any], weights: Weights) -> None:
        self.weights = dict(weights)
        blocks = [(side, config[f"{side}_layers"]) for side in ("encoder", "decoder")]
        self.encoder, self.decoder = (
            [FftBlock(weights, f"{side}.{i}", config["heads"]) for i in range(count)] for side, count in blocks
        )
        self.predictors = {
            name: [BitConv1d(weights, f"{name}.layers.{i}") for i in range(layers)]
            for name, (_, layers, _) in zip(("duration", "pitch", "energy"), config["predictors"], strict=True)
        }
        self.pitch_reads = config["pitch_reads"]
        self.positions = sinusoids(4096, config["width"])

    def __call__(self, tokens: Tensor, speaker: int, calibration: tuple[float, float] = (1.0, 1.0)) -> Spoken:
        """tokens (N,) -> durations and frames; calibration of (duration, pitch) as the voice's config has it."""
        w, positions = self.weights, self.positions
        x = w["embedding.weight"][tokens] + w["position_scale"][0] * positions[: len(tokens)]  # (N, D)
        for block in self.encoder:
            x = block(x)
        x = x + w["speaker_embedding.weight"][speaker]
        phonemes = w["embedding.weight"][tokens] + w["speaker_embedding.weight"][speaker]
        read = {"duration": x, "pitch": phonemes if self.pitch_reads == "phonemes" else x, "energy": x}
        log_durations, pitch, energy = (self._predict(name, given) for name, given in read.items())
        durations = ((log_durations.exp() - 1.0) * calibration[0]).round_().clamp_(min=1.0)  # (N,)
        x = x + F.linear(pitch[:, None] * calibration[1], w["pitch_embedding.weight"], w["pitch_embedding.bias"])
        x = x.add_(F.linear(energy[:, None], w["energy_embedding.weight"], w["energy_embedding.bias"]))
        frames = int(durations.sum())
        x = upsampled(x, durations, frames).add_(w["position_scale"][1] * positions[:frames])  # (T, D)
        for block in self.decoder:
            x = block(x)
        x = F.rms_norm(x, (x.shape[-1],), w["final_gain"], RMS_EPS)
        return Spoken(durations, F.linear(x, w["projection.weight"], w["projection.bias"]))  # (T, 82)

    def _predict(self, name: str, x: Tensor) -> Tensor:
        for layer in self.predictors[name]:
            x = layer(x).relu_()
        return F.linear(x, self.weights[f"{name}.head.weight"], self.weights[f"{name}.head.bias"])[:, 0]


def sinusoids(length: int, width: int) -> Tensor:
    """Positional encoding (length, width): sines in even columns, cosines in odd ones."""
    rates = torch.exp(torch.arange(0, width, 2, dtype=torch.float32) * (-math.log(10000.0) / width))
    angles = torch.arange(length, dtype=torch.float32)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=-1).reshape(length, width)


def upsampled(tokens: Tensor, durations: Tensor, frames: int) -> Tensor:
    """Gaussian upsampling: tokens (N, D), durations (N,) -> (frames, D)."""
    centres = durations.cumsum(0) - durations / 2
    times = torch.arange(frames, dtype=torch.float32)[:, None] + 0.5
    return torch.softmax((times - centres).square_().mul_(-UPSAMPLING_DELTA), dim=-1) @ tokens


class TorchHarmonic:
    """Our harmonic vocoder: mel, log F0 and voicing to samples."""

    def __init__(self, config: Mapping[str, Any], weights: Weights, envelope: Tensor, noise: Tensor) -> None:
        self.weights, self.layers, self.kernel = dict(weights), config["layers"], config["kernel"]
        self.width = config["width"]
        self.input_weight = weights["input_weight"].flatten(1).contiguous()  # (D, K 82)
        self.depthwise = [weights[f"blocks.{i}.depthwise"].T.contiguous() for i in range(self.layers)]  # (K, D)
        self.window = torch.hann_window(N_FFT)
        self.envelope, self.noise = envelope, noise

    def __call__(self, mel: Tensor, log_f0: Tensor, voiced: Tensor, phase: float = 0.0, start: int = 0) -> Tensor:
        """(T, 80), (T,), (T,) -> samples (T * 256,); phase in cycles and start of the noise are what is random."""
        frames = len(mel)
        where = torch.arange(start, start + (frames + 3) * HOP) % len(self.noise)
        both = torch.stack([pulse_train(log_f0, voiced, phase), self.noise[where]])  # (2, S + 768)
        pulse, noise = torch.fft.rfft(both.unfold(1, N_FFT, HOP) * self.window)  # 2 x (T, 513)
        filter_, gain = self.filters(mel, log_f0, voiced)
        sound = torch.fft.irfft(pulse.mul_(filter_).add_(noise.mul_(gain))).mul_(self.window)  # (T, 1024)
        size = (1, (frames + 3) * HOP)
        fold = {"output_size": size, "kernel_size": (1, N_FFT), "stride": (1, HOP)}
        total = F.fold(sound.T[None], **fold)[0, 0, 0]
        weight = F.fold(self.window.square()[:, None].expand(-1, frames)[None], **fold)[0, 0, 0]
        return (total / weight.clamp_(min=1e-8))[384 : 384 + frames * HOP]

    def filters(self, mel: Tensor, log_f0: Tensor, voiced: Tensor) -> tuple[Tensor, Tensor]:
        """Pulse filter, complex, and noise gain, each (T, 513)."""
        w = self.weights
        x = torch.cat([(mel + 5.0) / 2.5, ((log_f0 - 5.3) * 2.0)[:, None], voiced[:, None]], dim=1)  # (T, 82)
        x = convolve(x, self.input_weight, w["input_bias"], self.kernel)  # (T, D)
        for i in range(self.layers):
            x = self._block(x, i)
        x = F.layer_norm(x, (self.width,), w["norm.weight"], w["norm.bias"])
        pulse, noise, real, imaginary = F.linear(x, w["output.weight"], w["output.bias"]).split(BINS, dim=-1)
        envelope = mel @ self.envelope  # (T, 513)
        pulse = (pulse + envelope).clamp_(-12.0, 4.0).exp_()
        noise = (noise + envelope).clamp_(-12.0, 4.0).exp_()
        real = real + 1.0
        pulse = pulse.mul_((real * real).addcmul_(imaginary, imaginary).add_(1e-6).rsqrt_())
        return torch.complex(pulse * real, pulse * imaginary), noise

    def _block(self, x: Tensor, i: int) -> Tensor:
        w, prefix, reach = self.weights, f"blocks.{i}", self.kernel // 2
        padded = F.pad(x, (0, 0, reach, reach))  # (T + K - 1, D)
        y = padded[: len(x)] * self.depthwise[i][0]
        for tap in range(1, self.kernel):
            y.addcmul_(padded[tap : tap + len(x)], self.depthwise[i][tap])
        y = F.layer_norm(y, (self.width,), w[f"{prefix}.norm.weight"], w[f"{prefix}.norm.bias"])
        y = F.linear(y, w[f"{prefix}.widen.weight"], w[f"{prefix}.widen.bias"])  # (T, H)
        y = (y * y).add_(1.0).rsqrt_().mul_(y).add_(1.0).mul_(y).mul_(0.5)
        return torch.addcmul(
            x, F.linear(y, w[f"{prefix}.narrow.weight"], w[f"{prefix}.narrow.bias"]), w[f"{prefix}.scale"]
        )


def pulse_train(log_f0: Tensor, voiced: Tensor, phase: float) -> Tensor:
    """Band-limited pulses: (T,), (T,) -> (S + 768,)."""
    frequency = extended(log_f0).exp_().clamp_(30.0, 1500.0) / SAMPLE_RATE  # (T + 4,) cycles a sample
    left, right = frequency[:-1, None], frequency[1:, None]  # (T + 3, 1)
    advance = ((left + right).double() * (HOP / 2))[:, 0]
    begin = (advance.cumsum(0) - advance + phase).remainder_(1.0).float()[:, None]
    n = torch.arange(HOP, dtype=torch.float32)
    slope = (right - left) / HOP
    cycles = begin + n * (left + n * (0.5 * slope))  # (T + 3, 256)
    cycles = cycles.sub_(cycles.round())
    harmonics = torch.floor(0.5 / (left + n * slope))
    at_peak = cycles.abs() < 1e-6
    half_angle = cycles.masked_fill_(at_peak, 0.25).mul_(math.pi)
    odd = 2 * harmonics + 1
    ratio = torch.where(at_peak, odd, (odd * half_angle).sin_() / half_angle.sin())
    gates = extended(voiced)
    gate = gates[:-1, None] + (gates[1:, None] - gates[:-1, None]) * (n / HOP)
    return (0.5 * (ratio - 1.0) * torch.sqrt(2.0 / harmonics) * gate).flatten()


def extended(x: Tensor) -> Tensor:
    """Repeat the first and the last frame: (T,) -> (T + 4,)."""
    return torch.cat([x[:1].expand(EDGE), x, x[-1:].expand(EDGE)])


class TorchHifigan:
    """HiFi-GAN with plain weights, convolutions by oneDNN."""

    def __init__(self, config: Mapping[str, Any], weights: Weights) -> None:
        self.config = config
        order = {True: (2, 0, 1), False: (0, 2, 1)}  # (O, K, I) -> (I, O, K) of a transposed convolution, (O, I, K)
        self.weights = {
            name: leaf.permute(order[name.startswith("ups")]).contiguous() if leaf.ndim == 3 else leaf
            for name, leaf in weights.items()
        }

    def __call__(self, mel: Tensor) -> Tensor:
        """(T, 80) -> (T * 256,)."""
        w, config = self.weights, self.config
        x = F.conv1d(mel.T[None], w["conv_pre.weight"], w["conv_pre.bias"], padding=3)  # (1, C, T)
        kinds = list(zip(config["resblock_kernel_sizes"], config["resblock_dilation_sizes"], strict=True))
        rates = zip(config["upsample_rates"], config["upsample_kernel_sizes"], strict=True)
        for i, (rate, size) in enumerate(rates):
            x = F.leaky_relu_(x, 0.1)
            x = F.conv_transpose1d(x, w[f"ups.{i}.weight"], w[f"ups.{i}.bias"], rate, padding=(size - rate) // 2)
            sounds = [
                self._block(x, f"resblocks.{i * len(kinds) + n}", dilations) for n, (_, dilations) in enumerate(kinds)
            ]
            x = sounds[0]
            for sound in sounds[1:]:
                x = x.add_(sound)
            x = x.div_(len(kinds))
        return F.conv1d(F.leaky_relu_(x, 0.01), w["conv_post.weight"], w["conv_post.bias"], padding=3).tanh_()[0, 0]

    def _block(self, x: Tensor, prefix: str, dilations: Sequence[int]) -> Tensor:
        for n, dilation in enumerate(dilations):
            y = F.leaky_relu(x, 0.1)
            if self.config["resblock"] == "1":
                y = F.leaky_relu_(self._convolution(y, f"{prefix}.convs1.{n}", dilation), 0.1)
                y = self._convolution(y, f"{prefix}.convs2.{n}", 1)
            else:
                y = self._convolution(y, f"{prefix}.convs.{n}", dilation)
            x = y.add_(x)
        return x

    def _convolution(self, x: Tensor, name: str, dilation: int) -> Tensor:
        weight = self.weights[f"{name}.weight"]
        padding = dilation * (weight.shape[2] // 2)
        return F.conv1d(x, weight, self.weights[f"{name}.bias"], padding=padding, dilation=dilation)


class TorchVoice:
    """A voice of acoustic model and vocoder, from an export; `tokens` are numbers of symbols."""

    def __init__(self, folder: Path) -> None:
        self.config, weights = read_export(folder)
        acoustic = self.config["acoustic"]
        self.acoustic = TorchAcoustic(acoustic, part(weights, "acoustic"))
        vocoder, own = self.config["vocoder"], part(weights, "vocoder")
        self.harmonic = vocoder["kind"] == "harmonic"
        self.vocoder: TorchHarmonic | TorchHifigan = (
            TorchHarmonic(vocoder, own, weights["envelope"], weights["noise"])
            if self.harmonic
            else TorchHifigan(vocoder, own)
        )
        self.mel_mean, self.mel_std = weights["mel_mean"], weights["mel_std"]

    @torch.inference_mode()
    def predict(self, tokens: Sequence[int], speaker: int) -> tuple[Tensor, Tensor, Tensor]:
        """Log mel (T, 80), log F0 (T,) and voicing (T,) of one utterance."""
        speakers, n_mels = self.config["speakers"][speaker], self.config["acoustic"]["n_mels"]
        frames = self.acoustic(torch.tensor(tokens), speaker, (speakers["duration"], speakers["pitch"])).frames
        mel = (frames[:, :n_mels] * self.mel_std).add_(self.mel_mean - math.log(speakers["gain"]))
        mel = mel.clamp_(min=self.config["lowest_mel"])
        log_f0 = frames[:, n_mels] * speakers["log_f0_std"] + speakers["log_f0_mean"]
        return mel, log_f0, (frames[:, n_mels + 1] > 0.0).float()

    @torch.inference_mode()
    def sound(self, mel: Tensor, log_f0: Tensor, voiced: Tensor) -> np.ndarray:
        """Samples (T * 256,)."""
        if isinstance(self.vocoder, TorchHarmonic):
            return self.vocoder(mel, log_f0, voiced).numpy()
        return self.vocoder(mel).numpy()
