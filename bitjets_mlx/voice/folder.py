"""Voices on disk: folders that `pack` and `convert` write and `Voice` reads.

    config.json             everything needed to rebuild the models
    acoustic.safetensors    ternary weights as base 3 (`*.trits`) with their scale (`*.beta`); the rest fp16
    vocoder.safetensors     int8 or 4 bit with a step size an output channel (`*.step`), vectors fp16
    README.md               model card

`convert` keeps fp32, and latent weights (`*.weight`) where it does not pack. `discriminators.safetensors`: those of a
converted vocoder, for training on. A folder may hold only a vocoder. A `_trainable` folder holds the acoustic model's
latent weights and the aligner.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from bitjets_mlx.acoustic import AcousticModel, build_acoustic
from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.files import atomic_write_bytes
from bitjets_mlx.folders import output_folder
from bitjets_mlx.ternary.packing import packed_size, unpack_base3
from bitjets_mlx.vocoder import Vocoder, build_vocoder
from bitjets_mlx.vocoder.discriminators import Discriminators
from bitjets_mlx.vocoder.storage import packed_shapes, unpack_integers
from bitjets_mlx.voice.arrays import Tree, parameter_shapes, take_up, ternary_layers
from bitjets_mlx.voice.model_card import trainable_card, voice_card
from bitjets_mlx.voice.voice_config import (
    ACOUSTIC_FILE,
    CONFIG_FILE,
    DISCRIMINATORS_FILE,
    TRAINABLE_FILE,
    VOCODER_FILE,
    VOICE_FOLDER,
    VoiceConfig,
    read_config,
    write_config,
)
from bitjets_mlx.voice.weights_file import Arrays, check_tensors, read_weights, write_weights


def write_voice(
    folder: Path,
    config: VoiceConfig,
    files: dict[str, Arrays],
    notes: str = "",
    measured: Any = None,
    try_out: Callable[[Path, VoiceConfig], None] | None = None,
    overwrite: bool = False,
    inputs: Sequence[Path] = (),
) -> None:
    """Write a voice, vocoder or trainable folder: each file's arrays, config.json and the model card.

    What was written is read back before it counts, and handed to `try_out`; on any error FOLDER stays as it was.
    `overwrite` and `inputs` as for `folders.check_folder`.
    `files` is empty afterwards: of a large model, two copies need not be in memory.
    """
    digests = {}
    with output_folder(folder, VOICE_FOLDER, overwrite, inputs) as scratch:
        for name in list(files):
            digests[name] = write_weights(scratch / name, files.pop(name))
        write_config(scratch, replace(config, files=digests))
        config = read_config(scratch)
        check_files(scratch, config)
        if try_out is not None:
            try_out(scratch, config)
        if TRAINABLE_FILE in digests:
            card = trainable_card(folder.name, config, notes)
        else:
            card = voice_card(folder.name, scratch, config, notes, measured)
        atomic_write_bytes(scratch / "README.md", card.encode())


def check_files(folder: Path, config: VoiceConfig) -> None:
    """Read every weight file that a folder lists; BitjetsError where one does not fit."""
    if TRAINABLE_FILE in config.files:
        read_trainable(folder)
    if ACOUSTIC_FILE in config.files:
        read_acoustic(folder, config)
    if VOCODER_FILE in config.files:
        read_vocoder(folder, config)
    read_discriminators(folder, config)


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
            trits, beta = module.trits_of(arrays.pop(f"{name}.weight").astype(np.float32))
        else:
            beta = arrays.pop(f"{name}.beta")
            try:
                trits = unpack_base3(arrays.pop(f"{name}.trits"), shapes[f"{name}.weight"])
            except ValueError as error:
                raise BitjetsError(f"{path}: {name}.trits is not a base-3 packing ({error}): fetch it again.") from None
        module.freeze_trits(trits, mx.array(beta))
    take_up(model, path, arrays)
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
    take_up(model, path, arrays)
    return model


def read_discriminators(folder: Path, config: VoiceConfig) -> Discriminators | None:
    """The discriminators of a converted vocoder, to train on against; None where it has none."""
    if config.discriminators is None:
        return None
    path = folder / DISCRIMINATORS_FILE
    arrays = read_weights(path, _sha256(folder, config, DISCRIMINATORS_FILE))
    model: Discriminators = _built(folder, Discriminators, config.discriminators)
    check_tensors(path, arrays, parameter_shapes(model))
    take_up(model, path, arrays)
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
    take_up(model, path, arrays)
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
