"""Training of both stages on tiny data: resuming bit for bit, accumulation, guards, schedules, options."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten, tree_map
from tiny_training import (
    ACOUSTIC,
    ACOUSTIC_TRAINING,
    HARMONIC,
    HIFIGAN,
    VOCODER_TRAINING,
    assert_same_trees,
    tiny_data,
)

from bitjets_mlx.data.prepared import PreparedData
from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.training import acoustic_stage, loop, optimise, shards, vocoder_stage
from bitjets_mlx.training.acoustic_data import collate, read_clip
from bitjets_mlx.training.acoustic_stage import AcousticStage
from bitjets_mlx.training.batches import padded_shape
from bitjets_mlx.training.checkpoints import load_checkpoint, newest_checkpoint
from bitjets_mlx.training.loop import LoopConfig, train
from bitjets_mlx.training.optimise import Optimizer, learning_rate
from bitjets_mlx.training.progress import progress_line
from bitjets_mlx.training.vocoder_stage import VocoderStage

Stage = AcousticStage | VocoderStage


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    return tiny_data(tmp_path_factory.mktemp("prepared"))


def make(stage: str, data: PreparedData, **changes: Any) -> Stage:
    if stage == "acoustic":
        return AcousticStage(data, ACOUSTIC, replace(ACOUSTIC_TRAINING, **changes))
    return VocoderStage(data, HARMONIC, replace(VOCODER_TRAINING, **changes))


def close(first: Any, second: Any, relative: float) -> None:
    """Two trees of gradients agree, relative to their largest entry."""
    ours, theirs = dict(tree_flatten(first)), dict(tree_flatten(second))
    assert ours.keys() == theirs.keys()
    scale = max(float(mx.abs(leaf).max()) for leaf in theirs.values())
    error = max(float(mx.abs(ours[name] - theirs[name]).max()) for name in theirs)
    assert scale > 0.0 and error < relative * scale


def stop_at(stage: Stage, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the keyboard interrupt update `number`, counted from 0."""
    plain = stage.update

    def update(now: int) -> dict[str, float]:
        if now == number:
            raise KeyboardInterrupt
        return plain(now)

    monkeypatch.setattr(stage, "update", update)


