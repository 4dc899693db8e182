"""The PyTorch twin of the acoustic model and of its training step: what our speed is compared with.

Not part of the package: only `scripts/compare_training.py` and tests import it, and torch is in requirements-bench.txt
alone. Modules and parameters have the names of `bitjets_mlx.acoustic.model`, so `load` takes our weights; from the same
weights both give the same outputs and gradients (tests/test_torch_twin.py). The twin is written for two CPU cores:
every operation has two threads, fused where torch has a fused one (RMSNorm, attention, AdamW), straight-through
quantization in one backward-free function, convolutions as one matrix product, which is faster here than oneDNN's
convolution between two transpositions. The monotonic search is the same numpy as ours.
"""

import itertools
import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mlx.utils import tree_flatten
from torch import Tensor, nn

from bitjets_mlx.acoustic.aligner import BLANK_SCORE, TEMPERATURE, beta_binomial_prior
from bitjets_mlx.config import AcousticConfig
from bitjets_mlx.ops.alignment import monotonic_search, path_matrix
from bitjets_mlx.ops.attention import MASKED
from bitjets_mlx.ops.upsampling import DELTA as UPSAMPLING_DELTA
from bitjets_mlx.ternary.matmul import RMS_EPS
from bitjets_mlx.ternary.quantize import ACTIVATION_EPS, ACTIVATION_MAX, WEIGHT_EPS
from bitjets_mlx.training.acoustic_data import Item
from bitjets_mlx.training.acoustic_losses import AcousticLossWeights
from bitjets_mlx.training.batches import MicroBatch, pad
from bitjets_mlx.training.config import OptimizerConfig
from bitjets_mlx.training.optimize import EMA_WARM_UP

Batch = dict[str, Tensor]


