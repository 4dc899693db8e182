"""The PyTorch twin's training step of the acoustic model: padding, losses, gradients, AdamW, moving average.

`python -m bitjets_mlx.benchmark train` compares our speed with it; from the same weights it has our losses, gradients
and updates (tests/test_torch_twin.py). The monotonic search is the same as ours.
"""

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mlx.utils import tree_flatten
from torch import Tensor, nn

from bitjets_mlx.acoustic.aligner import BLANK_SCORE, TEMPERATURE, beta_binomial_prior
from bitjets_mlx.benchmarking.torch_twin import MASKED, TorchBitJets, convolve, parameter
from bitjets_mlx.config import AcousticConfig
from bitjets_mlx.ops.alignment import monotonic_search, path_matrix
from bitjets_mlx.training.acoustic_data import Item
from bitjets_mlx.training.acoustic_losses import AcousticLossWeights
from bitjets_mlx.training.batches import MicroBatch, pad
from bitjets_mlx.training.config import OptimizerConfig
from bitjets_mlx.training.optimize import EMA_WARM_UP

Batch = dict[str, Tensor]


class Convolution(nn.Module):
    """A plain convolution whose weight is (O, K, I), as MLX has it."""

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.weight = parameter(outputs, kernel, inputs)
        self.bias = parameter(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, I) -> (B, T, O)."""
        return convolve(x, self.weight, self.bias)


class Aligner(nn.Module):
    """Scores how well each mel frame fits each token."""

    def __init__(self, config: AcousticConfig) -> None:
        super().__init__()
        width = config.aligner_width
        self.embedding = nn.Embedding(config.symbols, config.width)
        self.text1 = Convolution(config.width, 2 * width, 3)
        self.text2 = Convolution(2 * width, width, 1)
        self.mel1 = Convolution(config.n_mels, width, 3)
        self.mel2 = Convolution(width, width, 3)
        self.mel3 = Convolution(width, width, 1)

    def forward(self, tokens: Tensor, mel: Tensor, mask: Tensor, frame_mask: Tensor, prior: Tensor) -> Tensor:
        """tokens (B, N), mel (B, T, 80), masks (B, N, 1), (B, T, 1), prior (B, T, N) -> log-probabilities (B, T, N)."""
        text = self.text2(F.relu(self.text1(self.embedding(tokens) * mask)))  # (B, N, C)
        frames = F.relu(self.mel1(mel * frame_mask)) * frame_mask
        frames = self.mel3(F.relu(self.mel2(frames)))  # (B, T, C)
        squares = frames.square().sum(-1, keepdim=True) + text.square().sum(-1)[:, None, :]  # (B, T, N)
        distance = torch.baddbmm(squares, frames, text.transpose(1, 2), alpha=-2.0)
        scores = -TEMPERATURE * distance + ((1.0 - mask) * MASKED).transpose(1, 2)
        return F.log_softmax(scores, dim=-1) + prior


class TrainedBitJets(TorchBitJets):
    """The acoustic model with its aligner."""

    def __init__(self, config: AcousticConfig) -> None:
        super().__init__(config)
        self.aligner = Aligner(config)

    def load(self, parameters: Any) -> None:
        """Take over the weights of our model, given as its tree."""
        named: Any = tree_flatten(parameters)
        self.load_state_dict({name: torch.from_numpy(np.array(leaf)) for name, leaf in named})


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


def token_means(values: Tensor, weights: Tensor, path: Tensor) -> Tensor:
    """Mean of frame values (B, T) over each token's frames; path (B, T, N) is one-hot -> (B, N)."""
    sums = (values * weights)[:, None, :] @ path
    return (sums / (weights[:, None, :] @ path).clamp(min=1.0))[:, 0]


def length_mask(lengths: Tensor, size: int) -> Tensor:
    """(B,) -> (B, size, 1): ones inside, zeros beyond each length."""
    return (torch.arange(size)[None, :] < lengths[:, None]).float()[..., None]


def losses(model: TrainedBitJets, batch: Batch, binarization: float, weights: AcousticLossWeights) -> dict[str, Tensor]:
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
    out = model.decode(states, truth[1], truth[2], durations, scores.shape[1], mask, frame_mask)  # (B, T, 82)
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

    def __init__(self, model: TrainedBitJets, training: OptimizerConfig) -> None:
        self.model, self.training = model.train(), training
        self.parameters: list[Tensor] = list(model.parameters())
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
