"""`python -m bitjets_mlx.train` and `report`: every option reaches the code, bad input gets one clear sentence."""

import json
import shutil
import subprocess
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
    ROOT,
    assert_same_trees,
    begin_run,
    quick_environment,
    run_train,
    tiny_data,
    tiny_trainer,
    train_command,
)
from tiny_voice import acoustic_run, vocoder_run

from bitjets_mlx import pack, train
from bitjets_mlx.acoustic import build_acoustic
from bitjets_mlx.config import HIFIGAN_VERSIONS, AcousticConfig, HifiganConfig
from bitjets_mlx.data.prepared import PreparedData
from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.evaluation import distill_mos
from bitjets_mlx.folders import locked
from bitjets_mlx.training import defaults, loop
from bitjets_mlx.training.checkpoints import load_checkpoint, newest_checkpoint
from bitjets_mlx.training.config import AcousticTraining, TrainConfig, VocoderTraining, flag, get, settings_of
from bitjets_mlx.training.configure import new_config, resumed_config
from bitjets_mlx.training.defaults import hifigan_training, new_acoustic
from bitjets_mlx.training.runs import load_run_config, run_weights
from bitjets_mlx.training.trainer import Trainer
from bitjets_mlx.training.validation import VocoderValidation, example
from bitjets_mlx.training.warm_start import InitCheckpoint, deepened, read_init, weights_for_speakers


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    return tiny_data(tmp_path_factory.mktemp("prepared"))


def call(monkeypatch: pytest.MonkeyPatch, data: PreparedData, run: Path, stage: str, *options: str) -> None:
    """The command, in this process."""
    words = ["train", "--stage", stage, "--data", str(data.folder), "--out", str(run), *options]
    monkeypatch.setattr(sys, "argv", words)
    train.main()


def config_of(data: PreparedData, run: Path, stage: str, *options: str) -> TrainConfig:
    """The configuration that the command line asks for, without training."""
    words = ["--stage", stage, "--data", str(data.folder), "--out", str(run), *options]
    return train.config_of(train.parser().parse_args(words), run, data)


def packed(monkeypatch: pytest.MonkeyPatch, *options: str) -> None:
    """`python -m bitjets_mlx.pack`."""
    monkeypatch.setattr(sys, "argv", ["pack", *options])
    pack.main()


def test_a_run_in_use_is_refused(monkeypatch: pytest.MonkeyPatch, data: PreparedData, tmp_path: Path) -> None:
    with locked(tmp_path / "run"), pytest.raises(BitjetsError, match="run is in use by process"):
        call(monkeypatch, data, tmp_path / "run", "acoustic", "--updates", "2")
    assert not (tmp_path / "run" / "config.json").exists()


def trained(data: PreparedData, run: Path, stage: str, monkeypatch: pytest.MonkeyPatch, **training: Any) -> Path:
    """A tiny run of two updates."""
    begin_run(run, data, stage, **({"updates": 2, "accumulate": 1} | training))
    call(monkeypatch, data, run, stage, "--resume", "--log-every", "1")
    return run


# -- options -------------------------------------------------------------------------------------------------------


def test_defaults(data: PreparedData, tmp_path: Path) -> None:
    acoustic = config_of(data, tmp_path / "run", "acoustic")
    assert acoustic.acoustic == AcousticTraining() and acoustic.vocoder is None
    assert (acoustic.batch_size, acoustic.accumulate, acoustic.seed) == (8, 4, 0)
    assert acoustic.model == new_acoustic(2) and new_acoustic(2).ternary
    vocoder = config_of(data, tmp_path / "run", "vocoder")
    assert vocoder.vocoder == VocoderTraining() and vocoder.acoustic is None


def test_hifigan_is_trained_as_in_its_paper(
    monkeypatch: pytest.MonkeyPatch, data: PreparedData, tmp_path: Path
) -> None:
    """Against its own discriminators where there is a GPU, against small ones on a CPU."""
    for on_cpu, expected in ((True, "small"), (False, "full")):
        monkeypatch.setattr(defaults, "on_cpu", lambda on_cpu=on_cpu: on_cpu)
        config = config_of(data, tmp_path / "run", "vocoder", "--vocoder", "hifigan")
        assert config.vocoder == replace(hifigan_training(), discriminators=expected)
        assert (config.batch_size, config.accumulate) == (16, 1)
    assert (hifigan_training().mel_weight, hifigan_training().feature_weight) == (45.0, 2.0)
    assert hifigan_training().adversarial(0, 100) == 1.0 and hifigan_training().stft_weight == 0.0


