"""Imports run one way: the layers of pyproject.toml."""

from pathlib import Path

import pytest

cli = pytest.importorskip("importlinter.cli", reason="needs import-linter, of requirements-dev.txt")


def test_layers(capsys: pytest.CaptureFixture[str]) -> None:
    settings = Path(__file__).resolve().parents[1] / "pyproject.toml"
    assert cli.lint_imports(config_filename=str(settings), no_cache=True) == 0, capsys.readouterr().out
