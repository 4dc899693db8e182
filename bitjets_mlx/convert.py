"""python -m bitjets_mlx.convert CHECKPOINT --output weights/NAME

Makes a voice or vocoder folder of a PyTorch checkpoint: the character-level BitJETS, the official HiFi-GAN (generators
and do_* files), and ESPnet's JETS. PyTorch is not needed, and nothing in the file is executed. See docs/convert.md.
"""

import argparse
import sys
from pathlib import Path

from bitjets_mlx.errors import BitjetsError, run_command

KINDS = ("auto", "bitjets", "hifigan", "espnet-jets")


def main() -> None:
    """Parse, convert, report, write, speak."""
    arguments = _parser().parse_args()
    from bitjets_mlx.torch_import.conversion import Options, convert, write_converted

    output = Path(arguments.output)
    options = Options(
        kind=arguments.kind,
        config=_path(arguments.config),
        vocoder=_path(arguments.vocoder),
        generation=arguments.generation,
        pack=arguments.pack,
        ternary=arguments.ternary,
        key_map=_path(arguments.key_map),
        overwrite=arguments.overwrite,
    )
    converted = convert(Path(arguments.checkpoint), output, options)
    for said in write_converted(output, converted):
        print(said)
    sizes = {file.name: file.stat().st_size for file in sorted(output.iterdir())}
    print(f"{output}: {', '.join(f'{name} {size:,}' for name, size in sizes.items())} bytes")


def _path(text: str | None) -> Path | None:
    if text == "":
        raise BitjetsError("an empty name was given: give a file or leave the option out.")
    return Path(text) if text is not None else None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bitjets_mlx.convert",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="file that torch.save or safetensors wrote")
    parser.add_argument("--output", metavar="FOLDER", required=True, help="folder to write, such as weights/NAME")
    parser.add_argument("--kind", choices=KINDS, default="auto", help="family of the checkpoint (auto: by its tensors)")
    parser.add_argument(
        "--config", metavar="FILE", help="HiFi-GAN's config.json or ESPnet's config.yaml (the one beside CHECKPOINT)"
    )
    parser.add_argument(
        "--vocoder", metavar="PATH", help="bitjets: a vocoder or voice folder, or a HiFi-GAN checkpoint"
    )
    parser.add_argument(
        "--generation",
        choices=["early", "late"],
        help="bitjets: its arithmetic (early for files named bitjets_ckpt_10 to _200, otherwise late)",
    )
    parser.add_argument("--pack", action="store_true", help="bitjets: ternary weights five to a byte; no more training")
    parser.add_argument("--ternary", action="store_true", help="espnet-jets: prepare it for ternary fine-tuning")
    parser.add_argument("--key-map", metavar="JSON", help='{"name there": "name here", "name to drop": null}')
    parser.add_argument("--overwrite", action="store_true", help="replace FOLDER whatever it holds")
    return parser


if __name__ == "__main__":
    sys.exit(run_command(main))
