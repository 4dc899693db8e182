"""`benchmark quality`: the judges of `evaluate` on voices of this project and others, of the same sentences."""

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bitjets_mlx.audio.files import write_wav
from bitjets_mlx.benchmarking.teachers import HIBARI_VOICE, SAMPLE_RATE, load_teacher
from bitjets_mlx.data.progress import progress
from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.evaluation import judge_table
from bitjets_mlx.evaluation.intelligibility import recognizer
from bitjets_mlx.evaluation.judges import summarize
from bitjets_mlx.evaluation.texts import JudgeJob, Line, judge_files, read_texts
from bitjets_mlx.voice import load_voice

# The IEEE's Harvard sentences (1969), lists 1 and 2, and questions of both kinds.
SENTENCES = (
    "The birch canoe slid on the smooth planks.",
    "Glue the sheet to the dark blue background.",
    "It's easy to tell the depth of a well.",
    "These days a chicken leg is a rare dish.",
    "Rice is often served in round bowls.",
    "The juice of lemons makes fine punch.",
    "The box was thrown beside the parked truck.",
    "The hogs were fed chopped corn and garbage.",
    "Four hours of steady work faced us.",
    "A large size in stockings is hard to sell.",
    "The boy was there when the sun rose.",
    "A rod is used to catch pink salmon.",
    "The source of the huge river is the clear spring.",
    "Kick the ball straight and follow through.",
    "Help the woman get back to her feet.",
    "A pot of tea helps to pass the evening.",
    "Is the last train to the city still running tonight?",
    "Did you remember to lock the kitchen door?",
    "Would you like another cup of coffee with that?",
    "Have they finished painting the old garden fence?",
    "Can we walk to the harbor from here?",
    "Are you sure that this is the right house?",
    "Where did you put the keys to the cellar?",
    "Why does the river run so slowly in summer?",
)

Speak = Callable[[str, Path], None]  # a sentence, and the file that it is spoken into


@dataclass(frozen=True)
class Plan:
    """What to compare. `texts`: a file of sentences in place of ours; `kokoro`: voices, with vectors in `styles`."""

    voices: tuple[Path, ...]
    texts: Path | None = None
    kokoro: tuple[str, ...] = ()
    styles: Path | None = None
    output: Path | None = None
    workers: int = 1


@dataclass(frozen=True)
class System:
    """A voice: `load` gives what speaks. BitjetsError of `load`: what is missing."""

    name: str
    load: Callable[[], Speak]


def benchmark_quality(plan: Plan, say: Callable[[str], None]) -> dict[str, Any]:
    """Everything that `table` prints; `say` gets a line for what is going on."""
    lines = read_texts(plan.texts) if plan.texts else [Line(f"{n:02d}", one) for n, one in enumerate(SENTENCES, 1)]
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        for system in systems(plan):
            say(system.name)
            try:
                speak = system.load()
            except BitjetsError as error:
                rows.append({"name": system.name, "missing": str(error)})
                continue
            folder = (plan.output or Path(scratch)) / system.name.replace(" ", "_").replace("/", "_")
            folder.mkdir(parents=True, exist_ok=True)
            jobs = [JudgeJob(folder / f"{line.id}.wav", line.text) for line in lines]
            for job in progress(jobs, len(jobs), "speaking"):
                speak(job.text, job.path)
            rows.append({"name": system.name, **summarize(judge_files(jobs, plan.workers))})
    return {"texts": str(plan.texts or "built in"), "recognizer": recognizer(), "rows": rows}


def table(report: dict[str, Any]) -> str:
    """The report as Markdown, a row for each system."""
    summaries = {row["name"]: {k: v for k, v in row.items() if k != "name"} for row in report["rows"]}
    missing = {name: str(row["missing"]) for name, row in summaries.items() if "missing" in row}
    measured = {name: row for name, row in summaries.items() if name not in missing}
    return "\n".join([judge_table.by_system(measured), *(f"{name}: {why}" for name, why in missing.items())])


def systems(plan: Plan) -> list[System]:
    """Every system, installed or not; this project's own first."""
    found = []
    for folder in plan.voices:
        voice = load_voice(folder)
        for speaker in voice.speakers:
            found.append(System(f"{folder.resolve().name} {speaker}", lambda v=voice, s=speaker: _ours(v, s)))  # type: ignore[misc]
    found.append(System("hibari heart", lambda: _teacher(HIBARI_VOICE, None)))
    for name in plan.kokoro:
        found.append(System(f"Kokoro {name}", lambda name=name: _teacher(name, plan.styles)))  # type: ignore[misc]
    return [*found, System("flite slt", _flite)]


def _ours(voice: Any, speaker: str) -> Speak:
    return lambda text, path: write_wav(path, voice.speak(text, speaker=speaker), voice.sample_rate)


def _teacher(name: str, styles: Path | None) -> Speak:
    teacher = load_teacher(name, styles)

    def speak(text: str, path: Path) -> None:
        samples = teacher.speak(teacher.phonemize(text))
        write_wav(path, samples / max(1.0, float(np.abs(samples).max())), SAMPLE_RATE)

    return speak


def _flite() -> Speak:
    program = shutil.which("flite")
    if program is None:
        raise BitjetsError("not installed: apt install flite.")

    def speak(text: str, path: Path) -> None:
        command: Sequence[str] = (program, "-voice", "slt", "-t", text, "-o", str(path))
        if subprocess.run(command, capture_output=True, check=False).returncode or not path.is_file():
            raise BitjetsError(f"flite failed: {' '.join(command)}")

    return speak
