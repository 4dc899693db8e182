"""The PyTorch twin of a voice: what `python -m bitjets_mlx.benchmark voice` and `train` compare our speed with.

The benchmark's own processes import this file by its path, and it imports nothing of this project: memory and start are
PyTorch's own. torch is in requirements-bench.txt alone. A fair opponent: as many threads as there are cores, fused
operations (RMSNorm, LayerNorm, attention), convolutions of many inputs as one matrix product, HiFi-GAN's by oneDNN;
speaking in inference mode with ternary weights expanded and weight normalization folded beforehand. Modules and
parameters have the names of `bitjets_mlx.acoustic.model`; from the same weights both make the same mels, samples and
gradients (tests/test_torch_twin.py, test_torch_voice.py). `torch_training.py` is the training step.
"""

import itertools
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

RMS_EPS = 1e-6
ACTIVATION_EPS, WEIGHT_EPS = 1e-5, 1e-5
MASKED = -1e9
UPSAMPLING_DELTA = 0.1
SAMPLE_RATE, HOP, N_FFT, BINS, EDGE = 22050, 256, 1024, 513, 2

Weights = Mapping[str, Tensor]
Config = Any  # with the fields of `bitjets_mlx.config.AcousticConfig`


# -- the acoustic model ----------------------------------------------------------------------------------------------


def fake_int8_(x: Tensor) -> Tensor:
    """int8 activations per token, divided by their scale, in place."""
    scale = 127.0 / torch.linalg.vector_norm(x, ord=math.inf, dim=-1, keepdim=True).clamp_(min=ACTIVATION_EPS)
    return x.mul_(scale).round_().div_(scale)  # nothing is beyond 127


class _FakeActivations(torch.autograd.Function):
    """`fake_int8_` with a straight-through gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return fake_int8_(x.clone())

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0]


class _FakeWeights(torch.autograd.Function):
    """Ternary weights times beta = mean|W|; straight-through gradient."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor) -> Tensor:
        beta = weight.abs().mean()
        return (weight / (beta + WEIGHT_EPS)).round_().clamp_(-1.0, 1.0).mul_(beta)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0]


class BitConv1d(nn.Module):
    """RMSNorm -> int8 activations -> ternary convolution; a kernel of 1 is a linear layer.

    `expanded`: the weights are ternary already, times beta; otherwise they become so in every call.
    """

    expanded = False

    def __init__(self, inputs: int, outputs: int, kernel: int = 1) -> None:
        super().__init__()
        self.gain = parameter(inputs)
        self.weight = parameter(outputs, kernel, inputs)
        self.bias = parameter(outputs)

    def forward(self, x: Tensor, mask: Tensor | None, dropped: float = 0.0) -> Tensor:
        """x (B, T, I) of which dropout took a fraction, mask (B, T, 1) -> (B, T, O)."""
        x = F.rms_norm(x, (x.shape[-1],), self.gain / math.sqrt(1.0 - dropped) if dropped else self.gain, RMS_EPS)
        x = x if mask is None else x * mask
        if self.expanded:
            return convolve(fake_int8_(x), self.weight, self.bias)
        return convolve(_FakeActivations.apply(x), _FakeWeights.apply(self.weight), self.bias)


def parameter(*shape: int) -> nn.Parameter:
    """Without values: they are always loaded."""
    return nn.Parameter(torch.empty(shape))