OTHER_VALUES: dict[str, Any] = {
    "bf16": True, "pitch_reads": "states", "weight_bits": 4, "mel_loss": "multi", "discriminators": "full",
    "teacher_forced": "somewhere", "learning_rate": 0.5, "gradient_clip": 0.5, "adversarial_from": 0.25,
    "energy_distance_weight": 0.75, "mel_blur": 0.75, "vocoder_learning_rate": 0.5, "vocoder_gradient_clip": 0.5,
}  # fmt: skip


@pytest.mark.parametrize("stage", ["acoustic", "vocoder", "joint"])
def test_every_setting_is_a_flag_that_reaches_the_configuration(data: PreparedData, tmp_path: Path, stage: str) -> None:
    plain = config_of(data, tmp_path / "run", stage)
    flags = {name: path for name, path in settings_of(plain).items() if "betas" not in name}
    for name, path in flags.items():
        if name in ("ternary", "predictors") or (stage == "joint" and name == "weight_bits"):
            continue  # not a number; see below
        value = OTHER_VALUES.get(name, 7 if isinstance(get(plain, path), int) else 0.375)
        words = [flag(name)] if value is True else [flag(name), str(value)]
        changed = config_of(data, tmp_path / "run", stage, *words)
        assert get(changed, path) == value != get(plain, path), name
        different = [each for each, at in flags.items() if get(changed, at) != get(plain, at)]
        assert set(different) <= {name, "ternary", "predictors"}, name


@pytest.mark.parametrize(
    ("stage", "option", "value", "name"),
    [
        ("acoustic", "--quantise-from", 0.05, "quantize_from"),
        ("joint", "--quantise-until", 0.9, "quantize_until"),
        ("vocoder", "--repulsion", 0.25, "energy_distance_weight"),
        ("vocoder", "--acoustic", "RUN", "teacher_forced"),
    ],
)
def test_older_names_of_flags_still_work(
    data: PreparedData, tmp_path: Path, stage: str, option: str, value: Any, name: str
) -> None:
    config = config_of(data, tmp_path / "run", stage, option, str(value))
    assert get(config, settings_of(config)[name]) == value


def test_precision_options_agree(data: PreparedData, tmp_path: Path) -> None:
    for words, expected in (
        ((), (True, 0)),
        (("--ternary",), (True, 0)),
        (("--full-precision",), (False, 0)),
        (("--weight-bits", "8"), (False, 8)),
        (("--weight-bits", "1.58"), (True, 0)),
    ):
        model = config_of(data, tmp_path / "run", "acoustic", *words).model
        assert isinstance(model, AcousticConfig) and (model.ternary, model.weight_bits) == expected


def test_full_precision_weights_are_warmed_up(
    monkeypatch: pytest.MonkeyPatch, data: PreparedData, tmp_path: Path
) -> None:
    """`--init` from a run without quantization: `--ternary` goes there step by step, and without it nothing changes."""
    source, new = tmp_path / "source", tmp_path / "new"
    begin_run(source, data, "acoustic", replace(ACOUSTIC, ternary=False), updates=2, accumulate=1)
    call(monkeypatch, data, source, "acoustic", "--resume", "--log-every", "1")
    for words, bits in (("--ternary",), 0), (("--weight-bits", "4"), 4), ((), 0):
        config = config_of(data, new, "acoustic", "--init", str(source), *words)
        assert isinstance(config.model, AcousticConfig)
        assert config.model.ternary == ("--ternary" in words) and config.model.weight_bits == bits
        warming = [config.quantization(round(fraction * config.updates)) for fraction in (0.0, 0.3, 1.0)]
        assert warming == ([0.0, 1.0, 1.0] if "--ternary" in words else [1.0] * 3)


def test_vocoder_option(data: PreparedData, tmp_path: Path) -> None:
    for name, model in (
        ("hifigan", HifiganConfig()),
        *((f"hifigan-{v.lower()}", c) for v, c in HIFIGAN_VERSIONS.items()),
    ):
        assert config_of(data, tmp_path, "vocoder", "--vocoder", name).model == model


