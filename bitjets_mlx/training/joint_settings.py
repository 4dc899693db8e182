"""What a new joint training is told to do: from scratch, from a joint run, or from halves trained apart."""

import dataclasses
from pathlib import Path

from bitjets_mlx.config import AcousticConfig, AudioConfig, HarmonicConfig, HifiganConfig, JointConfig
from bitjets_mlx.data.prepared import PreparedData
from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.text.symbols import SYMBOLS
from bitjets_mlx.training.joint_training import JointTraining, joint_training, joint_training_from_json
from bitjets_mlx.training.runs import load_run_config
from bitjets_mlx.training.settings import (
    JOINT,
    VOCODERS,
    WARM_IN_UNTIL,
    Initial,
    Options,
    Settings,
    check_known,
    check_symbols,
    check_vocoder,
    new_acoustic,
    overridden,
    read_initial,
    vocoder_training,
    with_mels_of,
)

Vocoder = HarmonicConfig | HifiganConfig


def fresh_joint_settings(data: PreparedData, init: str, options: Options) -> Settings:
    """Settings of a new joint training; the models are those of the weights to begin with, where there are any."""
    check_symbols(data)
    sources = tuple(str(options.get(name, "")) for name in ("init_acoustic", "init_vocoder"))
    if init and any(sources):
        raise BitjetsError("--init names a run with both halves: leave --init-acoustic and --init-vocoder out.")
    if init:
        read_initial(Path(init), JOINT)  # or it is none
    acoustic, vocoder = (
        read_initial(Path(init or source), half) if init or source else None
        for half, source in zip(("acoustic", "vocoder"), sources, strict=True)
    )
    model = _joined(acoustic, vocoder, init or sources[1], options, data)
    if acoustic is not None:
        _check_acoustic(acoustic, init or sources[0])
    training = _training(model, acoustic, vocoder, options)
    if init:  # its discriminators go on too
        size = joint_training_from_json(load_run_config(Path(init)).training).vocoder.discriminators
        training = training.replaced({"discriminators": size})
    check_known(JOINT, model, training, options)
    statistics = data.statistics
    if acoustic is not None and acoustic.statistics is not None:
        statistics = with_mels_of(acoustic.statistics, statistics)
    model = dataclasses.replace(model, acoustic=overridden(model.acoustic, options))
    symbols = acoustic.symbols if acoustic is not None else SYMBOLS
    return Settings(
        JOINT, model, training.replaced(options), statistics, init, symbols,
        init_acoustic=sources[0], init_vocoder=sources[1],
    )  # fmt: skip


def _joined(
    acoustic: Initial | None, vocoder: Initial | None, source: str, options: Options, data: PreparedData
) -> JointConfig:
    """An acoustic model and a vocoder that fit each other."""
    speakers = len(data.speakers)
    ours = acoustic.model if acoustic is not None else new_acoustic(speakers)
    if not isinstance(ours, AcousticConfig):
        raise BitjetsError("joint training knows no model that reads characters: train it with --stage acoustic.")
    ours = dataclasses.replace(ours, speakers=speakers)
    reads = options.get("vocoder_reads")
    if vocoder is None:
        theirs: Vocoder = VOCODERS[options.get("vocoder") or "harmonic"]
        if reads == "states" or not ours.mel:
            if not isinstance(theirs, HifiganConfig):
                raise BitjetsError("the harmonic vocoder reads mels: give --vocoder hifigan to have states read.")
            theirs, reads = dataclasses.replace(theirs, n_mels=ours.width), "states"
    else:
        assert isinstance(vocoder.model, HarmonicConfig | HifiganConfig)
        theirs = vocoder.model
        check_vocoder(source, theirs, options.get("vocoder"))
        own = "mel" if theirs.n_mels == ours.n_mels else "states"
        if reads not in (None, own):
            raise BitjetsError(f"the vocoder of {source} was trained on {own}: leave --vocoder-reads {reads} out.")
        reads = own
    if not ours.mel and reads == "mel":
        raise BitjetsError(
            "the acoustic model to begin with says no mels, only states: leave --vocoder-reads mel out, and begin with "
            "the vocoder it was trained with."
        )
    ours = dataclasses.replace(ours, mel=reads != "states")
    if theirs.n_mels != ours.outputs:
        raise BitjetsError(
            f"the vocoder of {source} reads {theirs.n_mels} channels, the acoustic model says {ours.outputs}: begin "
            "with halves that were trained together, or both on mels."
        )
    return JointConfig(ours, theirs)


def _check_acoustic(initial: Initial, source: str) -> None:
    if "aligner" not in initial.weights:
        raise BitjetsError(f"{source} has no aligner yet: train it with --stage acoustic first.")
    if initial.audio != AudioConfig():
        raise BitjetsError(f"{source} was trained on mels of another convention than prepared data has.")


def _training(model: JointConfig, acoustic: Initial | None, vocoder: Initial | None, options: Options) -> JointTraining:
    """The defaults: what is there already need not be warmed in."""
    training = joint_training(model.vocoder, model.acoustic.mel)
    judged = vocoder is not None and vocoder.judges is not None
    own = dataclasses.replace(training.vocoder, discriminators=vocoder_training(model.vocoder, judged).discriminators)
    if acoustic is not None and vocoder is not None:
        own = dataclasses.replace(own, adversarial_from=0.0)
    half = training.acoustic
    if acoustic is not None:
        warm_in = WARM_IN_UNTIL if options.get("ternary") and not model.acoustic.ternary else 0.0
        half = dataclasses.replace(half, quantise_from=0.0, quantise_until=warm_in, binarise_from=0.0)
    return dataclasses.replace(training, acoustic=half, vocoder=own)
