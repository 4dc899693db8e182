"""The one exception that users see, and how a command ends: signals, broken pipes, full disks, one sentence."""

import contextlib
import os
import signal
import sys
import warnings
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LONGEST_MESSAGE = 1000  # characters


class BitjetsError(Exception):
    """Something the user can fix. The message is one sentence that names the fix.

    What a file says of itself may be quoted in it: it stays one line of bounded length all the same.
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(one_line(str(message)))


def run_command(main: Callable[[], None]) -> NoReturn:
    """Run a command's `main`; print `error: ...` and exit with 1 on what a user can fix, warnings as one line each.

    INT, TERM and HUP end it with "stopped" and 128 + their number, a reader of the output that goes away with 141.
    """
    end_on_signals()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and hasattr(stream, "reconfigure"):  # a name that the terminal cannot show is no reason
            stream.reconfigure(errors="backslashreplace")
    warnings.showwarning = lambda message, *_, **__: complain(f"warning: {message}")
    try:
        main()
        if sys.stdout is not None:
            sys.stdout.flush()
    except BitjetsError as error:
        _end(f"error: {error}")
    except BrokenPipeError:
        _end("", 128 + signal.SIGPIPE)
    except MemoryError:
        _end("error: there is not enough memory for this: give it less at a time, or use a larger machine.")
    except OSError as error:  # full disk, missing permission: the system's own sentence says it best
        where = f" ({error.filename})" if error.filename else ""
        _end(f"error: {error.strerror or error}{where}")
    sys.exit(0)


def say(text: str) -> None:
    """A line on standard output. Work is not given up because nobody reads it any more."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        _discard(sys.stdout)


def complain(text: str) -> None:
    """One line of bounded length on standard error, if there is one."""
    with contextlib.suppress(OSError, ValueError):
        print(one_line(text), file=sys.stderr, flush=True)


def one_line(text: str) -> str:
    """A text without line breaks, runs of white space and control characters; where it is long, without its middle."""
    line = "".join(char if char.isprintable() else repr(char)[1:-1] for char in " ".join(text.split()))
    half = LONGEST_MESSAGE // 2
    return line if len(line) <= LONGEST_MESSAGE else f"{line[: half - 3]} ... {line[-half + 2 :]}"


def end_on_signals() -> None:
    """INT, TERM and HUP raise SystemExit from now on, so that whatever is half written is removed."""
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup has it for HUP
            signal.signal(number, _stop)


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    for other in SIGNALS:  # the first is enough, and tidying up must not be interrupted by accident
        signal.signal(other, signal.SIG_IGN)
    complain("stopped")
    sys.exit(128 + number)


def _end(sentence: str, code: int = 1) -> NoReturn:
    if sentence:
        complain(sentence)
    try:
        sys.stdout.flush()
    except (OSError, ValueError, AttributeError):
        _discard(sys.stdout)
    sys.exit(code)


def _discard(stream: object) -> None:
    """Send what is still to be written nowhere: Python would complain of it at the end."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # type: ignore[attr-defined]