def test_what_is_kept_follows_its_options(monkeypatch: pytest.MonkeyPatch, data: PreparedData, tmp_path: Path) -> None:
    seen = []
    monkeypatch.setattr(train, "train", lambda stage, run, config, resume: seen.append((config, resume)))
    begin_run(tmp_path, data, "acoustic")
    options = ("--resume", "--log-every", "3", "--save-every", "4", "--validate-every", "5")
    call(monkeypatch, data, tmp_path, "acoustic", *options)
    assert seen == [(loop.LoopConfig(6, log_every=3, save_every=4, validate_every=5), True)]


def test_distill_mos_is_measured_on_a_few_copies_when_asked_for(
    monkeypatch: pytest.MonkeyPatch, data: PreparedData
) -> None:
    asked: list[tuple[int, int]] = []

    def score(waveforms: list[np.ndarray], rate: int) -> np.ndarray:
        asked.append((len(waveforms), rate))
        return np.array([float(np.abs(waveform).max()) for waveform in waveforms])

    monkeypatch.setattr(distill_mos, "score", score)
    made = tiny_trainer("vocoder", data)
    train.add_measures(made, pesq=False, judge=True)
    found = made.validate(0)
    clips = made.validation.clips
    loudest = [np.abs(data.load(clip).audio).max() for clip in clips]
    assert found["distill_mos_recorded"] == pytest.approx(np.mean(loudest)) != found["distill_mos"]
    assert asked == [(len(clips), 22050)] * 2


def test_pesq_of_the_recordings_themselves_is_the_best(data: PreparedData) -> None:
    for package in ("pesq", "pystoi"):
        pytest.importorskip(package)
    made = tiny_trainer("vocoder", data)
    assert "pesq" not in made.validate(0)
    train.add_measures(made, pesq=True, judge=False)
    assert 1.0 <= made.validate(0)["pesq"] <= 4.65
    assert isinstance(made.validation, VocoderValidation)
    recorded = [data.load(clip).audio for clip in made.validation.clips]
    assert made.validation.measures[0](recorded, recorded)["pesq"] > 4.0


