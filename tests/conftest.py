"""Fixtures that several test files use."""

from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real speech and checkpoints beside the repository; tests that need it skip without it."""
    folder = REPOSITORY.parent / "shared"
    if not (folder / "speech").is_dir():
        pytest.skip("needs the speech corpus in ../shared, which is not here")
    return folder
