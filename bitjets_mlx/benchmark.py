"""Measure speed on this machine. Every comparison is made in one run, contender after contender.

    python -m bitjets_mlx.benchmark kernels

checks the ternary product against integers, then times it against fp16, MLX's 2-bit product and a 2-bit GEMV without
int8 activations, at the shipped voice's shapes and up to 4096 x 4096. BITJETS_TERNARY chooses the backend.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from bitjets_mlx.errors import BitjetsError, run_command
from bitjets_mlx.files import atomic_write_bytes


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, measure, print, save."""
    options = _parser().parse_args(arguments)
    if options.json and not options.json.absolute().parent.is_dir():
        raise BitjetsError(f"there is no folder {options.json.absolute().parent}: make it first.")
    from bitjets_mlx.benchmarking.kernels import benchmark_kernels, table

    report = benchmark_kernels(options.seconds, options.largest)
    print(table(report))
    if options.json:
        atomic_write_bytes(options.json, (json.dumps(report, indent=1) + "\n").encode())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bitjets_mlx.benchmark", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    kernels = commands.add_parser("kernels", help="the ternary product: checked, then timed")
    kernels.add_argument("--seconds", type=float, default=0.2, help="for each contender at each shape (0.2)")
    kernels.add_argument("--largest", type=int, default=4096, help="leave out shapes beyond this width (4096)")
    kernels.add_argument("--json", type=Path, metavar="FILE", help="save what was measured")
    return parser


if __name__ == "__main__":
    run_command(main)
