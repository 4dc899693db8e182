"""What a training is told to do: defaults, command line, a resumed run's own config, and weights to begin with."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx

from bitjets_mlx.config import (
    HIFIGAN_VERSIONS,
    AcousticConfig,
    AudioConfig,
    CharacterConfig,
    FeatureStatistics,
    HarmonicConfig,
    HifiganConfig,
    JointConfig,
    from_json,
    to_json,
)
from bitjets_mlx.data.prepared import PreparedData
from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.text.symbols import SYMBOLS
from bitjets_mlx.training.acoustic_stage import AcousticTraining
from bitjets_mlx.training.joint_training import JointTraining, joint_training_from_json
from bitjets_mlx.training.optimize import Tree
from bitjets_mlx.training.runs import RunConfig, load_run_config, run_weights
from bitjets_mlx.training.shards import on_cpu
from bitjets_mlx.training.vocoder_step import VocoderTrainingConfig, hifigan_training
from bitjets_mlx.voice.folder import read_discriminators, read_trainable, read_vocoder
from bitjets_mlx.voice.voice_config import read_config

Half = AcousticConfig | CharacterConfig | HarmonicConfig | HifiganConfig
Model = Half | JointConfig
Training = AcousticTraining | VocoderTrainingConfig | JointTraining
ALIGN_UNTIL = 0.1  # of a run that begins without an aligner
WARM_IN_UNTIL = 0.3  # of a run that takes weights of full precision to ternary ones
STANDARD = AudioConfig()
Options = Mapping[str, Any]  # fields of a Model or a Training that the command line names

JOINT = "joint"
MODELS: dict[str, type[Half]] = {
    "bitjets": AcousticConfig,
    "bitjets-characters": CharacterConfig,
    "harmonic": HarmonicConfig,
    "hifigan": HifiganConfig,
}
VOCODERS: dict[str, HarmonicConfig | HifiganConfig] = {  # of --vocoder
    "harmonic": HarmonicConfig(),
    "hifigan": HifiganConfig(),
    **{f"hifigan-{version.lower()}": config for version, config in HIFIGAN_VERSIONS.items()},
}
KINDS: dict[type[Model], str] = {config: kind for kind, config in MODELS.items()} | {JointConfig: JOINT}
TRAININGS: dict[str, type[AcousticTraining] | type[VocoderTrainingConfig]] = {
    "acoustic": AcousticTraining,
    "vocoder": VocoderTrainingConfig,
}


@dataclass(frozen=True)
class Settings:
    """One training. `data.statistics` must be set to `statistics` before the data is used."""

    stage: str
    model: Model
    training: Training
    statistics: FeatureStatistics
    init: str = ""
    symbols: tuple[str, ...] = SYMBOLS
    audio: AudioConfig = STANDARD
    init_acoustic: str = ""
    init_vocoder: str = ""


@dataclass(frozen=True)
class Initial:
    """Weights to begin with, and what they were trained for; a vocoder knows no speakers."""

    model: Model
    weights: Tree
    speakers: tuple[str, ...] = ()
    statistics: FeatureStatistics | None = None
    symbols: tuple[str, ...] = SYMBOLS
    audio: AudioConfig = STANDARD
    judges: Tree = None


def fresh_settings(stage: str, vocoder: str | None, data: PreparedData, init: str, options: Options) -> Settings:
    """Settings of a new training; the model is that of `init` where there is one."""
    check_symbols(data)
    training: Training = TRAININGS[stage]()
    model: Model
    statistics = data.statistics
    symbols, audio = SYMBOLS, AudioConfig()
    if init:
        initial = read_initial(Path(init), stage)
        model = initial.model
        check_mels(init, initial, data.audio.n_mels)
        check_vocoder(init, model, vocoder)
        symbols, audio = initial.symbols, initial.audio
        if stage == "vocoder":
            training = vocoder_training(model, initial.judges is not None)
        if isinstance(model, CharacterConfig) and len(data.speakers) > 1:
            raise BitjetsError(f"{init} has one voice and no speakers: prepare the recordings of one speaker.")
        if isinstance(training, AcousticTraining) and initial.statistics:
            if isinstance(model, AcousticConfig):
                model = dataclasses.replace(model, speakers=len(data.speakers))
            statistics = with_mels_of(initial.statistics, statistics)
            # These weights are ternary and aligned already.
            training = dataclasses.replace(training, quantise_from=0.0, quantise_until=0.0, binarise_from=0.0)
            if "aligner" not in initial.weights:  # converted: before there is an alignment, nothing else can learn
                training = dataclasses.replace(training, align_until=ALIGN_UNTIL, binarise_from=ALIGN_UNTIL)
                if isinstance(model, AcousticConfig):  # JETS, which has not been ternary before
                    usual = AcousticTraining.quantise_until
                    training = dataclasses.replace(training, quantise_from=ALIGN_UNTIL, quantise_until=usual)
            if options.get("ternary") and isinstance(model, AcousticConfig) and not model.ternary:
                training = dataclasses.replace(training, quantise_until=WARM_IN_UNTIL)
    elif stage == "acoustic":
        model = new_acoustic(len(data.speakers))
    else:
        model = VOCODERS[vocoder or "harmonic"]
        training = vocoder_training(model)
    check_known(stage, model, training, options)
    return Settings(stage, overridden(model, options), overridden(training, options), statistics, init, symbols, audio)


def new_acoustic(speakers: int) -> AcousticConfig:
    """The acoustic model that is trained where no weights to begin with say otherwise."""
    return with_pitch_of_phonemes(AcousticConfig(symbols=len(SYMBOLS), speakers=speakers))


def with_pitch_of_phonemes(model: AcousticConfig) -> AcousticConfig:
    """With a pitch predictor that sees 16 phonemes to either side: what stands for stress, words and phrases."""
    duration, _, energy = model.predictors
    return dataclasses.replace(model, pitch_reads="phonemes", predictors=(duration, (64, 4, 9), energy))


def vocoder_training(model: Model, judged: bool = False) -> VocoderTrainingConfig:
    """How a vocoder is trained by default; `judged`: it comes with HiFi-GAN's own discriminators.

    HiFi-GAN is trained against those where there is a GPU, and against small ones on a CPU.
    """
    if not isinstance(model, HifiganConfig):
        return VocoderTrainingConfig()
    return dataclasses.replace(hifigan_training(), discriminators="full" if judged or not on_cpu() else "small")


def check_vocoder(source: str, model: Model, vocoder: str | None) -> None:
    """BitjetsError where weights to begin with are not of the vocoder that the command line names."""
    model = model.vocoder if isinstance(model, JointConfig) else model
    kind = KINDS[type(model)]
    if vocoder and (kind != vocoder.split("-")[0] or ("-" in vocoder and model != VOCODERS[vocoder])):
        raise BitjetsError(f"{source} holds a {kind} vocoder: leave --vocoder {vocoder} out.")


def resumed_settings(run: Path, stage: str, data: PreparedData, init: str, options: Options) -> Settings:
    """The settings a run was begun with; BitjetsError where the command line asks for others."""
    saved = load_run_config(run)
    if saved.stage != stage:
        raise BitjetsError(f"{run} is a run of --stage {saved.stage}: resume it as such.")
    model = model_of(saved)
    training: Training = (
        joint_training_from_json(saved.training) if stage == JOINT else from_json(TRAININGS[stage], saved.training)
    )
    check_known(stage, model, training, options)
    check_vocoder(str(run), model, options.get("vocoder"))
    begun = {name: getattr(saved, name) for name in ("init", "init_acoustic", "init_vocoder")}
    was = begun | flat(model) | flat(training) | {"vocoder": options.get("vocoder")}
    asked = dict(options) | ({"init": init} if init else {})
    for name, value in asked.items():
        if value != was[name]:
            raise BitjetsError(
                f"{run} was begun with {flag(name)} {was[name] or 'left out'}, not {value}: leave it out to resume, or "
                f"begin a new run with --init {run}."
            )
    if saved.clips_sha256 and saved.clips_sha256 != data_fingerprint(data):
        raise BitjetsError(
            f"{run} was trained on other prepared data than {data.folder} (it was {saved.data}): resume it with that, "
            f"or begin a new run with --init {run}."
        )
    return Settings(
        stage, model, training, saved.statistics, saved.init, saved.symbols, saved.audio, saved.init_acoustic,
        saved.init_vocoder,
    )  # fmt: skip


def run_config(settings: Settings, data: PreparedData) -> RunConfig:
    """What RUN/config.json says of a training."""
    return RunConfig(
        stage=settings.stage,
        data=str(data.folder),
        model=_model_to_json(settings.model),
        training=to_json(settings.training),
        audio=data.audio,
        statistics=settings.statistics,
        speakers=data.speakers,
        symbols=data.symbols,
        init=settings.init,
        init_acoustic=settings.init_acoustic,
        init_vocoder=settings.init_vocoder,
        clips_sha256=data_fingerprint(data),
    )


def _model_to_json(model: Model) -> dict[str, Any]:
    """A model's configuration with its kind; of a joint one with its halves'."""
    if isinstance(model, JointConfig):
        return {"kind": JOINT, "acoustic": _model_to_json(model.acoustic), "vocoder": _model_to_json(model.vocoder)}
    values: dict[str, Any] = to_json(model)
    return values


def model_of(config: RunConfig) -> Model:
    """The model's configuration in RUN/config.json."""
    if config.model.get("kind") != JOINT:
        return _half_from_json(config.model)
    acoustic, vocoder = (_half_from_json(config.model.get(half)) for half in ("acoustic", "vocoder"))
    if not isinstance(acoustic, AcousticConfig) or not isinstance(vocoder, HarmonicConfig | HifiganConfig):
        raise BitjetsError("the run's config.json joins no acoustic model and vocoder: it is damaged.")
    return JointConfig(acoustic, vocoder)


