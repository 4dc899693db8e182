"""Signals at any moment, imports included: one word, the right exit code, nothing left behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bitjets_mlx.__main__ import COMMANDS
from bitjets_mlx.errors import LONGEST_MESSAGE, BitjetsError

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_that_is_stopped_while_it_imports(name: str, tmp_path: Path) -> None:
    """Python tells on standard error of each module that it has imported: the first of ours after the handlers' is the
    moment."""
    number = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP][list(COMMANDS).index(name) % 3]
    command = [sys.executable, "-X", "importtime", "-m", f"bitjets_mlx.{name}", "--help"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=environment
    ) as process:
        assert process.stderr is not None
        lines = iter(process.stderr.readline, "")
        assert any("bitjets_mlx.errors" in line for line in lines)
        next(lines)  # the handlers are there before anything else is imported
        process.send_signal(number)
        rest = process.stderr.read()
    assert "Traceback" not in rest and not list(tmp_path.iterdir())
    assert process.returncode == 128 + number and rest.splitlines().count("stopped") == 1


def test_nohup_is_respected() -> None:
    code = (
        "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "from bitjets_mlx.errors import end_on_signals; end_on_signals()\n"
        "signal.raise_signal(signal.SIGHUP); print('still here')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert done.stdout == "still here\n"


def test_the_library_leaves_signals_alone() -> None:
    code = "import signal, bitjets_mlx; print(signal.getsignal(signal.SIGTERM) == signal.SIG_DFL)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert done.stdout == "True\n"


def test_messages_are_one_line_of_bounded_length_whatever_a_file_says() -> None:
    assert str(BitjetsError("a\n b\t\x1b[31mred\0")) == "a b \\x1b[31mred\\x00"
    long = str(BitjetsError("begin " + "x" * 5000 + " fetch it again."))
    assert len(long) <= LONGEST_MESSAGE and long.startswith("begin x") and long.endswith("x fetch it again.")
