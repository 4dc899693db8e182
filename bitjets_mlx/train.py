"""python -m bitjets_mlx.train --stage acoustic --data PREPARED --out RUN

Trains one stage of a voice on prepared data. A killed run goes on with --resume.
"""

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import Any

from bitjets_mlx.config import AcousticConfig, HarmonicConfig, HifiganConfig, from_json, to_json
from bitjets_mlx.data.prepared import PreparedData
from bitjets_mlx.errors import BitjetsError, run_command
from bitjets_mlx.text.symbols import SYMBOLS
from bitjets_mlx.training.acoustic_stage import AcousticStage, AcousticTraining
from bitjets_mlx.training.loop import LoopConfig, train
from bitjets_mlx.training.runs import (
    RunConfig,
    check_same_shapes,
    load_run_config,
    run_weights,
    save_run_config,
)
from bitjets_mlx.training.vocoder_stage import VocoderStage
from bitjets_mlx.training.vocoder_step import VocoderTrainingConfig

Model = AcousticConfig | HarmonicConfig | HifiganConfig
Training = AcousticTraining | VocoderTrainingConfig
MODELS: dict[str, type[Model]] = {
    "bitjets": AcousticConfig,
    "harmonic": HarmonicConfig,
    "hifigan": HifiganConfig,
}
KINDS = {config: kind for kind, config in MODELS.items()}


def main() -> None:
    """Parse, build the stage, train."""
    arguments = _parser().parse_args()
    run = Path(arguments.out)
    data = PreparedData(arguments.data)
    model, training = _configurations(arguments, data, run)
    stage = _stage(data, model, training)
    if arguments.init:
        weights = run_weights(Path(arguments.init))[1]
        check_same_shapes(stage.parts()["model"], weights, str(arguments.init))
        stage.start_from(weights)
    save_run_config(
        run,
        RunConfig(
            arguments.stage,
            str(data.folder),
            {"kind": KINDS[type(model)]} | to_json(model),
            to_json(training),
            data.audio,
            data.statistics,
            data.speakers,
            data.symbols,
        ),
    )
    loop = LoopConfig(training.updates, arguments.log_every, arguments.save_every)
    train(stage, run, loop, arguments.resume)


def _stage(data: PreparedData, model: Model, training: Training) -> AcousticStage | VocoderStage:
    if isinstance(model, AcousticConfig):
        assert isinstance(training, AcousticTraining)
        return AcousticStage(data, model, training)
    assert isinstance(training, VocoderTrainingConfig)
    return VocoderStage(data, model, training)


def _configurations(arguments: argparse.Namespace, data: PreparedData, run: Path) -> tuple[Model, Training]:
    """From the command line, or from the run's own config.json when it is resumed."""
    training_kind: type[Training] = AcousticTraining if arguments.stage == "acoustic" else VocoderTrainingConfig
    if arguments.resume and (run / "config.json").exists():
        saved = load_run_config(run)
        if saved.stage != arguments.stage:
            raise BitjetsError(f"{run} is a run of --stage {saved.stage}: resume it as such.")
        model = {name: value for name, value in saved.model.items() if name != "kind"}
        return from_json(MODELS[saved.model["kind"]], model), from_json(training_kind, saved.training)
    if (run / "config.json").exists():
        raise BitjetsError(f"{run} already holds a run: add --resume to go on with it, or give another --out.")
    if arguments.stage == "acoustic":
        fresh: Model = AcousticConfig(symbols=len(SYMBOLS), speakers=len(data.speakers))
    else:
        fresh = MODELS[arguments.vocoder]()
    return _overridden(fresh, arguments), _overridden(training_kind(), arguments)


def _overridden(config: Any, arguments: argparse.Namespace) -> Any:
    """The configuration with those fields replaced that the command line names."""
    given = {
        field.name: getattr(arguments, field.name)
        for field in dataclasses.fields(config)
        if getattr(arguments, field.name, None) is not None
    }
    return dataclasses.replace(config, **given)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bitjets_mlx.train", description=__doc__)
    parser.add_argument("--stage", choices=["acoustic", "vocoder"], required=True)
    parser.add_argument("--data", required=True, help="folder written by bitjets_mlx.prepare")
    parser.add_argument("--out", required=True, help="folder of this run")
    parser.add_argument("--vocoder", choices=["harmonic", "hifigan"], default="harmonic", help="(harmonic)")
    parser.add_argument("--init", help="begin with the weights of this run or <voice>_trainable folder")
    parser.add_argument("--resume", action="store_true", help="go on from the newest checkpoint in --out")
    parser.add_argument("--updates", type=int, help="length of the whole training")
    parser.add_argument("--batch-size", type=int, help="clips a micro-batch (8)")
    parser.add_argument("--accumulate", type=int, help="micro-batches an update (4)")
    parser.add_argument("--learning-rate", type=float)
    parser.add_argument("--dropout", type=float, help="in FFT blocks (0.1)")
    parser.add_argument("--segment-frames", type=int, help="length of a vocoder's training segments (64)")
    parser.add_argument("--adversarial-from", type=float, help="share of the run without discriminators (0.75)")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--bf16", action="store_true", default=None, help="compute in bfloat16")
    parser.add_argument("--log-every", type=int, default=50)
    parser.add_argument("--save-every", type=int, default=500)
    return parser


if __name__ == "__main__":
    sys.exit(run_command(main))
