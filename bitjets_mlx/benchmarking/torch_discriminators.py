"""HiFi-GAN's discriminators in PyTorch (arXiv:2010.05646, section 2.3), with the official key names."""

from collections.abc import Callable
from itertools import pairwise
from typing import cast

import torch
from torch import nn
from torch.nn.functional import avg_pool1d, leaky_relu, pad
from torch.nn.utils import spectral_norm, weight_norm

PERIODS = (2, 3, 5, 7, 11)
SCALES = (  # inputs, outputs, size, stride, groups
    (1, 128, 15, 1, 1),
    (128, 128, 41, 2, 4),
    (128, 256, 41, 2, 16),
    (256, 512, 41, 4, 16),
    (512, 1024, 41, 4, 16),
    (1024, 1024, 41, 1, 16),
    (1024, 1024, 5, 1, 1),
)


def score(convolutions: nn.ModuleList, last: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """(B, 1, ...) -> scores (B, L)."""
    for convolution in convolutions:
        x = leaky_relu(convolution(x), 0.1)
    return cast(torch.Tensor, last(x)).flatten(1)


class Period(nn.Module):
    """Looks at every `period`-th sample."""

    def __init__(self, period: int) -> None:
        super().__init__()
        self.period = period
        widths = (1, 32, 128, 512, 1024, 1024)
        self.convs = nn.ModuleList(
            weight_norm(nn.Conv2d(a, b, (5, 1), (3 if b != a else 1, 1), (2, 0))) for a, b in pairwise(widths)
        )
        self.conv_post = weight_norm(nn.Conv2d(1024, 1, (3, 1), 1, (1, 0)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, 1, S) -> (B, L)."""
        x = pad(x, (0, -x.shape[-1] % self.period), "reflect")
        return score(self.convs, self.conv_post, x.view(*x.shape[:2], -1, self.period))


class Scale(nn.Module):
    """Looks at the waveform as it is, or at a mean of it."""

    def __init__(self, norm: Callable[[nn.Module], nn.Module]) -> None:
        super().__init__()
        self.convs = nn.ModuleList(norm(nn.Conv1d(i, o, k, s, k // 2, groups=g)) for i, o, k, s, g in SCALES)
        self.conv_post = norm(nn.Conv1d(1024, 1, 3, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, 1, S) -> (B, L)."""
        return score(self.convs, self.conv_post, x)


class Periods(nn.Module):
    """The multi-period discriminator."""

    def __init__(self) -> None:
        super().__init__()
        self.discriminators = nn.ModuleList(map(Period, PERIODS))

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """(B, 1, S) -> scores of each."""
        return [one(x) for one in self.discriminators]


class Scales(nn.Module):
    """The multi-scale discriminator: the first with spectral normalization, the others with weight normalization."""

    def __init__(self) -> None:
        super().__init__()
        self.discriminators = nn.ModuleList([Scale(spectral_norm), Scale(weight_norm), Scale(weight_norm)])

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """(B, 1, S) -> scores of each."""
        scores = []
        for one in self.discriminators:
            scores.append(one(x))
            x = avg_pool1d(x, 4, 2, 2)
        return scores
