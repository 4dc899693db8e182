"""BitJETS in MLX: text to speech with ternary weights. See README.md."""

import sys
from typing import TYPE_CHECKING, Any

if sys.argv[:1] == ["-m"] and any(f"{word}.".startswith(f"{__name__}.") for word in sys.orig_argv[2:]):
    from bitjets_mlx.errors import end_on_signals  # a command of ours: before the imports that take a moment

    end_on_signals()

from bitjets_mlx.native import blas  # first: it must load a fast BLAS before mlx.core is imported  # noqa: F401

if TYPE_CHECKING:
    from bitjets_mlx.voice import load_vocoder, load_voice

__version__ = "0.1.0"
__all__ = ["load_vocoder", "load_voice"]


def __getattr__(name: str) -> Any:
    """The public API, imported when it is first asked for: commands that need no voice start faster."""
    if name in __all__:
        from bitjets_mlx import voice

        return getattr(voice, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
