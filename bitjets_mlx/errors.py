"""The one exception that users see, and how a command ends when it meets one."""

import sys
import warnings
from collections.abc import Callable
from typing import NoReturn


class BitjetsError(Exception):
    """Something the user can mend. The message is one sentence that names the fix."""


def run_command(main: Callable[[], None]) -> NoReturn:
    """Run a command's `main`; print `error: ...` and exit with 1 on what a user can mend, warnings as one line each."""
    warnings.showwarning = lambda message, *_, **__: print(f"warning: {message}", file=sys.stderr)
    try:
        main()
    except BitjetsError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("stopped by the keyboard")
    except BrokenPipeError:
        sys.exit(1)
    except OSError as error:  # full disk, missing permission: the system's own sentence says it best
        where = f" ({error.filename})" if error.filename else ""
        sys.exit(f"error: {error.strerror or error}{where}")
    sys.exit(0)
