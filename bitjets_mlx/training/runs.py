"""A run's folder: its configuration on disk, and the weights of its newest checkpoint."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bitjets_mlx.config import AudioConfig, FeatureStatistics, from_json
from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.files import atomic_write_bytes
from bitjets_mlx.training.checkpoints import load_checkpoint, newest_checkpoint
from bitjets_mlx.training.optimize import leaves

FORMAT = 1


@dataclass(frozen=True)
class RunConfig:
    """RUN/config.json: the stage, its model and hyper-parameters, and what the data said of itself.

    `init`, `init_acoustic` and `init_vocoder` are what the options of these names named; `clips_sha256` recognizes the
    prepared data wherever it lies.
    """

    stage: str
    data: str
    model: dict[str, Any]
    training: dict[str, Any]
    audio: AudioConfig
    statistics: FeatureStatistics
    speakers: tuple[str, ...]
    symbols: tuple[str, ...]
    format: int = FORMAT
    init: str = ""
    clips_sha256: str = ""
    init_acoustic: str = ""
    init_vocoder: str = ""


def save_run_config(run: Path, config: RunConfig) -> None:
    """Write RUN/config.json."""
    run.mkdir(parents=True, exist_ok=True)
    atomic_write_bytes(run / "config.json", (json.dumps(asdict(config), indent=1) + "\n").encode())


def load_run_config(run: Path) -> RunConfig:
    """Read RUN/config.json; BitjetsError where there is none or it is damaged."""
    path = run / "config.json"
    try:
        values = json.loads(path.read_text())
    except FileNotFoundError:
        raise BitjetsError(f"{run} is no training run (no config.json): give the --out of a training.") from None
    except (OSError, ValueError) as error:
        raise BitjetsError(f"{path} cannot be read ({error}): the run is damaged.") from None
    if not isinstance(values, dict):
        raise BitjetsError(f"{path} is no JSON object: the run is damaged.")
    values["audio"] = from_json(AudioConfig, values.get("audio"))
    values["statistics"] = from_json(FeatureStatistics, values.get("statistics"))
    loaded = from_json(RunConfig, values)
    if loaded.format != FORMAT:
        raise BitjetsError(f"{path} has format {loaded.format}, this version reads {FORMAT}.")
    return loaded


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
