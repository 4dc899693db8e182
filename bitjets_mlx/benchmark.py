"""Measure speed and quality on this machine. Every comparison is made in one run, contender after contender.

    python -m bitjets_mlx.benchmark kernels
    python -m bitjets_mlx.benchmark cost
    python -m bitjets_mlx.benchmark voice --hifigan weights/hifigan_lj_v2 --json voice.json --plot voice.png
    python -m bitjets_mlx.benchmark train
    python -m bitjets_mlx.benchmark quality --kokoro af_sarah --styles package/voices

`kernels` checks the ternary product against integers, then times it against fp16, MLX's 2-bit product and a 2-bit GEMV
without int8 activations, at the shipped voice's shapes and up to 4096 x 4096. BITJETS_TERNARY chooses the backend.
`cost` counts what the Metal kernels do for one sentence, and what an M4 needs for it at least: tables in Markdown.
`voice` times a voice beside PyTorch with the same weights, ESPnet's JETS, espeak-ng, flite and Piper, those of them
that are installed; `train` the acoustic model's updates beside PyTorch's. See docs/benchmarks.md. `quality` has the
judges of `evaluate` hear voices of this project, hibari, Kokoro and flite say the same sentences. See docs/quality.md.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bitjets_mlx.arguments import positive
from bitjets_mlx.errors import BitjetsError, run_command
from bitjets_mlx.files import atomic_write_bytes

VOICE = "duo"


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, measure, print, save."""
    options = _parser().parse_args(arguments)
    if options.command == "cost":
        return _print_cost(options.voice, options.tokens, options.frames)
    for file in (options.json, getattr(options, "plot", None)):
        if file and not file.absolute().parent.is_dir():
            raise BitjetsError(f"there is no folder {file.absolute().parent}: make it first.")
    report = {"kernels": _kernels, "voice": _voice, "train": _train, "quality": _quality}[options.command](options)
    if options.json:
        atomic_write_bytes(options.json, (json.dumps(report, indent=1) + "\n").encode())


def _kernels(options: argparse.Namespace) -> dict[str, Any]:
    from bitjets_mlx.benchmarking.kernels import benchmark_kernels, table

    report = benchmark_kernels(options.seconds, options.largest)
    print(table(report))
    return report


def _print_cost(name: str, tokens: int, frames: int) -> None:
    from bitjets_mlx.benchmarking.cost import tables
    from bitjets_mlx.catalog import find_voice
    from bitjets_mlx.config import AcousticConfig
    from bitjets_mlx.voice.voice_config import read_config

    acoustic = read_config(find_voice(name)).acoustic
    if not isinstance(acoustic, AcousticConfig) or not acoustic.ternary or min(tokens, frames) < 1:
        raise BitjetsError(f"give a ternary BitJETS voice, and tokens and frames of at least 1, not {name}.")
    print("\n\n".join(tables(acoustic, tokens, frames)))


def _voice(options: argparse.Namespace) -> dict[str, Any]:
    from bitjets_mlx.benchmarking.voice import Plan, benchmark_voice, plot, table
    from bitjets_mlx.catalog import find_voice

    folder = find_voice(options.voice)
    plan = Plan(folder, options.speaker, options.hifigan, options.piper, options.rounds, options.repeat)
    report = benchmark_voice(plan, lambda line: print(line, file=sys.stderr))
    print(table(report))
    if options.plot:
        plot(report, options.plot)
    return report


def _train(options: argparse.Namespace) -> dict[str, Any]:
    from bitjets_mlx.benchmarking.training import Plan, benchmark_training, plot, table

    plan = Plan(options.data, options.batch_size, options.updates, options.rounds)
    report = benchmark_training(plan, lambda line: print(line, file=sys.stderr))
    print(table(report))
    if options.plot:
        plot(report, options.plot)
    return report


def _quality(options: argparse.Namespace) -> dict[str, Any]:
    from bitjets_mlx.benchmarking.quality import Plan, benchmark_quality, table
    from bitjets_mlx.catalog import find_voice

    voices = tuple(map(find_voice, options.voice or (VOICE,)))
    plan = Plan(voices, options.texts, tuple(options.kokoro), options.styles, options.output, options.workers)
    report = benchmark_quality(plan, lambda line: print(line, file=sys.stderr))
    print(table(report))
    return report


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bitjets_mlx.benchmark",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    kernels = commands.add_parser("kernels", help="the ternary product: checked, then timed")
    kernels.add_argument("--seconds", type=float, default=0.2, help="for each contender at each shape (0.2)")
    kernels.add_argument("--largest", type=int, default=4096, help="leave out shapes beyond this width (4096)")
    cost = commands.add_parser("cost", help="the Metal kernels' operations, bytes and launches, counted")
    cost.add_argument("--tokens", type=int, default=80, help="of the sentence (80)")
    cost.add_argument("--frames", type=int, default=400, help="of the sentence, 86 a second (400)")
    voice = commands.add_parser("voice", help="speaking, beside what else is installed")
    voice.add_argument("--speaker", help="(the voice's first)")
    voice.add_argument("--hifigan", type=Path, metavar="FOLDER", help="also speak with this HiFi-GAN, a vocoder folder")
    voice.add_argument("--piper", type=Path, metavar="FILE", help="a voice of Piper, VOICE.onnx beside VOICE.onnx.json")
    voice.add_argument("--repeat", type=positive, default=3, help="times that every text is spoken in a process (3)")
    train = commands.add_parser("train", help="training the acoustic model, beside PyTorch")
    train.add_argument("--data", type=Path, metavar="PREPARED", help="what `prepare` wrote; without it, made-up clips")
    train.add_argument("--batch-size", type=positive, default=8, help="clips per update (8)")
    train.add_argument("--updates", type=positive, default=10, help="updates of each in a round (10)")
    quality = commands.add_parser("quality", help="judges' scores of voices, beside what else is installed")
    quality.add_argument("--voice", action="append", metavar="NAME|FOLDER", help="may be repeated (duo)")
    quality.add_argument("--texts", type=Path, metavar="FILE", help="sentences, as for evaluate (24 of our own)")
    quality.add_argument("--kokoro", action="append", default=[], metavar="VOICE", help="of Kokoro; may be repeated")
    quality.add_argument("--styles", type=Path, metavar="DIR", help="folder of Kokoro's voices, <voice>.bin")
    quality.add_argument("--output", type=Path, metavar="DIR", help="keep DIR/<system>/<id>.wav")
    quality.add_argument("--workers", type=positive, default=os.cpu_count() or 1, help="processes that judge")
    for command in (cost, voice):
        command.add_argument("--voice", default=VOICE, metavar="NAME|FOLDER", help="a voice (duo)")
    for command in (voice, train):
        command.add_argument("--rounds", type=positive, default=3, help="fresh processes of each contender (3)")
        command.add_argument("--plot", type=Path, metavar="PNG", help="draw what was measured")
    for command in (kernels, voice, train, quality):
        command.add_argument("--json", type=Path, metavar="FILE", help="save what was measured")
    return parser


if __name__ == "__main__":
    run_command(main)
