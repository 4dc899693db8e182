"""The optional packages that measures need."""

from importlib import import_module
from types import ModuleType

from bitjets_mlx.errors import BitjetsError


def optional(name: str) -> ModuleType:
    """Import a package of requirements-dev.txt; BitjetsError where it is not installed."""
    try:
        return import_module(name)
    except ImportError as error:
        raise BitjetsError(
            f"Measuring needs the package {name} ({error}): run `pip install -r requirements-dev.txt`."
        ) from None
