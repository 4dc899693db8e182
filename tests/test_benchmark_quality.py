"""`benchmark quality`: the same sentences by all that are here, and what is missing named."""

import json
from pathlib import Path

import numpy as np
import pytest
from tiny_voice import tiny_voice

from bitjets_mlx.audio.files import read_audio
from bitjets_mlx.benchmark import main
from bitjets_mlx.benchmarking import quality
from bitjets_mlx.benchmarking.teachers import SAMPLE_RATE, Teacher
from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.evaluation import judges
from bitjets_mlx.evaluation.intonation import sentence_kind


def test_all_systems_speak_and_missing_ones_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def load(name: str, styles: Path | None) -> Teacher:
        if name != "heart":
            raise BitjetsError("no style vectors")
        return Teacher(str.upper, lambda phonemes: np.full(len(phonemes) * 2400, 1.5, np.float32))

    monkeypatch.setattr(quality, "load_teacher", load)
    monkeypatch.setattr(judges, "lacking", lambda *names: list(names))
    monkeypatch.setattr(judges, "recognizer", lambda: "")
    monkeypatch.setenv("PATH", str(tmp_path))  # no program is installed there
    texts, kept, file = tmp_path / "texts.txt", tmp_path / "kept", tmp_path / "quality.json"
    texts.write_text("Yes.\nIs it so?\n")
    given = ["--voice", str(tiny_voice(tmp_path)), "--texts", str(texts), "--kokoro", "am_adam", "--workers", "1"]
    main(["quality", *given, "--output", str(kept), "--json", str(file)])
    rows = {row["name"]: row for row in json.loads(file.read_text())["rows"]}
    assert {name for name, row in rows.items() if "missing" in row} == {"Kokoro am_adam", "flite slt"}
    assert [rows[name]["sentences"] for name in ("tiny anna", "tiny ben", "hibari heart")] == [2, 2, 2]
    printed = capsys.readouterr().out
    assert "| tiny anna | 2 |" in printed and "flite slt: not installed: apt install flite." in printed
    assert len(read_audio(kept / "hibari_heart" / "00001.wav", SAMPLE_RATE)) == 4 * 2400
    assert {path.name for path in kept.iterdir()} == {"tiny_anna", "tiny_ben", "hibari_heart"}


def test_our_own_sentences_have_both_kinds_of_endings() -> None:
    kinds = [sentence_kind(text) for text in quality.SENTENCES]
    assert kinds.count("yes/no question") >= 6 and kinds.count("statement") >= 12
