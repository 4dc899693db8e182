"""The tensors of a checkpoint while they are mapped, each ticked off, and the report of what became of them."""

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.torch_import.pickle_machine import printable
from bitjets_mlx.torch_import.tensor import Tensor

Shape = tuple[int, ...]
WEIGHTS_A_BYTE = 5  # ternary ones, packed
SHOWN = 20  # names in an error; the table has all of them


@dataclass(frozen=True)
class PackedTensor:
    """A ternary weight of a packed BitJETS: five trits to a byte, and the beta that it was packed with."""

    indices: Tensor
    beta: float
    shape: Shape


@dataclass(frozen=True)
class Row:
    """One line of the report: what was done, to which tensors of the checkpoint, and what came of it."""

    what: str
    names: tuple[str, ...]
    shape: Shape
    target: str = ""
    target_shape: Shape = ()


@dataclass
class Source:
    """A checkpoint's tensors by name. `take` and `drop` tick them off; what is left is unknown."""

    path: Path
    tensors: Mapping[str, Tensor | PackedTensor]
    rows: list[Row] = field(default_factory=list)
    missing: list[tuple[str, Shape]] = field(default_factory=list)
    used: set[str] = field(default_factory=set)

    def __contains__(self, name: str) -> bool:
        return name in self.tensors

    def shape(self, name: str, rank: int) -> Shape:
        """Shape of a tensor that must be there, with `rank` dimensions, to know the model's size."""
        if name not in self.tensors:
            raise BitjetsError(
                f"{self.path} has no tensor {name}: is it another kind of checkpoint (--kind), or are its tensors "
                "named otherwise (--key-map)?"
            )
        shape = self.tensors[name].shape
        if len(shape) != rank:
            raise BitjetsError(f"{self.path}: {name} is {_text(shape)}, and needs {rank} dimensions: is it damaged?")
        return shape

    def check_size(self, shapes: Iterable[Shape]) -> None:
        """BitjetsError where a model has more weights than the file can hold, however tightly they are packed."""
        wanted, size = sum(map(math.prod, shapes)), self.path.stat().st_size
        if wanted > WEIGHTS_A_BYTE * size:
            raise BitjetsError(
                f"{self.path} has {size:,} bytes and its model would have {wanted:,} weights: it is damaged, or "
                "--config belongs to another checkpoint."
            )

    def read(self, name: str) -> np.ndarray:
        """A tensor's values as float32, ticked off; BitjetsError where they are not numbers."""
        self.used.add(name)
        tensor = self.tensors[name]
        if not isinstance(tensor, Tensor):
            raise BitjetsError(f"{self.path}: {name} is packed, and nothing but a ternary layer may be.")
        array = tensor.read().astype(np.float32, copy=False)
        if not np.isfinite(array).all():
            raise BitjetsError(f"{self.path}: {name} holds NaN or infinity: was the training diverging? Take another.")
        return array

    def note(self, what: str, names: tuple[str, ...], target: str, array: np.ndarray) -> None:
        """A line of the report."""
        shapes = [self.tensors[name].shape for name in names]
        self.rows.append(Row(what, names, max(shapes, key=len), target, array.shape))

    def lacks(self, name: str, shape: Shape) -> np.ndarray:
        """Note a missing tensor; zeros stand in for it until the report ends in an error."""
        self.missing.append((name, shape))
        return np.zeros(shape, np.float32)

    def drop(self, prefix: str, why: str) -> None:
        """Tick off whatever begins with `prefix`, unread."""
        names = [name for name in self.tensors if name.startswith(prefix) and name not in self.used]
        self.used.update(names)
        if names:
            shape = self.tensors[names[0]].shape if len(names) == 1 else ()
            label = names[0] if len(names) == 1 else f"{prefix}* ({len(names)} tensors)"
            self.rows.append(Row("dropped", (label,), shape, why))

    def unknown(self) -> list[str]:
        """Names that nothing was done with."""
        return [name for name in self.tensors if name not in self.used]

    def check_shape(self, name: str, array: np.ndarray, wanted: Shape) -> np.ndarray:
        """BitjetsError where a converted tensor does not fit the model."""
        if array.shape != wanted:
            raise BitjetsError(
                f"{self.path}: {name} becomes {array.shape} and the model wants {wanted}: does the configuration "
                "belong to this checkpoint (--config)?"
            )
        return array

    # -- the end ---------------------------------------------------------------------------------------------------

    def table(self) -> str:
        """The report."""
        lines = [("", "checkpoint", "shape", "here", "shape")]
        lines += [(row.what, *_cells(row)) for row in self.rows]
        lines += [("unknown", printable(name), _text(self.tensors[name].shape), "", "") for name in self.unknown()]
        lines += [("missing", name, _text(shape), "", "") for name, shape in self.missing]
        widths = [max(len(line[column]) for line in lines) for column in range(5)]
        rows = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
        return "\n".join([*rows, self._counts()])

    def _counts(self) -> str:
        """How many tensors of the checkpoint went which way."""
        ways = {"mapped": 0, "folded": 0, "dropped": 0}
        for row in self.rows:
            ways[row.what] += len(row.names) if row.what != "dropped" else 0
        ways["dropped"] = len(self.used) - ways["mapped"] - ways["folded"]
        ways |= {"unknown": len(self.unknown()), "missing": len(self.missing)}
        listed = ", ".join(f"{count} {way}" for way, count in ways.items())
        return f"{len(self.tensors)} tensors in the checkpoint: {listed}"

    def check_complete(self) -> None:
        """BitjetsError that lists unknown and missing tensors."""
        unknown, missing = self.unknown(), self.missing
        if not unknown and not missing:
            return
        parts = []
        if unknown:
            parts.append("unknown are " + _listed([(name, self.tensors[name].shape) for name in unknown]))
        if missing:
            parts.append("missing are " + _listed(missing))
        raise BitjetsError(
            f"{self.path} does not fit: {'; '.join(parts)}. Name what each is in a JSON file, "
            '{"name there": "name here", "name to drop": null}, and give it as --key-map.'
        )


def _cells(row: Row) -> tuple[str, str, str, str]:
    names = printable(row.names[0]) + "".join(f" + {name.rsplit('.', 1)[-1]}" for name in row.names[1:])
    return names, _text(row.shape) if row.shape else "", row.target, _text(row.target_shape) if row.target_shape else ""


def _text(shape: Shape) -> str:
    return "x".join(map(str, shape)) if shape else "()"


def _listed(tensors: list[tuple[str, Shape]]) -> str:
    shown = ", ".join(f"{printable(name)} ({_text(shape)})" for name, shape in tensors[:SHOWN])
    return shown + (f" and {len(tensors) - SHOWN} more" if len(tensors) > SHOWN else "")


def origin_of(path: Path) -> dict[str, Any]:
    """What a voice's config.json says of the checkpoint that it came from."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return {"converted_from": path.name, "sha256": digest.hexdigest()}
