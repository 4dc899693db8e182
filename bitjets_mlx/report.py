"""Draw how a training went: loss curves, alignments and mel spectrograms of validation clips, as PNGs.

python -m bitjets_mlx.report RUN
"""

import argparse
import sys
from pathlib import Path

from bitjets_mlx.errors import run_command
from bitjets_mlx.training.report import write_report


def main() -> None:
    """Parse, draw, say where."""
    parser = argparse.ArgumentParser(
        prog="python -m bitjets_mlx.report",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", metavar="RUN", type=Path, help="--out of a training, which may still be going on")
    parser.add_argument("--output", metavar="FOLDER", type=Path, help="where to (RUN/report)")
    parser.add_argument("--data", metavar="PREPARED", type=Path, help="where the prepared data is now, if it was moved")
    parser.add_argument("--clips", metavar="N", type=int, default=4, help="validation clips (%(default)s)")
    arguments = parser.parse_args()
    output = arguments.output or arguments.run / "report"
    for path in write_report(arguments.run, output, arguments.data, max(0, arguments.clips)):
        print(path)


if __name__ == "__main__":
    sys.exit(run_command(main))
