"""Models' weights as named arrays, as they lie in weight files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_flatten, tree_unflatten

from bitjets_mlx.acoustic import AcousticModel, build_acoustic
from bitjets_mlx.config import AcousticConfig, CharacterConfig
from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.ternary.layers import TernaryLayer
from bitjets_mlx.ternary.packing import pack_base3
from bitjets_mlx.voice.weights_file import Arrays

Tree = Any  # nested dicts and lists of mx.array, as nn.Module.parameters() gives them


def named_arrays(tree: Tree) -> dict[str, mx.array]:
    """A tree's arrays by their dotted names."""
    flat: Any = tree_flatten(tree)
    return dict(flat)


def parameter_shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """Shapes of a model's arrays, by name. Random weights are never drawn for it: MLX is lazy."""
    return {name: value.shape for name, value in named_arrays(model.parameters()).items()}


def half(weights: Mapping[str, mx.array]) -> Arrays:
    """fp16 copies, by name."""
    return {name: np.array(value.astype(mx.float16)) for name, value in weights.items()}


def ternary_layers(model: AcousticModel) -> dict[str, TernaryLayer]:
    """Every ternary layer of a model, by name."""
    return {
        name: module
        for name, module in sorted(model.named_modules())
        if isinstance(module, TernaryLayer) and module.ternary
    }


def pack_acoustic(config: AcousticConfig | CharacterConfig, tree: Tree) -> Arrays:
    """The arrays of acoustic.safetensors: trits and beta of ternary layers, fp16 for the rest, no aligner."""
    weights = {name: value for name, value in named_arrays(tree).items() if not name.startswith("aligner.")}
    arrays: Arrays = {}
    for name, layer in ternary_layers(build_acoustic(config)).items():
        trits, beta = layer.trits_of(np.array(weights.pop(f"{name}.weight").astype(mx.float32)))
        arrays[f"{name}.trits"], arrays[f"{name}.beta"] = pack_base3(trits), beta
    return arrays | half(weights)


def take_up(model: nn.Module, path: Path, arrays: Arrays) -> None:
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
