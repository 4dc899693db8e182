"""Train one stage of a voice on prepared data.

    python -m bitjets_mlx.train --stage acoustic --data PREPARED --out RUN
    python -m bitjets_mlx.train --stage vocoder --data PREPARED --out RUN2
    python -m bitjets_mlx.train --stage joint --data PREPARED --out RUN3 --init-acoustic RUN --init-vocoder RUN2

The joint stage trains both halves at once, end to end as in JETS; it also begins from nothing.

A run that was stopped or killed goes on, to the same weights, with the same command and --resume.
With `mlx.launch -n 2 -- python -m bitjets_mlx.train ...` two processes share the work.
"""

import argparse
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx

from bitjets_mlx.config import AcousticConfig, CharacterConfig, HarmonicConfig, HifiganConfig, JointConfig
from bitjets_mlx.data.prepared import PreparedData
from bitjets_mlx.data.respelled import as_read
from bitjets_mlx.errors import BitjetsError, run_command
from bitjets_mlx.training.acoustic_stage import AcousticStage, AcousticTraining
from bitjets_mlx.training.beginning import Stage, begin
from bitjets_mlx.training.checkpoints import newest_checkpoint
from bitjets_mlx.training.joint_settings import fresh_joint_settings
from bitjets_mlx.training.joint_stage import JointStage
from bitjets_mlx.training.joint_training import JointTraining, joint_training
from bitjets_mlx.training.loop import LoopConfig, train
from bitjets_mlx.training.optimize import leaves
from bitjets_mlx.training.runs import save_run_config
from bitjets_mlx.training.settings import (
    JOINT,
    VOCODERS,
    Settings,
    Training,
    fresh_settings,
    resumed_settings,
    run_config,
)
from bitjets_mlx.training.vocoder_stage import VocoderStage
from bitjets_mlx.training.vocoder_step import VocoderTrainingConfig, hifigan_training
from bitjets_mlx.vocoder.quantized import TERNARY

LOOP = LoopConfig(updates=0)  # for its defaults
NOT_SETTINGS = {"stage", "data", "out", "init", "resume", "wandb", "pesq", "log_every", "save_every", "validate_every"}


def main() -> None:
    """Parse, build the stage, train."""
    arguments = _parser().parse_args()
    run, prepared = Path(arguments.out), PreparedData(arguments.data)
    settings = _settings(arguments, run, prepared)
    data = as_read(prepared, settings.symbols, settings.audio)
    data.statistics = settings.statistics
    stage = _stage(settings, data, run)
    if not (arguments.resume and newest_checkpoint(run)):
        begin(stage, settings, data.speakers)
    if arguments.pesq:
        _measure_pesq(stage)
    config = run_config(settings, data)
    group = mx.distributed.init()
    mx.eval(mx.distributed.all_sum(mx.array(1.0), group=group))  # every process has looked whether there is a run
    if group.rank() == 0:
        _say_discriminators(settings.training, stage)
        if not (run / "config.json").exists():
            save_run_config(run, config)
    loop = LoopConfig(settings.training.updates, arguments.log_every, arguments.save_every, arguments.validate_every)
    if arguments.wandb and group.rank() == 0:
        from bitjets_mlx.training.wandb_log import WandbLog  # wandb is slow to import and not always there

        with WandbLog(run, config, stage) as log:
            train(stage, run, loop, arguments.resume, log.observe)
    else:
        train(stage, run, loop, arguments.resume)


def _settings(arguments: argparse.Namespace, run: Path, data: PreparedData) -> Settings:
    options = {name: value for name, value in vars(arguments).items() if name not in NOT_SETTINGS and value is not None}
    if arguments.stage != "vocoder":
        options |= _precision(options)
    begun = (run / "config.json").exists()
    if begun and not arguments.resume:
        raise BitjetsError(f"{run} already holds a run: add --resume to go on with it, or give another --out.")
    if run.exists() and not run.is_dir():
        raise BitjetsError(f"--out {run} is a file: give the name of a folder.")
    init = arguments.init or ""
    if begun:
        return resumed_settings(run, arguments.stage, data, init, options)
    if arguments.stage == JOINT:
        return fresh_joint_settings(data, init, options)
    return fresh_settings(arguments.stage, options.get("vocoder"), data, init, options)


def _precision(options: dict[str, Any]) -> dict[str, Any]:
    """`ternary` and `weight_bits` of the acoustic model, of which each rules the other out."""
    if "weight_bits" in options:
        ternary = options["weight_bits"] == TERNARY
        return {"ternary": ternary, "weight_bits": 0 if ternary else int(options["weight_bits"])}
    return {"weight_bits": 0} if "ternary" in options else {}


