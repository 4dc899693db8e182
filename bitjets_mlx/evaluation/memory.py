"""Peak memory of a command, whatever starts it.

Linux counts what the starting process had in memory, until it became the command, as the command's own (ru_maxrss),
so a large process must not start it directly: a small one does, of 8 MB, which is then the least that can be measured.
"""

import subprocess
import sys
from collections.abc import Mapping, Sequence

from bitjets_mlx.errors import BitjetsError

_LAUNCHER = """
import os, sys
child = os.fork()
if not child:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.execvp(sys.argv[1], sys.argv[1:])
_, status, usage = os.wait4(child, 0)
print(os.waitstatus_to_exitcode(status), usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024))
"""


def peak_memory(command: Sequence[str], environment: Mapping[str, str] | None = None) -> int:
    """Run a command to its end; the most bytes it had in memory. BitjetsError, with its last words, where it fails."""
    launcher = [sys.executable, "-I", "-S", "-c", _LAUNCHER, *command]
    done = subprocess.run(launcher, env=environment, capture_output=True, text=True, check=False)
    code, _, size = done.stdout.strip().partition(" ")
    if code != "0":
        lines = done.stderr.strip().splitlines()
        raise BitjetsError(f"`{command[0]}` failed: {lines[-1] if lines else 'no message'}")
    return int(size)
