"""ESPnet JETS (to come)."""

from pathlib import Path
from typing import Any

from bitjets_mlx.torch_import.source import Source


def convert_jets(source: Source, config: Path | None, ternary: bool) -> Any:
    raise NotImplementedError
