"""The optional packages that measures need, and how to install those that are missing."""

from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

from bitjets_mlx.errors import BitjetsError

INSTALL = "pip install -r requirements-quality.txt"
# They declare dependencies that they do without here (torchaudio, transformers).
ALONE = {"distillmos": "pip install --no-deps distillmos==0.9.1 xls-r-sqa==0.1.0"}


def lacking(*modules: str) -> list[str]:
    """Those of the modules that cannot be imported here."""
    return [name for name in modules if find_spec(name) is None]


def how_to_install(*modules: str) -> str:
    """The command that installs what is missing of these modules; "" where nothing is."""
    missing = lacking(*modules)
    commands = [INSTALL] if set(missing) - set(ALONE) else []
    return " && ".join([*commands, *(ALONE[name] for name in missing if name in ALONE)])


def optional(name: str) -> ModuleType:
    """Import a package of requirements-quality.txt; BitjetsError where it is not installed."""
    try:
        return import_module(name)
    except ImportError as error:
        command = ALONE.get(name, INSTALL)
        raise BitjetsError(f"Measuring needs the package {name} ({error}): run `{command}`.") from None
