"""bitjets COMMAND [arguments], or python -m bitjets_mlx COMMAND: each command is a module of its own.

bitjets generate "Hello there."
"""

import importlib
import sys

from bitjets_mlx import __version__
from bitjets_mlx.errors import BitjetsError, complain, end_on_signals, run_command

COMMANDS = {
    "generate": "speak text",
    "serve": "speak for other programs: a page, OpenAI's API, Home Assistant",
    "prepare": "check recordings and cache their training features",
    "train": "train an acoustic model, a vocoder, or both",
    "pack": "make a voice folder of training runs",
    "convert": "make a voice folder of a PyTorch checkpoint",
    "evaluate": "measure how a voice sounds",
    "report": "draw a training run's curves",
    "samples": "write a page of samples to listen to",
    "benchmark": "measure speed",
}
USAGE = "\n".join(
    [
        "usage: bitjets COMMAND [arguments]; bitjets COMMAND --help lists the arguments",
        "",
        *(f"  {name:<10} {what}" for name, what in COMMANDS.items()),
    ]
)


def main() -> None:
    """Run the command that the first argument names, as `python -m bitjets_mlx.COMMAND` does."""
    end_on_signals()
    name, *rest = sys.argv[1:] or ["--help"]
    if name in ("-h", "--help", "help"):
        print(USAGE)
    elif name == "--version":
        print(f"bitjets-mlx {__version__}")
    elif name in COMMANDS:
        sys.argv = [f"bitjets {name}", *rest]
        run_command(lambda: _run(name))
    else:
        complain(f"error: there is no command {name!r:.60}: take one of {', '.join(COMMANDS)}.")
        sys.exit(2)


def _run(name: str) -> None:
    try:
        module = importlib.import_module(f"bitjets_mlx.{name}")
    except ModuleNotFoundError as error:
        raise BitjetsError(f"{name} needs the package {error.name}, which is not installed.") from None
    module.main()


if __name__ == "__main__":
    main()
