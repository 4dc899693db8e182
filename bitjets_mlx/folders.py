"""Output folders: which may be replaced, how that loses nothing, and who else is writing there.

One rule for every command. A new or empty place, or a folder of the same kind that holds nothing else, is replaced;
what is neither is refused, unless the user says `--overwrite`. What a command reads from, a folder in use, and whatever
holds one of those is never replaced.
"""

import ctypes
import errno
import fcntl
import os
import re
import shutil
import stat
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.files import sync_to_disk

IGNORED = (".DS_Store", "._*", "Thumbs.db")  # what file managers leave behind
EXCHANGE = 2  # RENAME_EXCHANGE of Linux, RENAME_SWAP of macOS
AT_FDCWD = -100
NO_EXCHANGE = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)


@dataclass(frozen=True)
class FolderKind:
    """One kind of output folder: its name, which files it may hold, and how it is recognized."""

    name: str
    holds: tuple[str, ...]  # patterns of paths inside it
    is_one: Callable[[Path], bool]


@contextmanager
def output_folder(
    path: str | Path, kind: FolderKind, overwrite: bool = False, inputs: Sequence[Path] = ()
) -> Iterator[Path]:
    """Yield an empty folder beside `path`; on success it takes its place, on any error it is removed.

    A link is followed, a folder that was there leaves its mode. BitjetsError as `check_folder`, and where another
    process is at it.
    """
    place = Path(path).resolve()
    with locked(place):
        _recover(place)
        check_folder(place, kind, overwrite, inputs)
        scratch = _beside(place, "tmp")
        scratch.mkdir()
        try:
            yield scratch
            for file in scratch.rglob("*"):
                if file.is_file():
                    sync_to_disk(file)
            if place.exists():
                scratch.chmod(stat.S_IMODE(place.stat().st_mode))
            _put_in_place(scratch, place)
        except OSError as error:
            if error.filename is not None:  # the name that the user knows
                error.filename = str(error.filename).replace(str(scratch), str(place))
            raise
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        sync_to_disk(place.parent)


def check_folder(path: Path, kind: FolderKind, overwrite: bool = False, inputs: Sequence[Path] = ()) -> None:
    """BitjetsError where a folder at `path` must not be replaced by one of this kind; see the module."""
    place = path.resolve()
    used = [source.resolve() for source in (*inputs, Path.cwd())]
    if any(place == source or place in source.parents for source in used):
        raise BitjetsError(f"{path} is read from, or holds what is: give another folder to write.")
    if not place.exists():
        return
    if not place.is_dir():
        raise BitjetsError(f"{path} is a file: give the name of a folder.")
    strange = next(_strangers(place, kind), None)
    if strange is not None and not overwrite:
        raise BitjetsError(
            f"{path} holds {strange}, which belongs to no {kind.name} of this program: give the name of a new folder, "
            "or --overwrite to lose what is there."
        )
    for lock in place.rglob(".*.lock") if strange else ():
        with _held(lock, path):  # or it is in use
            pass


def _strangers(place: Path, kind: FolderKind) -> Iterator[str]:
    """Files in a folder that one of this kind would not hold; all of them where it is none of the kind."""
    known = kind.holds if kind.is_one(place) else ()
    for file in place.rglob("*"):
        name = file.relative_to(place).as_posix()
        expected = any(fnmatch(name, pattern) for pattern in known)
        if not expected and not file.is_dir() and not any(fnmatch(file.name, pattern) for pattern in IGNORED):
            yield name


# -- who else is there ---------------------------------------------------------------------------------------------


@contextmanager
def locked(path: str | Path) -> Iterator[None]:
    """Keep a place to this process; BitjetsError that names the process which has it. Killed processes have nothing."""
    place = Path(path).resolve()
    place.parent.mkdir(parents=True, exist_ok=True)
    with _held(place.with_name(f".{place.name}.lock"), place):
        yield


@contextmanager
def _held(lock: Path, place: Path) -> Iterator[None]:
    while True:
        handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_same(handle, lock):  # and not one that its holder has just removed
                break
        except BlockingIOError:
            holder = os.read(handle, 200).decode(errors="replace").strip() or "another process"
            os.close(handle)
            raise BitjetsError(f"{place} is in use by {holder}: wait until it has ended, or stop it.") from None
        os.close(handle)
    try:
        os.ftruncate(handle, 0)
        os.write(handle, f"process {os.getpid()} ({Path(sys.argv[0]).name})".encode())
        yield
    finally:
        lock.unlink(missing_ok=True)
        os.close(handle)


def _is_same(handle: int, lock: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), lock.stat())
    except FileNotFoundError:
        return False


# -- the exchange --------------------------------------------------------------------------------------------------


def _put_in_place(scratch: Path, place: Path) -> None:
    """Exchange two folders, so that there is always one at `place`; what was there before is then removed."""
    if not place.exists():
        os.rename(scratch, place)
    elif not exchange(scratch, place):  # where the system cannot, `_recover` puts right what a kill leaves undone
        old = _beside(place, "old")
        os.rename(place, old)
        try:
            os.rename(scratch, place)
        except BaseException:
            os.rename(old, place)
            raise
        shutil.rmtree(old, ignore_errors=True)


def exchange(one: Path, other: Path) -> bool:
    """Swap two folders in one step; False where the system or the disk's format cannot."""
    library = ctypes.CDLL(None, use_errno=True)
    names = os.fsencode(one), os.fsencode(other)
    if hasattr(library, "renameat2"):
        failed = library.renameat2(AT_FDCWD, names[0], AT_FDCWD, names[1], EXCHANGE)
    elif hasattr(library, "renamex_np"):
        failed = library.renamex_np(*names, EXCHANGE)
    else:
        return False
    code = ctypes.get_errno()
    if failed and code not in NO_EXCHANGE:
        raise OSError(code, os.strerror(code), str(other))
    return not failed


def recover(path: str | Path) -> None:
    """Put back a folder whose replacement was killed between two renames, unless somebody is at it."""
    place = Path(path).resolve()
    if not place.exists() and any(_left_behind(place, "old")):
        with locked(place):
            _recover(place)


def _recover(place: Path) -> None:
    for old in _left_behind(place, "old"):
        if place.exists():
            shutil.rmtree(old, ignore_errors=True)
        else:
            os.rename(old, place)
    for scratch in _left_behind(place, "tmp"):
        shutil.rmtree(scratch, ignore_errors=True)


def _left_behind(place: Path, what: str) -> list[Path]:
    pattern = re.compile(rf"\.{re.escape(place.name)}\.[0-9a-f]{{8}}\.{what}")
    try:
        return [entry for entry in place.parent.iterdir() if pattern.fullmatch(entry.name) and entry.is_dir()]
    except OSError:
        return []


def _beside(place: Path, what: str) -> Path:
    return place.with_name(f".{place.name}.{uuid.uuid4().hex[:8]}.{what}")
