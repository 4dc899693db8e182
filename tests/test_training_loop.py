"""The training loop: guards against NaN, the log, validation, progress, memory."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten
from tiny_training import assert_same_trees, tiny_data, tiny_trainer

from bitjets_mlx.data.prepared import PreparedData
from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.training import loop
from bitjets_mlx.training.checkpoints import load_checkpoint, newest_checkpoint
from bitjets_mlx.training.config import OptimizerConfig
from bitjets_mlx.training.loop import LoopConfig, train
from bitjets_mlx.training.runs import hours, read_log
from bitjets_mlx.training.validation import VocoderValidation


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    return tiny_data(tmp_path_factory.mktemp("prepared"))


# -- guards --------------------------------------------------------------------------------------------------------


def poisoned(data: PreparedData, monkeypatch: pytest.MonkeyPatch, which: set[str]) -> None:
    plain = data.load

    def load(clip: Any) -> Any:
        features = plain(clip)
        if clip.id not in which:
            return features
        return replace(features, mel=features.mel * np.nan, audio=features.audio * np.nan)

    monkeypatch.setattr(data, "load", load)


@pytest.mark.parametrize("stage", ["acoustic", "vocoder"])
def test_a_poisoned_clip_costs_only_the_updates_that_it_is_in(
    stage: str, data: PreparedData, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    poisoned(data, monkeypatch, {"clip03"})
    made = tiny_trainer(stage, data, batch_size=2, accumulate=1, updates=12)
    skipped = []
    plain = made.update

    def update(number: int) -> dict[str, float]:
        before = made.parts()
        found = plain(number)
        skipped.append(found["skipped"])
        if found["skipped"]:
            assert_same_trees(before["model"], made.parts()["model"])
        return found

    monkeypatch.setattr(made, "update", update)
    train(made, tmp_path, LoopConfig(12, log_every=3, save_every=6, validate_every=100), resume=False)
    assert 0 < sum(skipped) < 12
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert all(math.isfinite(value) for line in lines for value in line.values())
    assert sum(3 * line["skipped"] for line in lines) == pytest.approx(sum(skipped))
    for part in made.parts().values():
        assert all(bool(mx.all(mx.isfinite(leaf))) for _, leaf in tree_flatten(part))


@pytest.mark.parametrize("stage", ["acoustic", "vocoder"])
def test_nothing_but_poison_ends_in_a_clear_error_and_a_whole_checkpoint(
    stage: str, data: PreparedData, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = tiny_trainer(stage, data, batch_size=2, accumulate=1, updates=50)
    config = LoopConfig(50, log_every=1, save_every=2, validate_every=100)
    train(made, tmp_path, replace(config, updates=2), resume=False)
    good = made.parts()["model"]
    poisoned(data, monkeypatch, {clip.id for clip in data.clips})
    resumed = tiny_trainer(stage, data, batch_size=2, accumulate=1, updates=50)
    resumed.networks[stage].optimizer.patience = 4
    with pytest.raises(BitjetsError, match=r"diverged at update 6 \(4 updates in a row .*--learning-rate"):
        train(resumed, tmp_path, config, resume=True)
    newest = newest_checkpoint(tmp_path)
    assert newest is not None
    assert_same_trees(load_checkpoint(newest)[1]["model"], good)


def test_a_learning_rate_that_breaks_the_weights_never_reaches_them(
    data: PreparedData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OptimizerConfig, "rate", lambda *_: math.inf)
    made = tiny_trainer("acoustic", data)
    before = made.parts()
    made.networks["acoustic"].optimizer.patience = 3
    assert made.update(0)["skipped"] == 1.0
    assert_same_trees(before, made.parts())
    made.update(1)
    with pytest.raises(FloatingPointError, match="weights that are not finite"):
        made.update(2)


# -- the loop ------------------------------------------------------------------------------------------------------


class Counter:
    """A stage that does nothing but count."""

    def __init__(self) -> None:
        self.state = mx.array(0.0)

    def parts(self) -> dict[str, Any]:
        return {"model": {"state": self.state}}

    def load_parts(self, parts: dict[str, Any]) -> None:
        self.state = parts["model"]["state"]

    def update(self, number: int) -> dict[str, float]:
        self.state = self.state + 1.0
        return {"loss": float(number), "odd": math.nan if number % 2 else 1.0}

    def validate(self, update: int) -> dict[str, float]:
        return {"loss": -float(update)}

    def examples(self, count: int) -> list[Any]:
        return []

    def ternary_weights(self) -> dict[str, mx.array]:
        return {}


def test_log_holds_means_and_validation_and_observers_see_it(tmp_path: Path) -> None:
    seen: list[Any] = []
    config = LoopConfig(10, log_every=4, save_every=5, validate_every=5)
    train(Counter(), tmp_path, config, resume=False, observe=lambda update, line: seen.append((update, line)))
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [(update, line) for update, line in seen] == [(line["update"], line) for line in lines]
    assert [line["update"] for line in lines] == [4, 5, 8, 10]
    assert [line["loss"] for line in lines] == [1.5, 4.0, 6.0, 8.5]
    assert [line.get("validation_loss") for line in lines] == [None, -5.0, None, -10.0]
    assert all(line["odd"] == 1.0 for line in lines)
    assert all(line["seconds_per_update"] > 0 and line["peak_memory_gb"] > 0 for line in lines)


def test_a_resumed_log_continues_where_the_checkpoint_was(tmp_path: Path) -> None:
    config = LoopConfig(10, log_every=2, save_every=3, validate_every=100)
    train(Counter(), tmp_path, config, resume=False)
    for path in (tmp_path / "checkpoints").glob("*10"):
        path.rename(path.with_suffix(".tmp"))
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"update": 12, "lo')
    stage = Counter()
    train(stage, tmp_path, config, resume=True)
    updates = [json.loads(line)["update"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert updates == [2, 4, 6, 8, 10]  # resumed at 9
    assert float(stage.state) == 10.0


def test_buffer_cache_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "CACHE_LIMIT", 8 << 20)
    try:
        train(Counter(), tmp_path, LoopConfig(1), resume=False)
        for size in range(1, 16):  # 8 MB in all, of ever other shapes
            mx.eval(mx.zeros((size, 1 << 16)) + 1.0)
        assert mx.get_cache_memory() <= 8 << 20
    finally:
        assert mx.set_cache_limit(2 << 30) == 8 << 20


def test_progress_says_losses_and_count(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(Counter(), tmp_path, LoopConfig(10), resume=False)
    assert "10/10" in (said := capsys.readouterr().err) and "loss 4.5" in said


@pytest.mark.parametrize("stage", ["acoustic", "vocoder"])
def test_validation_is_deterministic_and_disturbs_nothing(stage: str, data: PreparedData) -> None:
    made = tiny_trainer(stage, data)
    first = made.validate(0)
    state = [mx.array(word) for word in mx.random.state]
    assert made.validate(0) == first
    assert all(bool(mx.array_equal(a, b)) for a, b in zip(state, mx.random.state, strict=True))
    assert first and all(math.isfinite(value) for value in first.values())
    with_validation = made.update(0)
    assert tiny_trainer(stage, data).update(0) == with_validation
    examples = made.examples(2)
    assert [example.predicted.shape for example in examples] == [example.recorded.shape for example in examples]
    assert (examples[0].alignment is not None) == (stage == "acoustic")
    assert (examples[0].audio is not None) == (stage == "vocoder")


def test_measures_of_copy_synthesis_go_with_the_validation_losses(data: PreparedData) -> None:
    made = tiny_trainer("vocoder", data)
    assert isinstance(made.validation, VocoderValidation)
    seen: list[tuple[int, int]] = []

    def measure(recorded: list[np.ndarray], copies: list[np.ndarray]) -> dict[str, float]:
        seen.extend((len(one), len(other)) for one, other in zip(recorded, copies, strict=True))
        return {"level": float(np.abs(recorded[0]).max())}

    made.validation.measures.append(measure)
    clips = made.validation.clips
    assert made.validate(0)["level"] == pytest.approx(np.abs(data.load(clips[0]).audio).max())
    assert seen == [(clip.samples, clip.samples) for clip in clips]


def test_data_without_validation_clips_trains_without_validation(tmp_path: Path) -> None:
    bare = tiny_data(tmp_path, train=4, validation=0)
    assert tiny_trainer("acoustic", bare, batch_size=2).validate(0) == {}
    assert tiny_trainer("vocoder", bare).validate(0) == {}


def test_lines_of_a_log_that_are_damaged_are_passed_over(tmp_path: Path) -> None:
    good = '{"update": 20, "seconds_per_update": 90.0, "loss": NaN}'
    bad = [
        '{"update": 30, "seconds_per_update": [1]}',
        '{"update": 1e3}',
        "[" * 100_000,
        '{"update": 1' + "0" * 400 + "}",
    ]
    (tmp_path / "log.jsonl").write_bytes("\n".join([*bad, good, "\xff"]).encode("latin-1"))
    assert [line["update"] for line in read_log(tmp_path)] == [20]
    assert hours(tmp_path, 20) == 0.5
