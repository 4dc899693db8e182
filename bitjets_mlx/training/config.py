"""Everything a training is told, as nested frozen dataclasses: what RUN/config.json holds.

A field made by `setting` is also a flag of `bitjets_mlx.train`: its default, its help text and, in its annotation, the
values it takes stand here and nowhere else. Fractions are of the whole run; updates count from 0.
"""

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from bitjets_mlx.checked import Checked, Range, to_json
from bitjets_mlx.config import (
    AcousticConfig,
    AudioConfig,
    CharacterConfig,
    FeatureStatistics,
    HarmonicConfig,
    HifiganConfig,
    JointConfig,
)
from bitjets_mlx.data.prepared import PreparedData
from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.training.acoustic_losses import AcousticLossWeights

Acoustic = AcousticConfig | CharacterConfig
Vocoder = HarmonicConfig | HifiganConfig
Model = Acoustic | Vocoder | JointConfig
Stage = Literal["acoustic", "vocoder", "joint"]
Count = Annotated[int, Range(1, 1 << 31)]
Whole = Annotated[int, Range(0, (1 << 63) - 1)]
Rate = Annotated[float, Range(1e-9, 1e6)]
Weight = Annotated[float, Range(0.0, 1e6)]
Fraction = Annotated[float, Range(0.0, 1.0)]


def setting(default: Any, text: str, *aliases: str) -> Any:
    """A field that the command line can set; `aliases` are older names of it."""
    return field(default=default, metadata={"help": text, "aliases": aliases})


SHARED = ("updates", "batch_size", "accumulate", "seed")
NEW_NAMES = {  # of settings in older runs
    "quantise_from": "quantize_from",
    "quantise_until": "quantize_until",
    "binarise_from": "binarize_from",
    "repulsion": "energy_distance_weight",
    "acoustic": "teacher_forced",
    "hold": "constant_until",
    "clip": "gradient_clip",
    "ema_decay": "ema",
}


@dataclass(frozen=True)
class OptimizerConfig(Checked):
    """AdamW with a schedule, gradient clipping and a moving average of the weights; see `training.optimize`."""

    learning_rate: Rate = setting(2e-3, "peak of the schedule")
    warm_up: Count = setting(300, "updates until the learning rate has its peak")
    constant_until: Fraction = setting(0.3, "fraction of the run before the learning rate falls")
    final_rate: Fraction = setting(0.02, "where the learning rate ends, as a fraction of its peak")
    weight_decay: Fraction = setting(0.01, "decoupled, as in AdamW")
    weight_decay_until: Fraction = setting(0.5, "fraction of the run with weight decay; none beyond")
    gradient_clip: Rate = setting(1.0, "largest norm of a gradient")
    ema: Fraction = setting(0.999, "decay of the moving average of the weights")
    betas: tuple[float, float] = (0.9, 0.98)

    def rate(self, update: int, updates: int, own: int | None = None) -> float:
        """Linear warm-up, constant, then linear decay. `own`: updates that this model has made (default: all)."""
        progress, own = update / updates, update if own is None else own
        falling = 1.0 if progress < self.constant_until else (1.0 - progress) / (1.0 - self.constant_until)
        return self.learning_rate * min(1.0, (own + 1) / self.warm_up) * max(falling, self.final_rate)

    def decay(self, update: int, updates: int) -> float:
        """Weight decay at an update."""
        return self.weight_decay if update < self.weight_decay_until * updates else 0.0


def _nested(values: dict[str, Any], optimizer: OptimizerConfig) -> dict[str, Any]:
    """A flat table of one half in the present form; what it does not say of its optimizer is as in `optimizer`."""
    if "optimizer" in values:
        return values
    new = {NEW_NAMES.get(name, name): value for name, value in values.items() if name not in SHARED}
    own = {each.name for each in dataclasses.fields(OptimizerConfig)} & set(new)
    return new | {"optimizer": to_json(optimizer) | {name: new.pop(name) for name in own}}