# -- resuming ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", ["acoustic", "vocoder"])
def test_six_updates_are_three_and_three_resumed_bit_for_bit(
    stage: str, data: PreparedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights, optimiser and EMA; through all kinds of quantisation, and into the adversarial phase."""
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    whole.mkdir()
    halves.mkdir()
    config = LoopConfig(6, log_every=1, save_every=3, validate_every=2)
    train(make(stage, data), whole, config, resume=False)
    first = make(stage, data)
    stop_at(first, 4, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        train(first, halves, config, resume=False)
    mx.random.seed(99)  # whatever else draws random numbers must not matter
    train(make(stage, data), halves, config, resume=True)
    expected = load_checkpoint(whole / "checkpoints" / "step_00000006")[1]
    assert_same_trees(load_checkpoint(halves / "checkpoints" / "step_00000006")[1], expected)
    losses = [
        [{name: value for name, value in json.loads(line).items() if "second" not in name and "memory" not in name}
         for line in (run / "log.jsonl").read_text().splitlines()]
        for run in (whole, halves)
    ]  # fmt: skip
    assert losses[0] == losses[1]
    assert [line["update"] for line in losses[0]] == [1, 2, 3, 4, 5, 6]
    names = {"model", "ema", "optimizer"}
    assert expected.keys() == names if stage == "acoustic" else expected.keys() > names
    if stage == "vocoder":
        assert "discriminator_loss" in losses[0][-1] and "discriminator_loss" not in losses[0][0]


@pytest.mark.parametrize("stage", ["acoustic", "vocoder"])
def test_an_update_changes_every_tensor_that_it_should(stage: str, data: PreparedData) -> None:
    made = make(stage, data, adversarial_from=0.0) if stage == "vocoder" else make(stage, data, binarise_from=0.0)
    before = {name: dict(tree_flatten(tree)) for name, tree in made.parts().items()}
    made.update(1)
    after = {name: dict(tree_flatten(tree)) for name, tree in made.parts().items()}
    for part in before:
        still = [name for name in before[part] if bool(mx.array_equal(before[part][name], after[part][name]))]
        allowed = {"speaker_embedding.weight"} | {name for name in still if name.endswith("pitch_embedding.weight")}
        assert set(still) <= allowed, f"{part}: {still}"


def test_other_seeds_other_weights_same_seed_same_weights(data: PreparedData) -> None:
    def weights(seed: int) -> Any:
        made = make("acoustic", data, seed=seed)
        made.update(0)
        return made.parameters

    assert_same_trees(weights(1), weights(1))
    with pytest.raises(AssertionError):
        assert_same_trees(weights(1), weights(2))


# -- gradients -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [0, 3, 5])
def test_accumulating_4_x_8_is_one_batch_of_32(number: int, data: PreparedData) -> None:
    """Without, while and with quantisation; dropout off."""
    still = replace(ACOUSTIC, dropout=0.0, decoder_dropout=0.0, predictor_dropout=0.0)
    made = AcousticStage(data, still, replace(ACOUSTIC_TRAINING, batch_size=8, accumulate=4))
    clips = [made.reader.clips[i % len(made.reader.clips)] for i in range(32)]
    items = [read_clip(data, clip) for clip in clips]

    def micro(rows: list[Any]) -> list[Any]:
        frames, tokens = max(len(row["mel"]) for row in rows), max(len(row["tokens"]) for row in rows)
        cut = len(rows) // made.pool.count
        shape = padded_shape((), frames, tokens)
        return [collate(rows[i : i + cut], shape) for i in range(0, len(rows), cut)]

    in_parts, losses = made.gradients(number, [micro(items[i : i + 8]) for i in range(0, 32, 8)])
    whole, expected = made.gradients(number, [micro(items)])
    close(in_parts, whole, 1e-4)
    assert losses == pytest.approx(expected, rel=1e-4)


def test_accumulating_is_one_batch_for_the_vocoder_too(data: PreparedData) -> None:
    """HiFi-GAN without random gain: nothing random is left but which segments are taken."""
    made = VocoderStage(data, HIFIGAN, replace(VOCODER_TRAINING, batch_size=4, accumulate=2, gain_decibels=0.0))
    rows = [shard for micro in range(2) for shard in made._shards(0, micro)]
    joined = {name: mx.concatenate([row[name] for row in rows]) for name in rows[0] if name != "key"}
    state = (made.parameters, made.judges, mx.array(0.0))
    size = len(joined["mel"]) // made.pool.count
    big = [
        {name: value[i * size : (i + 1) * size] for name, value in joined.items()} | {"key": mx.random.key(0)}
        for i in range(made.pool.count)
    ]
    in_parts, losses = made._sum(made._spectral, state, [made._shards(0, 0), made._shards(0, 1)])
    made.training = replace(made.training, accumulate=1)
    whole, expected = made._sum(made._spectral, state, [big])
    close(in_parts, whole, 1e-4)
    assert losses == pytest.approx(expected, rel=1e-4)


def test_bf16_trains_and_keeps_its_state_in_fp32(data: PreparedData) -> None:
    exact, rounded = make("acoustic", data), make("acoustic", data, bf16=True)
    ours, theirs = exact.update(5), rounded.update(5)
    assert ours["mel"] == pytest.approx(theirs["mel"], rel=0.02)
    assert ours["mel"] != theirs["mel"]
    for part in rounded.parts().values():
        assert all(leaf.dtype != mx.bfloat16 for _, leaf in tree_flatten(part))


# -- compilation ---------------------------------------------------------------------------------------------------


def test_updates_are_compiled_on_gpus_and_plain_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def function(x: mx.array) -> mx.array:
        return x

    monkeypatch.setattr(shards, "on_cpu", lambda: True)
    assert shards.compiled(function) is function
    monkeypatch.setattr(shards, "on_cpu", lambda: False)
    assert shards.compiled(function) is not function


@pytest.mark.parametrize("stage", ["acoustic", "vocoder"])
def test_a_compiled_update_is_traced_once_a_shape(
    stage: str, data: PreparedData, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Traced, not run: what C++ would be made of it is not compiled here."""
    traces = 0

    def counting(function: Any) -> Any:
        def traced(*arguments: Any) -> Any:
            nonlocal traces
            traces += 1
            return function(*arguments)

        return mx.compile(traced)

    module = acoustic_stage if stage == "acoustic" else vocoder_stage
    monkeypatch.setattr(module, "compiled", counting)
    made = make(stage, data)
    if isinstance(made, AcousticStage):
        items = [read_clip(data, clip) for clip in made.reader.clips[:4]]
        scored = made._gradients["full"][0]

        def call(frames: int, rows: int = 2) -> None:
            batch = collate(items[:rows], padded_shape((), frames, 16))
            path = mx.zeros(batch.prior.shape)
            alignment = (
                acoustic_stage.AcousticBatch(*batch),
                (path, mx.ones(batch.tokens.shape), mx.pad(path, [(0, 0), (0, 0), (1, 0)])),
            )
            counts = tuple(mx.array(1.0) for _ in range(4))
            scored(made.parameters, *alignment, counts, mx.array(1.0), mx.array(1.0), mx.random.key(frames))

    else:
        scored = made._adversarial[0]

        def call(frames: int, rows: int = 2) -> None:
            batch = {"mel": mx.zeros((rows, frames, 80)), "log_f0": mx.zeros((rows, frames))}
            batch |= {"voiced": mx.zeros((rows, frames)), "audio": mx.zeros((rows, frames * 256))}
            scored(made.parameters, made.judges, mx.array(0.5), batch | {"key": mx.random.key(frames)})

    for _ in range(3):
        call(64)
    assert traces == 1
    made.parameters = tree_map(lambda leaf: leaf + 1.0, made.parameters)  # values may change, shapes may not
    call(64)
    assert traces == 1
    call(96)
    assert traces == 2
    call(64)
    assert traces == 2


@pytest.mark.slow
def test_a_compiled_update_computes_the_same(data: PreparedData, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = make("acoustic", data)
    expected = plain.update(5)
    for module in (acoustic_stage, optimise):
        monkeypatch.setattr(module, "compiled", mx.compile)
    made = make("acoustic", data)
    assert made.update(5) == pytest.approx(expected, rel=1e-4)
    moved = [
        float(mx.abs(ours - theirs).max())
        for (_, ours), (_, theirs) in zip(
            tree_flatten(made.optimizer.state), tree_flatten(plain.optimizer.state), strict=True
        )
    ]
    assert max(moved) < 1e-4


# -- optimiser -----------------------------------------------------------------------------------------------------


def test_optimiser_is_adamw_with_clipping_and_average() -> None:
    """Against a few lines of numpy."""
    random = np.random.default_rng(0)
    weight = random.normal(size=5)
    parameters: Any = {"w": mx.array(weight.astype(np.float32))}
    optimizer = Optimizer(parameters, (0.9, 0.98), clip=1.0, ema_decay=0.999)
    average, m, v = weight.copy(), np.zeros(5), np.zeros(5)
    for update in range(1, 6):
        gradient = random.normal(size=5) * (10.0 if update % 2 else 0.1)
        parameters, norm = optimizer.step(
            parameters, {"w": mx.array(gradient.astype(np.float32))}, update, rate=0.01, decay=0.1
        )
        assert norm == pytest.approx(np.linalg.norm(gradient), rel=1e-5)
        clipped = gradient * min(1.0, 1.0 / np.linalg.norm(gradient))
        m, v = 0.9 * m + 0.1 * clipped, 0.98 * v + 0.02 * clipped**2
        step = (m / (1 - 0.9**update)) / (np.sqrt(v / (1 - 0.98**update)) + 1e-8)
        weight = weight * (1 - 0.01 * 0.1) - 0.01 * step
        share = min(0.999, update / (update + 20))
        average = share * average + (1 - share) * weight
        np.testing.assert_allclose(np.array(parameters["w"]), weight, atol=1e-5)
        np.testing.assert_allclose(np.array(optimizer.ema["w"]), average, atol=1e-5)


def test_learning_rate_schedule() -> None:
    def rate(update: int) -> float:
        return learning_rate(update, 1000, peak=2.0, warm_up=10, hold=0.3, final=0.1)

    assert [rate(update) for update in (0, 4, 9)] == pytest.approx([0.2, 1.0, 2.0])
    assert rate(100) == rate(299) == 2.0
    assert rate(650) == pytest.approx(1.0)
    assert rate(999) == pytest.approx(0.2)
    assert all(rate(update) >= rate(update + 1) for update in range(299, 999))


def test_quantisation_is_warmed_in_between_its_two_shares() -> None:
    training = replace(ACOUSTIC_TRAINING, updates=100, quantise_from=0.2, quantise_until=0.4)
    assert [training.quantisation(update) for update in (0, 20, 30, 40, 99)] == pytest.approx([0, 0, 0.5, 1, 1])
    at_once = replace(training, quantise_from=0.0, quantise_until=0.0)
    assert [at_once.quantisation(update) for update in (0, 1, 99)] == [1.0, 1.0, 1.0]


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
    made = make(stage, data, batch_size=2, accumulate=1, updates=12)
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
    made = make(stage, data, batch_size=2, accumulate=1, updates=50)
    config = LoopConfig(50, log_every=1, save_every=2, validate_every=100)
    train(made, tmp_path, replace(config, updates=2), resume=False)
    good = made.parts()["model"]
    poisoned(data, monkeypatch, {clip.id for clip in data.clips})
    made.optimizer.patience = 4
    resumed = make(stage, data, batch_size=2, accumulate=1, updates=50)
    resumed.optimizer.patience = 4
    with pytest.raises(BitjetsError, match=r"diverged at update 6 \(4 updates in a row .*--learning-rate"):
        train(resumed, tmp_path, config, resume=True)
    newest = newest_checkpoint(tmp_path)
    assert newest is not None
    assert_same_trees(load_checkpoint(newest)[1]["model"], good)


def test_a_learning_rate_that_breaks_the_weights_never_reaches_them(data: PreparedData) -> None:
    made = make("acoustic", data, learning_rate=math.inf)
    before = made.parts()
    made.optimizer.patience = 3
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


def test_progress_line() -> None:
    line = progress_line(250, 1000, {"mel": 0.51234, "f0": 2.0}, seconds=120.0, memory=1_700_000_000)
    assert line == "[####            ] 250/1000 120.00 s/update, 1 day, 1:00:00 left, 1.7 GB | mel 0.512 f0 2"


@pytest.mark.parametrize("stage", ["acoustic", "vocoder"])
def test_validation_is_deterministic_and_disturbs_nothing(stage: str, data: PreparedData) -> None:
    made = make(stage, data)
    first = made.validate(0)
    state = [mx.array(word) for word in mx.random.state]
    assert made.validate(0) == first
    assert all(bool(mx.array_equal(a, b)) for a, b in zip(state, mx.random.state, strict=True))
    assert first and all(math.isfinite(value) for value in first.values())
    with_validation = made.update(0)
    assert make(stage, data).update(0) == with_validation
    examples = made.examples(2)
    assert [example.predicted.shape for example in examples] == [example.recorded.shape for example in examples]
    assert (examples[0].alignment is not None) == (stage == "acoustic")
    assert (examples[0].audio is not None) == (stage == "vocoder")


def test_data_without_validation_clips_trains_without_validation(tmp_path: Path) -> None:
    bare = tiny_data(tmp_path, train=4, validation=0)
    assert make("acoustic", bare, batch_size=2).validate(0) == {}
    assert make("vocoder", bare).validate(0) == {}
