"""Measure a voice against recordings.

    python -m bitjets_mlx.evaluate --voice weights/duo --data PREPARED --split validation

Every sentence of the split is spoken, and every recording copied through the vocoder alone; the table that is
printed says how both compare with the recordings. A vocoder folder in place of a voice gets the vocoder's part of
the table; a voice whose vocoder reads states, which recordings have none of, gets the other part. Needs `pip install
-r requirements-dev.txt`.

WER: pocketsphinx with its stock US English model, of the recordings and of the synthesis in the same run. MCD,
log-F0 RMSE, voicing error: along one DTW path of mel-cepstra; see `evaluation/spectra.py` for the recipe. F0 of
the recordings is the prepared one, that of the synthesis is extracted from its samples. PESQ, STOI: at 16 kHz.
Noise floor, endings, joins: `evaluation/artefacts.py` defines them; the joins are those of one running text a speaker.
Everything happens at the recordings' own level: the gain that `prepare` gave them is taken out again.
"""

import argparse
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bitjets_mlx.errors import BitjetsError, run_command


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    options = _parser().parse_args(arguments)
    from bitjets_mlx.evaluation.packages import optional

    for package in ("pocketsphinx", "pesq", "pystoi"):
        optional(package)  # say at once what is missing, not after minutes of speaking
    if options.json and not options.json.absolute().parent.is_dir():
        raise BitjetsError(f"there is no folder {options.json.absolute().parent}: make it first.")
    began = time.perf_counter()
    table = evaluate(options)
    print(f"\nmeasured in {time.perf_counter() - began:.0f} s")
    if options.json:
        from bitjets_mlx.files import atomic_write_bytes

        atomic_write_bytes(options.json, (json.dumps(_plain(table), indent=1) + "\n").encode())
        print(f"{options.json.absolute()}: the table, and every clip")


def evaluate(options: argparse.Namespace) -> dict[str, Any]:
    """Speak, copy, measure, print; returns what --json writes."""
    from bitjets_mlx.data.prepared import PreparedData
    from bitjets_mlx.data.progress import progress
    from bitjets_mlx.evaluation import sentences, speaking, table
    from bitjets_mlx.prepare import parallel
    from bitjets_mlx.voice import FrameVocoder, load_vocoder, load_voice
    from bitjets_mlx.voice.folder import read_config

    config = read_config(options.voice)
    voice = load_voice(options.voice) if config.acoustic else None
    vocoder = load_vocoder(options.voice) if config.vocoder else FrameVocoder(None)  # Griffin-Lim, as it speaks
    data = PreparedData(options.data)
    clips = _choose(data.split(options.split), data.speakers, config.speakers if voice else data.speakers, options)
    with ExitStack() as stack:
        output = options.output or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        reads_mels = config.acoustic is None or config.acoustic.mel
        work = sentences.group_takes(clips, data, output, spoken=voice is not None, copied=reads_mels)
        speech = speaking.speak_sentences(voice, work) if voice else None
        joins = speaking.clicks_at_joins(voice, work) if voice else None
        copies = speaking.copy_recordings(vocoder, work) if reads_mels else None
        work.sort(key=lambda sentence: -sentence.frames)  # the longest first: workers end at about the same time
        done = parallel(sentences.measure_sentence, work, options.workers)
        measured = [take for takes in progress(done, len(work), "measuring") for take in takes]
    order = {(clip.speaker, clip.id): index for index, clip in enumerate(clips)}
    measured.sort(key=lambda take: order[take.speaker, take.id])
    speakers = table.summarize(measured, joins)
    print(table.formatted(speakers))
    result: dict[str, Any] = {"voice": str(options.voice), "split": options.split, "speakers": speakers}
    result |= _costs(options.voice, speech, copies, clips[0].speaker)
    if options.output:
        copied = " and the copy synthesis <id>.copy.wav" if copies else ""
        print(f"{options.output.absolute()}: <speaker>/<id>.wav{copied}")
    return {**result, "clips": table.clip_rows(measured)}


def _choose(clips: Sequence[Any], given: Sequence[str], known: Sequence[str], options: argparse.Namespace) -> list[Any]:
    """The clips to measure: of speakers that the voice has, at most --limit sentences of each."""
    from bitjets_mlx.data.corpus import sentence_key

    missing = [name for name in given if name not in known]
    if missing:
        print(f"left out, as this voice does not have them: {', '.join(missing)}", file=sys.stderr)
    chosen: list[Any] = []
    for speaker in (name for name in given if name in known):
        own = [clip for clip in clips if clip.speaker == speaker]
        sentences = list(dict.fromkeys(sentence_key(clip.text) for clip in own))
        if options.limit and len(sentences) > options.limit:  # spread over the split
            step = len(sentences) / options.limit
            sentences = [sentences[int(step * i)] for i in range(options.limit)]
        kept = set(sentences)
        chosen += [clip for clip in own if sentence_key(clip.text) in kept]
    if not chosen:
        raise BitjetsError(
            f"the split {options.split!r} of {options.data} has no clip of a speaker of this voice "
            f"({', '.join(known)}): choose another --split or --data."
        )
    return chosen


def _costs(folder: Path, speech: Any, copies: Any, speaker: str) -> dict[str, Any]:
    """Sizes, speed, memory: measured and printed."""
    from bitjets_mlx.evaluation import resources

    sizes = resources.file_sizes(folder)
    print(f"\n{folder}: {sum(sizes.values()):,} bytes (" + ", ".join(f"{k} {v:,}" for k, v in sizes.items()) + ")")
    costs: dict[str, Any] = {"files": sizes, "folder_bytes": sum(sizes.values())}
    if copies is not None:
        costs["vocoder_real_time_factor"] = copies.real_time_factor()
        print(f"real-time factor of the vocoder {copies.real_time_factor():.3f}")
    if speech is None:
        return costs
    costs["real_time_factor"] = speech.real_time_factor()
    print(f"real-time factor {speech.real_time_factor():.3f}")
    start = resources.cold_start(folder, speaker)
    costs |= {
        "first_sample_from_cold_start_seconds": start.seconds,
        "cold_start_audio_seconds": start.audio_seconds,
        "peak_memory_mb": start.peak_memory / 1e6,
    }
    print(
        f"from a cold start to a written file of {start.audio_seconds:.1f} s: {start.seconds:.2f} s, "
        f"at most {start.peak_memory / 1e6:.0f} MB of memory"
    )
    return costs


def _plain(value: Any) -> Any:
    """NumPy numbers as Python's, and NaN as null, which JSON has in its place."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bitjets_mlx.evaluate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--voice", type=Path, required=True, metavar="FOLDER", help="voice or vocoder folder")
    parser.add_argument("--data", type=Path, required=True, metavar="PREPARED", help="what `prepare` wrote")
    parser.add_argument("--split", choices=("train", "validation", "all"), default="validation")
    parser.add_argument("--limit", type=_positive, metavar="N", help="at most N sentences a speaker, for a quick look")
    parser.add_argument("--output", type=Path, metavar="DIR", help="keep DIR/<speaker>/<id>.wav and <id>.copy.wav")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the table there")
    parser.add_argument(
        "--workers", type=_positive, default=os.cpu_count() or 1, help="processes that measure (one a core)"
    )
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


if __name__ == "__main__":
    run_command(main)
