"""The joint stage on tiny data, in its three kinds: resuming bit for bit, gradients across both models, segments."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten, tree_map
from tiny_training import JOINT_MODELS, UNDROPPED, assert_same_trees, tiny_config, tiny_data

from bitjets_mlx.acoustic.model import Frames
from bitjets_mlx.data.prepared import PreparedData
from bitjets_mlx.native import loader
from bitjets_mlx.training import acoustic_stage, joint_stage, trainer
from bitjets_mlx.training.acoustic_data import collate, counts_of
from bitjets_mlx.training.acoustic_losses import Counts, acoustic_loss, align_on_host, align_scores
from bitjets_mlx.training.batches import padded_shape
from bitjets_mlx.training.checkpoints import load_checkpoint
from bitjets_mlx.training.config import DataConfig, TrainConfig, VocoderTraining
from bitjets_mlx.training.defaults import default_config
from bitjets_mlx.training.joint_stage import JointShard, JointStage
from bitjets_mlx.training.joint_step import (
    MelScale,
    Segments,
    cut_segments,
    joint_waveform_loss,
    mel_scale,
    read_clip_and_audio,
    segments_at,
    vocoder_batch,
    with_places,
)
from bitjets_mlx.training.loop import LoopConfig, train

KINDS = list(JOINT_MODELS)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    return tiny_data(tmp_path_factory.mktemp("prepared"))


def make(kind: str, data: PreparedData, **changes: Any) -> JointStage:
    return JointStage(data, tiny_config("joint", data, JOINT_MODELS[kind], **changes))


def without_dropout(kind: str, data: PreparedData, **changes: Any) -> JointStage:
    return make(kind, data, **UNDROPPED, **changes)


# -- resuming ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_six_updates_are_three_and_three_resumed_bit_for_bit(
    kind: str, data: PreparedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights of both models, EMA, discriminators, three optimizers; into quantization and the adversarial phase."""
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    whole.mkdir()
    halves.mkdir()
    config = LoopConfig(6, log_every=1, save_every=3, validate_every=3)
    train(make(kind, data), whole, config, resume=False)
    first = make(kind, data)
    plain = first.update

    def interrupted(number: int) -> dict[str, float]:
        if number == 4:
            raise KeyboardInterrupt
        return plain(number)

    monkeypatch.setattr(first, "update", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(first, halves, config, resume=False)
    mx.random.seed(99)  # whatever else draws random numbers must not matter
    train(make(kind, data), halves, config, resume=True)
    parts = [load_checkpoint(run / "checkpoints" / "step_00000006")[1] for run in (whole, halves)]
    assert_same_trees(*parts)
    assert parts[0].keys() == {
        "model", "ema", "acoustic_optimizer", "vocoder_optimizer", "discriminators", "discriminator_optimizer",
    }  # fmt: skip
    assert all(int(parts[0][f"{name}_optimizer"]["step"]) == 6 for name in ("acoustic", "vocoder"))
    assert int(parts[0]["discriminator_optimizer"]["step"]) == 3
    losses = [
        [{name: value for name, value in json.loads(line).items() if "second" not in name and "memory" not in name}
         for line in (run / "log.jsonl").read_text().splitlines()]
        for run in (whole, halves)
    ]  # fmt: skip
    assert losses[0] == losses[1] and [line["update"] for line in losses[0]] == [1, 2, 3, 4, 5, 6]
    assert "discriminator_loss" in losses[0][3] and "discriminator_loss" not in losses[0][2]
    assert ("frame_mel" in losses[0][0]) == (kind != "states")


@pytest.mark.parametrize("kind", KINDS)
def test_an_update_changes_every_tensor_that_it_should(kind: str, data: PreparedData) -> None:
    made = make(kind, data, adversarial_from=0.0, accumulate=1)
    before = {name: dict(tree_flatten(tree)) for name, tree in made.parts().items()}
    made.update(3)
    after = {name: dict(tree_flatten(tree)) for name, tree in made.parts().items()}
    for part in before:
        still = [name for name in before[part] if bool(mx.array_equal(before[part][name], after[part][name]))]
        assert all("speaker_embedding" in name or "pitch_embedding" in name for name in still), f"{part}: {still}"


# -- gradients -----------------------------------------------------------------------------------------------------


class Whole:
    """Everything of an update but the weights, held fast."""

    def __init__(self, made: JointStage) -> None:
        model = made.config.joint_model
        scale = mel_scale(made.reader.data.statistics) if model.acoustic.mel else None
        self.shard = JointShard(made.config, model, scale)
        shards = made.read(0)[0]
        self.batch, self.segments = shards[0]
        self.counts = Counts(*counts_of(self.batch))
        self.shard.acoustic.update(made.networks["acoustic"].parameters)
        self.alignment = align_on_host(self.batch, *align_scores(self.shard.acoustic, self.batch))

    def __call__(self, parameters: Any, amount: float = 0.0, key: Any = None) -> tuple[mx.array, mx.array]:
        """(the acoustic model's own loss, the waveform's)."""
        key = mx.random.key(1) if key is None else key
        shard = self.shard
        shard.acoustic.update(parameters["acoustic"])
        shard.vocoder.update(parameters["vocoder"])
        own, _, frames = acoustic_loss(
            shard.acoustic, self.batch, self.alignment, self.counts, shard.weights, amount, mx.array(1.0), None
        )
        waveform, _, _ = joint_waveform_loss(
            shard.vocoder, None, frames, self.segments, shard.scale, mx.array(0.0), shard.config, key
        )
        return own, waveform


def waveform_gradient(made: JointStage) -> dict[str, mx.array]:
    """Of the waveform's loss alone, by the acoustic model's parameters."""
    whole = Whole(made)

    def loss(acoustic: Any) -> mx.array:
        return whole({"acoustic": acoustic, "vocoder": made.networks["vocoder"].parameters})[1]

    return dict(tree_flatten(mx.grad(loss)(made.networks["acoustic"].parameters)))


@pytest.mark.parametrize("kind", KINDS)
def test_the_waveform_reaches_the_acoustic_model_and_only_what_speaks(kind: str, data: PreparedData) -> None:
    gradients = waveform_gradient(without_dropout(kind, data))
    reached = {name for name, gradient in gradients.items() if float(mx.abs(gradient).max()) > 0}
    expected = {name for name in gradients if not name.startswith(("aligner.", "duration.", "pitch.", "energy."))}
    assert expected - reached <= {"pitch_embedding.weight"}  # clips without a voiced token
    assert reached <= expected  # predictors and aligner learn from their own losses: prosody is the recorded one
    if kind != "states":
        assert float(mx.abs(gradients["projection.bias"][:80]).min()) > 0
        # F0 and voicing are the recorded ones for the vocoder: those outputs have their own losses only.
        assert float(mx.abs(gradients["projection.bias"][80:]).max()) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_made_in_two_parts_are_those_of_the_whole(kind: str, data: PreparedData) -> None:
    made = without_dropout(kind, data)
    whole, parameters, key = Whole(made), made.parts()["model"], mx.random.key(3)

    def loss(parameters: Any) -> mx.array:
        own, waveform = whole(parameters, key=mx.random.split(key)[1])
        return own + 0.25 * waveform

    expected = dict(tree_flatten(mx.grad(loss)(parameters)))
    amount, binarization, weight, share = (mx.array(value) for value in (0.0, 1.0, 0.0, 0.25))
    gradients = whole.shard.gradients(
        "none", False, parameters, made.networks["discriminators"].parameters, weight, share, whole.segments,
        whole.batch, whole.alignment, whole.counts, amount, binarization, key,
    )[0]  # fmt: skip
    found = dict(tree_flatten(gradients))
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        limit = 1e-4 * float(mx.abs(gradient).max()) + 1e-6
        assert float(mx.abs(found[name] - gradient).max()) < limit, name


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_is_that_of_finite_differences(kind: str, data: PreparedData) -> None:
    """In full precision: through vocoder, segments, decoder and encoder, along the gradient of either model."""
    made = without_dropout(kind, data, seed=3, batch_size=1)  # one shard: the same weights on any machine
    whole = Whole(made)
    parameters = made.parts()["model"]

    def loss(parameters: Any) -> mx.array:
        return whole(parameters)[1]

    gradient = mx.grad(loss)(parameters)
    for half in ("acoustic", "vocoder"):
        # The direction of the gradient itself, in which rounding matters least.
        length = sum(float(mx.sum(mx.square(leaf))) for _, leaf in tree_flatten(gradient[half])) ** 0.5
        assert length > 0
        step = 1e-4 / length * sum(float(mx.sum(mx.square(leaf))) for _, leaf in tree_flatten(parameters[half])) ** 0.5
        values = []
        for move in (step, -step):
            moved = tree_map(lambda p, g, by=move: p + by * g, parameters[half], gradient[half])
            values.append(float(loss(parameters | {half: moved})))
        found = (values[0] - values[1]) / (2.0 * step)
        assert found == pytest.approx(length**2, rel=0.08), half


def test_accumulating_is_one_batch(data: PreparedData) -> None:
    """2 x 4 clips give the gradients of 1 x 8: acoustic sums over counts, and means over segments."""
    made = without_dropout("states", data, accumulate=2, batch_size=4)
    items = [read_clip_and_audio(data, clip) for clip in data.clips[:8]]
    shape = padded_shape((), max(len(item["mel"]) for item in items), max(len(item["tokens"]) for item in items))

    def micro(first: int, last: int) -> list[Any]:
        size = (last - first) // made.pool.count
        rows = [slice(i, i + size) for i in range(first, last, size)]
        return [(collate(items[row], shape), segments_at(items[row], [5] * size, 12, 256)) for row in rows]

    in_parts, losses, _ = made.gradients(3, [micro(0, 4), micro(4, 8)])
    made.config = replace(made.config, accumulate=1, batch_size=8)
    whole, expected, _ = made.gradients(3, [micro(0, 8)])
    assert losses == pytest.approx(expected, rel=1e-3)
    for half in ("acoustic", "vocoder"):
        ours, theirs = dict(tree_flatten(in_parts[half])), dict(tree_flatten(whole[half]))
        scale = max(float(mx.abs(leaf).max()) for leaf in theirs.values())
        error = max(float(mx.abs(ours[name] - theirs[name]).max()) for name in theirs)
        assert scale > 0 and error < 1e-3 * scale, half


# -- segments ------------------------------------------------------------------------------------------------------


def test_segments_are_the_recordings_own(data: PreparedData) -> None:
    clip = data.clips[0]
    item, features = read_clip_and_audio(data, clip), data.load(clip)
    starts = set()
    for seed in range(200):
        segments = cut_segments(with_places([item], np.random.default_rng(seed).random(1)), 20, 256)
        start = int(segments.start[0])
        starts.add(start)
        assert segments.audio.shape == (1, 20 * 256) and segments.log_f0.shape == (1, 20)
        np.testing.assert_allclose(np.array(segments.audio[0]), features.audio[start * 256 : (start + 20) * 256])
        np.testing.assert_allclose(np.array(segments.log_f0[0]), features.log_f0[start : start + 20], rtol=1e-6)
        assert np.array(segments.voiced[0]).tolist() == features.voiced[start : start + 20].tolist()
        assert float(segments.inside.min()) == 1.0
    assert min(starts) == 0 and max(starts) == clip.frames - 20
    assert len(starts) > 0.8 * (clip.frames - 19)


def test_a_clip_shorter_than_the_segment_is_silent_beyond_its_end(data: PreparedData) -> None:
    items = [read_clip_and_audio(data, clip) for clip in data.clips[:2]]
    lengths = [len(item["mel"]) for item in items]
    segments = cut_segments(with_places(items, np.array([0.0, 0.999])), 100, 256)
    assert np.array(segments.start).tolist() == [0, 0]
    assert np.array(segments.inside.sum(axis=1)).tolist() == lengths
    for row, length in enumerate(lengths):
        assert float(mx.abs(segments.audio[row, length * 256 :]).max()) == 0.0
        assert float(mx.abs(segments.audio[row, : length * 256]).max()) > 0.0
        assert np.isfinite(np.array(segments.log_f0)).all() and float(segments.voiced[row, length:].max()) == 0.0


def test_the_vocoder_reads_the_frames_of_its_segment(data: PreparedData) -> None:
    random = np.random.default_rng(0)
    frames = Frames(mx.array(random.normal(size=(2, 30, 80)).astype(np.float32)), mx.zeros((2, 30)), mx.zeros((2, 30)))
    inside = np.ones((2, 8), np.float32)
    inside[1, 5:] = 0.0
    segments = Segments(mx.array([3, 22]), mx.array(inside), mx.zeros((2, 8)), mx.zeros((2, 8)), mx.zeros((2, 2048)))
    scale = MelScale(mx.full((80,), -5.0), mx.full((80,), 2.0))
    plain, log_mels = (np.array(vocoder_batch(frames, segments, s, mx.random.key(0))["mel"]) for s in (None, scale))
    given = np.array(frames.mel)
    np.testing.assert_array_equal(plain[0], given[0, 3:11])
    np.testing.assert_array_equal(plain[1, :5], given[1, 22:27])
    assert np.all(plain[1, 5:] == 0.0)  # states beyond the end are zero, as they are while speaking
    np.testing.assert_allclose(log_mels[0], given[0, 3:11] * 2.0 - 5.0, rtol=1e-6)
    assert np.allclose(log_mels[1, 5:], np.log(1e-5))  # and mels silent


@pytest.mark.parametrize("kind", KINDS)
def test_clips_shorter_than_the_segment_train(kind: str, data: PreparedData) -> None:
    """All of them; what is generated beyond their ends neither sounds nor teaches."""
    made = make(kind, data, segment_frames=100, accumulate=1, adversarial_from=0.0)
    assert all(clip.frames < 100 for clip in data.clips)
    micro_batches = made.read(3)
    _, _, waveforms = made.gradients(3, micro_batches)
    for (_, segments), sound in zip(micro_batches[0], waveforms[0], strict=True):
        outside = 1.0 - np.repeat(np.array(segments.inside), 256, axis=1)
        assert sound.generated.shape == sound.recorded.shape == (len(outside), 100 * 256)
        assert outside.sum() > 0 and np.abs(np.array(sound.generated) * outside).max() == 0.0
        assert np.abs(np.array(sound.generated)).max() > 0.0
    losses = made.update(3)
    assert all(np.isfinite(value) for value in losses.values()) and losses["skipped"] == 0.0


def test_every_update_sounds_another_segment_of_a_clip(data: PreparedData) -> None:
    made = make("states", data, segment_frames=8)

    def starts() -> list[int]:
        shards = [shard for number in range(4) for shards in made.read(number) for shard in shards]
        return [int(start) for _, segments in shards for start in np.array(segments.start)]

    assert starts() == starts() and len(set(starts())) > 8


def test_a_poisoned_clip_costs_only_its_updates(data: PreparedData, monkeypatch: pytest.MonkeyPatch) -> None:
    made = make("harmonic", data, accumulate=1, adversarial_from=0.0, updates=8)
    plain = data.load

    def load(clip: Any) -> Any:
        features = plain(clip)
        return replace(features, audio=features.audio * np.nan) if clip.id == "clip03" else features

    monkeypatch.setattr(data, "load", load)
    lines = [made.update(number) for number in range(8)]
    poisoned = ["clip03" in [made.reader.clips[i].id for i in made.reader.plan[n].clips] for n in range(8)]
    assert [line["skipped"] == 1.0 for line in lines] == poisoned and 0 < sum(poisoned) < 8
    for part in made.parts().values():
        assert all(bool(mx.all(mx.isfinite(leaf))) for _, leaf in tree_flatten(part))


@pytest.mark.slow
def test_a_compiled_update_computes_the_same(data: PreparedData, monkeypatch: pytest.MonkeyPatch) -> None:
    """What runs on a GPU. Without discriminators, whose compilation takes a CPU's compiler a while, and without C."""
    monkeypatch.setattr(loader, "library", lambda *_: None)
    expected = make("states", data, accumulate=1).update(2)
    for module in (acoustic_stage, joint_stage, trainer):  # of the first, what finds the alignment beforehand
        monkeypatch.setattr(module, "compiled", mx.compile)
    found = make("states", data, accumulate=1).update(2)
    assert found == pytest.approx(expected, rel=1e-3)


# -- discriminators, weights, schedules ----------------------------------------------------------------------------


def test_discriminators_wait_for_their_share_of_the_run_and_judge_what_was_just_said(data: PreparedData) -> None:
    made = make("mel", data, accumulate=1)
    before = made.networks["discriminators"].parameters
    for number in (0, 2):
        assert "discriminator_loss" not in made.update(number)
    assert_same_trees(before, made.networks["discriminators"].parameters)
    micro_batches = made.read(3)
    _, losses, waveforms = made.gradients(3, micro_batches)
    assert losses["generator_adversarial_loss"] > 0 and losses["feature_matching_loss"] > 0
    gradients, judged = made.discriminator_gradients(waveforms)
    assert judged["discriminator_loss"] > 0
    silent = [[sound._replace(generated=sound.recorded) for sound in sounds] for sounds in waveforms]
    assert made.discriminator_gradients(silent)[1] != judged
    assert max(float(mx.abs(leaf).max()) for _, leaf in tree_flatten(gradients)) > 0
    assert "discriminator_loss" in made.update(3)
    with pytest.raises(AssertionError):
        assert_same_trees(before, made.networks["discriminators"].parameters)


def test_the_adversarial_losses_begin_on_schedule() -> None:
    training = VocoderTraining(adversarial_from=0.4, adversarial_ramp=10)

    def weights(own: VocoderTraining) -> list[float]:
        return [own.adversarial(update, 100) for update in (0, 39, 40, 44, 49, 99)]

    assert weights(training) == [0.0, 0.0, 0.1, 0.5, 1.0, 1.0]
    assert weights(replace(training, discriminator_warm_up=5)) == [0.0, 0.0, 0.0, 0.0, 0.5, 1.0]
    assert replace(training, adversarial_from=1.0).adversarial(99, 100) == 0.0
    assert replace(training, adversarial_from=0.0, adversarial_ramp=1).adversarial(0, 100) == 1.0


def defaults(kind: str, data: PreparedData) -> TrainConfig:
    return default_config("joint", JOINT_MODELS[kind], DataConfig.of(data))


def test_weights_are_those_of_the_papers(data: PreparedData) -> None:
    for kind in KINDS:
        config = defaults(kind, data)
        own, joint = config.vocoder_training, config.joint
        assert (own.adversarial_weight, own.mel_weight, own.feature_weight) == (1.0, 45.0, 2.0)
        assert joint is not None and (joint.variance_weight, joint.align_weight) == (1.0, 2.0)
        weights = joint.acoustic()
        assert weights.duration == weights.pitch == weights.energy == 1.0
        assert weights.forward_sum == weights.binarization == 2.0
        assert own.segment_frames == 64 and own.adversarial_frames == 0
        assert config.acoustic_training.optimizer.learning_rate == 1e-3
    assert defaults("mel", data).vocoder_training.stft_weight == 0.0
    assert defaults("states", data).vocoder_training.gain_decibels == 0.0


# -- validation ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_validation_is_deterministic_and_shows_what_it_hears(kind: str, data: PreparedData) -> None:
    made = make(kind, data)
    first = made.validate(0)
    assert made.validate(0) == first and all(np.isfinite(value) for value in first.values())
    assert {"mel_loss", "stft_loss", "duration", "forward_sum"} <= first.keys()
    for example in made.examples(2):
        assert example.predicted.shape == example.recorded.shape and example.alignment is not None
        assert example.audio is not None and len(example.audio) == 256 * len(example.recorded)
    assert len(made.ternary_weights()) == 2 * 4 + 3
