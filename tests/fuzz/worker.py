"""One process that reads inputs until it is told to stop or dies: a line of JSON in, a line of JSON out.

Each input has its own seconds of processor time and bytes of memory. What would run something foreign, reach the
network, or write outside of the input's folder is stopped by an audit hook and is a failure.
"""

import hashlib
import json
import os
import resource
import shutil
import sys
import traceback
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from formats import FORMATS, Format

from bitjets_mlx.errors import LONGEST_MESSAGE, BitjetsError

SECONDS = 10  # of processor time
MEMORY = 256 << 20  # bytes that one input may take on top of what is loaded
ADDRESSES = 3 << 30  # the system's own limit, for what would take the machine with it
FORBIDDEN = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "pty.spawn", "pickle.find_class")
FORBIDDEN += ("socket.", "urllib.", "os.kill")
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC

place: list[Path] = []  # the input's folder while it is read


class Foreign(BaseException):
    """Something was about to be done that no file may ask for."""


def watch(event: str, arguments: tuple[Any, ...]) -> None:
    """The audit hook."""
    if not place:
        return
    if event.startswith(FORBIDDEN):
        raise Foreign(f"{event} {arguments!r:.300}")
    if event == "ctypes.dlopen" and str(place[0]) in os.path.realpath(str(arguments[0])):
        raise Foreign(f"it loads {arguments[0]}")
    if event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITES and isinstance(arguments[0], str):
        target = os.path.realpath(arguments[0])
        if not target.startswith((str(place[0]), "/dev/")):
            raise Foreign(f"it writes to {target}")


def resident(peak: bool = False) -> int:
    """Bytes of memory, now or the most since `forget_peak`."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:  # macOS: only the most since the start
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    name = "VmHWM:" if peak else "VmRSS:"
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(name))


def forget_peak() -> None:
    """From here on the peak is counted again."""
    if os.path.exists("/proc/self/clear_refs"):
        Path("/proc/self/clear_refs").write_text("5")


def limit(seconds: int) -> None:
    """Processor time from now on."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + seconds + 1, hard))


def limit_addresses() -> None:
    """An allocation that is absurd fails; where the system does not count addresses, it is left to its own limits."""
    try:
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except OSError:
        return
    resource.setrlimit(resource.RLIMIT_AS, (size + ADDRESSES, resource.RLIM_INFINITY))


def outcome(one: Format, path: Path) -> dict[str, str]:
    """What came of one input; `reason` where that is no speech and no sentence."""
    forget_peak()
    before = resident()
    limit(SECONDS)
    place.append(path.parent.resolve())
    try:
        one.read(path)
        result = {"outcome": "read"}
    except BitjetsError as error:
        message = str(error)
        good = message.strip() and "\n" not in message and len(message) <= LONGEST_MESSAGE + 4
        result = (
            {"outcome": "refused"}
            if good
            else failed(error, f"a message of {len(message)} characters: {message!r:.300}")
        )
    except (Exception, Foreign) as error:
        result = failed(error, f"{type(error).__name__}: {error}"[:500])
    finally:
        place.clear()
        limit(100_000)
    taken = resident(peak=True) - before
    if "reason" not in result and taken > MEMORY:
        result = {"outcome": "failed", "reason": f"{taken >> 20} MB for {path.stat().st_size} bytes", "kind": "memory"}
    return result


def failed(error: BaseException, reason: str) -> dict[str, str]:
    """With where it happened, which tells one kind of failure from another."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "bitjets_mlx" in frame.filename]
    where = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "outside"
    trace = "".join(traceback.format_exception(type(error), error, error.__traceback__, limit=-12))
    return {
        "outcome": "failed",
        "reason": f"{where}: {reason}",
        "kind": f"{type(error).__name__} {where}",
        "trace": trace,
    }


def main() -> None:
    """Serve."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a format's reader prints is not an answer
    warnings.simplefilter("ignore")
    warmed: set[str] = set()
    sys.addaudithook(watch)
    for line in sys.stdin:
        asked = json.loads(line)
        one, path = FORMATS[asked["format"]], Path(asked["path"])
        if asked["format"] not in warmed:  # what is imported, compiled and built once does not count
            warm_up(one, path)
            warmed.add(asked["format"])
            limit_addresses()
        shutil.rmtree(path.parent, ignore_errors=True)
        path.parent.mkdir(parents=True)
        if "data" in asked:
            path.write_bytes(bytes.fromhex(asked["data"]))
        else:
            seed = [asked["seed"], asked["number"], zlib.crc32(asked["format"].encode())]
            path.write_bytes(one.make(np.random.default_rng(seed)))
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        answers.write(json.dumps(outcome(one, path) | {"sha256": digest}) + "\n")
        answers.flush()


def warm_up(one: Format, path: Path) -> None:
    """A few inputs that do not count."""
    for number in range(4):
        shutil.rmtree(path.parent, ignore_errors=True)
        path.parent.mkdir(parents=True)
        path.write_bytes(one.make(np.random.default_rng(number)))
        limit(60)
        try:
            one.read(path)
        except Exception:
            continue
    limit(100_000)


if __name__ == "__main__":
    main()