def _half_from_json(values: Any) -> Half:
    kind = values.get("kind") if isinstance(values, dict) else None
    if kind not in MODELS:
        raise BitjetsError(f"the run's config.json names an unknown model {kind!r}: it is from another version.")
    return from_json(MODELS[kind], values)


def data_fingerprint(data: PreparedData) -> str:
    """sha256 of the list of clips, by which a resumed run recognizes its data."""
    return hashlib.sha256((data.folder / "clips.jsonl").read_bytes()).hexdigest()


def flag(name: str) -> str:
    """A field's command-line option."""
    return "--" + name.replace("_", "-")


def check_symbols(data: PreparedData) -> None:
    """BitjetsError where the data was prepared by another version."""
    if data.symbols != SYMBOLS:
        raise BitjetsError(f"{data.folder} was prepared with other phoneme symbols: run prepare again.")


def check_known(stage: str, model: Model, training: Training, options: Options) -> None:
    """An option that this stage does not have must not be passed over in silence."""
    of_stage = {"vocoder": {"vocoder"}, JOINT: {"vocoder", "init_acoustic", "init_vocoder"}}
    known = {*flat(model), *flat(training)} | of_stage.get(stage, set())
    foreign = [flag(name) for name in options if name not in known]
    if foreign:
        raise BitjetsError(f"{', '.join(foreign)} has no meaning for --stage {stage}: leave it out.")


