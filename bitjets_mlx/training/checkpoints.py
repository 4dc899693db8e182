"""Training checkpoints: written beside, synced, renamed; read only after their hashes passed.

RUN/checkpoints/step_N/ holds one safetensors file per part (model, ema, optimizer, ...) and `meta.json`, written last,
with the sha256 of each. A run that was killed at any moment resumes from the newest folder that is whole.
"""

import hashlib
import json
import re
import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import mlx.core as mx
import numpy as np
from mlx.utils import tree_unflatten

from bitjets_mlx.checked import Range, from_json, to_json
from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.files import atomic_write_bytes, read_json, sync_to_disk
from bitjets_mlx.voice.arrays import named_arrays
from bitjets_mlx.voice.weights_file import read_weights, write_weights

KEEP = 2
FILE_NAME = re.compile(r"\w+\.safetensors")


@dataclass(frozen=True)
class Meta:
    """meta.json: updates done, and the sha256 of each file."""

    update: Annotated[int, Range(0, 1 << 40)]
    sha256: dict[str, str]


def save_checkpoint(run: Path, update: int, parts: dict[str, Any]) -> Path:
    """Write every part (a tree of arrays) of the state after `update` updates; returns the folder.

    BitjetsError where that fails, on a full disk for one; nothing half-written is left then.
    """
    folder = run / "checkpoints" / f"step_{update:08d}"
    scratch = folder.with_suffix(".tmp")
    try:
        for stale in folder.parent.glob("step_*.tmp"):  # of a process that was killed while it wrote
            shutil.rmtree(stale)
        scratch.mkdir(parents=True)
        _write(scratch, update, parts)
        if folder.exists():  # damaged, or it would have been resumed from
            shutil.rmtree(folder)
        scratch.rename(folder)
        sync_to_disk(folder.parent)
    except OSError as error:
        raise BitjetsError(
            f"the checkpoint of update {update} could not be written to {folder.parent} ({error.strerror or error}): "
            "make room there, then go on with --resume."
        ) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    for old in sorted(folder.parent.glob("step_*[0-9]"))[:-KEEP]:
        shutil.rmtree(old, ignore_errors=True)
    return folder


def _write(scratch: Path, update: int, parts: dict[str, Any]) -> None:
    hashes = {}
    for name, tree in parts.items():
        path = scratch / f"{name}.safetensors"
        hashes[path.name] = write_weights(path, {key: np.array(leaf) for key, leaf in named_arrays(tree).items()})
    atomic_write_bytes(scratch / "meta.json", json.dumps(to_json(Meta(update, hashes)), indent=1).encode())
    sync_to_disk(scratch)


def newest_checkpoint(run: Path) -> Path | None:
    """The newest checkpoint whose hashes pass, or None; a damaged one is named in a warning and passed over."""
    for folder in sorted((run / "checkpoints").glob("step_*[0-9]"), reverse=True):
        if _is_whole(folder):
            return folder
        warnings.warn(f"checkpoint {folder.name} is damaged and was passed over.", stacklevel=2)
    return None


def load_checkpoint(folder: Path) -> tuple[int, dict[str, Any]]:
    """(number of updates done, its parts as trees of arrays), all read before this returns."""
    if not _is_whole(folder):
        raise BitjetsError(f"the checkpoint {folder} is damaged or incomplete: take an older one.")
    meta = _read_meta(folder)
    parts = {}
    for name, digest in meta.sha256.items():
        arrays = read_weights(folder / name, digest)
        parts[Path(name).stem] = tree_unflatten([(key, mx.array(arrays.pop(key))) for key in list(arrays)])
    return meta.update, parts


def _read_meta(folder: Path) -> Meta:
    path = folder / "meta.json"
    return from_json(Meta, read_json(path), str(path))


def _is_whole(folder: Path) -> bool:
    try:
        files = _read_meta(folder).sha256
        return bool(files) and all(
            FILE_NAME.fullmatch(name) and hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
            for name, digest in files.items()
        )
    except (OSError, BitjetsError):
        return False
