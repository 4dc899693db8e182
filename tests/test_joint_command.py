"""`train --stage joint`, `pack --joint` and what else reads a joint run: options, init checkpoints, voices."""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten
from tiny_training import (
    ACOUSTIC,
    HARMONIC,
    HIFIGAN,
    JOINT_MODELS,
    assert_same_trees,
    begin_run,
    run_train,
    tiny_data,
    tiny_trainer,
)
from tiny_voice import acoustic_run, vocoder_run

from bitjets_mlx import evaluate, load_voice, pack, train
from bitjets_mlx.config import AcousticConfig, CharacterConfig, HarmonicConfig, HifiganConfig, JointConfig
from bitjets_mlx.data.prepared import PreparedData
from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.training import configure, defaults
from bitjets_mlx.training.config import AcousticTraining, TrainConfig
from bitjets_mlx.training.configure import new_config
from bitjets_mlx.training.runs import load_run_config, run_weights
from bitjets_mlx.training.vocoder_data import teacher_forced_mels
from bitjets_mlx.training.warm_start import InitCheckpoint, read_init

KINDS = list(JOINT_MODELS)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    return tiny_data(tmp_path_factory.mktemp("prepared"))


@pytest.fixture(scope="module")
def runs(data: PreparedData, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A joint run of two updates of each kind, made by the command."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        for kind, model in JOINT_MODELS.items():
            begin_run(folder / kind, data, "joint", model, updates=2, accumulate=1)
            call(patch, data, folder / kind, "joint", "--resume", "--log-every", "1")
    return {kind: folder / kind for kind in KINDS}


def call(monkeypatch: pytest.MonkeyPatch, data: PreparedData, run: Path, stage: str, *options: str) -> None:
    words = ["train", "--stage", stage, "--data", str(data.folder), "--out", str(run), *options]
    monkeypatch.setattr(sys, "argv", words)
    train.main()


def begun(monkeypatch: pytest.MonkeyPatch, data: PreparedData, run: Path, stage: str, *options: str) -> dict[str, Any]:
    """The parts of a stage before its first update."""
    seen: list[Any] = []
    monkeypatch.setattr(train, "train", lambda stage, *rest: seen.append(stage.parts()))
    call(monkeypatch, data, run, stage, *options)
    return dict(seen[0])


def config_of(data: PreparedData, run: Path, *options: str, stage: str = "joint") -> TrainConfig:
    words = ["--stage", stage, "--data", str(data.folder), "--out", str(run), *options]
    return train.config_of(train.parser().parse_args(words), run, data)


def packed(monkeypatch: pytest.MonkeyPatch, *options: object) -> None:
    monkeypatch.setattr(sys, "argv", ["pack", *map(str, options)])
    pack.main()


# -- options -------------------------------------------------------------------------------------------------------


def test_defaults_of_the_three_kinds(data: PreparedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defaults, "on_cpu", lambda: True)
    harmonic = config_of(data, tmp_path / "run")
    assert harmonic.model == JointConfig(replace(harmonic.joint_model.acoustic, mel=True), HarmonicConfig())
    assert harmonic.joint_model.acoustic.ternary and harmonic.joint_model.acoustic.speakers == 2
    own = harmonic.acoustic_training
    assert 0 < own.quantize_from < own.quantize_until <= harmonic.vocoder_training.adversarial_from
    mel = config_of(data, tmp_path / "run", "--vocoder", "hifigan")
    assert mel.vocoder_model == HifiganConfig() and mel.vocoder_training.discriminators == "small"
    states = config_of(data, tmp_path / "run", "--vocoder", "hifigan-v3", "--vocoder-reads", "states").joint_model
    assert not states.acoustic.mel and states.vocoder.n_mels == states.acoustic.width
    assert isinstance(states.vocoder, HifiganConfig) and states.vocoder.resblock == "2"
    monkeypatch.setattr(defaults, "on_cpu", lambda: False)
    large = config_of(data, tmp_path / "run", "--vocoder", "hifigan")
    assert large.vocoder_training.discriminators == "full"


def test_rates_without_a_prefix_are_the_acoustic_models(data: PreparedData, tmp_path: Path) -> None:
    words = ("--learning-rate", "0.5", "--vocoder-learning-rate", "0.25", "--vocoder-warm-up", "9")
    config = config_of(data, tmp_path / "run", *words)
    acoustic, vocoder = config.acoustic_training.optimizer, config.vocoder_training.optimizer
    assert (acoustic.learning_rate, vocoder.learning_rate, vocoder.warm_up) == (0.5, 0.25, 9)
    assert acoustic.warm_up == AcousticTraining().optimizer.warm_up


def test_full_precision_for_comparison(data: PreparedData, tmp_path: Path) -> None:
    assert not config_of(data, tmp_path / "run", "--full-precision").joint_model.acoustic.ternary
    bits = config_of(data, tmp_path / "run", "--weight-bits", "8").joint_model.acoustic
    assert bits.weight_bits == 8 and not bits.ternary


@pytest.mark.parametrize(
    ("stage", "option", "value"),
    [
        ("acoustic", "--init-acoustic", "x"),
        ("acoustic", "--init-vocoder", "x"),
        ("acoustic", "--vocoder-reads", "states"),
        ("acoustic", "--vocoder-learning-rate", "0.1"),
        ("acoustic", "--discriminators", "full"),
        ("acoustic", "--vocoder", "hifigan"),
        ("vocoder", "--init-acoustic", "x"),
        ("vocoder", "--init-vocoder", "x"),
        ("vocoder", "--vocoder-reads", "mel"),
        ("vocoder", "--vocoder-learning-rate", "0.1"),
        ("joint", "--teacher-forced", "x"),
        ("joint", "--discriminator-warm-up", "9"),
    ],
)
def test_options_of_other_stages_are_refused(
    data: PreparedData, tmp_path: Path, stage: str, option: str, value: str
) -> None:
    with pytest.raises(BitjetsError, match=f"{option} has no meaning for --stage {stage}"):
        config_of(data, tmp_path / "run", option, value, stage=stage)


def test_what_does_not_go_together_is_refused(data: PreparedData, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(BitjetsError, match="the harmonic vocoder reads mels: give --vocoder hifigan"):
        config_of(data, run, "--vocoder-reads", "states")
    with pytest.raises(BitjetsError, match="leave --init-acoustic and --init-vocoder out"):
        config_of(data, run, "--init", "x", "--init-vocoder", "y")
    with pytest.raises(BitjetsError, match="is not a run of --stage joint: give --init-acoustic"):
        config_of(data, run, "--init", str(tmp_path))
    with pytest.raises(BitjetsError, match="is a run of --stage acoustic"):
        config_of(data, run, "--init", str(acoustic_run(tmp_path / "acoustic")))
    with pytest.raises(BitjetsError, match="is a run of --stage acoustic: give one of --stage vocoder"):
        config_of(data, run, "--init-vocoder", str(tmp_path / "acoustic"))
    source = str(vocoder_run(tmp_path / "vocoder"))
    with pytest.raises(BitjetsError, match="holds a harmonic vocoder: leave --vocoder hifigan out"):
        config_of(data, run, "--init-vocoder", source, "--vocoder", "hifigan")
    with pytest.raises(BitjetsError, match="was trained on mel: leave --vocoder-reads states out"):
        config_of(data, run, "--init-vocoder", source, "--vocoder-reads", "states")
    with pytest.raises(BitjetsError, match="measure copy synthesis: leave them out without --stage vocoder"):
        train.add_measures(tiny_trainer("acoustic", data), pesq=False, judge=True)


# -- init checkpoints -----------------------------------------------------------------------------------------


def test_begins_with_two_halves(monkeypatch: pytest.MonkeyPatch, data: PreparedData, tmp_path: Path) -> None:
    """Ternary from the start, discriminators too; the vocoder also from a folder."""
    acoustic, vocoder = acoustic_run(tmp_path / "acoustic"), vocoder_run(tmp_path / "vocoder")
    options = ("--init-acoustic", str(acoustic), "--init-vocoder", str(vocoder))
    config = config_of(data, tmp_path / "run", *options)
    assert config.joint_model.acoustic.width == 32 and config.vocoder_model == HARMONIC
    assert config.quantization(0) == 1.0 and config.adversarial(0) > 0.0
    parts = begun(monkeypatch, data, tmp_path / "run", "joint", *options)
    for half, run in (("acoustic", acoustic), ("vocoder", vocoder)):
        assert_same_trees(parts["model"][half], run_weights(run)[1])
        assert_same_trees(parts["ema"][half], run_weights(run)[1])
    again = begun(monkeypatch, data, tmp_path / "run", "joint", "--resume")  # killed before its first checkpoint
    assert_same_trees(again["model"], parts["model"])
    packed(monkeypatch, "--vocoder", vocoder, "--output", tmp_path / "folder")
    options = ("--init-acoustic", str(acoustic), "--init-vocoder", str(tmp_path / "folder"))
    parts = begun(monkeypatch, data, tmp_path / "run2", "joint", *options)
    for name, leaf in tree_flatten(parts["model"]["vocoder"]):
        expected = np.array(dict(tree_flatten(run_weights(vocoder)[1]))[name])
        assert np.abs(np.array(leaf) - expected).max() <= 0.005 * max(np.abs(expected).max(), 1e-3)  # int8 on disk


def test_one_half_alone_and_states_from_a_model_of_mels(
    monkeypatch: pytest.MonkeyPatch, data: PreparedData, tmp_path: Path
) -> None:
    source = acoustic_run(tmp_path / "acoustic")
    options = ("--init-acoustic", str(source), "--vocoder", "hifigan", "--vocoder-reads", "states")
    config = config_of(data, tmp_path / "run", *options)
    model = config.joint_model
    assert model.vocoder.n_mels == model.acoustic.width == 32 and not model.acoustic.mel
    assert config.adversarial(0) == 0.0 and config.quantization(0) == 1.0
    parts = begun(monkeypatch, data, tmp_path / "run", "joint", *options)
    expected = {name: value for name, value in run_weights(source)[1].items() if name != "projection"}
    assert_same_trees(parts["model"]["acoustic"], expected)


@pytest.mark.parametrize("kind", KINDS)
def test_a_joint_run_goes_on_as_a_new_one(
    monkeypatch: pytest.MonkeyPatch, data: PreparedData, tmp_path: Path, runs: dict[str, Path], kind: str
) -> None:
    """Both models and the discriminators; those begin anew where --discriminators says others."""
    source = runs[kind]
    config = config_of(data, tmp_path / "run", "--init", str(source))
    assert config.model == JOINT_MODELS[kind] and config.quantization(0) == 1.0
    parts = begun(monkeypatch, data, tmp_path / "run", "joint", "--init", str(source))
    assert_same_trees(parts["model"], run_weights(source)[1])
    assert_same_trees(parts["discriminators"], run_weights(source, "discriminators")[1])
    options = ("--init-acoustic", str(source), "--init-vocoder", str(source))
    apart = begun(monkeypatch, data, tmp_path / "apart", "joint", *options)
    assert_same_trees(apart["model"], parts["model"])


def test_single_stages_begin_with_a_joint_run(
    monkeypatch: pytest.MonkeyPatch, data: PreparedData, tmp_path: Path, runs: dict[str, Path]
) -> None:
    source = runs["harmonic"]
    for stage in ("acoustic", "vocoder"):
        short = ("--segment-frames", "16") if stage == "vocoder" else ()
        parts = begun(monkeypatch, data, tmp_path / stage, stage, "--init", str(source), *short)
        assert_same_trees(parts["model"], run_weights(source)[1][stage])
    clips = data.split("train")[:2]
    mels = teacher_forced_mels(source, data, clips, tmp_path / "mels", write=False)
    assert [mel.shape for mel in mels] == [(clip.frames, 80) for clip in clips]
    for stage, named in (("acoustic", "gives its vocoder no mels"), ("vocoder", "reads a decoder's states")):
        with pytest.raises(BitjetsError, match=named):
            config_of(data, tmp_path / "new", "--init", str(runs["states"]), stage=stage)
    with pytest.raises(BitjetsError, match="gives its vocoder no mels"):
        teacher_forced_mels(runs["states"], data, clips, tmp_path / "more", write=False)


def test_halves_that_do_not_fit_are_refused(data: PreparedData, tmp_path: Path, runs: dict[str, Path]) -> None:
    states, mel = str(runs["states"]), str(runs["mel"])
    with pytest.raises(BitjetsError, match="gives states and no mels"):
        config_of(data, tmp_path / "run", "--init-acoustic", states, "--init-vocoder", mel)
    other = str(acoustic_run(tmp_path / "wider"))
    with pytest.raises(BitjetsError, match="reads 16 channels, the acoustic model gives 32"):
        config_of(data, tmp_path / "run", "--init-acoustic", other, "--init-vocoder", states)


def test_resuming_refuses_other_settings(data: PreparedData, runs: dict[str, Path]) -> None:
    run = runs["mel"]
    config = config_of(data, run, "--resume", "--segment-frames", "12")
    assert config.model == JOINT_MODELS["mel"] and config.vocoder_training.segment_frames == 12
    for words in (
        ("--segment-frames", "13"), ("--vocoder-reads", "states"), ("--vocoder-learning-rate", "0.1"),
        ("--learning-rate", "0.1"), ("--init-acoustic", "x"), ("--init", "x"), ("--updates", "1"),
    ):  # fmt: skip
        with pytest.raises(BitjetsError, match=rf"was begun with {words[0]} .*, not {words[1]}: leave it out"):
            config_of(data, run, "--resume", *words)
    with pytest.raises(BitjetsError, match="holds a hifigan vocoder: leave --vocoder harmonic out"):
        config_of(data, run, "--resume", "--vocoder", "harmonic")
    with pytest.raises(BitjetsError, match="is a run of --stage joint: resume it as such"):
        config_of(data, run, "--resume", stage="acoustic")


def test_acoustic_models_that_cannot_be_joined_are_refused(data: PreparedData, monkeypatch: pytest.MonkeyPatch) -> None:
    for model, weights, named in (
        (CharacterConfig(), {"aligner": {}}, "no model that reads characters"),
        (ACOUSTIC, {}, "has no aligner yet: train it with --stage acoustic first"),
    ):
        init = InitCheckpoint(model, weights)
        monkeypatch.setattr(configure, "read_init", lambda *_, init=init: init)
        with pytest.raises(BitjetsError, match=named):
            new_config("joint", data, {}, init_acoustic="it")


# -- voices --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_packed_joint_run_speaks(
    monkeypatch: pytest.MonkeyPatch, data: PreparedData, tmp_path: Path, runs: dict[str, Path], kind: str
) -> None:
    packed(monkeypatch, "--joint", runs[kind], "--output", tmp_path / "voice", "--trainable")
    voice = load_voice(tmp_path / "voice")
    for speaker in voice.speakers:
        audio = voice.speak("Hello there.", speaker=speaker)
        assert len(audio) > 4000 and np.isfinite(audio).all() and audio.std() > 0
    prediction = voice.predict("Hello there.")
    assert prediction.mel.shape[1] == (16 if kind == "states" else 80)
    card = (tmp_path / "voice" / "README.md").read_text()
    assert "acoustic: 2 updates of 2 clips" in card and "vocoder: 2 updates of 2 clips" in card
    twice = ("--acoustic", runs[kind], "--vocoder", runs[kind])
    packed(monkeypatch, *twice, "--output", tmp_path / "twice")
    for name in ("acoustic.safetensors", "vocoder.safetensors", "config.json"):
        assert (tmp_path / "voice" / name).read_bytes() == (tmp_path / "twice" / name).read_bytes()
    sister = tmp_path / "voice_trainable"
    assert ("--stage acoustic" in (sister / "README.md").read_text()) == (kind != "states")
    options = ("--init-acoustic", str(sister), "--init-vocoder", str(tmp_path / "voice"))
    parts = begun(monkeypatch, data, tmp_path / "new", "joint", *options)
    expected = dict(tree_flatten(run_weights(runs[kind])[1]["acoustic"]))
    for name, leaf in tree_flatten(parts["model"]["acoustic"]):
        np.testing.assert_allclose(np.array(leaf), np.array(expected[name]), atol=2e-3, rtol=1e-3)  # fp16 on disk
    statistics = load_run_config(tmp_path / "new").data.statistics
    assert statistics.mel_mean == data.statistics.mel_mean  # in which the aligner was trained


def test_what_a_states_voice_says_is_as_loud_as_the_recordings(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, runs: dict[str, Path]
) -> None:
    packed(monkeypatch, "--joint", runs["states"], "--output", tmp_path / "voice")
    voice = load_voice(tmp_path / "voice")
    plain = voice.speak("Hello.", speaker="ben")
    path = tmp_path / "voice" / "config.json"
    values = json.loads(path.read_text())
    values["statistics"]["gain"] = [1.0, 4.0]  # prepare made ben four times as loud
    path.write_text(json.dumps(values))
    np.testing.assert_allclose(load_voice(tmp_path / "voice").speak("Hello.", speaker="ben"), plain / 4.0, rtol=1e-5)


@pytest.mark.slow
def test_a_states_voice_is_measured_without_copy_synthesis(
    monkeypatch: pytest.MonkeyPatch, data: PreparedData, tmp_path: Path, runs: dict[str, Path]
) -> None:
    """Recordings have no states that its vocoder could copy."""
    for package in ("pesq", "pystoi", "pocketsphinx"):
        pytest.importorskip(package)
    packed(monkeypatch, "--joint", runs["states"], "--output", tmp_path / "voice")
    words = ("--voice", tmp_path / "voice", "--data", data.folder, "--workers", "1", "--json", tmp_path / "table.json")
    evaluate.main([*map(str, words), "--output", str(tmp_path / "kept")])
    table = json.loads((tmp_path / "table.json").read_text())
    assert table["real_time_factor"] > 0 and "vocoder_real_time_factor" not in table
    for row in table["speakers"].values():
        assert "mcd_db" in row and not any(name.startswith("copy_") for name in row)
    assert not any("copy" in path.name for path in (tmp_path / "kept").rglob("*.wav"))


def test_packing_halves_that_do_not_fit_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, runs: dict[str, Path]
) -> None:
    out = ("--output", tmp_path / "voice")
    with pytest.raises(BitjetsError, match="leave --acoustic and --vocoder out"):
        packed(monkeypatch, "--joint", runs["mel"], "--vocoder", runs["mel"], *out)
    with pytest.raises(BitjetsError, match="is not a run of --stage joint"):
        packed(monkeypatch, "--joint", acoustic_run(tmp_path / "acoustic"), *out)
    for wrong in (("--acoustic", "states", "--vocoder", "mel"), ("--acoustic", "states"), ("--vocoder", "states")):
        words = [runs.get(word, word) for word in wrong]
        with pytest.raises(BitjetsError, match="knows only a decoder's states"):
            packed(monkeypatch, *words, *out)
    assert not (tmp_path / "voice").exists()
    packed(monkeypatch, "--acoustic", runs["mel"], "--vocoder", runs["harmonic"], *out)  # both of mels
    assert load_voice(tmp_path / "voice").speak("Hello.").std() > 0