def _stage(settings: Settings, data: PreparedData, run: Path) -> Stage:
    model, training = settings.model, settings.training
    if isinstance(model, JointConfig):
        assert isinstance(training, JointTraining)
        return JointStage(data, model, training)
    if isinstance(model, AcousticConfig | CharacterConfig):
        assert isinstance(training, AcousticTraining)
        return AcousticStage(data, model, training)
    assert isinstance(training, VocoderTrainingConfig)
    assert isinstance(model, HarmonicConfig | HifiganConfig)
    return VocoderStage(data, model, training, run)


def _measure_pesq(stage: Stage) -> None:
    if not isinstance(stage, VocoderStage):
        raise BitjetsError("--pesq measures copy synthesis: leave it out without --stage vocoder.")
    from bitjets_mlx.evaluation.packages import optional

    for package in ("pesq", "pystoi"):
        optional(package)  # say what is missing now, not at the first validation
    stage.validation.with_pesq = True


def _say_discriminators(training: Training, stage: Stage) -> None:
    if isinstance(training, AcousticTraining):
        return
    own = training.vocoder if isinstance(training, JointTraining) else training
    if own.adversarial_from < 1.0:
        count = sum(leaf.size for _, leaf in leaves(stage.parts()["discriminators"]))
        print(f"discriminators: {own.discriminators}, {count / 1e6:.2f} M parameters", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bitjets_mlx.train",
        usage="python -m bitjets_mlx.train --stage {acoustic,vocoder,joint} --data PREPARED --out RUN [options]",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = parser.add_argument_group("what to train")
    what.add_argument("--stage", choices=["acoustic", "vocoder", JOINT], required=True, help="half of a voice, or both")
    what.add_argument("--data", metavar="PREPARED", required=True, help="folder written by bitjets_mlx.prepare")
    what.add_argument("--out", metavar="RUN", required=True, help="folder of this run")
    what.add_argument("--resume", action="store_true", help="go on from the newest checkpoint in RUN")
    what.add_argument(
        "--init", metavar="FOLDER", help="begin with the weights of a run, a <voice>_trainable or a converted folder"
    )
    what.add_argument("--vocoder", choices=list(VOCODERS), help="kind of vocoder (harmonic); hifigan is hifigan-v2")

    _add_training_options(parser)
    log = parser.add_argument_group("every how many updates there is what (may change when resuming)")
    for what_else, default, text in (
        ("log", LOOP.log_every, "a line in RUN/log.jsonl"),
        ("save", LOOP.save_every, "a checkpoint"),
        ("validate", LOOP.validate_every, "validation losses"),
    ):
        log.add_argument(
            f"--{what_else}-every", metavar="N", type=_count, default=default, help=f"{text} (%(default)s)"
        )
    log.add_argument(
        "--pesq", action="store_true", help="validate with PESQ and STOI too (vocoder; needs requirements-dev.txt)"
    )
    log.add_argument("--wandb", action="store_true", help="also log to Weights & Biases (WANDB_MODE=offline: to disk)")
    return parser


def _add(group: argparse._ArgumentGroup, name: str, kind: Callable[[str], float], text: str, default: object) -> None:
    """A number; None where the command line does not name it."""
    letter = "N" if kind in (_count, _seed) else "R"
    group.add_argument(name, metavar=letter, type=kind, help=f"{text} ({default})")


def _add_training_options(parser: argparse.ArgumentParser) -> None:
    """Fields of the training's and the model's configuration."""
    acoustic, vocoder, hifigan = AcousticTraining(), VocoderTrainingConfig(), hifigan_training()
    joint = joint_training(HifiganConfig(), reads_mels=True)
    of_all = parser.add_argument_group("how (for all stages; the default in brackets)")
    _add(of_all, "--updates", _count, "length of the whole training", acoustic.updates)
    default = f"{acoustic.batch_size}; HiFi-GAN {hifigan.batch_size}"
    _add(of_all, "--batch-size", _count, "clips a micro-batch and process", default)
    default = f"{acoustic.accumulate}; HiFi-GAN {hifigan.accumulate}; joint {joint.acoustic.accumulate}"
    _add(of_all, "--accumulate", _count, "micro-batches an update", default)
    default = f"{acoustic.learning_rate}; vocoder {vocoder.learning_rate}, HiFi-GAN {hifigan.learning_rate}; joint "
    default += f"{joint.acoustic.learning_rate}"
    _add(of_all, "--learning-rate", _positive, "peak of the schedule (joint: the acoustic model's)", default)
    default = f"{acoustic.warm_up}; vocoder {vocoder.warm_up}, HiFi-GAN {hifigan.warm_up}"
    _add(of_all, "--warm-up", _count, "updates until it has its peak (joint: likewise)", default)
    text = "decoupled, as in AdamW (joint: likewise)"
    _add(of_all, "--weight-decay", _share, text, acoustic.weight_decay)
    _add(of_all, "--seed", _seed, "of weights, order of clips, dropout, noise", acoustic.seed)
    precision = of_all.add_mutually_exclusive_group()
    text = "of integer weights, to compare with: the acoustic model's in place of ternary ones, or the vocoder's"
    precision.add_argument("--weight-bits", type=float, choices=[8, 4, TERNARY], help=text)
    text = "take full-precision weights of --init to ternary ones"
    precision.add_argument("--ternary", action="store_true", default=None, help=text)
    text = "no quantization at all: to compare with, or a start for --ternary"
    precision.add_argument("--full-precision", action="store_false", dest="ternary", default=None, help=text)
    _add_acoustic_options(parser.add_argument_group("--stage acoustic and joint"))
    _add_vocoder_options(parser.add_argument_group("--stage vocoder and joint"))
    only = parser.add_argument_group("--stage vocoder only")
    text = "run or _trainable folder: half of the mels are what this model says"
    only.add_argument("--acoustic", metavar="FOLDER", help=text)
    _add_joint_options(parser.add_argument_group("--stage joint only"))


def _add_acoustic_options(group: argparse._ArgumentGroup) -> None:
    acoustic, model = AcousticTraining(), AcousticConfig()
    group.add_argument("--bf16", action="store_true", default=None, help="activations in bfloat16 (for GPUs)")
    text = "blocks of the decoder; more than --init has: new ones in its middle, which begin as almost nothing"
    _add(group, "--decoder-layers", _count, text, model.decoder_layers)
    text = "what predicts pitch reads phonemes, or the encoder's states (phonemes; with --init as there, or anew)"
    group.add_argument("--pitch-reads", choices=["phonemes", "states"], help=text)
    _add(group, "--dropout", _share, "in the encoder's blocks", model.dropout)
    _add(group, "--decoder-dropout", _share, "in the decoder's blocks", model.decoder_dropout)
    text = "in duration, pitch and energy predictors"
    _add(group, "--predictor-dropout", _share, text, model.predictor_dropout)
    text = "share of the run in full precision"
    _add(group, "--quantise-from", _share, text, f"{acoustic.quantise_from}; 0 with --init of what was ternary")
    text = "share by which weights are ternary"
    _add(group, "--quantise-until", _share, text, f"{acoustic.quantise_until}; 0 with --init of what was ternary")


def _add_vocoder_options(group: argparse._ArgumentGroup) -> None:
    vocoder, hifigan, joint = VocoderTrainingConfig(), hifigan_training(), joint_training(HifiganConfig(), True).vocoder
    default = f"{vocoder.segment_frames}; HiFi-GAN {hifigan.segment_frames}; joint {joint.segment_frames}"
    _add(group, "--segment-frames", _count, "length of a training segment", default)
    text = "of two sounds of the harmonic vocoder from the same features, against buzz"
    _add(group, "--repulsion", _share, text, vocoder.repulsion)
    default = f"{vocoder.adversarial_from}; HiFi-GAN {hifigan.adversarial_from}; "
    default += f"joint {joint.adversarial_from}, from two halves 0"
    _add(group, "--adversarial-from", _share, "share without discriminators, 1: all", default)
    text = "HiFi-GAN's own with 70 M parameters, or small ones for a CPU (small; HiFi-GAN on a GPU full)"
    group.add_argument("--discriminators", choices=["small", "full"], help=text)


def _add_joint_options(group: argparse._ArgumentGroup) -> None:
    rates = [joint_training(model, True).vocoder.learning_rate for model in (HifiganConfig(), HarmonicConfig())]
    group.add_argument("--init-acoustic", metavar="FOLDER", help="begin with this run's or _trainable folder's model")
    group.add_argument("--init-vocoder", metavar="FOLDER", help="begin with this run's, voice's or vocoder folder's")
    text = "what HiFi-GAN reads: mels, or as in JETS the decoder's states (mel)"
    group.add_argument("--vocoder-reads", choices=["mel", "states"], help=text)
    text = "peak of the generator's schedule"
    _add(group, "--vocoder-learning-rate", _positive, text, f"HiFi-GAN {rates[0]}, harmonic {rates[1]}")


def _number(text: str, convert: Callable[[str], float], fits: Callable[[float], bool], wanted: str) -> float:
    try:
        value = convert(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and fits(value)):
        raise argparse.ArgumentTypeError(f"{text} is not {wanted}")
    return value


def _count(text: str) -> float:
    return _number(text, int, lambda value: value >= 1, "a whole number of at least 1")


def _seed(text: str) -> float:
    return _number(text, int, lambda value: 0 <= value < 2**63, "a whole number that is not negative")


def _positive(text: str) -> float:
    return _number(text, float, lambda value: value > 0, "a number above 0")


def _share(text: str) -> float:
    return _number(text, float, lambda value: 0 <= value <= 1, "a number from 0 to 1")


if __name__ == "__main__":
    sys.exit(run_command(main))
