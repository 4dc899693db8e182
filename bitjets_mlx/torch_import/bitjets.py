"""The user's own BitJETS in PyTorch: convolutional, character-level; raw, training and packed files."""

import re
from pathlib import Path
from typing import Any

import numpy as np

from bitjets_mlx.config import CharacterConfig
from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.ternary.packing import pack_base3, unpack_base3
from bitjets_mlx.text.spelled import CHARACTERS
from bitjets_mlx.torch_import.characters import CharacterJets
from bitjets_mlx.torch_import.convolution import take_plain, take_weight
from bitjets_mlx.torch_import.source import PackedTensor, Source
from bitjets_mlx.torch_import.tensor import Tensor
from bitjets_mlx.voice.arrays import parameter_shapes, ternary_layers
from bitjets_mlx.voice.weights_file import Arrays

EMBEDDING = "encoder.embedding.weight"
PREDICTOR = "variance_adaptor.duration_predictor"
PACKED_KEYS = "__packed_keys__"
NAMES = (  # ours -> theirs
    (r"embedding\.", "encoder.embedding."),
    (r"encoder\.(\d+)\.norm\.", r"encoder.layer.\1.layer_norm."),
    (r"encoder\.(\d+)\.conv\.", r"encoder.layer.\1.bit_conv."),
    (r"encoder_norm\.", "encoder.final_norm."),
    (r"input\.", "decoder.input_proj."),
    (r"decoder\.(\d+)\.norm\.", r"decoder.layers.\1.layer_norm."),
    (r"decoder\.(\d+)\.conv\.", r"decoder.layers.\1.bit_conv."),
    (r"decoder_norm\.", "decoder.final_form."),
    (r"projection\.", "decoder.output_proj."),
)
EARLY = range(10, 201)  # bitjets_ckpt_10 ... bitjets_ckpt_200


def generation_by_name(path: Path) -> str:
    """early for files named like the early ones, otherwise late."""
    match = re.match(r"bitjets_ckpt_(\d+)(?!\d)", path.name)
    return "early" if match and int(match[1]) in EARLY else "late"


def packed_tensors(tree: dict[Any, Any], path: Path) -> dict[str, Tensor | PackedTensor]:
    """The tensors of a packed file: its ternary weights are dicts of indices, beta, shape and numel."""
    tensors: dict[str, Tensor | PackedTensor] = {}
    listed = tree[PACKED_KEYS]
    packed = {name for name in listed if isinstance(name, str)} if isinstance(listed, list | tuple) else set()
    for name, value in tree.items():
        if isinstance(value, Tensor):
            tensors[str(name)] = value
        elif name in packed:
            tensors[str(name)] = _packed(name, value, path)
    return tensors


def _packed(name: str, value: Any, path: Path) -> PackedTensor:
    if not isinstance(value, dict) or not {"indices", "beta", "shape"} <= value.keys():
        raise BitjetsError(f"{path}: {name} is said to be packed and has no indices, beta and shape.")
    indices, beta, shape = value["indices"], value["beta"], value["shape"]
    beta = float(beta.read().reshape(-1)[0]) if isinstance(beta, Tensor) and beta.count == 1 else beta
    count = int(np.prod(shape, dtype=object)) if isinstance(shape, tuple | list) and len(shape) == 3 else -1
    good = isinstance(indices, Tensor) and indices.dtype == "|u1" and isinstance(beta, int | float)
    if not good or value.get("numel", count) != count or not np.isfinite(beta) or indices.count != -(-count // 5):
        raise BitjetsError(f"{path}: the packed tensor {name} contradicts itself: it is damaged.")
    return PackedTensor(indices, float(beta), tuple(shape))


def bitjets_config(source: Source, generation: str) -> CharacterConfig:
    """The model's size, from the shapes of its tensors."""
    symbols, width = source.shape(EMBEDDING, 2)
    if symbols != len(CHARACTERS):
        raise BitjetsError(f"{source.path} has {symbols} characters, and this model's are {len(CHARACTERS)}.")

    def count(pattern: str) -> int:
        return len({match[1] for name in source.tensors if (match := re.match(pattern, name))})

    predictor = count(rf"{re.escape(PREDICTOR)}\.(\d+)\.bit_conv\.")
    return CharacterConfig(
        symbols=symbols,
        n_mels=source.shape("decoder.output_proj.weight", 2)[0],
        width=width,
        decoder_width=source.shape("decoder.input_proj.weight", 2)[0],
        kernel=source.shape("encoder.layer.0.bit_conv.weight", 3)[2],
        encoder_layers=count(r"encoder\.layer\.(\d+)\."),
        decoder_layers=count(r"decoder\.layers\.(\d+)\."),
        predictor_layers=predictor,
        predictor_kernel=source.shape(f"{PREDICTOR}.0.bit_conv.weight", 3)[2],
        generation=generation,  # type: ignore[arg-type]
    )


def map_bitjets(source: Source, config: CharacterConfig, pack: bool) -> Arrays:
    """The arrays of acoustic.safetensors: latent weights, or with `pack`, or where they come packed, trits and beta."""
    model = CharacterJets(config)
    layers = ternary_layers(model)
    arrays: Arrays = {}
    shapes = parameter_shapes(model)
    source.check_size(shapes.values())
    for name, shape in shapes.items():
        theirs = _their_name(name, config.predictor_layers)
        layer = name.removesuffix(".weight")
        packed = source.tensors.get(theirs)
        if layer in layers and isinstance(packed, PackedTensor):
            trits, beta = _unpacked(source, theirs, packed), np.array(packed.beta, np.float32)
            source.used.add(theirs)
            source.note("mapped", (theirs,), f"{layer}.trits", source.check_shape(theirs, trits, shape))
        elif layer in layers:
            weight = take_weight(source, theirs.removesuffix(".weight"), name, shape)
            if not pack:
                arrays[name] = weight
                continue
            trits, beta = layers[layer].trits_of(weight)
        else:
            arrays[name] = take_plain(source, theirs, name, shape)
            continue
        arrays[f"{layer}.trits"], arrays[f"{layer}.beta"] = pack_base3(trits), beta
    return arrays


def _unpacked(source: Source, name: str, packed: PackedTensor) -> np.ndarray:
    """(O, I, K) packed row by row -> trits (O, K, I)."""
    try:
        trits = unpack_base3(packed.indices.read().reshape(-1), packed.shape)
    except ValueError as error:
        raise BitjetsError(f"{source.path}: {name} is not a base-3 packing ({error}): it is damaged.") from None
    return np.ascontiguousarray(trits.transpose(0, 2, 1))


def _their_name(name: str, predictor_layers: int) -> str:
    if match := re.match(r"duration\.layers\.(\d+)\.(norm|conv)\.", name):
        part = {"norm": "layer_norm", "conv": "bit_conv"}[match[2]]
        return f"{PREDICTOR}.{3 * int(match[1])}.{part}.{name[match.end() :]}"
    if name.startswith("duration.head."):
        return f"{PREDICTOR}.{3 * predictor_layers}.{name.rsplit('.', 1)[-1]}"
    for pattern, theirs in NAMES:
        if re.match(pattern, name):
            return re.sub(f"^{pattern}", theirs, name)
    raise ValueError(name)
