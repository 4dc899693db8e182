"""What a voice costs: operations, bytes and launches, counted from the configuration; nothing here is measured.

`python -m bitjets_mlx.benchmark cost` prints the tables of docs/kernels.md. Operations are the multiplications and
additions of products; activations, norms and FFTs are left out, since a core's peak is about products.
"""

import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import mlx.core as mx

from bitjets_mlx.config import HOP, SAMPLE_RATE, AcousticConfig, HarmonicConfig, HifiganConfig
from bitjets_mlx.ternary import cpu, matmul, metal

M4_BYTES, M4_FLOPS = 120e9, 4e12  # a second: memory bandwidth and fp32 arithmetic of an Apple M4
FRAMES_A_SECOND = SAMPLE_RATE / HOP
BINS = 513  # of the harmonic vocoder's filters
VIEWS = {"Full", "Broadcast", "Reshape", "Transpose", "Flatten", "Unflatten", "Slice"}  # of MLX: these run nothing


@dataclass(frozen=True)
class Layer:
    """A ternary layer that is there `times` times: rows (tokens or frames), inputs, outputs, taps."""

    name: str
    times: int
    rows: int
    inputs: int
    outputs: int
    taps: int = 1
    relu: bool = False
    residual: bool = False

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
            Layer(f"{side}: attention out", times, rows, width, width, residual=True),
            Layer(f"{side}: expand", times, rows, width, hidden, config.kernel, relu=True),
            Layer(f"{side}: contract", times, rows, hidden, width, config.contract_kernel, residual=True),
        ]
    for narrow, count, kernel in config.predictors:
        for index in range(count):
            layers.append(Layer("predictors", 1, tokens, narrow if index else width, narrow, kernel, relu=True))
    return _together(layers)


def _together(layers: list[Layer]) -> list[Layer]:
    """Equal ones as one, with their number."""
    counts: dict[Layer, int] = {}
    for layer in layers:
        once = replace(layer, times=1)
        counts[once] = counts.get(once, 0) + layer.times
    return [replace(layer, times=times) for layer, times in counts.items()]


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


def acoustic_operations(config: AcousticConfig, tokens: int, frames: int) -> float:
    """Of the acoustic model, per second of speech, in an utterance of this length (attention grows with it)."""
    return operations(config, tokens, frames).total / (frames / FRAMES_A_SECOND)


def vocoder_operations(config: HarmonicConfig | HifiganConfig) -> float:
    """Of a vocoder, per second of speech."""
    return 2.0 * FRAMES_A_SECOND * (_harmonic(config) if isinstance(config, HarmonicConfig) else _hifigan(config))


def _harmonic(config: HarmonicConfig) -> int:
    """Multiplications per frame."""
    block = config.width * (config.kernel + 2 * config.hidden)
    return (config.n_mels + 2) * config.kernel * config.width + config.layers * block + config.width * 4 * BINS


def _hifigan(config: HifiganConfig) -> int:
    """Multiplications per frame."""
    rates = [1]
    for rate in config.upsample_rates:
        rates.append(rates[-1] * rate)
    channels = [config.upsample_initial_channel >> stage for stage in range(len(rates))]
    kinds = zip(config.resblock_kernel_sizes, config.resblock_dilation_sizes, strict=True)
    taps = sum((2 if config.resblock == "1" else 1) * kernel * len(dilations) for kernel, dilations in kinds)
    total = 7 * config.n_mels * channels[0] + 7 * rates[-1] * channels[-1]
    for size, (before, rate), (inputs, outputs) in zip(
        config.upsample_kernel_sizes, pairwise(rates), pairwise(channels), strict=True
    ):
        total += before * size * inputs * outputs + rate * taps * outputs * outputs
    return total


# -- the tables ------------------------------------------------------------------------------------------------------


def tables(config: AcousticConfig, tokens: int, frames: int) -> Iterator[str]:
    """Markdown: products, few rows, prologues, launches."""
    layers = ternary_layers(config, tokens, frames)
    yield f"{tokens} tokens, {frames} frames: {frames / FRAMES_A_SECOND:.1f} s of speech"
    yield _table(
        "product | times | kernel | M x K x N, taps | MFLOP | kB | kB fp16 | compute | memory | memory fp16 | limit",
        [_product_row(layer) for layer in layers],
    )
    alone = {
        (layer.inputs, layer.outputs): replace(layer, rows=1, name=layer.name.split(": ")[-1])
        for layer in layers
        if layer.taps == 1
    }
    yield _table(
        "one row | times | kernel | M x K x N, taps | MFLOP | kB | kB fp16 | compute | memory | memory fp16 | limit",
        [_product_row(layer) for layer in alone.values()],
    )
    shapes = {(layer.rows, layer.inputs): 0 for layer in layers}
    for layer in layers:
        shapes[layer.rows, layer.inputs] += layer.times
    yield _table(
        "RMSNorm and int8 (rms_quantize) | times | MFLOP | kB | compute | memory | limit",
        [_prologue_row(*shape, times) for shape, times in shapes.items()],
    )
    yield _launches(layers, frames)
    yield "ternary weights in memory: " + ", ".join(_held(layers, backend) for backend in matmul.BACKENDS)


