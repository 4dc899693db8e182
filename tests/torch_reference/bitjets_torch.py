"""The convolutional, character-level BitJETS in plain PyTorch, both generations, as its description says."""

import torch
from torch import nn

VOCABULARY = "_abcdefghijklmnopqrstuvwxyz!?,. "


class BitConv(nn.Module):
    """Ternary, bias-free convolution of an int8 input (B, C, T)."""

    def __init__(self, inputs: int, outputs: int, size: int, generation: str) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, size) * (inputs * size) ** -0.5)
        self.size, self.generation = size, generation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        beta = self.weight.abs().mean().clamp(min=1e-5)
        trits = torch.round(torch.clamp(self.weight / beta, -1, 1))
        if self.generation == "early":
            gamma = x.abs().max(dim=-1, keepdim=True).values.clamp(min=1e-5)  # (B, C, 1)
        else:
            gamma = x.abs().max().clamp(min=1e-5)
        integers = torch.round(torch.clamp(x * 127.0 / gamma, -128, 127))
        y = nn.functional.conv1d(integers, trits, padding=self.size // 2)
        return y * (beta * gamma / 127.0)


class ConvBlock(nn.Module):
    def __init__(self, width: int, size: int, generation: str) -> None:
        super().__init__()
        self.layer_norm = nn.LayerNorm(width)
        self.bit_conv = BitConv(width, width, size, generation)
        self.slope = 0.0 if generation == "early" else 0.1

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # (B, T, C)
        y = self.bit_conv(self.layer_norm(x).transpose(1, 2)).transpose(1, 2)
        return nn.functional.leaky_relu(y, self.slope)


class Encoder(nn.Module):
    def __init__(self, width: int, layers: int, generation: str) -> None:
        super().__init__()
        self.embedding = nn.Embedding(len(VOCABULARY), width, padding_idx=0)
        self.layer = nn.ModuleList([ConvBlock(width, 5, generation) for _ in range(layers)])
        self.final_norm = nn.LayerNorm(width)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.embedding(tokens)
        for layer in self.layer:
            x = x + layer(x)
        return self.final_norm(x)


class PredictorConv(nn.Module):
    """LayerNorm and convolution; the ReLU is a module of its own in the Sequential around it."""

    def __init__(self, width: int, generation: str) -> None:
        super().__init__()
        self.layer_norm = nn.LayerNorm(width)
        self.bit_conv = BitConv(width, width, 3, generation)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.bit_conv(self.layer_norm(x).transpose(1, 2)).transpose(1, 2)


class VarianceAdaptor(nn.Module):
    def __init__(self, width: int, generation: str) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(2):
            layers += [PredictorConv(width, generation), nn.ReLU(), nn.Dropout(0.1)]
        self.duration_predictor = nn.Sequential(*layers, nn.Linear(width, 1))

    def forward(self, x: torch.Tensor, control: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        log_durations = self.duration_predictor(x).squeeze(-1)
        durations = torch.clamp(torch.round((torch.exp(log_durations) - 1) * control), min=1).long()
        return torch.repeat_interleave(x[0], durations[0], dim=0)[None], log_durations, durations


class Decoder(nn.Module):
    def __init__(self, inputs: int, width: int, layers: int, generation: str) -> None:
        super().__init__()
        self.input_proj = nn.Linear(inputs, width)
        self.layers = nn.ModuleList([ConvBlock(width, 5, generation) for _ in range(layers)])
        self.final_form = nn.LayerNorm(width)
        self.output_proj = nn.Linear(width, 80)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.input_proj(x)
        for layer in self.layers:
            x = x + layer(x)
        return self.output_proj(self.final_form(x))


class BitJets(nn.Module):
    """Widths and layers default to the published 2,519,953 parameters."""

    def __init__(self, generation: str, encoder: int = 256, decoder: int = 192, layers: int = 4) -> None:
        super().__init__()
        self.encoder = Encoder(encoder, layers, generation)
        self.variance_adaptor = VarianceAdaptor(encoder, generation)
        self.decoder = Decoder(encoder, decoder, layers, generation)

    def forward(self, text: str, control: float = 1.0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Text -> (durations (N,), log durations (N,), log mel (T, 80))."""
        tokens = [VOCABULARY.index(letter) for letter in text.lower() if letter in VOCABULARY]
        states = self.encoder(torch.tensor([tokens]))
        frames, log_durations, durations = self.variance_adaptor(states, control)
        return durations[0], log_durations[0], self.decoder(frames)[0]


def lively(model: BitJets) -> BitJets:
    """Random weights that behave like trained ones: norms with a shape, 2 to 9 frames a character, mels in range."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name or "final_form" in name:
                parameter.add_(torch.randn_like(parameter) * 0.1)
        model.variance_adaptor.duration_predictor[6].bias.fill_(1.6)
        model.decoder.output_proj.bias.copy_(torch.linspace(-4, -8, 80))
    return model.eval()


def packed(state: dict[str, torch.Tensor]) -> dict[str, object]:
    """The packed form of a state dict: five trits to a byte, most significant first, digits 0, 1 and 2 for -1."""
    result: dict[str, object] = {}
    for name, value in state.items():
        if not name.endswith("bit_conv.weight"):
            result[name] = value
            continue
        beta = value.abs().mean().clamp(min=1e-5)
        digits = torch.round(torch.clamp(value / beta, -1, 1)).long().flatten() % 3
        padded = torch.nn.functional.pad(digits, (0, -len(digits) % 5)).view(-1, 5)
        indices = (padded * torch.tensor([81, 27, 9, 3, 1])).sum(dim=1).to(torch.uint8)
        result[name] = {"indices": indices, "beta": beta, "shape": value.shape, "numel": value.numel()}
    result["__packed_keys__"] = [name for name in state if name.endswith("bit_conv.weight")]
    return result
