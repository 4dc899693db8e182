"""A speaker's recordings in LJSpeech layout: `metadata.csv`, with id|text or id|text|normalized text, and `wavs/`."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from bitjets_mlx.errors import BitjetsError

SUFFIXES = (".wav", ".flac")


@dataclass(frozen=True)
class Utterance:
    """One line of `metadata.csv` and the sound file that belongs to it (which may not exist)."""

    speaker: str
    id: str
    text: str
    path: Path


def read_corpus(speaker: str, folder: str | Path) -> list[Utterance]:
    """All utterances of a speaker, in the order of `metadata.csv`.

    The last column is taken as the text. BitjetsError where the folder, the file or the recordings are
    missing, a line is malformed, or an id comes twice.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise BitjetsError(f"There is no folder {folder} for speaker {speaker}: check the path after --speaker.")
    metadata, wavs = folder / "metadata.csv", folder / "wavs"
    if not metadata.is_file():
        raise BitjetsError(f"{folder} has no metadata.csv: write one line `id|text` for each recording.")
    if not wavs.is_dir():
        raise BitjetsError(f"{folder} has no folder `wavs`: put the recordings there as <id>.wav or <id>.flac.")
    try:
        lines = metadata.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise BitjetsError(f"{metadata} is not UTF-8 text: save it as UTF-8.") from None
    utterances: dict[str, Utterance] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        columns = line.split("|")
        name, text = (
            columns[0].strip(),
            (columns[-1].strip() or columns[1].strip()) if len(columns) > 1 else "",
        )
        if len(columns) not in (2, 3) or not re.fullmatch(r"[\w.\-]+", name) or not text:
            raise BitjetsError(f"{metadata} line {number} is not `id|text` or `id|text|normalized text`: correct it.")
        if name in utterances:
            raise BitjetsError(f"{metadata} line {number} repeats the id {name}: give every recording its own id.")
        utterances[name] = Utterance(speaker, name, text, _sound_file(wavs, name))
    if not utterances:
        raise BitjetsError(f"{metadata} is empty: write one line `id|text` for each recording.")
    return list(utterances.values())


def _sound_file(wavs: Path, name: str) -> Path:
    name = name[:-4] if name.lower().endswith(".wav") else name
    paths = [wavs / f"{name}{suffix}" for suffix in SUFFIXES]
    return next((path for path in paths if path.is_file()), paths[0])


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