def flat(config: Model | Training) -> dict[str, Any]:
    """A configuration's fields by the names of the command line's options."""
    if isinstance(config, JointTraining):
        return config.options()
    if isinstance(config, JointConfig):
        return to_json(config.acoustic) | {"vocoder_reads": "mel" if config.acoustic.mel else "states"}
    return to_json(config)


def overridden(config: Any, options: Options) -> Any:
    """The configuration with those fields replaced that the command line names."""
    names = {field.name for field in dataclasses.fields(config)}
    if options.get("pitch_reads") == "phonemes" and getattr(config, "pitch_reads", "phonemes") != "phonemes":
        config = with_pitch_of_phonemes(config)
    return dataclasses.replace(config, **{name: value for name, value in options.items() if name in names})


def with_mels_of(initial: FeatureStatistics, statistics: FeatureStatistics) -> FeatureStatistics:
    """With the mel bands' statistics, the same for all speakers, that initial weights were trained in."""
    return dataclasses.replace(statistics, mel_mean=initial.mel_mean, mel_std=initial.mel_std)


# -- weights to begin with -----------------------------------------------------------------------------------------


def read_initial(source: Path, stage: str) -> Initial:
    """What `--init` names: a run, a voice's `_trainable` folder, or for a vocoder a voice or vocoder folder.

    A run of the joint stage gives either half, or with `stage` "joint" both, in a tree, with their discriminators.
    """
    if _is_run(source):
        return _initial_of_run(source, stage)
    if stage == JOINT:
        raise BitjetsError(
            f"{source} is no run of --stage joint: give --init-acoustic and --init-vocoder where the halves lie apart."
        )
    config = read_config(source)
    if stage == "acoustic":
        weights = read_trainable(source)
        assert config.acoustic is not None  # or it would not have been trainable
        return Initial(config.acoustic, weights, config.speakers, config.statistics, config.symbols, config.audio)
    generator, judges = read_vocoder(source, config), read_discriminators(source, config)
    if (config.vocoder_audio or config.audio) != AudioConfig():
        raise BitjetsError(f"{source} was trained on mels of another convention than prepared data has.")
    return Initial(generator.config, generator.parameters(), judges=judges.parameters() if judges else None)


