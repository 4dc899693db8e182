"""The official HiFi-GAN: generators `g_*` with V1, V2 and V3, and the discriminators in `do_*`."""

from pathlib import Path
from typing import Any

from bitjets_mlx.config import (
    HIFIGAN_VERSIONS,
    AudioConfig,
    DiscriminatorConfig,
    HifiganConfig,
    from_json,
    hifigan_discriminators,
)
from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.files import read_json
from bitjets_mlx.torch_import.convolution import take_plain, take_weight
from bitjets_mlx.torch_import.foreign_values import shortened, whole_numbers
from bitjets_mlx.torch_import.source import Shape, Source
from bitjets_mlx.vocoder.discriminators import Discriminators
from bitjets_mlx.vocoder.hifigan import HifiganGenerator
from bitjets_mlx.voice.arrays import parameter_shapes
from bitjets_mlx.voice.weights_file import Arrays

ARCHITECTURE = {  # and how deep its lists are nested
    "resblock": 0,
    "upsample_rates": 1,
    "upsample_kernel_sizes": 1,
    "upsample_initial_channel": 0,
    "resblock_kernel_sizes": 1,
    "resblock_dilation_sizes": 2,
}
LARGEST_SIZE = 1 << 20
AUDIO = {
    "sampling_rate": "sample_rate",
    "n_fft": "n_fft",
    "hop_size": "hop",
    "num_mels": "n_mels",
    "fmin": "f_min",
    "fmax": "f_max",
}


def read_hifigan_config(path: Path) -> tuple[HifiganConfig, AudioConfig]:
    """The official config.json: architecture, and the convention of the mels that it was trained on."""
    try:
        values = read_json(path)
    except (FileNotFoundError, NotADirectoryError):
        raise BitjetsError(f"{path} is missing: give HiFi-GAN's config.json as --config.") from None
    lacking = [name for name in ARCHITECTURE if not isinstance(values, dict) or name not in values]
    if lacking:
        raise BitjetsError(f"{path} is not HiFi-GAN's config.json (it has no {lacking[0]}): give the right --config.")
    for name, depth in ARCHITECTURE.items():
        good = (
            values[name] in ("1", "2", 1, 2) if name == "resblock" else whole_numbers(values[name], LARGEST_SIZE, depth)
        )
        if not good:
            raise BitjetsError(f"{path}: {name} is {shortened(values[name])}, which no HiFi-GAN has: fix it.")
    for name in AUDIO:
        value = values.get(name)
        if value is not None and (type(value) not in (int, float) or not 0 <= value < LARGEST_SIZE):
            raise BitjetsError(f"{path}: {name} is {shortened(value)}: fix it.")
    sound = {ours: values[theirs] for theirs, ours in AUDIO.items() if values.get(theirs) is not None}
    audio = AudioConfig(**({"f_max": AudioConfig.sample_rate / 2} | sound if values.get("fmax", 0) is None else sound))
    if values.get("win_size", audio.n_fft) != audio.n_fft:
        raise BitjetsError(
            f"{path}: win_size {shortened(values['win_size'])} differs from n_fft {audio.n_fft}, unlike here."
        )
    if not audio.f_min < audio.f_max <= audio.sample_rate / 2:
        raise BitjetsError(f"{path}: fmin {audio.f_min} and fmax {audio.f_max} make no mel bands: fix it.")
    for name in ("sample_rate", "n_fft", "hop", "n_mels"):
        if getattr(audio, name) != getattr(AudioConfig(), name):
            raise BitjetsError(
                f"{path}: {name} is {getattr(audio, name)}, and voices here have {getattr(AudioConfig(), name)}: "
                "take a vocoder of that."
            )
    architecture = {name: values[name] for name in ARCHITECTURE} | {"resblock": str(values["resblock"])}
    return from_json(HifiganConfig, architecture, str(path)), audio


def recognized(source: Source, prefix: str) -> tuple[str, HifiganConfig]:
    """Which official version a generator without a config.json is, by its shapes."""
    for version, config in HIFIGAN_VERSIONS.items():
        names = {prefix + name for name in parameter_shapes(HifiganGenerator(config))}
        bias = source.tensors.get(f"{prefix}conv_pre.bias")
        there = {name for name in source.tensors if name.startswith(prefix) and name.endswith(".bias")}
        same_names = {name for name in names if name.endswith(".bias")} == there
        if same_names and bias is not None and bias.shape == (config.upsample_initial_channel,):
            return version, config
    raise BitjetsError(
        f"{source.path} is none of HiFi-GAN's V1, V2 and V3, and no config.json lies beside it: give --config FILE."
    )


def map_generator(source: Source, config: HifiganConfig, prefix: str) -> Arrays:
    """The arrays of vocoder.safetensors."""
    shapes = parameter_shapes(HifiganGenerator(config))
    source.check_size(shapes.values())
    return {name: _take(source, prefix + name, name, shape, name.startswith("ups.")) for name, shape in shapes.items()}


def _take(source: Source, theirs: str, ours: str, shape: Shape, transposed: bool) -> Any:
    if ours.endswith(".bias"):
        return take_plain(source, theirs, ours, shape)
    return take_weight(source, theirs.removesuffix(".weight"), ours, shape, transposed)


def map_discriminators(source: Source) -> tuple[DiscriminatorConfig, Arrays]:
    """The arrays of discriminators.safetensors; spectral and weight normalization are folded."""
    config = hifigan_discriminators()
    arrays = {}
    shapes = parameter_shapes(Discriminators(config))
    source.check_size(shapes.values())
    for name, shape in shapes.items():
        _, number, *layer = name.split(".")  # members.3.layers.0.weight
        index = int(number)
        periods = len(config.periods)
        member = f"mpd.discriminators.{index}" if index < periods else f"msd.discriminators.{index - periods}"
        inner = f"convs.{layer[1]}" if layer[0] == "layers" else "conv_post"
        arrays[name] = _take(source, f"{member}.{inner}.{layer[-1]}", name, shape, False)
    return config, arrays
