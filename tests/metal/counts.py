"""What the emulated GPU counts while the kernels run, as the table in docs/kernels.md.

python tests/metal/counts.py
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import bitjets_mlx  # noqa: I001, F401  before mlx

import mlx.core as mx
from emulator import Launch, emulated_metal
from products import operands, product

from bitjets_mlx.ternary import metal

SIMD = 32
CASES = (  # what, rows, inputs, outputs, taps, tile
    ("gemv", 1, 192, 576, 1, None),
    ("gemv", 4, 192, 576, 1, None),
    ("tiled", 12, 192, 576, 1, metal.SMALL),
    ("tiled", 12, 192, 576, 1, metal.MEDIUM),
    ("tiled", 80, 192, 576, 1, metal.MEDIUM),
    ("tiled", 80, 192, 576, 1, metal.LARGE),
    ("tiled", 80, 192, 384, 3, metal.MEDIUM),
)
HEADING = (
    "kernel | M x K x N, taps | activations kB | codes kB | barriers | threadgroup bytes | 8x8 products | matrix loads "
    "| conversions | fma | other simd"
)


def main() -> None:
    """Print the table. Instructions are those of simdgroups: 32 threads doing one thing count as one."""
    print(f"| {HEADING} |\n| {' | '.join('---' for _ in HEADING.split('|'))} |")
    for what, rows, inputs, outputs, taps, tile in CASES:
        with emulated_metal() as gpu:
            product(operands(1, rows, inputs, outputs, taps), tile=tile)
        name = what if tile is None else f"{what} {tile.rows} x {tile.columns}"
        shape = f"{rows} x {inputs} x {outputs}" + (f", {taps}" if taps > 1 else "")
        print(row(name, shape, gpu.launches[-1], "integers", "codes"))
    for rows, inputs in ((80, 192), (80, 384), (1, 4096)):
        with emulated_metal() as gpu:
            metal.quantize(mx.ones((1, rows, inputs), mx.float16), mx.ones(inputs), mx.ones((1, rows, 1)), 1e-6)
        print(row("rms_quantize", f"{rows} x {inputs}", gpu.launches[-1], "x", "gain"))


def row(name: str, shape: str, launch: Launch, activations: str, weights: str) -> str:
    """One line; bytes are those that threads read, caches not counted."""
    counts = launch.counters
    values = [
        f"{launch.bytes[activations] / 1e3:.1f}",
        f"{launch.bytes[weights] / 1e3:.1f}",
        counts["barriers"],
        counts["threadgroup_bytes"],
        counts["multiply_accumulates"],
        counts["matrix_loads"] // SIMD,
        counts["conversions"] // SIMD,
        counts["fused_multiply_adds"] // SIMD,
        counts["simd_operations"] - counts["multiply_accumulates"],
    ]
    return f"| {name} | {shape} | {' | '.join(f'{value:,}' if isinstance(value, int) else value for value in values)} |"


if __name__ == "__main__":
    main()
