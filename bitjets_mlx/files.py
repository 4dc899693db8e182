"""Files: JSON read within bounds; writing that a crash or a full disk leaves undone, never half done."""

import fcntl
import json
import os
import re
import stat
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
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
    """Write JSON with one value per line, whole or not at all."""
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

    A link is followed, and a file that was there leaves its mode to the new one. The temporary name keeps the suffix,
    as several writers choose the format by it. Without `sync` the file survives a killed process but perhaps not a
    power cut: for caches that are checked when read.
    """
    path = Path(path).resolve()
    if sync:  # a cache has too many files to look at all of them each time; whoever fills it tidies up
        _remove_left_behind(path)
    temporary, handle = _temporary(path)
    try:
        if path.exists():
            temporary.chmod(stat.S_IMODE(path.stat().st_mode))
        yield temporary
        if sync:
            sync_to_disk(temporary)
        os.replace(temporary, path)
    except OSError as error:  # a full disk does not say which file it was, or names the temporary one
        if error.filename in (None, str(temporary)):
            error.filename, error.filename2 = str(path), None
        raise
    finally:
        temporary.unlink(missing_ok=True)
        os.close(handle)


def _temporary(path: Path) -> tuple[Path, int]:
    """A new file beside `path`, and a handle that has it locked as long as its writer lives."""
    while True:
        temporary = path.with_name(f".{path.stem[:100]}.{uuid.uuid4().hex[:8]}.tmp{path.suffix}")
        try:
            handle = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600 if path.exists() else 0o666)
        except OSError as error:
            error.filename = str(path)  # the name that the user knows
            raise
        if _lock(handle) is not False and temporary.exists():  # and nobody took it for one of a writer that is gone
            return temporary, handle
        os.close(handle)


def _remove_left_behind(path: Path) -> None:
    """Temporary files for `path` whose writers were killed."""
    pattern = re.compile(rf"\.{re.escape(path.stem[:100])}\.[0-9a-f]{{8}}\.tmp{re.escape(path.suffix)}")
    try:
        found = [name for name in os.listdir(path.parent) if pattern.fullmatch(name)]
    except OSError:  # the writing itself will say so
        return
    for name in found:
        with suppress(OSError):
            handle = os.open(path.with_name(name), os.O_RDWR)
            if _lock(handle):
                path.with_name(name).unlink(missing_ok=True)
            os.close(handle)


def _lock(handle: int) -> bool | None:
    """Whether a file is now ours; None on a disk without locks."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def atomic_write_bytes(path: str | Path, data: bytes) -> None:
    """Write `data` to `path`, whole or not at all."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(data)


def check_file(
    path: Path, beginnings: Sequence[bytes] = (), overwrite: bool = False, inputs: Sequence[Path] = ()
) -> None:
    """BitjetsError where a file cannot or must not be written at `path`: said before any work is done.

    A file that is there is replaced if it is empty or begins with one of `beginnings`, as files of the same kind do;
    anything else only with `overwrite`, and what is read from (`inputs`) never.
    """
    if not path.parent.is_dir():
        raise BitjetsError(f"there is no folder {path.parent}: make it first.")
    if path.is_dir():
        raise BitjetsError(f"{path} is a folder: give the name of a file.")
    if path.exists() and not stat.S_ISREG(path.stat().st_mode):
        raise BitjetsError(f"{path} is a device, not a file: give the name of a file.")
    if not os.access(path.resolve().parent, os.W_OK):
        raise BitjetsError(f"the folder {path.parent} cannot be written to: give another --output.")
    if any(path.resolve() == source.resolve() for source in inputs):
        raise BitjetsError(f"{path} is read from, and must not be written over: give another name.")
    if path.exists() and path.stat().st_size and not overwrite:
        with path.open("rb") as file:
            beginning = file.read(max(map(len, beginnings), default=0))
        if not any(beginning.startswith(known) for known in beginnings):
            raise BitjetsError(f"{path} is there and holds something else: give another name, or --overwrite.")


def sync_to_disk(path: Path) -> None:
    """Wait until `path` is on the disk; a rename may otherwise get there before the data."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
