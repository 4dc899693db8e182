"""What a training shows of itself: `report`, and `--wandb`."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_training import ROOT, begin_run, quick_environment, run_train, tiny_data

from bitjets_mlx import report, train
from bitjets_mlx.data.prepared import PreparedData
from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.training.drawing import draw_losses


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    return tiny_data(tmp_path_factory.mktemp("prepared"))


def trained(data: PreparedData, run: Path, stage: str, monkeypatch: pytest.MonkeyPatch, *options: str) -> Path:
    """A tiny run of two updates, by the command."""
    begin_run(run, data, stage, updates=2, accumulate=1)
    words = ["train", "--stage", stage, "--data", str(data.folder), "--out", str(run), "--resume", "--log-every", "1"]
    monkeypatch.setattr(sys, "argv", [*words, *options])
    train.main()
    return run


def test_report(monkeypatch: pytest.MonkeyPatch, data: PreparedData, tmp_path: Path) -> None:
    for stage in ("acoustic", "vocoder", "joint"):
        run = trained(data, tmp_path / stage, stage, monkeypatch)
        monkeypatch.setattr(sys, "argv", ["report", str(run), "--clips", "1"])
        report.main()
        names = sorted(path.name for path in (run / "report").iterdir())
        assert names == ["clip_1.png", "losses.png"]
        assert all((run / "report" / name).read_bytes()[:4] == b"\x89PNG" for name in names)
    monkeypatch.setattr(sys, "argv", ["report", str(tmp_path)])
    with pytest.raises(BitjetsError, match="is not a training run"):
        report.main()


def test_report_draws_what_the_log_says() -> None:
    lines = [{"update": 1, "mel": 2.0}, {"update": 2, "mel": 1.0, "validation_mel": 1.5, "extra": 3.0}]
    figure = draw_losses(lines)
    panels = {axes.get_title(): axes for axes in figure.axes if axes.get_visible()}
    assert panels.keys() == {"mel", "extra"}
    curves = {line.get_label(): line.get_xydata().tolist() for line in panels["mel"].get_lines()}
    assert curves == {"training": [[1.0, 2.0], [2.0, 1.0]], "validation": [[2.0, 1.5]]}


# -- wandb ---------------------------------------------------------------------------------------------------------


class FakeWandb:
    """Records what would be sent."""

    class errors:
        Error = RuntimeError

    def __init__(self) -> None:
        self.started: dict[str, Any] = {}
        self.logged: list[tuple[int, dict[str, Any]]] = []
        self.finished: list[int] = []

    def init(self, **options: Any) -> "FakeWandb":
        self.started = options
        return self

    def log(self, values: dict[str, Any], step: int) -> None:
        self.logged.append((step, values))

    def finish(self, exit_code: int) -> None:
        self.finished.append(exit_code)

    def Histogram(self, np_histogram: Any) -> Any:
        return ("histogram", *np_histogram)

    def Image(self, pixels: Any) -> Any:
        return ("image", pixels)

    def Audio(self, sound: Any, sample_rate: int) -> Any:
        return ("audio", sound, sample_rate)


@pytest.mark.parametrize("stage", ["acoustic", "vocoder", "joint"])
def test_wandb_gets_losses_histograms_pictures_and_sounds(
    monkeypatch: pytest.MonkeyPatch, data: PreparedData, tmp_path: Path, stage: str
) -> None:
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    trained(data, tmp_path, stage, monkeypatch, "--wandb", "--validate-every", "2")
    assert fake.finished == [0]
    assert fake.started["config"]["updates"] == 2 and fake.started["config"]["stage"] == stage
    assert fake.started["resume"] == "allow"
    assert [step for step, _ in fake.logged] == [1, 2]
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert fake.logged[0][1] == {name: value for name, value in lines[0].items() if name != "update"}
    values = fake.logged[1][1]
    pictures = [value[1] for name, value in values.items() if name.startswith("clips/")]
    assert len(pictures) == 2 and all(picture.ndim == 3 and picture.dtype == np.uint8 for picture in pictures)
    assert all(picture.std() > 5 for picture in pictures)  # something is drawn
    sounds = [value for name, value in values.items() if name.startswith("sounds/")]
    assert len(sounds) == (0 if stage == "acoustic" else 2) and all(sound[2] == 22050 for sound in sounds)
    trits = {name: value for name, value in values.items() if name.startswith("trits/")}
    assert len(trits) == (0 if stage == "vocoder" else 4 * 2 + 3)
    if trits:
        _, counts, edges = trits["trits/encoder.0.expand.weight"]
        assert edges.tolist() == [-1.5, -0.5, 0.5, 1.5]
        assert counts.sum() == 24 * 3 * 16 and min(counts) > 100
        assert values["latent/encoder.0.expand.weight"][1].sum() == 24 * 3 * 16


@pytest.mark.slow
def test_wandb_offline_for_real(monkeypatch: pytest.MonkeyPatch, data: PreparedData, tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    begin_run(tmp_path, data, "vocoder", updates=1, accumulate=1)
    done = run_train(data, tmp_path, "vocoder", "--resume", "--wandb")
    assert done.returncode == 0, done.stderr
    files = {path.suffix for path in (tmp_path / "wandb").rglob("*") if path.is_file()}
    assert {".wandb", ".png", ".wav"} <= files


def test_wandb_is_not_imported_without_being_asked_for(data: PreparedData, tmp_path: Path) -> None:
    begin_run(tmp_path, data, "vocoder", updates=1, accumulate=1)
    program = (
        f"import sys; sys.argv = ['train', '--stage', 'vocoder', '--data', {str(data.folder)!r}, "
        f"'--out', {str(tmp_path)!r}, '--resume']\n"
        "from bitjets_mlx import train; train.main()\n"
        "heavy = {'wandb', 'matplotlib', 'librosa', 'scipy', 'nltk', 'numba'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=quick_environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