def _initial_of_run(source: Path, stage: str) -> Initial:
    saved = load_run_config(source)
    model, judges = model_of(saved), None
    if saved.stage not in (stage, JOINT):
        raise BitjetsError(f"{source} is a run of --stage {saved.stage}: give one of --stage {stage}.")
    weights = run_weights(source)[1]
    if stage == JOINT:
        judges = run_weights(source, "discriminators")[1]
    elif isinstance(model, JointConfig):
        model, weights = getattr(model, stage), weights[stage]
    return Initial(model, weights, saved.speakers, saved.statistics, saved.symbols, saved.audio, judges)


def check_mels(source: str | Path, initial: Initial, n_mels: int) -> None:
    """BitjetsError where these weights say or read a decoder's states: alone, a half can only be trained on mels."""
    model = initial.model
    if isinstance(model, AcousticConfig) and not model.mel:
        raise BitjetsError(
            f"{source} gives its vocoder no mels, and those are trained on: train it with --stage joint, or convert "
            "with --ternary."
        )
    if isinstance(model, HifiganConfig) and model.n_mels != n_mels:
        raise BitjetsError(f"{source} reads a decoder's states and no mels: train it with --stage joint.")


def _is_run(folder: Path) -> bool:
    try:
        return "stage" in json.loads((folder / "config.json").read_text())
    except (OSError, ValueError, TypeError):
        return False


def weights_for_speakers(initial: Initial, speakers: tuple[str, ...]) -> Tree:
    """The weights with a speaker embedding for `speakers`: known ones keep theirs, new ones begin with the mean."""
    if not initial.speakers or initial.speakers == speakers or "speaker_embedding" not in initial.weights:
        return initial.weights
    table = initial.weights["speaker_embedding"]["weight"]  # (speakers then, D)
    mean = mx.mean(table, axis=0)
    rows = [table[initial.speakers.index(name)] if name in initial.speakers else mean for name in speakers]
    return initial.weights | {"speaker_embedding": {"weight": mx.stack(rows)}}  # (speakers now, D)
