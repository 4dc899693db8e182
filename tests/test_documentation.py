"""The examples of the documentation, run as they stand there."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"^```(python|sh)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = ("docs/speaking.md", "README.md")


def blocks(page: str, language: str) -> list[str]:
    return [text for kind, text in BLOCK.findall((ROOT / page).read_text(encoding="utf-8")) if kind == language]


@pytest.mark.parametrize("page", PAGES)
def test_python_examples(page: str, tmp_path: Path) -> None:
    """All of one page in one process, one after another."""
    examples = blocks(page, "python")
    assert examples
    run([sys.executable, "-c", "\n".join(examples)], tmp_path)


def test_commands_that_speak(tmp_path: Path) -> None:
    """Those of docs/speaking.md."""
    lines = [line for block in blocks("docs/speaking.md", "sh") for line in block.splitlines()]
    commands = [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("bitjets generate ")]
    assert commands and len(commands) == len(lines)
    for command in commands:
        run([sys.executable, "-m", "bitjets_mlx", *command], tmp_path)
        written = [command[place + 1] for place, word in enumerate(command) if word in {"--output", "--timestamps"}]
        assert written and all((tmp_path / name).stat().st_size for name in written)


def run(command: list[str], folder: Path) -> None:
    environment = {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, check=False)
    assert done.returncode == 0, done.stderr
