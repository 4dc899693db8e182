"""Sentences of a text file, spoken and judged without recordings."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import soundfile

from bitjets_mlx.audio.files import read_audio
from bitjets_mlx.data.parallel import parallel
from bitjets_mlx.data.progress import progress
from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.evaluation.judges import Judged, judge


@dataclass(frozen=True)
class Line:
    """A sentence and its name, which becomes a file's."""

    id: str
    text: str


@dataclass(frozen=True)
class JudgeJob:
    """A file that speaks a text."""

    path: Path
    text: str


def read_texts(path: Path) -> list[Line]:
    """The sentences of a file: one each line, or tab-separated columns of which the first is the id, the last the text.

    Without ids, lines are numbered from 1; empty ones are left out. BitjetsError where it cannot be read so.
    """
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise BitjetsError(f"{path} cannot be read as UTF-8 text ({error}): give one sentence a line.") from None
    found = []
    for number, line in enumerate(lines, 1):
        name, _, rest = line.partition("\t")
        text = rest.split("\t")[-1].strip()
        if line:
            found.append(Line(name.strip(), text) if text else Line(f"{number:05d}", name))
    names = [line.id for line in found]
    wrong = next((name for name in names if not re.fullmatch(r"\w[\w.\-]*", name) or names.count(name) > 1), None)
    if not found or wrong is not None:
        reason = f"the id {wrong!r} is used twice or is not a file name" if found else "it has no text"
        raise BitjetsError(f"{path}: {reason}; give one sentence a line, or id, tab, sentence.")
    return found


def judge_files(jobs: Sequence[JudgeJob], workers: int) -> list[Judged]:
    """The judges' scores of each file."""
    return list(progress(parallel(judge_file, jobs, workers), len(jobs), "judging"))


def judge_file(job: JudgeJob) -> Judged:
    """The judges' scores of one file."""
    rate = soundfile.info(job.path).samplerate  # its own: judges resample once
    return judge(read_audio(job.path, rate), job.text, rate)
