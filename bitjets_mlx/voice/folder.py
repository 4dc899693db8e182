"""Voices on disk: the folder's config.json and its weight files, written by `pack` and read by `Voice`.

    config.json             everything needed to rebuild the models
    acoustic.safetensors    ternary weights as base 3 (`*.trits`) with their scale (`*.beta`); the rest fp16
    vocoder.safetensors     int8 or 4 bit with a step size an output channel (`*.step`), vectors fp16
    README.md               model card

`convert` keeps fp32, and latent weights (`*.weight`) where it does not pack. `discriminators.safetensors`: those of a
converted vocoder, for training on. A folder may hold only a vocoder. A `_trainable` folder holds the acoustic model's
latent weights and the aligner.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_flatten, tree_unflatten

from bitjets_mlx.acoustic import AcousticModel, build_acoustic
from bitjets_mlx.config import (
    AcousticConfig,
    AudioConfig,
    Calibration,
    CharacterConfig,
    DiscriminatorConfig,
    FeatureStatistics,
    HarmonicConfig,
    HifiganConfig,
    from_json,
)
from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.files import atomic_write_bytes
from bitjets_mlx.ternary.layers import BitConv1d
from bitjets_mlx.ternary.packing import pack_base3, packed_size, unpack_base3
from bitjets_mlx.ternary.quantize import ternary_weights
from bitjets_mlx.torch_import.utterance import UtteranceBitConv1d, clamped_trits
from bitjets_mlx.vocoder import Vocoder, build_vocoder
from bitjets_mlx.vocoder.discriminators import Discriminators
from bitjets_mlx.vocoder.storage import packed_shapes, unpack_integers
from bitjets_mlx.voice.weights_file import Arrays, check_tensors, read_weights

FORMAT = 1
CONFIG_FILE = "config.json"
ACOUSTIC_FILE = "acoustic.safetensors"
VOCODER_FILE = "vocoder.safetensors"
TRAINABLE_FILE = "trainable.safetensors"
DISCRIMINATORS_FILE = "discriminators.safetensors"

TernaryLayer = BitConv1d | UtteranceBitConv1d

Tree = Any  # nested dicts and lists of mx.array, as nn.Module.parameters() gives them


@dataclass(frozen=True)
class VoiceConfig:
    """config.json of a voice, of a vocoder alone (`acoustic` None), or of a trainable folder.

    `calibration` corrects predicted prosody (none: as predicted). `files` maps each weight file to its sha256;
    `origin` says which trainings the weights come from; `substitutes` says which symbols are spoken as another one,
    for want of examples in the training data. `audio` is the convention of the acoustic model's mel, or of a lone
    vocoder's; `vocoder_audio` that of the vocoder where it is another one, to which mels are then mapped.
    """

    audio: AudioConfig
    acoustic: AcousticConfig | CharacterConfig | None = None
    vocoder: HarmonicConfig | HifiganConfig | None = None
    vocoder_audio: AudioConfig | None = None
    discriminators: DiscriminatorConfig | None = None
    statistics: FeatureStatistics | None = None
    calibration: Calibration | None = None
    speakers: tuple[str, ...] = ()
    symbols: tuple[str, ...] = ()
    substitutes: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    origin: dict[str, Any] = field(default_factory=dict)
    format: int = FORMAT


# -- config.json ---------------------------------------------------------------------------------------------------


def read_config(folder: Path) -> VoiceConfig:
    """Read and check FOLDER/config.json; BitjetsError where there is none or it is damaged."""
    path = folder / CONFIG_FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise BitjetsError(
            f"{folder} is no voice (it has no config.json): give a folder that `python -m bitjets_mlx.pack` wrote."
        ) from None
    except (OSError, ValueError) as error:
        raise BitjetsError(f"{path} cannot be read ({error}): fetch the folder again.") from None
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        found = values.get("format") if isinstance(values, dict) else None
        raise BitjetsError(
            f"{path} has format {found!r}, this version reads {FORMAT}: is it a voice of another version?"
        )
    values["audio"] = from_json(AudioConfig, values.get("audio"))
    if values.get("acoustic") is not None:
        values["acoustic"] = acoustic_from_json(values["acoustic"])
        values["statistics"] = from_json(FeatureStatistics, values.get("statistics"))
    if values.get("calibration") is not None:
        values["calibration"] = from_json(Calibration, values["calibration"])
    if values.get("vocoder") is not None:
        values["vocoder"] = vocoder_from_json(values["vocoder"])
    if values.get("vocoder_audio") is not None:
        values["vocoder_audio"] = from_json(AudioConfig, values["vocoder_audio"])
    if values.get("discriminators") is not None:
        values["discriminators"] = from_json(DiscriminatorConfig, values["discriminators"])
    tables: dict[str, Any] = {"substitutes": {}, "files": {}, "origin": {}}
    config = from_json(VoiceConfig, tables | values)
    if not all(isinstance(getattr(config, name), dict) for name in tables):
        raise BitjetsError(f"{path} is damaged ({', '.join(tables)} must be objects): fetch the folder again.")
    _check_config(path, config)
    return config


def write_config(folder: Path, config: VoiceConfig) -> None:
    """Write FOLDER/config.json."""
    values = asdict(config)
    if config.acoustic is not None:
        kind = "bitjets-characters" if isinstance(config.acoustic, CharacterConfig) else "bitjets"
        values["acoustic"] = {"kind": kind, **values["acoustic"]}
    if config.vocoder is not None:
        values["vocoder"] = vocoder_to_json(config.vocoder)
    atomic_write_bytes(folder / CONFIG_FILE, (json.dumps(values, indent=1) + "\n").encode())


def acoustic_from_json(values: Any) -> AcousticConfig | CharacterConfig:
    """An acoustic model's configuration from JSON with its kind."""
    if isinstance(values, dict) and values.get("kind") == "bitjets-characters":
        return from_json(CharacterConfig, without_kind(values))
    return from_json(AcousticConfig, without_kind(values))


