"""Judge a voice, alone or beside recordings.

    python -m bitjets_mlx.evaluate --voice weights/duo --data PREPARED --split validation
    python -m bitjets_mlx.evaluate --voice weights/duo --texts sentences.txt --speaker lj

With --data, every sentence of the split is spoken, and every recording copied through the vocoder alone. The judges'
table comes first, for each speaker: recordings, copy synthesis and synthesis by Distill-MOS, DNSMOS P.808, word and
character errors, similarity to the speaker, and the pitch at the end of questions and statements. Below it are
diagnostics, which compare a waveform with one recording: they find faults and do not say how good a voice is. With
--texts, the synthesis of a file's sentences is judged: one per line, or id, tab, sentence. docs/quality.md says what
each judge is good for. The packages are in requirements-quality.txt; a judge that is not installed says so in its row.

A vocoder folder in place of a voice gets the vocoder's part of the table; a voice whose vocoder reads states, which
recordings have none of, gets the other part.

Intervals are of 95 %, over sentences. MCD, log-F0 RMSE, voicing error: along one DTW path of mel-cepstra; see
`evaluation/spectra.py` for the recipe. F0 of the recordings is the prepared one, that of the synthesis is extracted
from its samples. PESQ, STOI: at 16 kHz. Noise floor, endings, joins: `evaluation/artefacts.py` defines them; the joins
are those of one running text of each speaker. Everything happens at the recordings' own level: the gain that `prepare`
gave them is taken out again.
"""

import argparse
import os
import time
from collections.abc import Sequence
from pathlib import Path

from bitjets_mlx.arguments import positive
from bitjets_mlx.errors import BitjetsError, run_command


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    options = _parser().parse_args(arguments)
    if (options.data is None) == (options.texts is None):
        raise BitjetsError("give either --data PREPARED, to compare with recordings, or --texts FILE.")
    if options.json and not options.json.absolute().parent.is_dir():
        raise BitjetsError(f"there is no folder {options.json.absolute().parent}: make it first.")
    from bitjets_mlx.catalog import find_voice
    from bitjets_mlx.evaluation.comparison import Plan, compare, judge_texts
    from bitjets_mlx.files import atomic_write_bytes

    plan = Plan(find_voice(options.voice), tuple(options.speaker or ()), options.limit, options.output, options.workers)
    began = time.perf_counter()
    result = judge_texts(plan, options.texts) if options.texts else compare(plan, options.data, options.split)
    print(f"\nmeasured in {time.perf_counter() - began:.0f} s")
    if options.json:
        atomic_write_bytes(options.json, result.to_json())
        print(f"{options.json.absolute()}: the table, and every clip")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bitjets_mlx.evaluate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--voice", required=True, metavar="NAME|FOLDER", help="a voice, or a vocoder folder")
    parser.add_argument("--data", type=Path, metavar="PREPARED", help="recordings: what `prepare` wrote")
    parser.add_argument("--texts", type=Path, metavar="FILE", help="sentences to speak, in place of recordings")
    parser.add_argument("--speaker", action="append", metavar="NAME", help="may be repeated (all that there are)")
    parser.add_argument("--split", choices=("train", "validation", "all"), default="validation")
    parser.add_argument("--limit", type=positive, metavar="N", help="at most N sentences of each speaker")
    parser.add_argument("--output", type=Path, metavar="DIR", help="keep DIR/<speaker>/<id>.wav and <id>.copy.wav")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the table there")
    parser.add_argument(
        "--workers", type=positive, default=os.cpu_count() or 1, help="processes that measure (one per core)"
    )
    return parser


if __name__ == "__main__":
    run_command(main)
