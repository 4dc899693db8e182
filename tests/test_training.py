"""Training of both stages on tiny data: resuming bit for bit, accumulation, guards, schedules, options."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten, tree_map
from tiny_training import (
    HIFIGAN,
    STILL,
    UNDROPPED,
    assert_same_trees,
    tiny_config,
    tiny_data,
    tiny_trainer,
)

from bitjets_mlx.data.prepared import PreparedData
from bitjets_mlx.native import loader
from bitjets_mlx.training import acoustic_losses, acoustic_stage, optimize, shards, trainer
from bitjets_mlx.training.acoustic_data import collate, read_clip
from bitjets_mlx.training.acoustic_stage import AcousticStage
from bitjets_mlx.training.batches import padded_shape
from bitjets_mlx.training.checkpoints import load_checkpoint
from bitjets_mlx.training.config import OptimizerConfig
from bitjets_mlx.training.loop import LoopConfig, train
from bitjets_mlx.training.optimize import Optimizer
from bitjets_mlx.training.trainer import Trainer
from bitjets_mlx.training.vocoder_stage import VocoderStage


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    return tiny_data(tmp_path_factory.mktemp("prepared"))


def close(first: Any, second: Any, relative: float) -> None:
    """Two trees of gradients are no further from each other than this share of the second one's norm."""
    ours, theirs = dict(tree_flatten(first)), dict(tree_flatten(second))
    assert ours.keys() == theirs.keys()
    scale = sum(float(mx.sum(mx.square(leaf))) for leaf in theirs.values())
    error = sum(float(mx.sum(mx.square(ours[name] - theirs[name]))) for name in theirs)
    assert scale > 0.0 and error < relative**2 * scale


