"""config.yaml of ESPnet's JETS: sizes of its two models and the tokens, checked before anything is built of them."""

import math
from pathlib import Path
from typing import Any

from bitjets_mlx.config import AcousticConfig, AudioConfig, HifiganConfig, from_json
from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.torch_import.foreign_values import depth_of, shortened, whole_numbers

LARGEST_YAML = 10 << 20
MOST_LAYERS = 100
LARGEST_SIZE = 1 << 20
DEFAULTS: dict[str, Any] = {  # of JETSGenerator where config.yaml is silent
    "adim": 256,
    "aheads": 2,
    "elayers": 4,
    "eunits": 1024,
    "dlayers": 4,
    "dunits": 1024,
    "positionwise_layer_type": "conv1d",
    "positionwise_conv_kernel_size": 1,
    "use_scaled_pos_enc": True,
    "encoder_normalize_before": True,
    "decoder_normalize_before": True,
    "encoder_concat_after": False,
    "decoder_concat_after": False,
    "reduction_factor": 1,
    "encoder_type": "transformer",
    "decoder_type": "transformer",
    "use_gst": False,
    "spk_embed_dim": None,
    "langs": None,
    "spks": None,
    "pitch_embed_kernel_size": 9,
    "energy_embed_kernel_size": 9,
    "generator_out_channels": 1,
    "generator_channels": 512,
    "generator_kernel_size": 7,
    "generator_upsample_scales": [8, 8, 2, 2],
    "generator_upsample_kernel_sizes": [16, 16, 4, 4],
    "generator_resblock_kernel_sizes": [3, 7, 11],
    "generator_resblock_dilations": [[1, 3, 5], [1, 3, 5], [1, 3, 5]],
    "generator_use_additional_convs": True,
    "generator_bias": True,
    "generator_nonlinear_activation": "LeakyReLU",
    "generator_nonlinear_activation_params": {"negative_slope": 0.1},
} | {
    f"{what}_predictor_{part}": value
    for what in ("duration", "pitch", "energy")
    for part, value in (("layers", 2), ("chans", 384), ("kernel_size", 3))
}
ONLY = {  # what this model can be, of what ESPnet's could
    "use_scaled_pos_enc": True,
    "encoder_normalize_before": True,
    "decoder_normalize_before": True,
    "encoder_concat_after": False,
    "decoder_concat_after": False,
    "reduction_factor": 1,
    "encoder_type": "transformer",
    "decoder_type": "transformer",
    "use_gst": False,
    "generator_out_channels": 1,
    "generator_kernel_size": 7,
    "generator_bias": True,
    "generator_nonlinear_activation": "LeakyReLU",
    "generator_nonlinear_activation_params": {"negative_slope": 0.1},
}


def read_jets_config(path: Path) -> tuple[dict[str, Any], tuple[str, ...]]:
    """(the generator's parameters with defaults, and the sampling rate; the token list)."""
    try:
        import yaml
    except ImportError:
        raise BitjetsError("ESPnet's config.yaml needs PyYAML: run pip install -r requirements.txt.") from None
    try:
        if path.stat().st_size > LARGEST_YAML:
            raise BitjetsError(f"{path} is too large for a config.yaml: give the right --config.")
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BitjetsError(f"{path} is missing: give ESPnet's config.yaml of this checkpoint as --config.") from None
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise BitjetsError(f"{path} cannot be read as YAML ({type(error).__name__}): give another.") from None
    model = values.get("tts_conf") if isinstance(values, dict) else None
    tokens = values.get("token_list") if isinstance(values, dict) else None
    if not isinstance(model, dict) or not isinstance(tokens, list) or values.get("tts", "jets") != "jets":
        raise BitjetsError(
            f"{path} is not the config.yaml of a JETS (tts: jets, tts_conf, token_list): give the right one."
        )
    given = model.get("generator_params")
    parameters = DEFAULTS | (given if isinstance(given, dict) else {})
    for name, wanted in ONLY.items():
        if parameters[name] != wanted:
            raise BitjetsError(
                f"{path}: {name} is {shortened(parameters[name])}, and only {wanted!r} can be converted."
            )
    for name in ("spk_embed_dim", "langs"):
        if parameters[name]:
            raise BitjetsError(f"{path}: {name} is {shortened(parameters[name])}, and such models cannot be converted.")
    parameters["sampling_rate"] = model.get("sampling_rate", AudioConfig.sample_rate)
    _check_sizes(path, parameters)
    if not all(isinstance(token, str | int | float) for token in tokens):
        raise BitjetsError(f"{path}: token_list holds more than text: give the right --config.")
    return parameters, tuple(map(str, tokens))


def _check_sizes(path: Path, parameters: dict[str, Any]) -> None:
    """Numbers that build a model must be whole and of a sane size, before anything is built with them."""
    for name, usual in (DEFAULTS | {"spks": 1, "sampling_rate": 1}).items():
        value = parameters[name]
        if name in ONLY or usual is None or (name == "spks" and value is None):
            continue
        if isinstance(usual, bool | str):
            good = type(value) is type(usual)
        else:
            good = whole_numbers(value, MOST_LAYERS if name.endswith("layers") else LARGEST_SIZE, depth_of(usual))
        if not good:
            raise BitjetsError(f"{path}: {name} is {shortened(value)}, which no model here can have: fix it.")


def acoustic_config(path: Path, values: dict[str, Any], symbols: int) -> AcousticConfig:
    kernel = values["positionwise_conv_kernel_size"]
    kernels = {"conv1d": (kernel, kernel), "conv1d-linear": (kernel, 1), "linear": (1, 1)}
    alike = values["pitch_embed_kernel_size"] == values["energy_embed_kernel_size"]
    if values["positionwise_layer_type"] not in kernels or not alike:
        raise BitjetsError(f"{path}: positionwise_layer_type or the embed kernel sizes cannot be converted.")
    expand, contract = kernels[values["positionwise_layer_type"]]
    predictors = tuple(
        tuple(values[f"{what}_predictor_{part}"] for part in ("chans", "layers", "kernel_size"))
        for what in ("duration", "pitch", "energy")
    )
    found = dict(
        symbols=symbols,
        speakers=values["spks"] or 1,
        width=values["adim"],
        heads=values["aheads"],
        feed_forward=values["eunits"],
        decoder_feed_forward=values["dunits"],
        kernel=expand,
        contract_kernel=contract,
        encoder_layers=values["elayers"],
        decoder_layers=values["dlayers"],
        predictors=predictors,
        variance_kernel=values["pitch_embed_kernel_size"],
        ternary=False,
        norm="layer",
        frame_centre=0.0,
        least_frames=0,
        mel=False,
    )
    return from_json(AcousticConfig, found, str(path))


def vocoder_config(path: Path, values: dict[str, Any], inputs: int) -> HifiganConfig:
    """Of the HiFi-GAN inside, which reads `inputs` states a frame."""
    found = dict(
        resblock="1" if values["generator_use_additional_convs"] else "2",
        upsample_rates=values["generator_upsample_scales"],
        upsample_kernel_sizes=values["generator_upsample_kernel_sizes"],
        upsample_initial_channel=values["generator_channels"],
        resblock_kernel_sizes=values["generator_resblock_kernel_sizes"],
        resblock_dilation_sizes=values["generator_resblock_dilations"],
        n_mels=inputs,
        hop_size=math.prod(values["generator_upsample_scales"]),
    )
    return from_json(HifiganConfig, found, str(path))
