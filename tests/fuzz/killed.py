"""Runs a command of the package, which kills itself with SIGKILL at one of its renames, before it or right after.

python tests/fuzz/killed.py NUMBER before|after FILE MODULE ARGUMENTS...

The number of renames that there were is in FILE afterwards: a NUMBER of -1 only counts.
"""

import os
import runpy
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from bitjets_mlx import folders

wanted, after, counted, module = int(sys.argv[1]), sys.argv[2] == "after", Path(sys.argv[3]), sys.argv[4]
seen = [0]


def fatal(rename: Callable[..., Any]) -> Callable[..., Any]:
    """A rename that ends the process and all that it has started."""

    def instead(*arguments: Any, **named: Any) -> Any:
        number, seen[0] = seen[0], seen[0] + 1
        counted.write_text(str(seen[0]))
        if number == wanted and not after:
            os.killpg(0, signal.SIGKILL)
        result = rename(*arguments, **named)
        if number == wanted:
            os.killpg(0, signal.SIGKILL)
        return result

    return instead


os.rename, os.replace, folders.exchange = map(fatal, (os.rename, os.replace, folders.exchange))  # type: ignore[assignment]
sys.argv[:] = [module, *sys.argv[5:]]
runpy.run_module(module, run_name="__main__", alter_sys=True)
