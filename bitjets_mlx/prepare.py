"""Check recordings, split them, and cache their training features.

    python -m bitjets_mlx.prepare --speaker kathleen=DIR --speaker lj=DIR --out PREPARED

DIR is in LJSpeech layout: metadata.csv (id|text or id|text|normalized text) and wavs/<id>.wav or another sound file.
Stopped half-way, it goes on where it was; run again later, it extracts only what changed and looks all
phonemes up afresh.
"""

import argparse
import os
import re
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from bitjets_mlx import text
from bitjets_mlx.config import AudioConfig
from bitjets_mlx.data import checks
from bitjets_mlx.data.checks import Inspection
from bitjets_mlx.data.corpus import Utterance, choose_validation, read_corpus, sentence_key
from bitjets_mlx.data.features import Job, extract_to_file, is_current, load_features
from bitjets_mlx.data.parallel import parallel
from bitjets_mlx.data.prepared import Clip, measure_statistics, write_prepared
from bitjets_mlx.data.progress import progress
from bitjets_mlx.errors import BitjetsError, run_command
from bitjets_mlx.folders import locked


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    options = parse(arguments)
    speakers = [name for name, _ in options.speaker]
    utterances = [one for name, folder in options.speaker for one in read_corpus(name, folder)]
    check_output(options.out)
    with locked(options.out):
        prepare(utterances, speakers, options)


def check_output(folder: Path) -> None:
    """BitjetsError where a folder holds something else than what this command writes."""
    if folder.exists() and not folder.is_dir():
        raise BitjetsError(f"--out {folder} is a file: give the name of a folder.")
    mine = any((folder / name).exists() for name in ("manifest.json", "features", "checks.csv"))
    if folder.exists() and not mine and any(folder.iterdir()):
        raise BitjetsError(f"--out {folder} holds something else: give a new folder, or one with prepared data.")


def prepare(utterances: Sequence[Utterance], speakers: Sequence[str], options: argparse.Namespace) -> None:
    """Look, extract, write."""
    options.out.mkdir(parents=True, exist_ok=True)
    for half_written in options.out.glob("features/*/.*.tmp.npz"):  # by a run that was killed
        half_written.unlink()
    inspections = inspect_all(utterances, options)
    gains = dict(zip(speakers, checks.speaker_gains(inspections, usable_speakers(inspections, speakers)), strict=True))
    jobs = extract_all(utterances, inspections, gains, options)
    clips = make_clips(utterances, inspections, jobs, options)
    checks.write_table(options.out / "checks.csv", inspections)
    if options.plot:
        from bitjets_mlx.data.checks_plot import draw_checks  # needs matplotlib, which nothing else here does

        draw_checks(options.out / "checks.png", inspections)
    usable_speakers(inspections, speakers)  # extraction and phonemes may have left clips out
    loaded = ((clip.speaker, load_features(options.out / clip.features)) for clip in clips if clip.split == "train")
    statistics = measure_statistics(loaded, speakers, list(gains.values()))
    write_prepared(options.out, speakers, text.SYMBOLS, statistics, clips)
    report(options.out, clips, inspections, gains)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bitjets_mlx.prepare", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--speaker", action="append", required=True, metavar="NAME=DIR", help="may be repeated")
    parser.add_argument("--out", type=Path, required=True, help="folder for the prepared data")
    held_out = "sentences per speaker held out, or a fraction below 1 (default: 5 %%, at least 25, at most 50)"
    parser.add_argument("--validation", type=float, metavar="N", help=held_out)
    parser.add_argument("--seed", type=int, default=0, help="chooses other validation sentences")
    parser.add_argument("--shortest", type=float, default=0.4, help="seconds (default %(default)s)")
    parser.add_argument("--longest", type=float, default=20.0, help="seconds (default %(default)s)")
    parser.add_argument("--lexicon", type=Path, help="pronunciations of your own, as for generate")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes (default: one per core)")
    parser.add_argument("--no-plot", dest="plot", action="store_false", help="do not draw checks.png")
    options = parser.parse_args(arguments)
    options.speaker = [parse_speaker(text) for text in options.speaker]
    names = [name for name, _ in options.speaker]
    if len(set(names)) < len(names):
        raise BitjetsError("Two --speaker options have the same name: give every speaker its own.")
    if options.validation is not None and options.validation < 0:
        raise BitjetsError("--validation must not be negative: give a count, or a fraction below 1.")
    return options


def parse_speaker(text: str) -> tuple[str, Path]:
    """NAME=DIR."""
    name, equals, folder = text.partition("=")
    if not equals or not folder or not re.fullmatch(r"\w[\w\-]*", name):
        raise BitjetsError(f"--speaker {text} is not NAME=DIR: write for example --speaker anna=recordings/anna.")
    return name, Path(folder)