class _FakeActivations(torch.autograd.Function):
    """int8 activations a token, divided by their scale; straight-through gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        scale = ACTIVATION_MAX / x.abs().amax(-1, keepdim=True).clamp_(min=ACTIVATION_EPS)
        return (x * scale).round_().clamp_(-128.0, 127.0).div_(scale)

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
    """RMSNorm -> int8 activations -> ternary convolution; a kernel of 1 is a linear layer."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(inputs))
        self.weight = nn.Parameter(torch.randn(outputs, kernel, inputs) / math.sqrt(inputs * kernel))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor, mask: Tensor, dropped: float = 0.0) -> Tensor:
        """x (B, T, I) of which dropout took a share, mask (B, T, 1) -> (B, T, O)."""
        x = F.rms_norm(x, (x.shape[-1],), self.gain / math.sqrt(1.0 - dropped), RMS_EPS) * mask
        return convolve(_FakeActivations.apply(x), _FakeWeights.apply(self.weight), self.bias)


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

    def forward(self, x: Tensor, mask: Tensor, bias: Tensor) -> Tensor:
        """x (B, T, D), mask (B, T, 1), bias (B, 1, 1, T) -> (B, T, D)."""
        batch, length, width = x.shape
        qkv = self.qkv(x, mask).view(batch, length, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # each (B, H, T, D / H)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)  # (B, H, T, D / H)
        return self.out(mixed.transpose(1, 2).reshape(batch, length, width), mask)


class FftBlock(nn.Module):
    """Self-attention, then a convolutional feed-forward layer; x + F(x)."""

    def __init__(self, config: AcousticConfig, dropout: float) -> None:
        super().__init__()
        self.attention = SelfAttention(config.width, config.heads)
        self.expand = BitConv1d(config.width, config.feed_forward, config.kernel)
        self.contract = BitConv1d(config.feed_forward, config.width)
        self.dropout = dropout

    def forward(self, x: Tensor, mask: Tensor, bias: Tensor) -> Tensor:
        """x (B, T, D), mask (B, T, 1), bias (B, 1, 1, T) -> (B, T, D)."""
        x = x + F.dropout(self.attention(x, mask, bias), self.dropout, self.training)
        hidden = F.relu(self.expand(x, mask))  # (B, T, F)
        x = x + F.dropout(self.contract(hidden, mask), self.dropout, self.training)
        return x * mask


class VariancePredictor(nn.Module):
    """Ternary convolutions with ReLU, then a full-precision head."""

    def __init__(self, config: AcousticConfig, shape: tuple[int, int, int]) -> None:
        super().__init__()
        width, layers, kernel = shape
        widths = [config.width] + [width] * layers
        self.layers = nn.ModuleList(
            BitConv1d(inputs, outputs, kernel) for inputs, outputs in itertools.pairwise(widths)
        )
        self.head = nn.Linear(width, 1)
        self.dropout = config.predictor_dropout

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x (B, N, D), mask (B, N, 1) -> (B, N)."""
        dropped = 0.0
        for layer in self.layers:
            x = F.dropout(F.relu(layer(x, mask, dropped)), self.dropout, self.training)
            dropped = self.dropout if self.training else 0.0
        return self.head(x)[..., 0] * mask[..., 0]


class _Convolution(nn.Module):
    """A plain convolution whose weight is (O, K, I), as MLX has it."""

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, kernel, inputs) / math.sqrt(inputs * kernel))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, I) -> (B, T, O)."""
        return convolve(x, self.weight, self.bias)


class Aligner(nn.Module):
    """Scores how well each mel frame fits each token."""

    def __init__(self, config: AcousticConfig) -> None:
        super().__init__()
        width = config.aligner_width
        self.embedding = nn.Embedding(config.symbols, config.width)
        self.text1 = _Convolution(config.width, 2 * width, 3)
        self.text2 = _Convolution(2 * width, width, 1)
        self.mel1 = _Convolution(config.n_mels, width, 3)
        self.mel2 = _Convolution(width, width, 3)
        self.mel3 = _Convolution(width, width, 1)

    def forward(self, tokens: Tensor, mel: Tensor, mask: Tensor, frame_mask: Tensor, prior: Tensor) -> Tensor:
        """tokens (B, N), mel (B, T, 80), masks (B, N, 1), (B, T, 1), prior (B, T, N) -> log-probabilities (B, T, N)."""
        text = self.text2(F.relu(self.text1(self.embedding(tokens) * mask)))  # (B, N, C)
        frames = F.relu(self.mel1(mel * frame_mask)) * frame_mask
        frames = self.mel3(F.relu(self.mel2(frames)))  # (B, T, C)
        squares = frames.square().sum(-1, keepdim=True) + text.square().sum(-1)[:, None, :]  # (B, T, N)
        distance = torch.baddbmm(squares, frames, text.transpose(1, 2), alpha=-2.0)
        scores = -TEMPERATURE * distance + ((mask - 1.0) * -MASKED).transpose(1, 2)
        return F.log_softmax(scores, dim=-1) + prior


class TorchBitJets(nn.Module):
    """The whole acoustic model, the aligner included."""

    def __init__(self, config: AcousticConfig) -> None:
        super().__init__()
        width = config.width
        self.config = config
        self.embedding = nn.Embedding(config.symbols, width)
        self.speaker_embedding = nn.Embedding(config.speakers, width)
        self.position_scale = nn.Parameter(torch.full((2,), 0.3))
        self.encoder = nn.ModuleList(FftBlock(config, config.dropout) for _ in range(config.encoder_layers))
        self.duration, self.pitch, self.energy = (VariancePredictor(config, s) for s in config.predictors)
        self.pitch_embedding = nn.Linear(1, width)
        self.energy_embedding = nn.Linear(1, width)
        self.decoder = nn.ModuleList(FftBlock(config, config.decoder_dropout) for _ in range(config.decoder_layers))
        self.final_gain = nn.Parameter(torch.ones(width))
        self.projection = nn.Linear(width, config.n_mels + 2)
        self.aligner = Aligner(config)
        self._positions = sinusoids(4096, width)

    def load(self, parameters: Any) -> None:
        """Take over the weights of our model, given as its tree; without an aligner there, ours stays as it is."""
        arrays = {name: torch.from_numpy(np.array(leaf)) for name, leaf in tree_flatten(parameters)}
        missing, unexpected = self.load_state_dict(arrays, strict=False)
        wrong = [name for name in missing if not name.startswith("aligner.")] + unexpected
        if wrong:
            raise ValueError(f"these names are in one model only: {wrong}")

    def encode(self, tokens: Tensor, speakers: Tensor, mask: Tensor) -> Tensor:
        """tokens (B, N), speakers (B,), mask (B, N, 1) -> states (B, N, D)."""
        x = (self.embedding(tokens) + self.position_scale[0] * self._positions[: tokens.shape[1]]) * mask
        bias = attention_bias(mask)
        for block in self.encoder:
            x = block(x, mask, bias)
        return (x + self.speaker_embedding(speakers)[:, None]) * mask

    def predict_variance(
        self, tokens: Tensor, speakers: Tensor, states: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """tokens (B, N), speakers (B,), states (B, N, D) -> log durations, pitch and energy, each (B, N)."""
        tune = states
        if self.config.pitch_reads == "phonemes":
            tune = self.embedding(tokens) + self.speaker_embedding(speakers)[:, None]
        return self.duration(states, mask), self.pitch(tune, mask), self.energy(states, mask)

    def decode(
        self, states: Tensor, pitch: Tensor, energy: Tensor, durations: Tensor, mask: Tensor, frame_mask: Tensor
    ) -> Tensor:
        """states (B, N, D), pitch, energy and durations (B, N) -> mel, log F0 and voicing (B, T, 82)."""
        states = states + self.pitch_embedding(pitch[..., None]) + self.energy_embedding(energy[..., None])
        frames = frame_mask.shape[1]
        x = gaussian_upsampling(states, durations, mask, frames)  # (B, T, D)
        x = (x + self.position_scale[1] * self._positions[:frames]) * frame_mask
        bias = attention_bias(frame_mask)
        for block in self.decoder:
            x = block(x, frame_mask, bias)
        return self.projection(F.rms_norm(x, (x.shape[-1],), self.final_gain, RMS_EPS)) * frame_mask

    def forward(self, tokens: Tensor, speakers: Tensor, durations: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Speaking: tokens (1, N), speakers (1,) -> durations (1, N) in frames, mel, log F0 and voicing (1, T, 82).

        Durations that are given take the place of the predicted ones.
        """
        mask = torch.ones(*tokens.shape, 1)
        states = self.encode(tokens, speakers, mask)
        log_durations, pitch, energy = self.predict_variance(tokens, speakers, states, mask)
        if durations is None:
            durations = (log_durations.exp() - 1.0).round().clamp(min=1.0)
        frame_mask = torch.ones(1, int(durations.sum()), 1)
        return durations, self.decode(states, pitch, energy, durations, mask, frame_mask)


def sinusoids(length: int, width: int) -> Tensor:
    """Positional encoding (length, width): sines in even columns, cosines in odd ones."""
    rates = torch.exp(torch.arange(0, width, 2, dtype=torch.float32) * (-math.log(10000.0) / width))
    angles = torch.arange(length, dtype=torch.float32)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=-1).reshape(length, width)


def length_mask(lengths: Tensor, size: int) -> Tensor:
    """(B,) -> (B, size, 1): ones inside, zeros beyond each length."""
    return (torch.arange(size)[None, :] < lengths[:, None]).float()[..., None]


def attention_bias(mask: Tensor) -> Tensor:
    """(B, T, 1) -> (B, 1, 1, T): 0 inside, very low beyond the end."""
    return ((mask - 1.0) * -MASKED).transpose(1, 2)[:, None]


def gaussian_upsampling(tokens: Tensor, durations: Tensor, mask: Tensor, frames: int) -> Tensor:
    """tokens (B, N, D), durations (B, N) -> (B, frames, D)."""
    centres = durations.cumsum(1) - durations / 2
    times = torch.arange(frames, dtype=torch.float32)[None, :, None] + 0.5
    scores = -UPSAMPLING_DELTA * (times - centres[:, None, :]).square()  # (B, T, N)
    return torch.softmax(scores + ((mask - 1.0) * -MASKED).transpose(1, 2), dim=-1) @ tokens


def token_means(values: Tensor, weights: Tensor, path: Tensor) -> Tensor:
    """Mean of frame values (B, T) over each token's frames; path (B, T, N) is one-hot -> (B, N)."""
    sums = (values * weights)[:, None, :] @ path
    return (sums / (weights[:, None, :] @ path).clamp(min=1.0))[:, 0]


def collate(items: list[Item], shape: MicroBatch) -> Batch:
    """Clips padded to the bucket's shape, with their prior."""
    prior = np.zeros((len(items), shape.frames, shape.tokens), dtype=np.float32)
    for row, item in zip(prior, items, strict=True):
        n, t = len(item["tokens"]), len(item["mel"])
        row[:t, :n] = beta_binomial_prior(n, t)
    arrays = {name: pad([item[name] for item in items], shape.frames) for name in ("mel", "log_f0", "voiced", "energy")}
    arrays |= {
        "tokens": pad([item["tokens"] for item in items], shape.tokens).astype(np.int64),
        "speakers": np.array([int(item["speaker"]) for item in items]),
        "token_lengths": np.array([len(item["tokens"]) for item in items]),
        "frame_lengths": np.array([len(item["mel"]) for item in items]),
        "prior": prior,
    }
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def losses(model: TorchBitJets, batch: Batch, binarization: float, weights: AcousticLossWeights) -> dict[str, Tensor]:
    """Every loss by name, and their weighted sum as "total"; the batch is the whole effective batch."""
    n, t = batch["token_lengths"], batch["frame_lengths"]
    mask, frame_mask = length_mask(n, batch["tokens"].shape[1]), length_mask(t, batch["mel"].shape[1])
    inside, voiced = frame_mask[..., 0], batch["voiced"] * frame_mask[..., 0]
    scores = model.aligner(batch["tokens"], batch["mel"], mask, frame_mask, batch["prior"])  # (B, T, N)
    blank = F.log_softmax(F.pad(scores, (1, 0), value=BLANK_SCORE), dim=-1)  # (B, T, N + 1)
    targets = torch.arange(1, scores.shape[2] + 1).expand(len(n), -1)
    forward_sum = (F.ctc_loss(blank.transpose(0, 1), targets, t, n, reduction="none") / n).mean()
    durations_host = monotonic_search(scores.detach().numpy(), n.numpy(), t.numpy())
    path = torch.from_numpy(path_matrix(durations_host, scores.shape[1]))  # (B, T, N)
    durations = torch.from_numpy(durations_host.astype(np.float32))

    states = model.encode(batch["tokens"], batch["speakers"], mask)
    predicted = model.predict_variance(batch["tokens"], batch["speakers"], states, mask)
    truth = (
        torch.log(durations + 1.0),
        token_means(batch["log_f0"], voiced, path),
        token_means(batch["energy"], inside, path),
    )
    out = model.decode(states, truth[1], truth[2], durations, mask, frame_mask)  # (B, T, 82)
    mel, log_f0, voicing = out[..., :-2], out[..., -2], out[..., -1]
    frames = t.sum().float()
    found = {
        "mel": ((mel - batch["mel"]).abs() * frame_mask).sum() / (frames * batch["mel"].shape[2]),
        "f0": ((log_f0 - batch["log_f0"]).abs() * voiced).sum() / batch["voiced"].sum().clamp(min=1.0),
        "voicing": ((F.softplus(voicing) - voicing * batch["voiced"]) * inside).sum() / frames,
        "forward_sum": forward_sum,
        "binarization": -(scores * path).sum() / frames,
    }
    for name, prediction, target in zip(("duration", "pitch", "energy"), predicted, truth, strict=True):
        found[name] = ((prediction - target).square() * mask[..., 0]).sum() / n.sum()
    found["total"] = sum(
        getattr(weights, name) * (binarization if name == "binarization" else 1.0) * loss
        for name, loss in found.items()
    )
    return found


class TorchTraining:
    """One update: losses, gradients, clipping, fused AdamW and the moving average of the weights."""

    def __init__(self, model: TorchBitJets, training: OptimizerConfig) -> None:
        self.model, self.training = model.train(), training
        self.parameters = list(model.parameters())
        self.ema = [parameter.detach().clone() for parameter in self.parameters]
        self.optimizer = torch.optim.AdamW(self.parameters, betas=training.betas, fused=True)

    def update(self, number: int, items: list[Item], shape: MicroBatch, rate: float) -> dict[str, float]:
        """Update number `number`, counted from 0, at this learning rate; returns the losses."""
        found = self.forward(items, shape)
        self.backward(found["total"])
        return {name: float(loss.detach()) for name, loss in found.items()} | {"gradient_norm": self.step(number, rate)}

    def forward(self, items: list[Item], shape: MicroBatch) -> dict[str, Tensor]:
        """Padding, prior, alignment and all losses."""
        return losses(self.model, collate(items, shape), 1.0, AcousticLossWeights())

    def backward(self, total: Tensor) -> None:
        """The gradient of every parameter."""
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()

    def step(self, number: int, rate: float) -> float:
        """Move the parameters by their gradients; returns the norm of these before clipping."""
        norm = float(nn.utils.clip_grad_norm_(self.parameters, self.training.gradient_clip, foreach=True))
        if math.isfinite(norm):
            for group in self.optimizer.param_groups:
                group["lr"], group["weight_decay"] = rate, self.training.weight_decay
            self.optimizer.step()
            average = min(self.training.ema, (number + 1) / (number + 1 + EMA_WARM_UP))
            with torch.no_grad():
                torch._foreach_lerp_(self.ema, self.parameters, 1.0 - average)
        return norm
