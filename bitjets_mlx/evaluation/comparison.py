"""What `evaluate` does: speak, copy, judge, measure, print."""

import json
import math
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bitjets_mlx.data.corpus import sentence_key
from bitjets_mlx.data.parallel import parallel
from bitjets_mlx.data.prepared import Clip, PreparedData
from bitjets_mlx.data.progress import progress
from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.evaluation import judge_table, judges, packages, resources, sentences, speaking, table, texts
from bitjets_mlx.voice import FrameVocoder, load_vocoder, load_voice
from bitjets_mlx.voice.voice_config import read_config

Known = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """What to measure. `speakers`: () for all; `limit`: sentences of each; `output` keeps waveforms."""

    voice: Path
    speakers: tuple[str, ...] = ()
    limit: int | None = None
    output: Path | None = None
    workers: int = 1


@dataclass(frozen=True)
class Result:
    """Everything that was measured."""

    values: Known

    def to_json(self) -> bytes:
        """UTF-8 JSON, NaN as null."""
        return (json.dumps(_plain(self.values), indent=1) + "\n").encode()


def compare(plan: Plan, data_folder: Path, split: str) -> Result:
    """Beside recordings: judges and diagnostics. Prints the tables."""
    for package in ("pesq", "pystoi"):
        packages.optional(package)  # say at once what is missing, not after minutes of speaking
    config = read_config(plan.voice)
    voice = load_voice(plan.voice) if config.acoustic else None
    vocoder = load_vocoder(plan.voice) if config.vocoder else FrameVocoder(None)  # Griffin-Lim, as it speaks
    data = PreparedData(data_folder)
    known = config.speakers if voice else data.speakers
    clips = _choose(data, split, _chosen(plan.speakers, known, plan.voice), plan.limit)
    with _kept(plan.output) as folder:
        reads_mels = config.acoustic is None or config.acoustic.mel
        work = sentences.group_takes(clips, data, folder, spoken=voice is not None, copied=reads_mels)
        speech = speaking.speak_sentences(voice, work) if voice else None
        joins = speaking.clicks_at_joins(voice, work) if voice else None
        copies = speaking.copy_recordings(vocoder, work) if reads_mels else None
        work.sort(key=lambda sentence: -sentence.frames)  # the longest first: workers end at about the same time
        done = parallel(sentences.measure_sentence, work, plan.workers)
        measured = [take for takes in progress(done, len(work), "measuring") for take in takes]
    order = {(clip.speaker, clip.id): index for index, clip in enumerate(clips)}
    measured.sort(key=lambda take: order[take.speaker, take.id])
    summaries, speakers = table.judge_summaries(measured), table.summarize(measured, joins)
    _print_judges(summaries)
    print(f"\ndiagnostics, against single recordings:\n{table.formatted(speakers)}")
    result: Known = {"voice": str(plan.voice), "split": split, "judges": summaries, "speakers": speakers}
    result |= {"recognizer": judges.recognizer()} | _costs(plan.voice, speech, copies, clips[0].speaker)
    if plan.output:
        copied = " and the copy synthesis <id>.copy.wav" if copies else ""
        print(f"{plan.output.absolute()}: <speaker>/<id>.wav{copied}")
    return Result({**result, "clips": table.clip_rows(measured)})


def judge_texts(plan: Plan, file: Path) -> Result:
    """Without recordings: the judges' scores of a file's sentences. Prints their table."""
    voice = load_voice(plan.voice)
    lines = _spread(texts.read_texts(file), plan.limit)
    with _kept(plan.output) as folder:
        spoken = [
            (speaker, line, folder / speaker / f"{line.id}.wav")
            for speaker in _chosen(plan.speakers, voice.speakers, plan.voice)
            for line in lines
        ]
        speech = speaking.speak_texts(voice, [(speaker, line.text, [path]) for speaker, line, path in spoken])
        judged = texts.judge_files([texts.JudgeJob(path, line.text) for _, line, path in spoken], plan.workers)
    summaries: dict[str, dict[str, judges.Summary]] = {}
    clips = []
    for (speaker, line, _), one in zip(spoken, judged, strict=True):
        own = [other for (name, _, _), other in zip(spoken, judged, strict=True) if name == speaker]
        if speaker not in summaries:
            summaries[speaker] = {judges.SYNTHESIS: judges.summarize(own)}
        clips.append({"id": line.id, "speaker": speaker, "text": line.text, "judges": judges.plain(one)})
    _print_judges(summaries)
    result: Known = {"voice": str(plan.voice), "texts": str(file), "judges": summaries}
    result |= {"recognizer": judges.recognizer()} | _costs(plan.voice, speech, None, spoken[0][0])
    if plan.output:
        print(f"{plan.output.absolute()}: <speaker>/<id>.wav")
    return Result({**result, "clips": clips})


@contextmanager
def _kept(output: Path | None) -> Iterator[Path]:
    """The folder to write waveforms into: the user's, or one that is gone afterwards."""
    if output:
        yield output
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def _chosen(asked: Sequence[str], known: Sequence[str], folder: Path) -> list[str]:
    """The speakers to measure; BitjetsError for one that the voice does not have."""
    unknown = [name for name in asked if name not in known]
    if unknown:
        raise BitjetsError(f"{folder} has no speaker {unknown[0]!r}: take {' or '.join(known)}.")
    return [name for name in known if not asked or name in asked]


def _choose(data: PreparedData, split: str, known: Sequence[str], limit: int | None) -> list[Clip]:
    """The clips to measure: of speakers that the voice has, at most `limit` sentences of each."""
    clips = data.split(split)
    missing = [name for name in data.speakers if name not in known]
    if missing:
        print(f"left out: {', '.join(missing)}", file=sys.stderr)
    chosen: list[Clip] = []
    for speaker in (name for name in data.speakers if name in known):
        own = [clip for clip in clips if clip.speaker == speaker]
        kept = set(_spread(list(dict.fromkeys(sentence_key(clip.text) for clip in own)), limit))
        chosen += [clip for clip in own if sentence_key(clip.text) in kept]
    if not chosen:
        raise BitjetsError(
            f"the split {split!r} of {data.folder} has no clip of a speaker of this voice "
            f"({', '.join(known)}): choose another --split or --data."
        )
    return chosen


def _spread(items: Sequence[Any], limit: int | None) -> list[Any]:
    """At most `limit` of the items, at equal distances."""
    if not limit or len(items) <= limit:
        return list(items)
    return [items[int(len(items) / limit * i)] for i in range(limit)]


def _print_judges(summaries: dict[str, dict[str, judges.Summary]]) -> None:
    for speaker, columns in summaries.items():
        print(f"{judge_table.formatted(speaker, columns)}\n")


def _costs(folder: Path, speech: Any, copies: Any, speaker: str) -> Known:
    """Sizes, speed, memory: measured and printed."""
    sizes = resources.file_sizes(folder)
    print(f"\n{folder}: {sum(sizes.values()):,} bytes (" + ", ".join(f"{k} {v:,}" for k, v in sizes.items()) + ")")
    costs: Known = {"files": sizes, "folder_bytes": sum(sizes.values())}
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