# -- the command, for real -----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_real_command_and_its_report(data: PreparedData, tmp_path: Path) -> None:
    begin_run(tmp_path / "run", data, "joint", JOINT_MODELS["harmonic"], updates=2, accumulate=1)
    done = run_train(data, tmp_path / "run", "joint", "--resume", "--log-every", "1")
    assert done.returncode == 0, done.stderr
    assert "discriminators: small, 1.96 M parameters" in done.stderr and "Traceback" not in done.stderr
    shutil.move(tmp_path / "run" / "checkpoints" / "step_00000002", tmp_path / "kept")
    done = run_train(data, tmp_path / "run", "joint", "--resume")
    assert done.returncode == 0, done.stderr

    from bitjets_mlx.training.checkpoints import load_checkpoint

    again = load_checkpoint(tmp_path / "run" / "checkpoints" / "step_00000002")[1]
    assert_same_trees(load_checkpoint(tmp_path / "kept")[1], again)


def test_init_checkpoints_name_the_right_halves(runs: dict[str, Path]) -> None:
    acoustic, vocoder = (read_init(runs["mel"], half) for half in ("acoustic", "vocoder"))
    assert isinstance(acoustic.model, AcousticConfig) and vocoder.model == HIFIGAN
    whole = read_init(runs["mel"], "joint")
    assert whole.model == JOINT_MODELS["mel"] and set(whole.weights) == {"acoustic", "vocoder"}
    assert whole.discriminators is not None and all(
        isinstance(leaf, mx.array) for _, leaf in tree_flatten(whole.discriminators)
    )