def stop_at(stage: Trainer, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
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
    """Weights, optimizer and EMA; through all kinds of quantization, and into the adversarial phase."""
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    whole.mkdir()
    halves.mkdir()
    config = LoopConfig(6, log_every=1, save_every=3, validate_every=2)
    train(tiny_trainer(stage, data), whole, config, resume=False)
    first = tiny_trainer(stage, data)
    stop_at(first, 4, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        train(first, halves, config, resume=False)
    mx.random.seed(99)  # whatever else draws random numbers must not matter
    train(tiny_trainer(stage, data), halves, config, resume=True)
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
    made = (
        tiny_trainer(stage, data, adversarial_from=0.0)
        if stage == "vocoder"
        else tiny_trainer(stage, data, binarize_from=0.0)
    )
    before = {name: dict(tree_flatten(tree)) for name, tree in made.parts().items()}
    made.update(1)
    after = {name: dict(tree_flatten(tree)) for name, tree in made.parts().items()}
    for part in before:
        still = [name for name in before[part] if bool(mx.array_equal(before[part][name], after[part][name]))]
        allowed = {"speaker_embedding.weight"} | {name for name in still if name.endswith("pitch_embedding.weight")}
        assert set(still) <= allowed, f"{part}: {still}"


def test_discriminators_learn_alone_at_first(data: PreparedData) -> None:
    """The generator stays as it is, and then learns from where it was; losses of each family are reported."""
    made = tiny_trainer("vocoder", data, adversarial_from=0.0, discriminator_warm_up=2, warm_up=4)
    begun = made.parts()
    lines = [made.update(number) for number in range(2)]
    assert_same_trees(made.parts()["model"], begun["model"])
    assert_same_trees(made.parts()["ema"], begun["ema"])
    assert all("mel_loss" not in line for line in lines)
    families = [lines[1][f"discriminator_loss_{name}"] for name in ("band", "period")]
    assert 3 * families[0] + 5 * families[1] == pytest.approx(lines[1]["discriminator_loss"], rel=1e-5)
    with pytest.raises(AssertionError):
        assert_same_trees(made.parts()["discriminators"], begun["discriminators"])
    third = made.update(2)
    assert third["generator_adversarial_loss"] > 0.0
    own = made.config.vocoder_training.optimizer
    assert third["learning_rate"] == own.rate(2, 6, own=0) == 0.25 * own.rate(2, 6, own=3)  # it warms up only now


def test_other_seeds_other_weights_same_seed_same_weights(data: PreparedData) -> None:
    def weights(seed: int) -> Any:
        made = tiny_trainer("acoustic", data, seed=seed)
        made.update(0)
        return made.parts()["model"]

    assert_same_trees(weights(1), weights(1))
    with pytest.raises(AssertionError):
        assert_same_trees(weights(1), weights(2))


# -- gradients -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [0, 3, 5])
def test_accumulating_4_x_8_is_one_batch_of_32(number: int, data: PreparedData) -> None:
    """Without, while and with quantization; dropout off."""
    made = AcousticStage(data, tiny_config("acoustic", data, batch_size=8, accumulate=4, **UNDROPPED))
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
    """HiFi-GAN without augmentation: nothing random is left but which segments are taken.

    |log a - log b| has kinks, and the processor decides in which order sums are taken: a bin or two may lie on the
    other side of one, which moves the gradient by about a thousandth.
    """
    config = tiny_config("vocoder", data, HIFIGAN, batch_size=4, accumulate=2, **STILL)
    made = VocoderStage(data, config, data.folder)
    micro_batches = made.read(0)
    rows = [shard for micro in micro_batches for shard in micro]
    joined = {name: mx.concatenate([row[name] for row in rows]) for name in rows[0] if name != "key"}
    size = len(joined["mel"]) // made.pool.count
    big = [
        {name: value[i * size : (i + 1) * size] for name, value in joined.items()} | {"key": mx.random.key(0)}
        for i in range(made.pool.count)
    ]
    in_parts, losses = made.gradients(0, micro_batches)
    made.config = replace(config, accumulate=1)
    whole, expected = made.gradients(0, [big])
    close(in_parts, whole, 1e-2)
    assert losses == pytest.approx(expected, rel=1e-4)


def test_bf16_trains_and_keeps_its_state_in_fp32(data: PreparedData) -> None:
    exact, rounded = tiny_trainer("acoustic", data), tiny_trainer("acoustic", data, bf16=True)
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


def arguments_of(made: AcousticStage | VocoderStage, frames: int) -> tuple[Any, ...]:
    """Arguments of a compiled gradient, of clips of so many frames."""
    key, states = mx.random.key(frames), [network.parameters for network in made.networks.values()]
    if isinstance(made, VocoderStage):
        batch = {"mel": mx.zeros((2, frames, 80)), "audio": mx.zeros((2, frames * 256)), "key": key}
        batch |= {"log_f0": mx.zeros((2, frames)), "voiced": mx.zeros((2, frames))}
        return *states, mx.array(0.5), batch
    items = [read_clip(made.reader.data, clip) for clip in made.reader.clips[:2]]
    clips = collate(items, padded_shape((), frames, 16))
    path = mx.zeros(clips.prior.shape)
    alignment = acoustic_losses.Alignment(
        path, mx.ones(clips.tokens.shape), mx.pad(path, [(0, 0), (0, 0), (1, 0)]), mx.array(0.0)
    )
    return *states, clips, alignment, (mx.array(1.0),) * 4, mx.array(1.0), mx.array(1.0), key


def without_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU: what runs in C at once cannot be compiled."""
    monkeypatch.setattr(loader, "here", lambda name: None)


@pytest.mark.parametrize("stage", ["acoustic", "vocoder"])
def test_a_compiled_update_is_traced_once_a_shape(
    stage: str, data: PreparedData, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Traced, not run: what C++ would be made of it is not compiled here."""
    without_kernels(monkeypatch)
    traces = 0

    def counting(function: Any) -> Any:
        def traced(*arguments: Any) -> Any:
            nonlocal traces
            traces += 1
            return function(*arguments)

        return mx.compile(traced)

    monkeypatch.setattr(trainer, "compiled", counting)
    made = tiny_trainer(stage, data)
    assert isinstance(made, AcousticStage | VocoderStage)
    gradients = made.functions["full" if stage == "acoustic" else "adversarial"][0]
    seen = []
    for frames in (64, 64, 64, 96, 64, 96):
        gradients(*arguments_of(made, frames))
        network = made.networks[stage]
        network.parameters = tree_map(lambda leaf: leaf + 1.0, network.parameters)  # values may change, not shapes
        seen.append(traces)
    assert seen == [1, 1, 1, 2, 2, 2]


@pytest.mark.slow
def test_a_compiled_update_computes_the_same(data: PreparedData, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = tiny_trainer("acoustic", data)
    expected = plain.update(5)
    without_kernels(monkeypatch)
    for module in (acoustic_stage, trainer):
        monkeypatch.setattr(module, "compiled", mx.compile)
    made = tiny_trainer("acoustic", data)
    assert made.update(5) == pytest.approx(expected, rel=1e-4)
    moved = [
        float(mx.abs(ours - theirs).max())
        for (_, ours), (_, theirs) in zip(
            *(tree_flatten(one.networks["acoustic"].optimizer.state) for one in (made, plain)), strict=True
        )
    ]
    assert max(moved) < 1e-4


# -- optimizer -----------------------------------------------------------------------------------------------------


def test_optimizer_is_adamw_with_clipping_and_average() -> None:
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
    config = OptimizerConfig(learning_rate=2.0, warm_up=10, constant_until=0.3, final_rate=0.1)

    def rate(update: int) -> float:
        return config.rate(update, 1000)

    assert [rate(update) for update in (0, 4, 9)] == pytest.approx([0.2, 1.0, 2.0])
    assert rate(100) == rate(299) == 2.0
    assert rate(650) == pytest.approx(1.0)
    assert rate(999) == pytest.approx(0.2)
    assert all(rate(update) >= rate(update + 1) for update in range(299, 999))
    assert config.rate(404, 1000, own=4) == pytest.approx(0.5 * config.rate(404, 1000))  # it warms up on its own


def test_weight_decay_ends_with_its_part_of_the_run() -> None:
    config = OptimizerConfig(weight_decay=0.25, weight_decay_until=0.5)
    assert [config.decay(update, 10) for update in (0, 4, 5, 9)] == [0.25, 0.25, 0.0, 0.0]
    assert replace(config, weight_decay_until=1.0).decay(9, 10) == 0.25


def test_quantization_is_warmed_up_between_its_two_fractions(data: PreparedData) -> None:
    config = tiny_config("acoustic", data, updates=100, quantize_from=0.2, quantize_until=0.4)
    assert [config.quantization(update) for update in (0, 20, 30, 40, 99)] == pytest.approx([0, 0, 0.5, 1, 1])
    at_once = tiny_config("acoustic", data, updates=100, quantize_from=0.0, quantize_until=0.0)
    assert [at_once.quantization(update) for update in (0, 1, 99)] == [1.0, 1.0, 1.0]


def test_the_norm_of_a_gradient_is_that_of_all_its_numbers() -> None:
    random = np.random.default_rng(0)
    parts = [random.normal(size=shape).astype(np.float32) for shape in ((300, 200), (7,), (3, 4, 5))]
    expected = np.sqrt(sum(np.square(part.astype(np.float64)).sum() for part in parts))
    found = optimize.global_norm({"a": mx.array(parts[0]), "b": [mx.array(part) for part in parts[1:]]})
    assert float(found) == pytest.approx(expected, rel=1e-5)
    assert np.isnan(float(optimize.global_norm({"a": mx.array([1.0, float("nan")])})))
