"""Voices that come with the package, by name."""

import os
from pathlib import Path

from bitjets_mlx.errors import BitjetsError

DEFAULT_VOICE = "duo"
PACKAGE = Path(__file__).resolve().parent
PLACES = (PACKAGE / "weights", PACKAGE.parent / "weights")  # of an installed package, of the repository


def known_voices() -> dict[str, Path]:
    """Folders of the voices that are here, by name."""
    found = [path.parent for place in PLACES for path in sorted(place.glob("*/acoustic.safetensors"))]
    return dict(sorted((folder.name, folder) for folder in reversed(found)))


def find_voice(name: str | Path) -> Path:
    """The folder of a voice that comes with the package, or the folder that is named itself."""
    if not isinstance(name, str | Path) or not str(name) or "\0" in str(name):
        raise BitjetsError(f"the voice is {name!r:.60}: give its name, or the path of its folder.")
    if isinstance(name, Path) or "/" in name or os.path.exists(name):
        return Path(name)
    known = known_voices()
    if name in known:
        return known[name]
    raise BitjetsError(f"there is no voice {name!r:.60}: take {' or '.join(known)}, or the path of a voice folder.")
