"""Train one stage of a voice on prepared data.

    python -m bitjets_mlx.train --stage acoustic --data PREPARED --out RUN
    python -m bitjets_mlx.train --stage vocoder --data PREPARED --out RUN2
    python -m bitjets_mlx.train --stage joint --data PREPARED --out RUN3 --init-acoustic RUN --init-vocoder RUN2

The joint stage trains both halves at once, end to end as in JETS; it also starts from scratch.

A run that was stopped or killed goes on, to the same weights, with the same command and --resume; with more --updates
it becomes longer. With `mlx.launch -n 2 -- python -m bitjets_mlx.train ...` two processes share the work.
"""

import argparse
import dataclasses
import math
import sys
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import mlx.core as mx
import numpy as np

from bitjets_mlx.checked import Range
from bitjets_mlx.config import (
    AcousticConfig,
    AudioConfig,
    HarmonicConfig,
    HifiganConfig,
    JointConfig,
    identity_statistics,
)
from bitjets_mlx.data.prepared import PreparedData
from bitjets_mlx.data.respelled import as_read
from bitjets_mlx.errors import BitjetsError, run_command
from bitjets_mlx.folders import locked
from bitjets_mlx.training.checkpoints import newest_checkpoint
from bitjets_mlx.training.config import (
    MODEL_SETTINGS,
    AcousticTraining,
    DataConfig,
    JointWeights,
    OptimizerConfig,
    Stage,
    TrainConfig,
    VocoderTraining,
    flag,
    get,
    settings_of,
)
from bitjets_mlx.training.configure import new_config, resumed_config
from bitjets_mlx.training.defaults import VOCODERS, default_config, new_acoustic
from bitjets_mlx.training.loop import LoopConfig, train
from bitjets_mlx.training.optimize import leaves
from bitjets_mlx.training.runs import save_run_config
from bitjets_mlx.training.stages import build
from bitjets_mlx.training.trainer import DISCRIMINATORS, Trainer
from bitjets_mlx.training.validation import VocoderValidation
from bitjets_mlx.training.warm_start import start
from bitjets_mlx.vocoder.quantized import TERNARY

JUDGED_CLIPS = 8
NOT_SETTINGS = {"stage", "data", "out", "resume", "wandb", "pesq", "judge", "log_every", "save_every", "validate_every"}


def main() -> None:
    """Parse, build the stage, train."""
    arguments = parser().parse_args()
    run, prepared = Path(arguments.out), PreparedData(arguments.data)
    config = config_of(arguments, run, prepared)
    own = config.data
    trainer = build(as_read(prepared, own.symbols, own.audio).with_statistics(own.statistics), config, run)
    if not (arguments.resume and newest_checkpoint(run)):
        start(trainer)
    add_measures(trainer, arguments.pesq, arguments.judge)
    group = mx.distributed.init()
    mx.eval(mx.distributed.all_sum(mx.array(1.0), group=group))  # every process has looked whether there is a run
    first = group.rank() == 0
    with locked(run) if first else nullcontext():  # two trainings would write over each other
        _train(trainer, config, run, arguments, first)


def _train(trainer: Trainer, config: TrainConfig, run: Path, arguments: argparse.Namespace, first: bool) -> None:
    if first:
        if config.vocoder is not None and config.vocoder.adversarial_from < 1.0:
            count = sum(leaf.size for _, leaf in leaves(trainer.networks[DISCRIMINATORS].parameters))
            print(f"discriminators: {config.vocoder.discriminators}, {count / 1e6:.2f} M parameters", file=sys.stderr)
        save_run_config(run, config)
    loop = LoopConfig(config.updates, arguments.log_every, arguments.save_every, arguments.validate_every)
    if arguments.wandb and first:
        from bitjets_mlx.training.wandb_log import WandbLog  # wandb is slow to import and not always there

        with WandbLog(run, config, trainer) as log:
            train(trainer, run, loop, arguments.resume, log.observe)
    else:
        train(trainer, run, loop, arguments.resume)


