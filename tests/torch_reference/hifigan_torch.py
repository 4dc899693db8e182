"""HiFi-GAN's generator in plain PyTorch, after the paper's figures and the official key names."""

import torch
from torch import nn
from torch.nn.functional import leaky_relu
from torch.nn.utils import parametrizations, weight_norm


class ResBlock1(nn.Module):
    """Of V1 and V2: pairs of a dilated and a plain convolution."""

    def __init__(self, channels: int, size: int, dilations: list[int], norm) -> None:  # type: ignore[no-untyped-def]
        super().__init__()
        self.convs1, self.convs2 = nn.ModuleList(), nn.ModuleList()
        for d in dilations:
            self.convs1.append(norm(nn.Conv1d(channels, channels, size, dilation=d, padding=d * (size // 2))))
            self.convs2.append(norm(nn.Conv1d(channels, channels, size, padding=size // 2)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for first, second in zip(self.convs1, self.convs2, strict=True):
            x = x + second(leaky_relu(first(leaky_relu(x, 0.1)), 0.1))
        return x


class ResBlock2(nn.Module):
    """Of V3."""

    def __init__(self, channels: int, size: int, dilations: list[int], norm) -> None:  # type: ignore[no-untyped-def]
        super().__init__()
        self.convs = nn.ModuleList(
            [norm(nn.Conv1d(channels, channels, size, dilation=d, padding=d * (size // 2))) for d in dilations]
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for conv in self.convs:
            x = x + conv(leaky_relu(x, 0.1))
        return x


class Generator(nn.Module):
    """Of the official config.json. `new` takes torch's newer weight normalization."""

    def __init__(self, config: dict, new: bool) -> None:
        super().__init__()
        norm = parametrizations.weight_norm if new else weight_norm
        block = ResBlock1 if config["resblock"] == "1" else ResBlock2
        channels = config["upsample_initial_channel"]
        self.conv_pre = norm(nn.Conv1d(80, channels, 7, padding=3))
        self.ups, self.resblocks = nn.ModuleList(), nn.ModuleList()
        for rate, size in zip(config["upsample_rates"], config["upsample_kernel_sizes"], strict=True):
            self.ups.append(norm(nn.ConvTranspose1d(channels, channels // 2, size, rate, padding=(size - rate) // 2)))
            channels //= 2
            shapes = zip(config["resblock_kernel_sizes"], config["resblock_dilation_sizes"], strict=True)
            self.resblocks += [block(channels, kernel, dilations, norm) for kernel, dilations in shapes]
        self.conv_post = norm(nn.Conv1d(channels, 1, 7, padding=3))
        self.kernels = len(config["resblock_kernel_sizes"])

    def forward(self, mel: torch.Tensor) -> torch.Tensor:  # (B, 80, T)
        x = self.conv_pre(mel)
        for index, up in enumerate(self.ups):
            x = up(leaky_relu(x, 0.1))
            blocks = self.resblocks[index * self.kernels : (index + 1) * self.kernels]
            x = sum(block(x) for block in blocks) / self.kernels
        return torch.tanh(self.conv_post(leaky_relu(x)))[:, 0]
