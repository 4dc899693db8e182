"""Which family a checkpoint belongs to, and its tensors under the names that the family's mapping knows."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.files import read_json
from bitjets_mlx.torch_import.bitjets import EMBEDDING, PACKED_KEYS, packed_tensors
from bitjets_mlx.torch_import.pickle_machine import printable
from bitjets_mlx.torch_import.reader import named_tensors, read_checkpoint
from bitjets_mlx.torch_import.source import PackedTensor, Source
from bitjets_mlx.torch_import.tensor import Tensor

Tensors = dict[str, Tensor | PackedTensor]

CONTAINERS = ("model_state_dict", "state_dict", "model")  # of training files: what the model is, beside an optimizer
WRAPPER = "module."  # what DataParallel puts before every name
JETS_EMBEDDING = "generator.encoder.embed.0.weight"
SIGNS = {  # a tensor that every checkpoint of the family has
    "bitjets": (EMBEDDING,),
    "espnet-jets": (f"tts.{JETS_EMBEDDING}", JETS_EMBEDDING),
    "hifigan": ("generator.conv_pre.bias", "conv_pre.bias", "mpd.discriminators.0.convs.0.bias"),
}


def open_source(path: Path, key_map: Path | None) -> Source:
    """The model's tensors of a checkpoint, whatever file they are in; what is beside them is dropped unread."""
    tree = read_checkpoint(path)
    if not isinstance(tree, dict):
        raise BitjetsError(f"{path} holds a {type(tree).__name__} and no state dict: save the model's state_dict().")
    container = next((name for name in CONTAINERS if isinstance(tree.get(name), dict)), "")
    inner: dict[Any, Any] = tree[container] if container else tree
    tensors: Tensors = packed_tensors(inner, path) if PACKED_KEYS in inner else {**named_tensors(inner)}
    beside = {name: tensor for name, tensor in named_tensors(tree).items() if not name.startswith(f"{container}.")}
    if not tensors:
        raise BitjetsError(f"{path} holds no tensors: is it the checkpoint of a model?")
    if all(name.startswith(WRAPPER) for name in tensors):
        tensors = {name.removeprefix(WRAPPER): tensor for name, tensor in tensors.items()}
    source = Source(path, _renamed(tensors, key_map))
    if container:
        source.tensors = {**source.tensors, **beside}
        for name in tree:
            if name != container:
                source.drop(f"{name}.", "not part of the model")
    return source


def kind_of(source: Source) -> str:
    """The family of a checkpoint, by the names of its tensors."""
    for kind, signs in SIGNS.items():
        if any(sign in source for sign in signs):
            return kind
    some = ", ".join(printable(name) for name in list(source.tensors)[:3])
    raise BitjetsError(
        f"{source.path} is not a checkpoint of a known kind (its tensors are {some}, ...): say which with --kind, "
        "and name its tensors with --key-map."
    )


def _renamed(tensors: Tensors, key_map: Path | None) -> Tensors:
    """`--key-map`: {"name there": "name here"}, null to drop; a name that ends in a dot is the beginning of several."""
    if key_map is None:
        return tensors
    try:
        table = read_json(key_map)
    except (FileNotFoundError, NotADirectoryError):
        raise BitjetsError(f"{key_map} is missing: give the path of a JSON file as --key-map.") from None
    if not isinstance(table, dict) or not all(isinstance(value, str | None) for value in table.values()):
        raise BitjetsError(f'{key_map} must be an object such as {{"name there": "name here", "to drop": null}}.')
    renamed: Tensors = {}
    met: set[str] = set()
    for name, tensor in tensors.items():
        key = name if name in table else next((key for key in table if key.endswith(".") and name.startswith(key)), "")
        if not key:
            renamed[name] = tensor
            continue
        met.add(key)
        if table[key] is not None:
            renamed[table[key] + name.removeprefix(key)] = tensor
    _check_renamed(key_map, table, met, tensors, renamed)
    return renamed


def _check_renamed(key_map: Path, table: Mapping[str, Any], met: set[str], tensors: Tensors, renamed: Tensors) -> None:
    strange = sorted(table.keys() - met)
    if strange:
        raise BitjetsError(f"{key_map} names {strange[0]!r}, which is not in the checkpoint: fix the name.")
    dropped = sum(1 for name in tensors if name in table and table[name] is None)
    dropped += sum(
        1
        for name in tensors
        if name not in table and any(k.endswith(".") and name.startswith(k) and table[k] is None for k in table)
    )
    if len(renamed) != len(tensors) - dropped:
        raise BitjetsError(f"{key_map} gives two tensors the same name: fix it.")
