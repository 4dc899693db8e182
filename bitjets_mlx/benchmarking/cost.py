"""What the layers of an acoustic model cost: operations and bytes, counted."""

from dataclasses import dataclass

from bitjets_mlx.config import AcousticConfig


@dataclass(frozen=True)
class Layer:
    """A ternary layer that is there `times` times: rows (tokens or frames), inputs, outputs, taps."""

    name: str
    times: int
    rows: int
    inputs: int
    outputs: int
    taps: int = 1

    @property
    def operations(self) -> int:
        """Multiplications and additions of one product."""
        return 2 * self.rows * self.inputs * self.outputs * self.taps


def ternary_layers(config: AcousticConfig, tokens: int, frames: int) -> list[Layer]:
    """Every ternary layer that speaks an utterance, in the order in which they run."""
    width, layers = config.width, []
    sides = (
        ("encoder", tokens, config.encoder_layers, config.feed_forward),
        ("decoder", frames, config.decoder_layers, config.decoder_feed_forward or config.feed_forward),
    )
    for side, rows, times, hidden in sides:
        layers += [
            Layer(f"{side}: attention in", times, rows, width, 3 * width),
            Layer(f"{side}: attention out", times, rows, width, width),
            Layer(f"{side}: expand", times, rows, width, hidden, config.kernel),
            Layer(f"{side}: contract", times, rows, hidden, width, config.contract_kernel),
        ]
    common = (config.predictor_width, config.predictor_layers, config.predictor_kernel)
    for narrow, count, kernel in config.predictors or (common,) * 3:
        layers.append(Layer("predictor: first", 1, tokens, width, narrow, kernel))
        layers.append(Layer("predictor: others", count - 1, tokens, narrow, narrow, kernel))
    return [layer for layer in layers if layer.times]


@dataclass(frozen=True)
class Operations:
    """Of a whole forward pass: products of ternary layers, attention's two products, the mel projection."""

    ternary: int
    attention: int
    projection: int

    @property
    def total(self) -> int:
        """All of them. Norms, softmax and upsampling are left out: less than a hundredth."""
        return self.ternary + self.attention + self.projection


def operations(config: AcousticConfig, tokens: int, frames: int) -> Operations:
    """Of speaking one utterance."""
    pairs = config.encoder_layers * tokens**2 + config.decoder_layers * frames**2
    return Operations(
        sum(layer.times * layer.operations for layer in ternary_layers(config, tokens, frames)),
        2 * 2 * config.width * pairs,
        2 * frames * config.width * (config.n_mels + 2),
    )
