"""The configuration of a new training, from defaults and init checkpoints, and of a resumed one, from its folder."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bitjets_mlx.config import AcousticConfig, AudioConfig, CharacterConfig, HarmonicConfig, HifiganConfig, JointConfig
from bitjets_mlx.data.prepared import PreparedData
from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.text.symbols import SYMBOLS
from bitjets_mlx.training.config import (
    AcousticTraining,
    DataConfig,
    Model,
    Stage,
    TrainConfig,
    Vocoder,
    flag,
    get,
    lengthened,
    settings_of,
    with_settings,
)
from bitjets_mlx.training.defaults import VOCODERS, default_config, new_acoustic, with_pitch_of_phonemes
from bitjets_mlx.training.runs import load_run_config
from bitjets_mlx.training.warm_start import InitCheckpoint, check_mels, read_init

ALIGN_UNTIL = 0.1  # of a run that starts without an aligner
WARM_UP_UNTIL = 0.3  # of a run that takes full-precision weights to ternary ones


def new_config(
    stage: Stage,
    data: PreparedData,
    settings: Mapping[str, Any],
    init: str = "",
    init_acoustic: str = "",
    init_vocoder: str = "",
    vocoder: str | None = None,
    vocoder_reads: str | None = None,
) -> TrainConfig:
    """A new training: the models of the init checkpoints where there are any, defaults, and `settings` by name."""
    if data.symbols != SYMBOLS:
        raise BitjetsError(f"{data.folder} was prepared with other phoneme symbols: run prepare again.")
    if init and (init_acoustic or init_vocoder):
        raise BitjetsError("--init names a run with both halves: leave --init-acoustic and --init-vocoder out.")
    whole = read_init(Path(init), "joint") if init and stage == "joint" else None
    sources = {"acoustic": init or init_acoustic, "vocoder": init or init_vocoder}
    acoustic, generator = (
        read_init(Path(source), half) if source and stage in (half, "joint") else None
        for half, source in sources.items()
    )
    description = DataConfig.of(data)
    if generator is not None:
        assert isinstance(generator.model, Vocoder)
        check_vocoder(sources["vocoder"], generator.model, vocoder)
    if stage == "joint":
        model: Model = _joined(acoustic, generator, sources, vocoder or "harmonic", vocoder_reads, data)
    else:
        own = acoustic or generator
        model = own.model if own else new_acoustic(1) if stage == "acoustic" else VOCODERS[vocoder or "harmonic"]
        if own is not None:
            check_mels(init, own, data.audio.n_mels)
            description = dataclasses.replace(description, symbols=own.symbols, audio=own.audio)
        if isinstance(model, AcousticConfig):
            model = dataclasses.replace(model, speakers=len(data.speakers))
        if isinstance(model, CharacterConfig) and len(data.speakers) > 1:
            raise BitjetsError(f"{init} has one voice and no speakers: prepare the recordings of one speaker.")
    if acoustic is not None and acoustic.statistics is not None:
        statistics, theirs = description.statistics, acoustic.statistics  # in whose mels it was trained
        statistics = dataclasses.replace(statistics, mel_mean=theirs.mel_mean, mel_std=theirs.mel_std)
        description = dataclasses.replace(description, statistics=statistics, symbols=acoustic.symbols)
    full = generator is not None and generator.discriminators is not None
    config = default_config(stage, model, description, full)
    config = dataclasses.replace(config, init=init, init_acoustic=init_acoustic, init_vocoder=init_vocoder)
    if acoustic is not None and config.acoustic is not None:
        config = dataclasses.replace(config, acoustic=_warm(config.acoustic, acoustic, bool(settings.get("ternary"))))
    if acoustic is not None and generator is not None:
        config = with_settings(config, {"adversarial_from": 0.0})
    if whole is not None and whole.training is not None:  # its discriminators go on too
        config = with_settings(config, {"discriminators": whole.training.vocoder_training.discriminators})
    if settings.get("pitch_reads") == "phonemes" and config.acoustic is not None:
        reader = config.acoustic_model
        if isinstance(reader, AcousticConfig) and reader.pitch_reads != "phonemes":
            settings = {**settings, "predictors": with_pitch_of_phonemes(reader).predictors}
    return with_settings(config, settings)


def _warm(training: AcousticTraining, init: InitCheckpoint, ternary: bool) -> AcousticTraining:
    """What is already ternary and aligned needs no warm-up."""
    model, usual = init.model, training.quantize_until
    if init.statistics is None:
        return training
    training = dataclasses.replace(training, quantize_from=0.0, quantize_until=0.0, binarize_from=0.0)
    if "aligner" not in init.weights:  # converted: before there is an alignment, nothing else can learn
        training = dataclasses.replace(training, align_until=ALIGN_UNTIL, binarize_from=ALIGN_UNTIL)
        if isinstance(model, AcousticConfig):  # JETS, which has not been ternary before
            training = dataclasses.replace(training, quantize_from=ALIGN_UNTIL, quantize_until=usual)
    if ternary and isinstance(model, AcousticConfig) and not model.ternary:
        training = dataclasses.replace(training, quantize_until=WARM_UP_UNTIL)
    return training


def _joined(
    acoustic: InitCheckpoint | None,
    generator: InitCheckpoint | None,
    sources: Mapping[str, str],
    vocoder: str,
    reads: str | None,
    data: PreparedData,
) -> JointConfig:
    """An acoustic model and a vocoder that fit each other."""
    ours = acoustic.model if acoustic is not None else new_acoustic(1)
    if not isinstance(ours, AcousticConfig):
        raise BitjetsError("joint training has no model that reads characters: train it with --stage acoustic.")
    if acoustic is not None and "aligner" not in acoustic.weights:
        raise BitjetsError(f"{sources['acoustic']} has no aligner yet: train it with --stage acoustic first.")
    if acoustic is not None and acoustic.audio != AudioConfig():
        raise BitjetsError(f"{sources['acoustic']} was trained on mels of another convention than prepared data has.")
    if generator is None:
        theirs = VOCODERS[vocoder]
        if reads == "states" or not ours.mel:
            if not isinstance(theirs, HifiganConfig):
                raise BitjetsError("the harmonic vocoder reads mels: give --vocoder hifigan to have states read.")
            theirs, reads = dataclasses.replace(theirs, n_mels=ours.width), "states"
    else:
        assert isinstance(generator.model, HarmonicConfig | HifiganConfig)
        theirs = generator.model
        own = "mel" if theirs.n_mels == ours.n_mels else "states"
        if reads not in (None, own):
            raise BitjetsError(
                f"the vocoder of {sources['vocoder']} was trained on {own}: leave --vocoder-reads {reads} out."
            )
        reads = own
    if not ours.mel and reads == "mel":
        raise BitjetsError(
            "the acoustic model of the init checkpoint gives states and no mels: leave --vocoder-reads mel out, and "
            "start with the vocoder it was trained with."
        )
    ours = dataclasses.replace(ours, speakers=len(data.speakers), mel=reads != "states")
    if theirs.n_mels != ours.outputs:
        raise BitjetsError(
            f"the vocoder of {sources['vocoder']} reads {theirs.n_mels} channels, the acoustic model gives "
            f"{ours.outputs}: start with halves that were trained together, or both on mels."
        )
    return JointConfig(ours, theirs)


def check_vocoder(source: str | Path, model: Vocoder, vocoder: str | None) -> None:
    """BitjetsError where an init checkpoint is not of the vocoder that the command line names."""
    kind = model.KIND
    if vocoder and (kind != vocoder.split("-")[0] or ("-" in vocoder and model != VOCODERS[vocoder])):
        raise BitjetsError(f"{source} holds a {kind} vocoder: leave --vocoder {vocoder} out.")


def resumed_config(
    run: Path, stage: Stage, data: PreparedData, settings: Mapping[str, Any], questions: Mapping[str, Any]
) -> TrainConfig:
    """What a run was begun with; BitjetsError where the command line asks for something else than more updates.

    questions: `init`, `vocoder` and the like, as `new_config` has them.
    """
    saved = load_run_config(run)
    if saved.stage != stage:
        raise BitjetsError(f"{run} is a run of --stage {saved.stage}: resume it as such.")
    with_settings(saved, settings)  # refuses what the stage does not have
    paths = settings_of(saved)
    was = {name: get(saved, paths[name]) for name in settings}
    was |= {name: getattr(saved, name, None) for name in questions}
    if isinstance(saved.model, JointConfig):
        was["vocoder_reads"] = "mel" if saved.model.acoustic.mel else "states"
    if "vocoder" in questions:
        check_vocoder(run, saved.vocoder_model, questions["vocoder"])
    for name, value in {**settings, **questions}.items():
        longer = name == "updates" and value > was[name]
        if name != "vocoder" and value != was[name] and not longer:
            raise BitjetsError(
                f"{run} was begun with {flag(name)} {was[name] or 'left out'}, not {value}: leave it out to resume, or "
                f"begin a new run with --init {run}."
            )
    if saved.data.clips_sha256 and saved.data.clips_sha256 != DataConfig.of(data).clips_sha256:
        raise BitjetsError(
            f"{run} was trained on other prepared data than {data.folder} (it was {saved.data.folder}): resume it with "
            f"that, or begin a new run with --init {run}."
        )
    return lengthened(saved, settings["updates"]) if settings.get("updates", 0) > saved.updates else saved
