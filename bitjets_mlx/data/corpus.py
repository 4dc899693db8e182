"""A speaker's recordings in LJSpeech layout: `metadata.csv`, with id|text or id|text|normalized text, and `wavs/`.

The usual variations are read too: spaces and folders in ids, ids with the suffix or `wavs/` before them, suffixes in
capitals, and every kind of sound that libsndfile reads.
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from bitjets_mlx.errors import BitjetsError

SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".opus", ".aiff", ".aif", ".au", ".caf", ".w64")
LONGEST_ID = 150  # bytes: it becomes a file's name


@dataclass(frozen=True)
class Utterance:
    """One line of `metadata.csv` and the sound file that belongs to it (which may not exist).

    `fault`: why the line cannot be used, where it cannot.
    """

    speaker: str
    id: str
    text: str
    path: Path
    fault: str = ""


def read_corpus(speaker: str, folder: str | Path) -> list[Utterance]:
    """All utterances of a speaker, in the order of `metadata.csv`.

    The last column is taken as the text. A line that cannot be used, or an id that comes twice, has a fault.
    BitjetsError where the folder, the file or all recordings are missing.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise BitjetsError(f"There is no folder {folder} for speaker {speaker}: check the path after --speaker.")
    metadata = folder / "metadata.csv"
    if not metadata.is_file():
        raise BitjetsError(f"{folder} has no metadata.csv: write one line `id|text` for each recording.")
    sounds = _sounds(folder)
    if not sounds and not (folder / "wavs").is_dir():
        raise BitjetsError(f"{folder} has no folder `wavs`: put the recordings there as <id>.wav or <id>.flac.")
    try:
        lines = metadata.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise BitjetsError(f"{metadata} is not UTF-8 text: save it as UTF-8.") from None
    utterances: dict[str, Utterance] = {}
    for number, line in enumerate(lines, 1):
        if line.strip():
            utterance = _utterance(speaker, folder, sounds, line, f"metadata.csv line {number}")
            if utterance.id.lower() in utterances:  # also in other letters: not every disk tells these apart
                fault = f"metadata.csv line {number} repeats the id {utterance.id}: give every recording its own id"
                utterance = Utterance(speaker, f"line {number}", utterance.text, utterance.path, fault)
            utterances[utterance.id.lower()] = utterance
    if not utterances:
        raise BitjetsError(f"{metadata} is empty: write one line `id|text` for each recording.")
    return list(utterances.values())


def _utterance(speaker: str, folder: Path, sounds: dict[str, Path], line: str, where: str) -> Utterance:
    columns = [column.strip() for column in line.split("|")]
    name = _stem(columns[0].removeprefix("./").removeprefix("wavs/"))
    number = where.rpartition(" ")[2]
    clip_id = re.sub(r"[^\w.\-]+", "_", name).strip(".")
    text = (columns[-1] or columns[1]) if len(columns) in (2, 3) else ""
    fault = ""
    if len(columns) == 1 and "," in line:
        fault = f"{where} has commas: separate id and text by |"
    elif not text or not re.search(r"\w", clip_id) or ".." in Path(name).parts:
        fault = f"{where} is not `id|text` or `id|text|normalized text`"
    elif len(clip_id.encode()) > LONGEST_ID:
        fault = f"{where} has an id of more than {LONGEST_ID} bytes: shorten it and its file's name"
    if fault:
        return Utterance(speaker, f"line {number}", text, folder / "metadata.csv", fault)
    found = sounds.get(name) or sounds.get(name.lower())
    return Utterance(speaker, clip_id, text, found or folder / "wavs" / f"{clip_id}.wav")


def _stem(name: str) -> str:
    """Without the suffix of a sound file; other dots belong to the name."""
    suffix = Path(name).suffix
    return name[: -len(suffix)] if suffix.lower() in SUFFIXES else name


def _sounds(folder: Path) -> dict[str, Path]:
    """Every sound file by its path without suffix, below `wavs` or the folder itself, and the same in small letters."""
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in SUFFIXES:
            name = _stem(path.relative_to(folder).as_posix()).removeprefix("wavs/")
            better = found.get(name)
            if better is None or SUFFIXES.index(path.suffix.lower()) < SUFFIXES.index(better.suffix.lower()):
                found[name] = path
    return {**{name.lower(): path for name, path in found.items()}, **found}


def sentence_key(text: str) -> str:
    """What makes two texts the same sentence: letters and digits only, in lower case."""
    return re.sub(r"[\W_]+", " ", text.lower()).strip()


def choose_validation(utterances: list[Utterance], count: float | None, seed: int = 0) -> set[str]:
    """The sentence keys held out, so that all takes of a sentence fall on the same side.

    `count` sentences of each speaker (a fraction when below 1); by default 5 %, at least 25 and at most 50.
    The choice depends on the text and the seed only: adding recordings moves few sentences.
    """
    chosen: set[str] = set()
    for speaker in sorted({utterance.speaker for utterance in utterances}):
        keys = {sentence_key(utterance.text) for utterance in utterances if utterance.speaker == speaker}
        wanted = min(50, max(25, round(0.05 * len(keys)))) if count is None else count
        wanted = round(wanted * len(keys)) if 0 < wanted < 1 else int(wanted)
        order = sorted(keys, key=lambda key: hashlib.sha256(f"{seed}|{key}".encode()).digest())
        chosen.update(order[: min(wanted, len(keys) // 3)])  # never more than a third: something must be left
    return chosen
