"""Training checkpoints: written beside, synced, renamed; read only after their hashes passed.

RUN/checkpoints/step_N/ holds one safetensors file a part (model, ema, optimizer, ...) and `meta.json`, written last,
with the sha256 of each. A run that was killed at any moment resumes from the newest folder that is whole.
"""

import hashlib
import json
import os
import shutil
import warnings
from pathlib import Path
from typing import Any, cast

import mlx.core as mx
from mlx.utils import tree_flatten, tree_unflatten

from bitjets_mlx.errors import BitjetsError

KEEP = 2


def save_checkpoint(run: Path, update: int, parts: dict[str, Any]) -> Path:
    """Write every part (a tree of arrays) of the state after `update` updates; returns the folder."""
    folder = run / "checkpoints" / f"step_{update:08d}"
    scratch = folder.with_suffix(".tmp")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    hashes = {}
    for name, tree in parts.items():
        path = scratch / f"{name}.safetensors"
        mx.save_safetensors(str(path), dict(tree_flatten(tree)))
        hashes[path.name] = _sync(path)
    meta = scratch / "meta.json"
    meta.write_text(json.dumps({"update": update, "sha256": hashes}, indent=1))
    _sync(meta)
    _sync_folder(scratch)
    shutil.rmtree(folder, ignore_errors=True)
    scratch.rename(folder)
    _sync_folder(folder.parent)
    for old in sorted(folder.parent.glob("step_*[0-9]"))[:-KEEP]:
        shutil.rmtree(old, ignore_errors=True)
    return folder


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
    meta = json.loads((folder / "meta.json").read_text())
    parts = {}
    for name in meta["sha256"]:
        arrays = cast(dict[str, mx.array], mx.load(str(folder / name)))
        mx.eval(arrays)  # loading is lazy, and the file may be replaced
        parts[Path(name).stem] = tree_unflatten(list(arrays.items()))
    return int(meta["update"]), parts


def _is_whole(folder: Path) -> bool:
    try:
        meta = json.loads((folder / "meta.json").read_text())
        return bool(meta["sha256"]) and all(
            hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
            for name, digest in meta["sha256"].items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _sync(path: Path) -> str:
    """Force a file to the disk and return its sha256."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())
        return hashlib.sha256(file.read()).hexdigest()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