def convolve(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Convolution with "same" zero padding as one matrix product: (B, T, I), (O, K, I), (O,) -> (B, T, O)."""
    outputs, taps, inputs = weight.shape
    if taps > 1:
        length, reach = x.shape[1], taps // 2
        padded = F.pad(x, (0, 0, reach, reach))  # (B, T + K - 1, I)
        x = torch.cat([padded[:, tap : tap + length] for tap in range(taps)], dim=-1)  # (B, T, K I)
    return F.linear(x, weight.reshape(outputs, taps * inputs), bias)


class SelfAttention(nn.Module):
    """Multi-head self-attention with ternary projections."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = BitConv1d(width, 3 * width)
        self.out = BitConv1d(width, width)

    def forward(self, x: Tensor, mask: Tensor | None, bias: Tensor | None) -> Tensor:
        """x (B, T, D), mask (B, T, 1), bias (B, 1, 1, T) -> (B, T, D)."""
        batch, length, width = x.shape
        qkv = self.qkv(x, mask).view(batch, length, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # each (B, H, T, D / H)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)  # (B, H, T, D / H)
        return self.out(mixed.transpose(1, 2).reshape(batch, length, width), mask)


class FftBlock(nn.Module):
    """Self-attention, then a convolutional feed-forward layer; x + F(x)."""

    def __init__(self, config: Config, hidden: int, dropout: float) -> None:
        super().__init__()
        self.attention = SelfAttention(config.width, config.heads)
        self.expand = BitConv1d(config.width, hidden, config.kernel)
        self.contract = BitConv1d(hidden, config.width, config.contract_kernel)
        self.dropout = dropout

    def forward(self, x: Tensor, mask: Tensor | None, bias: Tensor | None) -> Tensor:
        """x (B, T, D), mask (B, T, 1), bias (B, 1, 1, T) -> (B, T, D)."""
        x = x + F.dropout(self.attention(x, mask, bias), self.dropout, self.training)
        hidden = F.relu(self.expand(x, mask), not torch.is_grad_enabled())  # (B, T, F)
        return x + F.dropout(self.contract(hidden, mask), self.dropout, self.training)


class VariancePredictor(nn.Module):
    """Ternary convolutions with ReLU, then a full-precision head."""

    def __init__(self, config: Config, shape: tuple[int, int, int]) -> None:
        super().__init__()
        width, layers, kernel = shape
        widths = [config.width] + [width] * layers
        self.layers = nn.ModuleList(
            BitConv1d(inputs, outputs, kernel) for inputs, outputs in itertools.pairwise(widths)
        )
        self.head = nn.Linear(width, 1)
        self.dropout = config.predictor_dropout

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """x (B, N, D), mask (B, N, 1) -> (B, N)."""
        dropped = 0.0
        for layer in self.layers:
            x = F.dropout(F.relu(layer(x, mask, dropped), not torch.is_grad_enabled()), self.dropout, self.training)
            dropped = self.dropout if self.training else 0.0
        return self.head(x)[..., 0]


class TorchBitJets(nn.Module):
    """The acoustic model. `speaking`: with weights that are expanded already."""

    def __init__(self, config: Config, speaking: bool = False) -> None:
        super().__init__()
        width = config.width
        hidden = (config.feed_forward, config.decoder_feed_forward or config.feed_forward)
        self.config = config
        self.embedding = nn.Embedding(config.symbols, width)
        self.speaker_embedding = nn.Embedding(config.speakers, width)
        self.position_scale = parameter(2)
        self.encoder = nn.ModuleList(FftBlock(config, hidden[0], config.dropout) for _ in range(config.encoder_layers))
        self.duration, self.pitch, self.energy = (VariancePredictor(config, shape) for shape in config.predictors)
        self.pitch_embedding = nn.Linear(1, width)
        self.energy_embedding = nn.Linear(1, width)
        self.decoder = nn.ModuleList(
            FftBlock(config, hidden[1], config.decoder_dropout) for _ in range(config.decoder_layers)
        )
        self.final_gain = parameter(width)
        self.projection = nn.Linear(width, config.n_mels + 2)
        for layer in self.modules():
            if isinstance(layer, BitConv1d):
                layer.expanded = speaking
        self._positions = sinusoids(4096, width)

    def encode(self, tokens: Tensor, speakers: Tensor, mask: Tensor | None) -> Tensor:
        """tokens (B, N), speakers (B,), mask (B, N, 1) -> states (B, N, D)."""
        x = self.embedding(tokens) + self.position_scale[0] * self._positions[: tokens.shape[1]]
        bias = attention_bias(mask)
        for block in self.encoder:
            x = block(x, mask, bias)
        return x + self.speaker_embedding(speakers)[:, None]

    def predict_variance(
        self, tokens: Tensor, speakers: Tensor, states: Tensor, mask: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """tokens (B, N), speakers (B,), states (B, N, D) -> log durations, pitch and energy, each (B, N)."""
        pitch_input = states
        if self.config.pitch_reads == "phonemes":
            pitch_input = self.embedding(tokens) + self.speaker_embedding(speakers)[:, None]
        return self.duration(states, mask), self.pitch(pitch_input, mask), self.energy(states, mask)

    def decode(
        self,
        states: Tensor,
        pitch: Tensor,
        energy: Tensor,
        durations: Tensor,
        frames: int,
        mask: Tensor | None,
        frame_mask: Tensor | None,
    ) -> Tensor:
        """states (B, N, D), pitch, energy and durations (B, N) -> mel, log F0 and voicing (B, T, 82)."""
        states = states + self.pitch_embedding(pitch[..., None]) + self.energy_embedding(energy[..., None])
        x = gaussian_upsampling(states, durations, mask, frames)  # (B, T, D)
        x = x + self.position_scale[1] * self._positions[:frames]
        bias = attention_bias(frame_mask)
        for block in self.decoder:
            x = block(x, frame_mask, bias)
        return self.projection(F.rms_norm(x, (x.shape[-1],), self.final_gain, RMS_EPS))

    def forward(
        self, tokens: Tensor, speaker: int, calibration: tuple[float, float] = (1.0, 1.0)
    ) -> tuple[Tensor, Tensor]:
        """Speaking: tokens (N,) -> durations (N,) in frames, mel, log F0 and voicing (T, 82), normalized.

        `calibration` of (duration, pitch) as the voice's config has it.
        """
        tokens, speakers = tokens[None], torch.tensor([speaker])
        states = self.encode(tokens, speakers, None)
        log_durations, pitch, energy = self.predict_variance(tokens, speakers, states, None)
        durations = ((log_durations.exp() - 1.0) * calibration[0]).round_().clamp_(min=1.0)  # (1, N)
        frames = self.decode(states, pitch * calibration[1], energy, durations, int(durations.sum()), None, None)
        return durations[0], frames[0]


def sinusoids(length: int, width: int) -> Tensor:
    """Positional encoding (length, width): sines in even columns, cosines in odd ones."""
    rates = torch.exp(torch.arange(0, width, 2, dtype=torch.float32) * (-math.log(10000.0) / width))
    angles = torch.arange(length, dtype=torch.float32)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=-1).reshape(length, width)


def attention_bias(mask: Tensor | None) -> Tensor | None:
    """(B, T, 1) -> (B, 1, 1, T): 0 inside, very low beyond the end."""
    return None if mask is None else ((1.0 - mask) * MASKED).transpose(1, 2)[:, None]


def gaussian_upsampling(tokens: Tensor, durations: Tensor, mask: Tensor | None, frames: int) -> Tensor:
    """tokens (B, N, D), durations (B, N) -> (B, frames, D)."""
    centers = durations.cumsum(1) - durations / 2
    times = torch.arange(frames, dtype=torch.float32)[None, :, None] + 0.5
    scores = (times - centers[:, None, :]).square().mul_(-UPSAMPLING_DELTA)  # (B, T, N)
    if mask is not None:
        scores = scores + ((1.0 - mask) * MASKED).transpose(1, 2)
    return torch.softmax(scores, dim=-1) @ tokens


# -- the harmonic vocoder --------------------------------------------------------------------------------------------


class TorchHarmonic:
    """Our harmonic vocoder: mel, log F0 and voicing to samples."""

    def __init__(self, config: Mapping[str, Any], weights: Weights, envelope: Tensor, noise: Tensor) -> None:
        self.weights, self.layers, self.kernel = dict(weights), config["layers"], config["kernel"]
        self.width = config["width"]
        self.input_weight = weights["input_weight"]  # (D, K, 82)
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
        waveform = torch.fft.irfft(pulse.mul_(filter_).add_(noise.mul_(gain))).mul_(self.window)  # (T, 1024)
        size = (1, (frames + 3) * HOP)
        fold = {"output_size": size, "kernel_size": (1, N_FFT), "stride": (1, HOP)}
        total = F.fold(waveform.T[None], **fold)[0, 0, 0]
        weight = F.fold(self.window.square()[:, None].expand(-1, frames)[None], **fold)[0, 0, 0]
        return (total / weight.clamp_(min=1e-8))[384 : 384 + frames * HOP]

    def filters(self, mel: Tensor, log_f0: Tensor, voiced: Tensor) -> tuple[Tensor, Tensor]:
        """Pulse filter, complex, and noise gain, each (T, 513)."""
        w = self.weights
        x = torch.cat([(mel + 5.0) / 2.5, ((log_f0 - 5.3) * 2.0)[:, None], voiced[:, None]], dim=1)  # (T, 82)
        x = convolve(x[None], self.input_weight, w["input_bias"])[0]  # (T, D)
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


# -- HiFi-GAN --------------------------------------------------------------------------------------------------------

Norm = Callable[[nn.Module], nn.Module]


class ResidualBlock(nn.Module):
    """Of V1 and V2 (`paired`): pairs of a dilated and a plain convolution; of V3: dilated ones only."""

    def __init__(self, channels: int, size: int, dilations: list[int], norm: Norm, paired: bool) -> None:
        super().__init__()
        first, second = nn.ModuleList(), nn.ModuleList()
        for d in dilations:
            first.append(norm(nn.Conv1d(channels, channels, size, dilation=d, padding=d * (size // 2))))
            if paired:
                second.append(norm(nn.Conv1d(channels, channels, size, padding=size // 2)))
        if paired:
            self.convs1, self.convs2 = first, second
        else:
            self.convs = first

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, S) -> (B, C, S)."""
        if hasattr(self, "convs"):
            for conv in self.convs:
                x = x + conv(F.leaky_relu(x, 0.1))
            return x
        for first, second in zip(self.convs1, self.convs2, strict=True):
            x = x + second(F.leaky_relu(first(F.leaky_relu(x, 0.1)), 0.1, not torch.is_grad_enabled()))
        return x


class HifiganGenerator(nn.Module):
    """HiFi-GAN's generator (arXiv:2010.05646, section 2.2) of an official config.json, with its key names.

    `norm`: the weight normalization of its convolutions, none for plain weights.
    """

    def __init__(self, config: Mapping[str, Any], norm: Norm = lambda layer: layer) -> None:
        super().__init__()
        channels = config["upsample_initial_channel"]
        self.conv_pre = norm(nn.Conv1d(80, channels, 7, padding=3))
        self.ups, self.resblocks = nn.ModuleList(), nn.ModuleList()
        for rate, size in zip(config["upsample_rates"], config["upsample_kernel_sizes"], strict=True):
            self.ups.append(norm(nn.ConvTranspose1d(channels, channels // 2, size, rate, padding=(size - rate) // 2)))
            channels //= 2
            for kernel, dilations in zip(
                config["resblock_kernel_sizes"], config["resblock_dilation_sizes"], strict=True
            ):
                self.resblocks.append(ResidualBlock(channels, kernel, dilations, norm, config["resblock"] == "1"))
        self.conv_post = norm(nn.Conv1d(channels, 1, 7, padding=3))
        self.kernels = len(config["resblock_kernel_sizes"])

    def forward(self, mel: Tensor) -> Tensor:
        """(B, 80, T) -> (B, 256 T)."""
        x = self.conv_pre(mel)
        for index, up in enumerate(self.ups):
            x = up(F.leaky_relu(x, 0.1, not torch.is_grad_enabled()))
            blocks = list(self.resblocks)[index * self.kernels : (index + 1) * self.kernels]
            x = sum((block(x) for block in blocks[1:]), blocks[0](x)) / self.kernels
        return torch.tanh(self.conv_post(F.leaky_relu(x)))[:, 0]


# -- a voice ---------------------------------------------------------------------------------------------------------


class TorchVoice:
    """A voice of acoustic model and vocoder, as `torch_export.py` writes it; `tokens` are numbers of symbols."""

    def __init__(self, folder: Path) -> None:
        self.config = json.loads((folder / "config.json").read_text())
        with np.load(folder / "weights.npz") as arrays:
            weights = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
        self.acoustic = TorchBitJets(SimpleNamespace(**self.config["acoustic"]), speaking=True).eval()
        self.acoustic.load_state_dict(part(weights, "acoustic"), assign=True)
        vocoder, own = self.config["vocoder"], part(weights, "vocoder")
        self.harmonic = (
            TorchHarmonic(vocoder, own, weights["envelope"], weights["noise"]) if "envelope" in weights else None
        )
        if self.harmonic is None:
            order = {True: (2, 0, 1), False: (0, 2, 1)}  # (O, K, I) -> (I, O, K) of a transposed convolution, (O, I, K)
            self.hifigan = HifiganGenerator(vocoder).eval()
            self.hifigan.load_state_dict(
                {
                    name: leaf.permute(order[name.startswith("ups")]).contiguous() if leaf.ndim == 3 else leaf
                    for name, leaf in own.items()
                },
                assign=True,
            )
        self.mel_mean, self.mel_std = weights["mel_mean"], weights["mel_std"]

    @torch.inference_mode()
    def predict(self, tokens: list[int], speaker: int) -> tuple[Tensor, Tensor, Tensor]:
        """Log mel (T, 80), log F0 (T,) and voicing (T,) of one utterance."""
        speakers, n_mels = self.config["speakers"][speaker], self.config["acoustic"]["n_mels"]
        frames = self.acoustic(torch.tensor(tokens), speaker, (speakers["duration"], speakers["pitch"]))[1]
        mel = (frames[:, :n_mels] * self.mel_std).add_(self.mel_mean - math.log(speakers["gain"]))
        mel = mel.clamp_(min=self.config["lowest_mel"])
        log_f0 = frames[:, n_mels] * speakers["log_f0_std"] + speakers["log_f0_mean"]
        return mel, log_f0, (frames[:, n_mels + 1] > 0.0).float()

    @torch.inference_mode()
    def vocode(self, mel: Tensor, log_f0: Tensor, voiced: Tensor) -> np.ndarray:
        """Samples (T * 256,)."""
        waveform = self.harmonic(mel, log_f0, voiced) if self.harmonic else self.hifigan(mel.T[None])[0]
        return waveform.numpy()


def part(weights: Weights, prefix: str) -> dict[str, Tensor]:
    """The weights whose names begin with `prefix` and a dot, without it."""
    return {name[len(prefix) + 1 :]: leaf for name, leaf in weights.items() if name.startswith(prefix + ".")}