def vocoder_to_json(config: HarmonicConfig | HifiganConfig) -> dict[str, Any]:
    """A vocoder's configuration with its kind."""
    kind = "harmonic" if isinstance(config, HarmonicConfig) else "hifigan"
    return {"kind": kind, **asdict(config)}


def vocoder_from_json(values: Any) -> HarmonicConfig | HifiganConfig:
    """The inverse of `vocoder_to_json`; BitjetsError where the kind is unknown."""
    if not isinstance(values, dict):
        raise BitjetsError("the vocoder in config.json must be an object: the file is damaged, fetch it again.")
    if values.get("kind") == "harmonic":
        return from_json(HarmonicConfig, without_kind(values))
    if values.get("kind") == "hifigan":
        return from_json(HifiganConfig, without_kind(values))
    raise BitjetsError(f"config.json names an unknown vocoder {values.get('kind')!r}: take harmonic or hifigan.")


def without_kind(values: Any) -> Any:
    """A model's JSON without the key that says which model it is."""
    return {name: value for name, value in values.items() if name != "kind"} if isinstance(values, dict) else values


def _check_config(path: Path, config: VoiceConfig) -> None:
    """What the parts of a configuration must agree on."""
    standard = AudioConfig()
    grid = ("sample_rate", "n_fft", "hop", "n_mels")
    reads_mel = config.acoustic is None or not isinstance(config.acoustic, AcousticConfig) or config.acoustic.mel
    for audio in (config.audio, config.vocoder_audio or config.audio):
        other = [name for name in grid if getattr(audio, name) != getattr(standard, name)]
        known = audio.mel_scale in ("slaney", "htk") and audio.mel_norm in ("slaney", "none")
        if (reads_mel and other) or not known:
            raise BitjetsError(f"{path} asks for other audio conventions than this version has ({standard}).")
    if config.acoustic is None:
        return
    statistics = asdict(config.statistics) if config.statistics else {}
    factors = asdict(config.calibration) if config.calibration else {}
    numbers = [number for values in (*statistics.values(), *factors.values()) for number in values]
    sizes = {len(values) for name, values in (statistics | factors).items() if not name.startswith("mel_")}
    positive = [*factors.get("duration", ()), *statistics.get("gain", ())]
    bands = {len(statistics["mel_mean"]), len(statistics["mel_std"])}
    known_bands = [{config.acoustic.outputs}]
    if not config.acoustic.mel:  # those of the aligner, which reads mels all the same
        known_bands.append({config.acoustic.n_mels})
    if (
        sizes != {config.acoustic.speakers}
        or len(config.speakers) != config.acoustic.speakers
        or len(config.symbols) != config.acoustic.symbols
        or bands not in known_bands
        or not {*config.substitutes, *config.substitutes.values()} <= {*config.symbols}
        or not all(isinstance(number, int | float) and np.isfinite(number) for number in numbers)
        or not all(number > 0 for number in positive)
    ):
        raise BitjetsError(
            f"{path} contradicts itself (speakers, symbols, statistics and model sizes disagree): "
            "the file is damaged, fetch it again."
        )