def held_bytes(layer: Layer, backend: str) -> int:
    """Bytes that a packed layer keeps in memory for a backend: what `matmul.packed` makes of it, and beta."""
    up = {"metal": (1, 32), "cuda": (1, 32), "cpu": (cpu.BLOCK, cpu.GROUP), "blas": (1, 1)}[backend]
    bits = {"metal": 2, "cuda": 2, "cpu": 8, "blas": 32}[backend]
    padded = [-(-size // to) * to for size, to in zip((layer.outputs, layer.inputs), up, strict=True)]
    return layer.times * (layer.taps * padded[0] * padded[1] * bits // 8 + 4)


def _held(layers: list[Layer], backend: str) -> str:
    held, full = (sum(held_bytes(layer, name) for layer in layers) for name in (backend, "blas"))
    return f"{backend} {held / 1e6:.2f} MB" + (f" (1 / {full / held:.1f} of fp32)" if backend != "blas" else " (fp32)")


def _table(heading: str, rows: list[str]) -> str:
    line = " | ".join("---" for _ in heading.split("|"))
    return "\n".join(f"| {row} |" for row in (heading, line, *rows))


def _product_row(layer: Layer) -> str:
    """Activations as the product sees them, int8 in, fp16 out (and a residual in); everything once, 2-bit or fp16."""
    rows, size = layer.rows, layer.inputs * layer.outputs * layer.taps
    out = 2 * rows * layer.outputs * (2 if layer.residual else 1)
    ours, half = rows * (layer.inputs + 4) + out + size // 4, 2 * rows * layer.inputs + out + 2 * size
    few = layer.taps == 1 and rows <= metal.GEMV_ROWS
    tile = metal.choose_tile(1, rows, layer.outputs)
    kernel = "gemv" if few else f"tiled {tile.rows} x {tile.columns}"
    compute, memory = layer.operations / M4_FLOPS, ours / M4_BYTES
    shape = f"{rows} x {layer.inputs} x {layer.outputs}" + (f", {layer.taps}" if layer.taps > 1 else "")
    return (
        f"{layer.name} | {layer.times} | {kernel} | {shape} | {layer.operations / 1e6:.1f} | {ours / 1e3:.0f} "
        f"| {half / 1e3:.0f} | {1e6 * compute:.2f} us | {1e6 * memory:.2f} us | {1e6 * half / M4_BYTES:.2f} us "
        f"| {'compute' if compute > memory else 'memory'}"
    )


def _prologue_row(rows: int, inputs: int, times: int) -> str:
    """fp16 in, int8 and a scale out; 10 operations a value: two for the sum, four for the norm, four for rounding."""
    count, moved = 10 * rows * inputs, rows * (3 * inputs + 4)
    compute, memory = count / M4_FLOPS, moved / M4_BYTES
    return (
        f"{rows} x {inputs} | {times} | {count / 1e6:.2f} | {moved / 1e3:.0f} | {1e6 * compute:.2f} us "
        f"| {1e6 * memory:.2f} us | {'compute' if compute > memory else 'memory'}"
    )


def _launches(layers: list[Layer], frames: int) -> str:
    """Of MLX's own operations, and of the kernels: one for RMSNorm and quantization, one for all the rest."""
    count = sum(layer.times for layer in layers)
    before = sum(layer.times * _mlx_operations(layer.taps, layer.relu, layer.residual) for layer in layers)
    seconds, after = frames / FRAMES_A_SECOND, 2 * count
    bound = sum(layer.times * layer.operations for layer in layers) / M4_FLOPS
    return (
        f"all products: {1e3 * bound:.2f} ms at the least\n\n"
        f"{count} layers: {before} launches before fusion, {after} after; {before / seconds:.0f} and "
        f"{after / seconds:.0f} a second of speech"
    )


def _mlx_operations(taps: int, relu: bool, residual: bool) -> int:
    """Operations that MLX runs for a layer without the kernels, read from its graph."""
    x, mask, bias = mx.zeros((1, 8, 32), mx.float16), mx.ones((1, 8, 1), mx.float16), mx.zeros(48, mx.float16)
    added = mx.zeros((1, 8, 48), mx.float16) if residual else None
    weight = matmul.PackedWeight("blas", mx.zeros((taps, 48, 32)), mx.array(0.5))
    mx.eval(x, mask, bias, added, weight.parameters())
    # Without its gain, since MLX takes RMSNorm apart on a CPU, where on a GPU it is one operation: counted as one.
    out = matmul.bit_conv1d(x, mask, None, weight, bias, "relu" if relu else None, added)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "graph.dot"
        mx.export_to_dot(str(file), out)
        names = re.findall(r'label ?="([A-Za-z]\w+)"', file.read_text())
    return 1 + sum(name not in VIEWS for name in names)