def config_of(arguments: argparse.Namespace, run: Path, data: PreparedData) -> TrainConfig:
    """The configuration that a command line asks for, of a new run or of one to resume."""
    given = {name: value for name, value in vars(arguments).items() if name not in NOT_SETTINGS and value is not None}
    if arguments.stage != "vocoder":
        given |= _precision(given)
    begun = (run / "config.json").exists()
    if begun and not arguments.resume:
        raise BitjetsError(f"{run} already holds a run: add --resume to go on with it, or give another --out.")
    if run.exists() and not run.is_dir():
        raise BitjetsError(f"--out {run} is a file: give the name of a folder.")
    sources = {"acoustic": {"init"}, "vocoder": {"init", "vocoder"}}
    own = sources.get(arguments.stage, {"init", "init_acoustic", "init_vocoder", "vocoder", "vocoder_reads"})
    questions = {name: given.pop(name) for name in own if name in given}
    if begun:
        return resumed_config(run, arguments.stage, data, given, questions)
    return new_config(arguments.stage, data, given, **questions)


def add_measures(trainer: Trainer, pesq: bool, judge: bool) -> None:
    """What validation measures beside the losses, on copy synthesis."""
    if not (pesq or judge):
        return
    if not isinstance(trainer.validation, VocoderValidation):
        raise BitjetsError("--pesq and --judge measure copy synthesis: leave them out without --stage vocoder.")
    if pesq:
        from bitjets_mlx.evaluation.packages import optional
        from bitjets_mlx.evaluation.quality import pesq_wideband, stoi

        for package in ("pesq", "pystoi"):
            optional(package)  # say what is missing now, not at the first validation
        trainer.validation.measures.append(partial(_means, {"pesq": pesq_wideband, "stoi": stoi}))
    if judge:
        from bitjets_mlx.evaluation.distill_mos import score

        trainer.validation.measures.append(partial(_judged, score))


def _means(
    measures: Mapping[str, Callable[[np.ndarray, np.ndarray], float]],
    recorded: list[np.ndarray],
    copies: list[np.ndarray],
) -> dict[str, float]:
    """The mean of each measure over pairs of recording and copy; NaNs, where it cannot tell, do not count."""
    found = {}
    for name, measure in measures.items():
        values = [measure(one, other) for one, other in zip(recorded, copies, strict=True)]
        known = [value for value in values if np.isfinite(value)]
        if known:
            found[name] = float(np.mean(known))
    return found


