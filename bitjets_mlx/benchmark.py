"""Measure speed on this machine. Every comparison is made in one run, contender after contender.

    python -m bitjets_mlx.benchmark kernels

checks the ternary product against integers, then times it against fp16, MLX's 2-bit product and a 2-bit GEMV without
int8 activations, at the shipped voice's shapes and up to 4096 x 4096. BITJETS_TERNARY chooses the backend.

    python -m bitjets_mlx.benchmark cost

counts what the Metal kernels do for one sentence, and what an M4 needs for it at least: tables in Markdown.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from bitjets_mlx.errors import BitjetsError, run_command
from bitjets_mlx.files import atomic_write_bytes

VOICE = Path(__file__).resolve().parents[1] / "weights" / "duo"


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, measure, print, save."""
    options = _parser().parse_args(arguments)
    if options.command == "cost":
        return _print_cost(options.voice, options.tokens, options.frames)
    if options.json and not options.json.absolute().parent.is_dir():
        raise BitjetsError(f"there is no folder {options.json.absolute().parent}: make it first.")
    from bitjets_mlx.benchmarking.kernels import benchmark_kernels, table

    report = benchmark_kernels(options.seconds, options.largest)
    print(table(report))
    if options.json:
        atomic_write_bytes(options.json, (json.dumps(report, indent=1) + "\n").encode())


def _print_cost(voice: Path, tokens: int, frames: int) -> None:
    from bitjets_mlx.benchmarking.cost import tables
    from bitjets_mlx.config import AcousticConfig
    from bitjets_mlx.voice_folder import read_config

    acoustic = read_config(voice).acoustic
    if not isinstance(acoustic, AcousticConfig) or not acoustic.ternary or min(tokens, frames) < 1:
        raise BitjetsError(f"give a ternary BitJETS voice, and tokens and frames of at least 1, not {voice}.")
    print("\n\n".join(tables(acoustic, tokens, frames)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bitjets_mlx.benchmark", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    kernels = commands.add_parser("kernels", help="the ternary product: checked, then timed")
    kernels.add_argument("--seconds", type=float, default=0.2, help="for each contender at each shape (0.2)")
    kernels.add_argument("--largest", type=int, default=4096, help="leave out shapes beyond this width (4096)")
    kernels.add_argument("--json", type=Path, metavar="FILE", help="save what was measured")
    cost = commands.add_parser("cost", help="the Metal kernels' operations, bytes and launches, counted")
    cost.add_argument("--voice", type=Path, default=VOICE, help="a voice folder (weights/duo)")
    cost.add_argument("--tokens", type=int, default=80, help="of the sentence (80)")
    cost.add_argument("--frames", type=int, default=400, help="of the sentence, 86 a second (400)")
    return parser


if __name__ == "__main__":
    run_command(main)
