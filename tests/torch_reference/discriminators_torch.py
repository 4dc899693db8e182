"""HiFi-GAN's discriminators in plain PyTorch, after the paper's section 2.3 and the official key names."""

from itertools import pairwise

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


class Judge(nn.Module):
    def score(self, x: torch.Tensor) -> torch.Tensor:
        for conv in self.convs:
            x = leaky_relu(conv(x), 0.1)
        return self.conv_post(x).flatten(1)


class Period(Judge):
    def __init__(self, period: int) -> None:
        super().__init__()
        self.period = period
        widths = (1, 32, 128, 512, 1024, 1024)
        self.convs = nn.ModuleList(
            weight_norm(nn.Conv2d(a, b, (5, 1), (3 if b != a else 1, 1), (2, 0))) for a, b in pairwise(widths)
        )
        self.conv_post = weight_norm(nn.Conv2d(1024, 1, (3, 1), 1, (1, 0)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # (B, 1, S)
        x = pad(x, (0, -x.shape[-1] % self.period), "reflect")
        return self.score(x.view(*x.shape[:2], -1, self.period))


class Scale(Judge):
    def __init__(self, norm) -> None:  # type: ignore[no-untyped-def]
        super().__init__()
        self.convs = nn.ModuleList(norm(nn.Conv1d(i, o, k, s, k // 2, groups=g)) for i, o, k, s, g in SCALES)
        self.conv_post = norm(nn.Conv1d(1024, 1, 3, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.score(x)


class Periods(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.discriminators = nn.ModuleList(map(Period, PERIODS))

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        return [judge(x) for judge in self.discriminators]


class Scales(nn.Module):
    """The first with spectral normalization, the others with weight normalization."""

    def __init__(self) -> None:
        super().__init__()
        self.discriminators = nn.ModuleList([Scale(spectral_norm), Scale(weight_norm), Scale(weight_norm)])

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        scores = []
        for judge in self.discriminators:
            scores.append(judge(x))
            x = avg_pool1d(x, 4, 2, 2)
        return scores