def inspect_all(utterances: Sequence[Utterance], options: argparse.Namespace) -> list[Inspection]:
    """Look at every recording."""
    look = partial(checks.inspect, shortest=options.shortest, longest=options.longest)
    found = parallel(look, utterances, options.workers)
    inspections = list(progress(found, len(utterances), "checking recordings"))
    checks.judge_pace(inspections)
    return inspections


def usable_speakers(inspections: Sequence[Inspection], speakers: Sequence[str]) -> Sequence[str]:
    """The speakers as they are; BitjetsError where one has no usable recording."""
    for speaker in speakers:
        own = [item for item in inspections if item.speaker == speaker]
        if all(item.faults for item in own):
            raise BitjetsError(f"None of {speaker}'s {len(own)} recordings can be used: {own[0].faults[0]}")
    return speakers


def extract_all(
    utterances: Sequence[Utterance],
    inspections: Sequence[Inspection],
    gains: dict[str, float],
    options: argparse.Namespace,
) -> dict[tuple[str, str], Job]:
    """Features of every usable clip that has none yet; what fails becomes a fault of its inspection."""
    jobs: dict[tuple[str, str], Job] = {}
    for utterance, item in zip(utterances, inspections, strict=True):
        if item.faults:
            continue
        gain = checks.clip_gain(gains[item.speaker], item.peak)
        if gain < 0.95 * gains[item.speaker]:
            item.notes.append(f"turned down to gain {gain:.2f}, as it would clip at {gains[item.speaker]:.2f}")
        output = options.out / "features" / item.speaker / f"{item.id}.npz"
        jobs[item.speaker, item.id] = Job(utterance.path, item.sha256, item.start, item.end, gain, output)
    stale = [key for key, job in jobs.items() if not is_current(job)]
    if stale:  # until it is written again, the old manifest would describe a mixture
        (options.out / "manifest.json").unlink(missing_ok=True)
    results = parallel(extract_to_file, [jobs[key] for key in stale], options.workers)
    faults = dict(zip(stale, progress(results, len(stale), "extracting features"), strict=True))
    for item in inspections:
        if faults.get((item.speaker, item.id)):
            item.faults.append(faults[item.speaker, item.id])
    return jobs


def make_clips(
    utterances: Sequence[Utterance],
    inspections: Sequence[Inspection],
    jobs: dict[tuple[str, str], Job],
    options: argparse.Namespace,
) -> list[Clip]:
    """Phonemes and split of every usable clip; a text that cannot be spoken becomes a fault."""
    lexicon = text.load_lexicon(options.lexicon) if options.lexicon else None
    validation = choose_validation(
        [one for one, item in zip(utterances, inspections, strict=True) if not item.faults],
        options.validation,
        options.seed,
    )
    clips = []
    pairs = list(zip(utterances, inspections, strict=True))
    for utterance, item in progress(pairs, len(pairs), "looking up phonemes"):
        if item.faults:
            continue
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                phonemes = text.phonemize(utterance.text, lexicon)
            except BitjetsError as error:
                item.faults.append(str(error))
                continue
        item.notes.extend(str(warning.message) for warning in caught)
        frames = (item.end - item.start) // AudioConfig().hop
        if frames < len(phonemes):
            item.faults.append(f"text and audio do not fit ({len(phonemes)} symbols in {frames} frames)")
            continue
        split = "validation" if sentence_key(utterance.text) in validation else "train"
        features = jobs[item.speaker, item.id].output.relative_to(options.out).as_posix()
        samples = frames * AudioConfig().hop
        clips.append(Clip(item.id, item.speaker, utterance.text, tuple(phonemes), split, frames, samples, features))
    return clips


def report(folder: Path, clips: Sequence[Clip], inspections: Sequence[Inspection], gains: dict[str, float]) -> None:
    """What came out, in a few lines."""
    for speaker, gain in gains.items():
        own = [clip for clip in clips if clip.speaker == speaker]
        minutes = sum(clip.samples for clip in own) / AudioConfig().sample_rate / 60
        held_out = sum(clip.split == "validation" for clip in own)
        print(f"{speaker}: {len(own)} clips ({held_out} for validation), {minutes:.1f} minutes, gain {gain:.2f}")
    faulty = [item for item in inspections if item.faults]
    for item in faulty[:10]:
        print(f"left out {item.speaker}/{item.id}: {'; '.join(item.faults)}")
    noted = sum(bool(item.notes) for item in inspections)
    print(f"{len(faulty)} clips left out, remarks on {noted}: see {folder / 'checks.csv'}")


if __name__ == "__main__":
    run_command(main)