@dataclass(frozen=True)
class AcousticTraining(Checked):
    """How an acoustic model is trained."""

    optimizer: OptimizerConfig = OptimizerConfig()
    quantize_from: Fraction = setting(0.15, "fraction of the run in full precision", "quantise_from")
    quantize_until: Fraction = setting(0.3, "fraction at which weights are ternary", "quantise_until")
    binarize_from: Fraction = setting(0.15, "fraction of the run before the binarization loss", "binarise_from")
    align_until: Fraction = setting(0.0, "fraction of the run in which the aligner alone learns")
    bf16: bool = setting(False, "activations in bfloat16 (for GPUs)")

    @classmethod
    def upgraded(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Older runs had a flat table."""
        return _nested(values, OptimizerConfig())

    def quantization(self, progress: float) -> float:
        """The quantization warm-up at that fraction of the run, 0 (full precision) to 1: once alignment has formed."""
        beyond, length = progress - self.quantize_from, self.quantize_until - self.quantize_from
        return min(1.0, max(0.0, beyond / length)) if length > 0 else float(beyond >= 0)


@dataclass(frozen=True)
class VocoderTraining(Checked):
    """How a vocoder is trained; the defaults are the harmonic vocoder's. Weights multiply their loss."""

    optimizer: OptimizerConfig = OptimizerConfig(
        learning_rate=1e-3,
        warm_up=100,
        final_rate=0.05,
        weight_decay_until=1.0,
        gradient_clip=5.0,
        betas=(0.8, 0.99),
    )
    discriminator_learning_rate: Rate = setting(3e-4, "peak of the discriminators' schedule")
    segment_frames: Count = setting(64, "length of a training segment")
    stft_weight: Weight = setting(2.0, "of the multi-resolution STFT loss; 0: HiFi-GAN's mel loss alone")
    mel_weight: Weight = setting(3.0, "of the mel loss")
    mel_loss: Literal["single", "multi"] = setting("single", "mel loss at one resolution, or at four up to Nyquist")
    energy_distance_weight: Fraction = setting(
        0.5, "of the distance between two waveforms from the same features, against buzz", "repulsion"
    )
    discriminators: Literal["small", "full"] = setting("small", "small, for a CPU, or HiFi-GAN's own (70 M weights)")
    adversarial_from: Fraction = setting(1.0, "fraction of the run without discriminators, 1: all of it")
    discriminator_warm_up: Whole = setting(
        0, "updates in which the discriminators alone learn, before the adversarial losses begin"
    )
    adversarial_ramp: Count = setting(300, "updates until the adversarial losses have their full weight")
    adversarial_frames: Whole = setting(32, "what the discriminators see of a segment; 0: all of it")
    adversarial_weight: Weight = setting(1.0, "of the generator's adversarial loss")
    feature_weight: Weight = setting(2.0, "of the feature matching loss")
    teacher_forced: str = setting(
        "", "run or _trainable folder: half of the segments have this acoustic model's mels (GTA)", "acoustic"
    )
    mel_blur: Fraction = setting(1.0, "how far towards a blurred mel the input may move")
    gain_decibels: Weight = setting(6.0, "random gain of mel and waveform, so that levels do not matter")
    weight_bits: Annotated[float, Range(0.0, 8.0)] = (
        0.0  # of the generator's weights (`vocoder.quantized`); 0 is full precision
    )

    @classmethod
    def upgraded(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Older runs had a flat table."""
        return _nested(values, VocoderTraining().optimizer)

    def first_adversarial(self, updates: int) -> int:
        """The first update of the discriminators."""
        return round(self.adversarial_from * updates)

    def frozen_updates(self, update: int, updates: int) -> int:
        """For how many updates before `update` only the discriminators have learned."""
        return min(max(update - self.first_adversarial(updates), 0), self.discriminator_warm_up)

    def in_warm_up(self, update: int, updates: int) -> bool:
        """Whether only the discriminators learn in this update."""
        return 0 <= update - self.first_adversarial(updates) < self.discriminator_warm_up

    def adversarial(self, update: int, updates: int) -> float:
        """Weight of the adversarial losses at an update, 0 to 1; it rises after the discriminators' warm-up."""
        first = self.first_adversarial(updates) + self.discriminator_warm_up
        return min(1.0, max(0.0, (update - first + 1) / self.adversarial_ramp))


MEL_WEIGHT = 45.0  # HiFi-GAN (arXiv:2010.05646, section 3) and JETS


@dataclass(frozen=True)
class JointWeights(Checked):
    """JETS (arXiv:2203.16852, section 2.4): L = L_G + variance_weight L_var + align_weight L_align.

    L_G is the vocoder's loss on random segments, L_var the errors of duration, pitch and energy, L_align forward-sum
    and binarization. A model whose vocoder reads mels also keeps the acoustic stage's losses of its frames: that of the
    mel with `frame_weight`, as much as the waveform's has, or its output would soon stop being a mel; F0 and voicing
    in the acoustic stage's proportion to it.
    """

    variance_weight: Weight = setting(1.0, "of the losses of duration, pitch and energy")
    align_weight: Weight = setting(2.0, "of the forward-sum and binarization losses")
    frame_weight: Weight = setting(MEL_WEIGHT, "of the loss of the mel between the two models")

    def acoustic(self) -> AcousticLossWeights:
        """Weights of the acoustic model's own losses."""
        own, variance, align = AcousticLossWeights(), self.variance_weight, self.align_weight
        scale = self.frame_weight / own.mel
        return AcousticLossWeights(
            self.frame_weight, own.f0 * scale, own.voicing * scale, variance, variance, variance, align, align
        )


@dataclass(frozen=True)
class DataConfig(Checked):
    """What the prepared data said of itself; `clips_sha256` recognizes it wherever it lies."""

    folder: str
    audio: AudioConfig
    statistics: FeatureStatistics
    speakers: tuple[str, ...]
    symbols: tuple[str, ...]
    clips_sha256: str = ""

    @staticmethod
    def of(data: PreparedData) -> "DataConfig":
        """The description of prepared data."""
        digest = hashlib.sha256((data.folder / "clips.jsonl").read_bytes()).hexdigest()
        return DataConfig(str(data.folder), data.audio, data.statistics, data.speakers, data.symbols, digest)


@dataclass(frozen=True)
class TrainConfig(Checked):
    """One training. `acoustic` is there in the stages acoustic and joint, `vocoder` in vocoder and joint."""

    stage: Stage
    model: AcousticConfig | CharacterConfig | HarmonicConfig | HifiganConfig | JointConfig
    data: DataConfig
    updates: Count = setting(20000, "length of the whole training; more with --resume lengthens it")
    batch_size: Count = setting(8, "clips per micro-batch and process")
    accumulate: Count = setting(4, "micro-batches per update")
    seed: Whole = setting(0, "of weights, order of clips, dropout, noise")
    acoustic: AcousticTraining | None = None
    vocoder: VocoderTraining | None = None
    joint: JointWeights | None = None
    init: str = ""
    init_acoustic: str = ""
    init_vocoder: str = ""
    format: Literal[2] = 2

    @classmethod
    def upgraded(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Format 1 had everything of the data beside the rest, and in a joint training updates and the like twice."""
        training = values.get("training")
        if values.get("format") != 1 or not isinstance(training, dict):
            return values
        data = {name: values.pop(name, None) for name in ("audio", "statistics", "speakers", "symbols")}
        data |= {"folder": values.pop("data", None), "clips_sha256": values.pop("clips_sha256", "")}
        del values["training"]
        halves: dict[str, Any] = {str(values.get("stage")): training}
        if values.get("stage") == "joint":
            halves = {half: training.pop(half, {}) for half in ("acoustic", "vocoder")} | {"joint": training}
        shared = {name: own[name] for own in halves.values() for name in SHARED if name in own}
        return values | halves | shared | {"data": data, "format": 2}

    @property
    def acoustic_model(self) -> Acoustic:
        """The acoustic model, alone or in a joint training."""
        model = self.model.acoustic if isinstance(self.model, JointConfig) else self.model
        assert isinstance(model, Acoustic)
        return model

    @property
    def vocoder_model(self) -> Vocoder:
        """The vocoder, alone or in a joint training."""
        model = self.model.vocoder if isinstance(self.model, JointConfig) else self.model
        assert isinstance(model, Vocoder)
        return model

    @property
    def joint_model(self) -> JointConfig:
        """Both models of a joint training."""
        assert isinstance(self.model, JointConfig)
        return self.model

    @property
    def acoustic_training(self) -> AcousticTraining:
        """How the acoustic model is trained."""
        assert self.acoustic is not None
        return self.acoustic

    @property
    def vocoder_training(self) -> VocoderTraining:
        """How the vocoder is trained."""
        assert self.vocoder is not None
        return self.vocoder

    def quantization(self, update: int) -> float:
        """The acoustic model's quantization warm-up at an update, 0 to 1; 1 where there is none to warm up."""
        return 1.0 if self.acoustic is None else self.acoustic.quantization(update / self.updates)

    def adversarial(self, update: int) -> float:
        """Weight of the adversarial losses at an update, 0 to 1."""
        return self.vocoder_training.adversarial(update, self.updates)


# -- settings by name ----------------------------------------------------------------------------------------------

# Of AcousticConfig: with --init the model has its sizes from there, and only these can be chosen anew.
MODEL_SETTINGS = {
    "decoder_layers": "blocks of the decoder; more than --init has: new ones, which start out adding nothing",
    "pitch_reads": "input of the pitch predictor; another than --init has starts it anew",
    "dropout": "in the encoder's blocks",
    "decoder_dropout": "in the decoder's blocks",
    "predictor_dropout": "in duration, pitch and energy predictors",
}
OF_VOCODER = "vocoder_"  # prefix of what both halves of a joint training have
NOT_JOINT = {"teacher_forced", "vocoder_weight_bits", "discriminator_warm_up"}


def settings_of(config: TrainConfig) -> dict[str, tuple[str, ...]]:
    """Every setting's name and its path. What both halves have is the acoustic model's without a prefix."""
    found: dict[str, tuple[str, ...]] = {}

    def walk(node: Any, path: tuple[str, ...]) -> None:
        for each in dataclasses.fields(node):
            value, here = getattr(node, each.name), (*path, each.name)
            if dataclasses.is_dataclass(value):
                walk(value, here)
            else:
                found[each.name if each.name not in found else OF_VOCODER + each.name] = here

    for each in dataclasses.fields(config):
        if each.metadata:
            found[each.name] = (each.name,)
    path = ("model", "acoustic") if isinstance(config.model, JointConfig) else ("model",)
    if config.acoustic is not None:
        known = {each.name for each in dataclasses.fields(config.acoustic_model)}
        found |= {
            name: (*path, name) for name in (*MODEL_SETTINGS, "predictors", "ternary", "weight_bits") if name in known
        }
    for part in ("acoustic", "vocoder", "joint"):
        if getattr(config, part) is not None:
            walk(getattr(config, part), (part,))
    return found if config.stage != "joint" else {name: path for name, path in found.items() if name not in NOT_JOINT}


def get(config: TrainConfig, path: tuple[str, ...]) -> Any:
    """The value at a path."""
    value: Any = config
    for name in path:
        value = getattr(value, name)
    return value


def with_settings(config: TrainConfig, settings: Mapping[str, Any]) -> TrainConfig:
    """With the settings of these names; BitjetsError where the stage does not have one."""
    paths = settings_of(config)
    foreign = [flag(name) for name in settings if name not in paths]
    if foreign:
        raise BitjetsError(f"{', '.join(foreign)} has no meaning for --stage {config.stage}: leave it out.")
    for name, value in settings.items():
        config = _put(config, paths[name], value)
    return config


def _put(node: Any, path: tuple[str, ...], value: Any) -> Any:
    first, *rest = path
    return dataclasses.replace(node, **{first: _put(getattr(node, first), tuple(rest), value) if rest else value})


def flag(name: str) -> str:
    """A setting's command-line option."""
    return "--" + name.replace("_", "-")


def lengthened(config: TrainConfig, updates: int) -> TrainConfig:
    """The run with `updates` in all: what has begun at some update begins at the same one; rates fall until the end."""
    phases = ("quantize_from", "quantize_until", "binarize_from", "align_until", "adversarial_from")
    paths = settings_of(config)
    kept = {name: get(config, paths[name]) * config.updates / updates for name in phases if name in paths}
    if config.vocoder is not None and config.vocoder.adversarial_from == 1.0:
        kept["adversarial_from"] = 1.0  # never
    return with_settings(config, kept | {"updates": updates})