@pytest.mark.parametrize(
    "options",
    [
        ("--updates", "0"),
        ("--batch-size", "-1"),
        ("--batch-size", "2.5"),
        ("--learning-rate", "nan"),
        ("--learning-rate", "0"),
        ("--dropout", "1.5"),
        ("--seed", "-1"),
        ("--save-every", "0"),
        ("--stage", "both"),
    ],
)
def test_numbers_that_make_no_sense_are_refused_by_name(
    data: PreparedData, capsys: pytest.CaptureFixture[str], options: tuple[str, str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        train.parser().parse_args(["--stage", "acoustic", "--data", "x", "--out", "y", *options])
    assert stop.value.code == 2
    message = capsys.readouterr().err
    assert options[0] in message and options[1] in message


@pytest.mark.parametrize(
    ("stage", "options", "named"),
    [
        ("vocoder", ("--bf16",), "--bf16"),
        ("vocoder", ("--dropout", "0.2"), "--dropout"),
        ("acoustic", ("--segment-frames", "32"), "--segment-frames"),
    ],
)
def test_an_option_of_the_other_stage_is_refused(
    data: PreparedData,
    tmp_path: Path,
    stage: str,
    options: tuple[str, ...],
    named: str,
) -> None:
    with pytest.raises(BitjetsError, match=f"{named} has no meaning for --stage {stage}"):
        config_of(data, tmp_path / "run", stage, *options)


# -- resuming ------------------------------------------------------------------------------------------------------


def test_a_run_is_not_overwritten(data: PreparedData, tmp_path: Path) -> None:
    begin_run(tmp_path, data, "acoustic")
    with pytest.raises(BitjetsError, match="already holds a run: add --resume"):
        config_of(data, tmp_path, "acoustic")


def test_resuming_takes_the_runs_own_settings_and_refuses_others(data: PreparedData, tmp_path: Path) -> None:
    begin_run(tmp_path, data, "acoustic", learning_rate=0.004)
    same = config_of(data, tmp_path, "acoustic", "--resume", "--learning-rate", "0.004")
    assert same == load_run_config(tmp_path) and same.acoustic_training.optimizer.learning_rate == 0.004
    for words in (("--learning-rate", "0.003"), ("--updates", "5"), ("--seed", "1"), ("--init", "elsewhere")):
        with pytest.raises(BitjetsError, match=rf"was begun with {words[0]} .*, not {words[1]}: leave it out"):
            config_of(data, tmp_path, "acoustic", "--resume", *words)
    with pytest.raises(BitjetsError, match="is a run of --stage acoustic"):
        config_of(data, tmp_path, "vocoder", "--resume")
    begin_run(tmp_path / "v", data, "vocoder")
    with pytest.raises(BitjetsError, match="holds a harmonic vocoder: leave --vocoder hifigan out"):
        config_of(data, tmp_path / "v", "vocoder", "--resume", "--vocoder", "hifigan")


def test_a_finished_run_is_lengthened(monkeypatch: pytest.MonkeyPatch, data: PreparedData, tmp_path: Path) -> None:
    """What had begun has begun: quantization and discriminators do not go back."""
    run = trained(data, tmp_path / "run", "acoustic", monkeypatch, quantize_from=0.5, quantize_until=1.0)
    before = run_weights(run)[1]
    call(monkeypatch, data, run, "acoustic", "--resume", "--updates", "4", "--log-every", "1")
    longer = load_run_config(run)
    assert longer.updates == 4 and run_weights(run)[0] == 4
    assert [longer.quantization(update) for update in range(4)] == [0.0, 0.0, 1.0, 1.0]
    with pytest.raises(AssertionError):
        assert_same_trees(before, run_weights(run)[1])
    vocoder = tmp_path / "vocoder"
    begin_run(vocoder, data, "vocoder", adversarial_from=0.5)
    assert config_of(data, vocoder, "vocoder", "--resume", "--updates", "12").adversarial(3) > 0.0
    begin_run(tmp_path / "never", data, "vocoder", adversarial_from=1.0)
    assert config_of(data, tmp_path / "never", "vocoder", "--resume", "--updates", "12").adversarial(11) == 0.0


def test_resuming_on_other_data_is_refused_and_on_moved_data_is_not(data: PreparedData, tmp_path: Path) -> None:
    run = tmp_path / "run"
    begin_run(run, data, "acoustic")
    moved = tmp_path / "moved"
    shutil.copytree(data.folder, moved)
    assert resumed_config(run, "acoustic", PreparedData(moved), {}, {}).model == ACOUSTIC
    text = (moved / "clips.jsonl").read_text()
    (moved / "clips.jsonl").write_text(text.replace('"OW1"', '"IY1"'))
    with pytest.raises(BitjetsError, match="was trained on other prepared data"):
        resumed_config(run, "acoustic", PreparedData(moved), {}, {})


def test_a_damaged_run_says_so(data: PreparedData, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(BitjetsError, match="cannot be read as JSON"):
        load_run_config(tmp_path)
    begin_run(tmp_path, data, "acoustic")
    values = json.loads((tmp_path / "config.json").read_text())
    for name, wrong in (("updates", "many"), ("format", 3), ("stage", "both"), ("acoustic", {"optimizer": 3})):
        (tmp_path / "config.json").write_text(json.dumps(values | {name: wrong}))
        with pytest.raises(BitjetsError, match="damaged"):
            load_run_config(tmp_path)


# -- init checkpoints -----------------------------------------------------------------------------------------


def test_init_from_a_run(monkeypatch: pytest.MonkeyPatch, data: PreparedData, tmp_path: Path) -> None:
    """The averaged weights, the model's sizes, its mel statistics; quantized from the start."""
    source = trained(data, tmp_path / "source", "acoustic", monkeypatch)
    config = config_of(data, tmp_path / "new", "acoustic", "--init", str(source), "--dropout", "0.2")
    assert config.model == replace(ACOUSTIC, dropout=0.2) and config.quantization(0) == 1.0
    seen = []
    monkeypatch.setattr(train, "train", lambda stage, *rest: seen.append(stage.parts()))
    call(monkeypatch, data, tmp_path / "new", "acoustic", "--init", str(source))
    assert_same_trees(seen[0]["model"], run_weights(source)[1])
    assert_same_trees(seen[0]["ema"], run_weights(source)[1])
    assert all(float(leaf.max()) == 0.0 for _, leaf in tree_flatten(seen[0]["optimizer"]["encoder"]))
    # Killed before its first checkpoint, the run begins with the same weights, whether --init is given again or not.
    call(monkeypatch, data, tmp_path / "new", "acoustic", "--resume")
    assert_same_trees(seen[1]["model"], seen[0]["model"])
    shutil.rmtree(source)
    with pytest.raises(BitjetsError, match="source"):
        call(monkeypatch, data, tmp_path / "new", "acoustic", "--resume")


def test_a_deeper_decoder_begins_by_saying_what_the_shallower_one_said(
    monkeypatch: pytest.MonkeyPatch, data: PreparedData, tmp_path: Path
) -> None:
    source = trained(data, tmp_path / "source", "acoustic", monkeypatch)
    seen: list[Trainer] = []
    monkeypatch.setattr(train, "train", lambda stage, *rest: seen.append(stage))
    call(monkeypatch, data, tmp_path / "new", "acoustic", "--init", str(source), "--decoder-layers", "3")
    shallow, deep = build_acoustic(ACOUSTIC, True), build_acoustic(replace(ACOUSTIC, decoder_layers=3), True)
    shallow.update(run_weights(source)[1])
    deep.update(seen[0].parts()["model"])
    clip = data.split("train")[0]
    said = [example(model, data, clip).predicted for model in (shallow, deep)]
    assert 0.0 < np.abs(said[0] - said[1]).max() < 0.01 * said[0].std()
    with pytest.raises(BitjetsError, match="has 3 blocks in its decoder: give --decoder-layers as many or more"):
        deepened([{}] * 3, [{}] * 2, str(source))


def test_a_pitch_predictor_that_reads_something_else_begins_anew(
    monkeypatch: pytest.MonkeyPatch, data: PreparedData, tmp_path: Path
) -> None:
    assert ACOUSTIC.pitch_reads == "states"
    source = trained(data, tmp_path / "source", "acoustic", monkeypatch)
    seen: list[Trainer] = []
    monkeypatch.setattr(train, "train", lambda stage, *rest: seen.append(stage))
    call(monkeypatch, data, tmp_path / "new", "acoustic", "--init", str(source), "--pitch-reads", "phonemes")
    begun, was = seen[0].parts()["model"], run_weights(source)[1]
    assert [layer["weight"].shape for layer in begun["pitch"]["layers"]] == [(64, 9, 16), *[(64, 9, 64)] * 3]
    assert_same_trees({**begun, "pitch": {}}, {**was, "pitch": {}})


def test_new_acoustic_models_predict_pitch_from_phonemes() -> None:
    assert new_acoustic(2).pitch_reads == "phonemes" and new_acoustic(2).speakers == 2
    assert new_acoustic(2).predictors == ((192, 2, 3), (64, 4, 9), (192, 2, 3))


def test_init_from_a_trainable_folder(monkeypatch: pytest.MonkeyPatch, data: PreparedData, tmp_path: Path) -> None:
    source = acoustic_run(tmp_path / "source")
    packed(monkeypatch, "--acoustic", str(source), "--output", str(tmp_path / "voice"), "--trainable")
    seen = []
    monkeypatch.setattr(train, "train", lambda stage, *rest: seen.append(stage.parts()["model"]))
    call(monkeypatch, data, tmp_path / "new", "acoustic", "--init", str(tmp_path / "voice_trainable"))
    expected = dict(tree_flatten(run_weights(source)[1]))
    for name, leaf in tree_flatten(seen[0]):
        np.testing.assert_allclose(np.array(leaf), np.array(expected[name]), atol=2e-3, rtol=1e-3)  # fp16 on disk
        assert leaf.dtype == mx.float32
    statistics = load_run_config(tmp_path / "new").data.statistics
    assert statistics.mel_mean == load_run_config(source).data.statistics.mel_mean  # what the weights were trained in
    assert statistics.log_f0_mean == data.statistics.log_f0_mean  # the speakers' own


def test_init_of_a_vocoder_from_a_voice_folder(
    monkeypatch: pytest.MonkeyPatch, data: PreparedData, tmp_path: Path
) -> None:
    packed(monkeypatch, "--vocoder", str(vocoder_run(tmp_path / "source")), "--output", str(tmp_path / "voice"))
    assert config_of(data, tmp_path / "new", "vocoder", "--init", str(tmp_path / "voice")).model == HARMONIC
    init = read_init(tmp_path / "voice", "vocoder")
    assert dict(tree_flatten(init.weights))["output.weight"].shape == (4 * 513, 16)
    with pytest.raises(BitjetsError, match="holds a harmonic vocoder: leave --vocoder hifigan out"):
        new_config("vocoder", data, {}, init=str(tmp_path / "voice"), vocoder="hifigan")
    with pytest.raises(BitjetsError, match="trainable"):
        read_init(tmp_path / "voice", "acoustic")


def test_speakers_of_other_data_begin_with_what_is_known() -> None:
    table = mx.array([[1.0, 2.0], [3.0, 6.0]])
    init = InitCheckpoint(ACOUSTIC, {"speaker_embedding": {"weight": table}, "gain": mx.ones(3)}, ("anna", "ben"))
    found = weights_for_speakers(init, ("carl", "ben"))
    assert found["speaker_embedding"]["weight"].tolist() == [[2.0, 4.0], [3.0, 6.0]]
    assert bool(mx.array_equal(found["gain"], mx.ones(3)))
    assert weights_for_speakers(init, ("anna", "ben")) is init.weights


@pytest.mark.parametrize("folder", ["nothing", "empty", "other_stage", "no_checkpoint"])
def test_bad_init_gets_one_sentence(data: PreparedData, tmp_path: Path, folder: str) -> None:
    source = tmp_path / folder
    if folder == "empty":
        source.mkdir()
    elif folder == "other_stage":
        vocoder_run(source)
    elif folder == "no_checkpoint":
        begin_run(source, data, "acoustic")
    with pytest.raises(BitjetsError, match=folder):
        new_config("acoustic", data, {}, init=str(source))


# -- the commands, for real ----------------------------------------------------------------------------------------


def test_a_real_command_from_nothing(data: PreparedData, tmp_path: Path) -> None:
    """The default model; then again with nothing left to do."""
    options = ("--updates", "2", "--batch-size", "2", "--accumulate", "1", "--log-every", "1")
    done = run_train(data, tmp_path / "run", "acoustic", *options)
    assert done.returncode == 0, done.stderr
    assert "2/2" in done.stderr and "Traceback" not in done.stderr
    newest = newest_checkpoint(tmp_path / "run")
    assert newest is not None and load_checkpoint(newest)[0] == 2
    again = run_train(data, tmp_path / "run", "acoustic", *options)
    assert again.returncode == 1
    assert (
        again.stderr
        == f"error: {tmp_path / 'run'} already holds a run: add --resume to go on with it, or give another --out.\n"
    )
    resumed = run_train(data, tmp_path / "run", "acoustic", "--resume")
    assert resumed.returncode == 0 and "at update 2" in resumed.stderr


@pytest.mark.parametrize("what", ["data", "out", "init"])
def test_bad_folders_get_one_sentence_and_nothing_is_written(data: PreparedData, tmp_path: Path, what: str) -> None:
    file = tmp_path / "file"
    file.write_text("not a folder")
    words = {"data": str(data.folder), "out": str(tmp_path / "run")} | {what: str(file)}
    arguments = ["--stage", "acoustic"] + [word for name, value in words.items() for word in (f"--{name}", value)]
    done = run_train(data, tmp_path / "run", "acoustic", *arguments)  # the later of two options counts
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1 and "file" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_full_disk_ends_in_one_sentence_and_the_run_goes_on_later(data: PreparedData, tmp_path: Path) -> None:
    """The system refuses files of more than 16 KiB from the second checkpoint on."""
    begin_run(tmp_path, data, "acoustic", updates=4, accumulate=1)
    options = ("--resume", "--log-every", "1", "--save-every", "1")
    program = (
        "import resource, sys; from bitjets_mlx import train; from bitjets_mlx.errors import run_command\n"
        "from bitjets_mlx.training import loop\n"
        "plain = loop.save_checkpoint\n"
        "def save(run, update, parts):\n"
        "    if update == 2: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 14, resource.RLIM_INFINITY))\n"
        "    return plain(run, update, parts)\n"
        "loop.save_checkpoint = save\n"
        "run_command(train.main)"
    )
    command = [sys.executable, "-c", program, *train_command(data, tmp_path, "acoustic", *options)[3:]]
    done = subprocess.run(command, cwd=ROOT, env=quick_environment(), capture_output=True, text=True)
    assert done.returncode == 1
    said = done.stderr.splitlines()[-1]
    assert said.startswith("error: the checkpoint of update 2 could not be written") and "--resume" in said
    assert "Traceback" not in done.stderr
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step_00000001"]
    again = run_train(data, tmp_path, "acoustic", *options)
    assert again.returncode == 0 and "at update 1" in again.stderr