def _judged(
    score: Callable[[list[np.ndarray], int], np.ndarray], recorded: list[np.ndarray], copies: list[np.ndarray]
) -> dict[str, float]:
    """Distill-MOS of some of the copies; of the recordings too, as what they are compared with."""
    rate, every = AudioConfig.sample_rate, max(1, len(copies) // JUDGED_CLIPS)
    mos, above = (float(np.mean(score(clips[::every], rate))) for clips in (copies, recorded))
    return {"distill_mos": mos, "distill_mos_recorded": above}


def _precision(options: Mapping[str, Any]) -> dict[str, Any]:
    """`ternary` and `weight_bits` of the acoustic model, of which each rules the other out."""
    if "weight_bits" in options:
        ternary = options["weight_bits"] == TERNARY
        return {"ternary": ternary, "weight_bits": 0 if ternary else int(options["weight_bits"])}
    return {"weight_bits": 0} if "ternary" in options else {}


# -- the command line ----------------------------------------------------------------------------------------------


def parser() -> argparse.ArgumentParser:
    """Flags of the run, and those that the configuration's fields make."""
    made = argparse.ArgumentParser(
        prog="python -m bitjets_mlx.train",
        usage="python -m bitjets_mlx.train --stage {acoustic,vocoder,joint} --data PREPARED --out RUN [options]",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    defaults = default_texts()
    what = made.add_argument_group("what to train")
    what.add_argument("--stage", choices=get_args(Stage), required=True, help="half of a voice, or both")
    what.add_argument("--data", metavar="PREPARED", required=True, help="folder written by bitjets_mlx.prepare")
    what.add_argument("--out", metavar="RUN", required=True, help="folder of this run")
    what.add_argument("--resume", action="store_true", help="go on from the newest checkpoint in RUN")
    text = "init checkpoint: a run, a <voice>_trainable or a converted folder, for a vocoder also a voice"
    what.add_argument("--init", metavar="FOLDER", help=text)
    what.add_argument("--init-acoustic", metavar="FOLDER", help="init checkpoint of the acoustic model (joint)")
    what.add_argument("--init-vocoder", metavar="FOLDER", help="init checkpoint of the vocoder (joint)")
    text = "kind of vocoder, by default harmonic; hifigan is hifigan-v2"
    what.add_argument("--vocoder", choices=list(VOCODERS), help=text)
    text = "what HiFi-GAN reads, by default mels; as in JETS the decoder's states (joint)"
    what.add_argument("--vocoder-reads", choices=["mel", "states"], help=text)
    _add_precision(what.add_mutually_exclusive_group())
    for title, kind, prefix in (
        ("all stages", TrainConfig, ""),
        ("optimizer; with two halves the acoustic model's", OptimizerConfig, ""),
        ("acoustic model (--stage acoustic and joint)", AcousticTraining, ""),
        ("vocoder (--stage vocoder and joint)", VocoderTraining, ""),
        ("vocoder's optimizer (--stage joint)", OptimizerConfig, "vocoder_"),
        ("--stage joint", JointWeights, ""),
        ("log", LoopConfig, ""),
    ):
        group = made.add_argument_group(title)
        hints = get_type_hints(kind, include_extras=True)
        if kind is AcousticTraining:
            model = get_type_hints(AcousticConfig, include_extras=True)
            for name, text in MODEL_SETTINGS.items():
                _add(group, name, model[name], text, defaults[name])
        for each in dataclasses.fields(kind):
            if each.metadata:
                aliases = () if prefix else each.metadata["aliases"]
                name, about = prefix + each.name, each.metadata
                _add(group, name, hints[each.name], about["help"], defaults.get(name, each.default), *aliases)
    made.set_defaults(**{f.name: f.default for f in dataclasses.fields(LoopConfig) if f.metadata})
    group.add_argument(
        "--pesq", action="store_true", help="validate with PESQ and STOI (vocoder; see requirements-dev.txt)"
    )
    text = "validate with Distill-MOS (vocoder; requirements-quality.txt)"
    group.add_argument("--judge", action="store_true", help=text)
    text = "also log to Weights & Biases (WANDB_MODE=offline: to disk)"
    group.add_argument("--wandb", action="store_true", help=text)
    return made


def default_texts() -> dict[str, str]:
    """The default of every setting, or its defaults where trainings differ."""
    data = DataConfig("", AudioConfig(), identity_statistics(AudioConfig.n_mels, 1), (), ())
    acoustic, harmonic, hifigan = new_acoustic(1), HarmonicConfig(), HifiganConfig()
    trainings = {
        "acoustic": default_config("acoustic", acoustic, data),
        "harmonic": default_config("vocoder", harmonic, data),
        "HiFi-GAN": default_config("vocoder", hifigan, data),
        "joint with harmonic": default_config("joint", JointConfig(acoustic, harmonic), data),
        "joint with HiFi-GAN": default_config("joint", JointConfig(acoustic, hifigan), data),
    }
    values: dict[str, dict[str, list[str]]] = {}  # of a setting: which trainings have which value
    for label, config in trainings.items():
        for name, path in settings_of(config).items():
            values.setdefault(name, {}).setdefault(str(get(config, path)), []).append(label)
    return {
        name: "; ".join(f"{', '.join(labels)}: {value}" for value, labels in own.items()) if len(own) > 1 else min(own)
        for name, own in values.items()
    }


def _add_precision(group: Any) -> None:
    text = "of integer weights, to compare with: the acoustic model's in place of ternary ones, or the vocoder's"
    group.add_argument("--weight-bits", type=float, choices=[8, 4, TERNARY], help=text)
    text = "take full-precision weights of --init to ternary ones"
    group.add_argument("--ternary", action="store_true", default=None, help=text)
    text = "no quantization at all: to compare with, or a start for --ternary"
    group.add_argument("--full-precision", action="store_false", dest="ternary", default=None, help=text)


def _add(group: Any, name: str, hint: Any, text: str, default: Any, *aliases: str) -> None:
    """A setting's flag, as its annotation says; None where the command line does not name it."""
    names, about = [flag(name), *map(flag, aliases)], {"dest": name, "help": f"{text} ({default})" if default else text}
    if get_origin(hint) is Annotated:
        kind, limits = get_args(hint)
        group.add_argument(*names, metavar=kind.__name__[0].upper(), type=partial(_number, kind, limits), **about)
    elif get_origin(hint) is Literal:
        group.add_argument(*names, choices=get_args(hint), **about)
    elif hint is bool:
        group.add_argument(*names, action="store_true", default=None, **about)
    else:
        group.add_argument(*names, metavar="FOLDER", **about)


def _number(kind: Callable[[str], float], limits: Range, text: str) -> float:
    try:
        value = kind(text)
    except ValueError:
        value = math.nan
    if not limits.low <= value <= limits.high:
        wanted = "a whole number" if kind is int else "a number"
        raise argparse.ArgumentTypeError(f"{text} is not {wanted} from {limits.low:,g} to {limits.high:,g}")
    return value


if __name__ == "__main__":
    sys.exit(run_command(main))
