"""C sources to shared libraries, compiled on first use and kept in the user's cache.

The cache is `$XDG_CACHE_HOME/bitjets_mlx` or `~/.cache/bitjets_mlx`. What lies there is run, so the folder must be the
user's own and closed to everybody else (mode 0700), and a library's name ends in the SHA-256 of its bytes, which is
verified before it is loaded: one that was truncated by a crash is built again. The name also holds a key of source,
flags and processor, since a home may be shared by different machines. A library is written under another name, flushed
to the disk and renamed, so that any number of processes may build at once. Without a usable folder every process
builds for itself.
"""

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bitjets_mlx.files import sync_to_disk
from bitjets_mlx.native.processor import cpu_flags

SECONDS = 120  # that a compiler may take; it needs about three
FLAGS = ("-O2", "-shared", "-fPIC")


class BuildError(Exception):
    """Why a library cannot be had, as the end of a sentence."""


@functools.cache
def say_slower(reason: str) -> None:
    """A line on stderr, once per reason and process, whatever the number of things that are slower for it."""
    print(f"hint: this is slower than it could be: {reason}.", file=sys.stderr)


def load(name: str, source: str, flags: Sequence[str] = (), mode: int = ctypes.DEFAULT_MODE) -> ctypes.CDLL:
    """C source as a loaded library, from the cache or compiled now. BuildError where that is not possible."""
    found = load_built(name, source, flags, mode)
    if found is not None:
        return found
    folder = _private_folder(create=True)
    if folder is None:
        say_slower("there is no cache folder for compiled C, and every process compiles anew; set XDG_CACHE_HOME")
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix="building-") as scratch:
            built = _compiled(Path(scratch), source, flags)
            if folder is not None:
                built = _kept(built, folder / f"{name}-{_key(source, flags)}-{_digest(built)}.so")
            return ctypes.CDLL(str(built), mode=mode)  # stays loaded when its file is gone
    except OSError as error:
        raise BuildError(str(error)) from None


def load_built(
    name: str, source: str, flags: Sequence[str] = (), mode: int = ctypes.DEFAULT_MODE
) -> ctypes.CDLL | None:
    """The library if it lies in the cache, whole and nobody else's; None otherwise. A damaged one is removed."""
    folder = _private_folder(create=False)
    for path in sorted(folder.glob(f"{name}-{_key(source, flags)}-*.so")) if folder else ():
        try:
            if _is_own_file(path) and path.stem.endswith(_digest(path)):
                return ctypes.CDLL(str(path), mode=mode)
            path.unlink()
        except OSError:
            continue  # gone by now, or of no use
    return None


# -- cache ---------------------------------------------------------------------------------------------------------


def _key(source: str, flags: Sequence[str]) -> str:
    built_for = [source, *flags, sys.platform, platform.machine(), *sorted(cpu_flags())]
    return hashlib.sha256(repr(built_for).encode()).hexdigest()[:16]


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _private_folder(create: bool) -> Path | None:
    """The cache, if it is this user's and closed to others; None where there is none and none can be made."""
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not base.is_absolute():  # relative ones are to be ignored (XDG Base Directory Specification)
        try:
            base = Path.home() / ".cache"
        except RuntimeError:
            return None
    if not base.is_absolute():
        return None
    folder = base / "bitjets_mlx"
    try:
        if create:
            base.mkdir(mode=0o700, exist_ok=True)  # not its parents: a home that is not there stays so
            folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            return None
        if found.st_mode & 0o077:
            folder.chmod(0o700)
    except OSError:
        return None
    return folder if os.access(folder, os.W_OK) or not create else None


def _is_own_file(path: Path) -> bool:
    found = path.lstat()
    return stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o022


def _kept(built: Path, target: Path) -> Path:
    """Move a library to its place in the cache, with everything on the disk before its name is."""
    built.chmod(0o600)
    sync_to_disk(built)
    built.replace(target)
    sync_to_disk(target.parent)
    return target


# -- compiler ------------------------------------------------------------------------------------------------------


def _compiled(scratch: Path, source: str, flags: Sequence[str]) -> Path:
    """Compile into a scratch folder, for this very processor where the compiler knows how."""
    compiler = _compiler()
    (scratch / "source.c").write_text(source, encoding="utf-8")
    native = "-mcpu=native" if platform.machine() in ("arm64", "aarch64") else "-march=native"
    built, said = scratch / "library.so", ""
    for own in ([native], []):
        said = _run([compiler, *FLAGS, *own, *flags, "source.c", "-o", built.name, "-lm"], scratch)
        if not said:
            return built
    raise BuildError(f"{compiler} refused: {said}")


def _compiler() -> str:
    # On a Mac without the Command Line Tools /usr/bin/cc is there all the same, and opens a window.
    if sys.platform == "darwin" and subprocess.run(["xcode-select", "-p"], capture_output=True).returncode:
        raise BuildError("there is no C compiler; xcode-select --install brings one")
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise BuildError("there is no C compiler; install gcc or clang")
    return compiler


def _run(command: list[str], folder: Path) -> str:
    """Run a compiler; the first line of its complaint, or nothing. BuildError where it does not come to an end."""
    with (folder / "said").open("w+", encoding="utf-8", errors="replace") as said:
        process = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True
        )
        try:
            failed = process.wait(SECONDS)
        except BaseException as error:  # Ctrl-C too
            os.killpg(process.pid, signal.SIGKILL)  # a compiler starts others
            process.wait()
            if isinstance(error, subprocess.TimeoutExpired):
                raise BuildError(f"{command[0]} did not finish within {SECONDS} s") from None
            raise
        said.seek(0)
        return (said.readline().strip() or f"exit status {failed}") if failed else ""
