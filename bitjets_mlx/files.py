"""Files: JSON read within bounds; writing that a crash or a full disk leaves undone, never half done."""

import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bitjets_mlx.errors import BitjetsError

LARGEST_JSON = 16 << 20  # bytes
DEEPEST_JSON = 50


def read_json(path: Path) -> Any:
    """What a JSON file holds; BitjetsError where it is larger than 16 MB, deeper than 50, or not JSON.

    A file that is not there is the system's own FileNotFoundError or NotADirectoryError: what that means differs.
    """
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_JSON + 1)
        if len(data) > LARGEST_JSON:
            raise ValueError(f"it is larger than {LARGEST_JSON >> 20} MB")
        values = json.loads(data.decode())
        _check_depth(values)
        return values
    except (FileNotFoundError, NotADirectoryError):
        raise
    except RecursionError:
        reason = f"it is nested deeper than {DEEPEST_JSON}"
    except OSError as error:
        reason = error.strerror or str(error)
    except ValueError as error:
        reason = str(error)
    raise BitjetsError(f"{path} cannot be read as JSON ({reason}): is it the right file, and whole?")


def write_json(path: Path, values: Any) -> None:
    """Write JSON with one value a line, whole or not at all."""
    atomic_write_bytes(path, (json.dumps(values, indent=1) + "\n").encode())


def _check_depth(values: Any) -> None:
    level = [values]
    for _ in range(DEEPEST_JSON):
        level = [
            item
            for value in level
            if isinstance(value, dict | list)
            for item in (value.values() if isinstance(value, dict) else value)
        ]
        if not level:
            return
    raise RecursionError


@contextmanager
def atomic_write(path: str | Path, sync: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it replaces `path`, on any error it is removed.

    The temporary name keeps the suffix, as several writers choose the format by it. Without `sync` the file
    survives a killed process but perhaps not a power cut: for caches that are checked when read.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:8]}.tmp{path.suffix}")
    try:
        yield temporary
        if sync:
            _sync(temporary)
        os.replace(temporary, path)
    except OSError as error:  # a full disk does not say by itself which file it was
        error.filename = error.filename or str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def atomic_write_bytes(path: str | Path, data: bytes) -> None:
    """Write `data` to `path`, whole or not at all."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(data)


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; on success it replaces `path`, on any error it is removed."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    old = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.old")
    temporary.mkdir(parents=True)
    try:
        yield temporary
        for file in temporary.rglob("*"):
            if file.is_file():
                _sync(file)
        if path.exists():
            os.replace(path, old)
        os.replace(temporary, path)
    except BaseException:
        if old.exists() and not path.exists():
            os.replace(old, path)
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
    _sync(path.parent)


def _sync(path: Path) -> None:
    """Wait until `path` is on the disk; a rename may otherwise get there before the data."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
