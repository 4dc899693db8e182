"""A run's folder: config.json, log.jsonl, and the weights of its newest checkpoint."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from bitjets_mlx.checked import from_json, to_json
from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.files import read_json, write_json
from bitjets_mlx.training.checkpoints import load_checkpoint, newest_checkpoint
from bitjets_mlx.training.config import SHARED, AcousticTraining, TrainConfig, VocoderTraining
from bitjets_mlx.training.optimize import leaves


def save_run_config(run: Path, config: TrainConfig) -> None:
    """Write RUN/config.json."""
    run.mkdir(parents=True, exist_ok=True)
    write_json(run / "config.json", to_json(config))


def is_run(folder: Path) -> bool:
    """Whether a folder is a training run."""
    try:
        values = read_json(folder / "config.json")
    except (OSError, BitjetsError):
        return False
    return isinstance(values, dict) and "stage" in values


def load_run_config(run: Path) -> TrainConfig:
    """Read RUN/config.json; BitjetsError where there is none or it is damaged."""
    path = run / "config.json"
    try:
        values = read_json(path)
    except (FileNotFoundError, NotADirectoryError):
        raise BitjetsError(f"{run} is not a training run (no config.json): give the --out of a training.") from None
    return from_json(TrainConfig, values, str(path))


def summary(config: TrainConfig, half: str) -> dict[str, Any]:
    """How one half was trained, for a voice's config.json; where other models lay concerns nobody else."""
    own: AcousticTraining | VocoderTraining
    if half == "acoustic":
        own = config.acoustic_training
    else:
        forced = Path(config.vocoder_training.teacher_forced).name
        own = dataclasses.replace(config.vocoder_training, teacher_forced=forced)
    return {name: getattr(config, name) for name in SHARED} | to_json(own)


# -- checkpoints ---------------------------------------------------------------------------------------------------


def run_weights(run: Path, part: str = "ema") -> tuple[int, dict[str, Any]]:
    """(updates done, a part of the run's newest whole checkpoint as a tree)."""
    folder = newest_checkpoint(run)
    if folder is None:
        raise BitjetsError(f"{run} has no checkpoint yet: train it until its first one is saved.")
    update, parts = load_checkpoint(folder)
    if part not in parts:
        raise BitjetsError(f"the checkpoint {folder} has no part named {part!r}: it is of another stage.")
    return update, parts[part]


def check_same_shapes(expected: Any, given: Any, source: str) -> None:
    """BitjetsError naming the first few tensors that differ between two trees of arrays."""
    want = {name: value.shape for name, value in leaves(expected)}
    have = {name: value.shape for name, value in leaves(given)}
    different = [name for name in sorted(want.keys() | have.keys()) if want.get(name) != have.get(name)]
    if different:
        shown = ", ".join(f"{name} {have.get(name)} instead of {want.get(name)}" for name in different[:4])
        raise BitjetsError(f"{source} does not fit this model ({len(different)} tensors differ: {shown}).")


# -- the log -------------------------------------------------------------------------------------------------------


def read_log(run: Path) -> list[dict[str, float]]:
    """The lines of RUN/log.jsonl, of numbers all; a half-written or damaged one is passed over."""
    path, lines = run / "log.jsonl", []
    for text in path.read_text(errors="replace").splitlines() if path.exists() else []:
        try:
            line = json.loads(text)
        except (ValueError, RecursionError):
            continue
        if isinstance(line, dict) and type(line.get("update")) is int and all(map(_is_number, line.values())):
            lines.append(line)
    return lines


def _is_number(value: Any) -> bool:
    return type(value) is float or (type(value) is int and abs(value) < 1 << 53)


def hours(run: Path, updates: int) -> float | None:
    """What the first `updates` of a run took; None where it has no log."""
    seconds, before, lines = 0.0, 0, read_log(run)
    for line in lines:
        if before < line["update"] <= updates:
            seconds += (line["update"] - before) * line.get("seconds_per_update", 0.0)
            before = int(line["update"])
    return seconds / 3600 if lines else None