# -- weights -------------------------------------------------------------------------------------------------------


def pack_acoustic(config: AcousticConfig | CharacterConfig, tree: Tree) -> Arrays:
    """The arrays of acoustic.safetensors: trits and beta of ternary layers, fp16 for the rest, no aligner."""
    weights = {name: value for name, value in named_arrays(tree).items() if not name.startswith("aligner.")}
    arrays: Arrays = {}
    for name, layer in ternary_layers(build_acoustic(config)).items():
        trits, beta = layer_trits(layer, np.array(weights.pop(f"{name}.weight").astype(mx.float32)))
        arrays[f"{name}.trits"], arrays[f"{name}.beta"] = pack_base3(trits), beta
    return arrays | half(weights)


def layer_trits(layer: TernaryLayer, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(trits, beta ()) of latent weights (O, K, I), in the arithmetic of their layer."""
    if isinstance(layer, UtteranceBitConv1d):
        return clamped_trits(weight)
    trits, beta = ternary_weights(mx.array(weight))
    return np.array(trits), np.array(beta, dtype=np.float32)


def named_arrays(tree: Tree) -> dict[str, mx.array]:
    """A tree's arrays by their dotted names."""
    flat: Any = tree_flatten(tree)
    return dict(flat)


def half(weights: Mapping[str, mx.array]) -> Arrays:
    """fp16 copies, by name."""
    return {name: np.array(value.astype(mx.float16)) for name, value in weights.items()}


def read_acoustic(folder: Path, config: VoiceConfig) -> AcousticModel:
    """The acoustic model of a voice folder, ready to speak."""
    assert config.acoustic is not None
    path = folder / ACOUSTIC_FILE
    arrays = read_weights(path, _sha256(folder, config, ACOUSTIC_FILE))
    model: AcousticModel = _built(folder, build_acoustic, config.acoustic)
    layers = ternary_layers(model)
    shapes = parameter_shapes(model)
    expected = dict(shapes)
    for layer in layers:
        if f"{layer}.trits" in arrays:
            count = int(np.prod(expected.pop(f"{layer}.weight")))
            expected |= {f"{layer}.trits": (packed_size(count),), f"{layer}.beta": ()}
    check_tensors(path, arrays, expected)
    for name, module in layers.items():
        if f"{name}.trits" not in arrays:
            trits, beta = layer_trits(module, arrays.pop(f"{name}.weight").astype(np.float32))
        else:
            beta = arrays.pop(f"{name}.beta")
            try:
                trits = unpack_base3(arrays.pop(f"{name}.trits"), shapes[f"{name}.weight"])
            except ValueError as error:
                raise BitjetsError(f"{path}: {name}.trits is no base-3 packing ({error}): fetch it again.") from None
        module.freeze_trits(trits, mx.array(beta))
    _take_up(model, path, arrays)
    return model


def read_vocoder(folder: Path, config: VoiceConfig) -> Vocoder:
    """The vocoder of a voice or vocoder folder, ready to speak."""
    if config.vocoder is None:
        raise BitjetsError(f"{folder} has no vocoder: give a folder that was packed with --vocoder.")
    path = folder / VOCODER_FILE
    arrays = read_weights(path, _sha256(folder, config, VOCODER_FILE))
    model: Vocoder = _built(folder, build_vocoder, config.vocoder)
    shapes = parameter_shapes(model)
    check_tensors(path, arrays, packed_shapes(shapes, arrays))
    unpack_integers(arrays, shapes)
    _take_up(model, path, arrays)
    return model


def read_discriminators(folder: Path, config: VoiceConfig) -> Discriminators | None:
    """The discriminators of a converted vocoder, to train on against; None where it has none."""
    if config.discriminators is None:
        return None
    path = folder / DISCRIMINATORS_FILE
    arrays = read_weights(path, _sha256(folder, config, DISCRIMINATORS_FILE))
    model: Discriminators = _built(folder, Discriminators, config.discriminators)
    check_tensors(path, arrays, parameter_shapes(model))
    _take_up(model, path, arrays)
    return model


def read_trainable(folder: Path) -> Tree:
    """The latent weights and the aligner of a `_trainable` folder, fp32: what `train --init` begins with.

    A converted voice that was not packed has latent weights too, but no aligner: that one begins anew.
    """
    config = read_config(folder)
    if config.acoustic is None:
        raise BitjetsError(f"{folder} holds no acoustic model: give a voice's sister folder, named *_trainable.")
    aligned = TRAINABLE_FILE in config.files
    model = _built(folder, build_acoustic, config.acoustic, aligned)
    path = folder / (TRAINABLE_FILE if aligned else ACOUSTIC_FILE)
    arrays = read_weights(path, _sha256(folder, config, path.name))
    if any(name.endswith(".trits") for name in arrays):
        raise BitjetsError(
            f"{folder} is not trainable, since it is packed: give the voice's sister folder, named *_trainable, or "
            "convert again without --pack."
        )
    check_tensors(path, arrays, parameter_shapes(model))
    _take_up(model, path, arrays)
    return model.parameters()


def _sha256(folder: Path, config: VoiceConfig, name: str) -> str:
    if name not in config.files:
        raise BitjetsError(f"{folder / CONFIG_FILE} does not list {name}: fetch the folder again.")
    return config.files[name]


def _built(folder: Path, build: Any, *arguments: Any) -> Any:
    """A model of random weights; BitjetsError where the configuration makes no sense."""
    try:
        return build(*arguments)
    except (TypeError, ValueError, ArithmeticError, IndexError) as error:
        raise BitjetsError(f"{folder / CONFIG_FILE} describes no model ({error}): fetch the folder again.") from None


def parameter_shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """Shapes of a model's arrays, by name. Random weights are never drawn for it: MLX is lazy."""
    return {name: value.shape for name, value in named_arrays(model.parameters()).items()}


def ternary_layers(model: AcousticModel) -> dict[str, TernaryLayer]:
    """Every ternary layer of a model, by name."""
    return {
        name: module
        for name, module in sorted(model.named_modules())
        if isinstance(module, BitConv1d | UtteranceBitConv1d) and module.ternary
    }


def _take_up(model: nn.Module, path: Path, arrays: Arrays) -> None:
    """Put checked arrays into a model, as fp32, and have it ready to speak; `arrays` is empty afterwards."""
    wrong = sorted(name for name, array in arrays.items() if array.dtype.kind != "f")
    if wrong:
        raise BitjetsError(f"{path}: {wrong[0]} holds {arrays[wrong[0]].dtype}, not floating point: fetch it again.")
    weights = []
    for name in list(arrays):  # given up one by one, so that two copies of all are never there
        weights.append((name, mx.array(arrays.pop(name).astype(np.float32, copy=False))))
    model.update(tree_unflatten(weights))
    model.eval()
    mx.eval(model.parameters())
