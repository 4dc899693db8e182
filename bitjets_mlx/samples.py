"""Write a page of samples to listen to: validation sentences, spoken beside the recording.

    python -m bitjets_mlx.samples --voice weights/duo --data PREPARED --out docs/samples

For each speaker of the voice, sentences that training held back, spread over the split: DIR/<speaker>/<n>.natural.ogg
and <n>.spoken.ogg (Ogg Opus), their mel spectrograms, and index.html, one page that plays them and needs nothing else.
The folder is made anew, whole or not at all.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from bitjets_mlx.errors import BitjetsError, run_command


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    options = _parser().parse_args(arguments)
    from bitjets_mlx.data.prepared import PreparedData
    from bitjets_mlx.evaluation.sample_page import SAMPLES_FOLDER, write_samples
    from bitjets_mlx.folders import check_folder
    from bitjets_mlx.voice import load_voice

    check_folder(options.out, SAMPLES_FOLDER, options.overwrite, [options.data, options.voice])
    voice = load_voice(options.voice)
    data = PreparedData(options.data)
    speakers = [name for name in voice.speakers if name in data.speakers]
    if not speakers:
        raise BitjetsError(f"{options.data} has no recordings of {' or '.join(voice.speakers)}: give other data.")
    name = options.voice.resolve().name
    bytes_written = write_samples(options.out, voice, data, speakers, options.sentences, name, options.overwrite)
    print(f"{options.out / 'index.html'}: {options.sentences} sentences per speaker, {bytes_written / 1e6:.1f} MB")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bitjets_mlx.samples", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--voice", type=Path, required=True, metavar="FOLDER", help="voice folder")
    parser.add_argument("--data", type=Path, required=True, metavar="PREPARED", help="what `prepare` wrote")
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder to write, or a page of samples",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace DIR whatever it holds")
    parser.add_argument("--sentences", type=int, default=12, metavar="N", help="of each speaker (12)")
    return parser


if __name__ == "__main__":
    run_command(main)
