"""Fixtures that several test files use."""

from pathlib import Path

import pytest

import bitjets_mlx  # noqa: F401  before any test imports mlx.core, so that it gets the fast BLAS

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real speech and checkpoints beside the repository; tests that need it skip without it."""
    folder = REPOSITORY.parent / "shared"
    if not (folder / "speech").is_dir():
        pytest.skip("needs the speech corpus in ../shared, which is not here")
    return folder
