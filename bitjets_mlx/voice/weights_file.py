"""Weight files (safetensors), checked before anything in them is trusted, and written whole or not at all.

MLX's own loader is lazy and accepts overlapping tensors, holes and duplicate names, so the header is read here. What
comes back has been copied out of the file, which may be replaced at once.
"""

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, NoReturn

import numpy as np

from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.files import atomic_write

Arrays = dict[str, np.ndarray]

DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "|i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "|u1",
    "BOOL": "|b1",
}
NAMES = {np.dtype(dtype): name for name, dtype in DTYPES.items()}
LARGEST_HEADER = 100 << 20
LARGEST_DIMENSION = 2**31
LARGEST_RANK = 32  # as numpy has it
HEADER_ALIGNMENT = 8


class Entry(NamedTuple):
    """One tensor in a header: where it lies, counted from the end of the header."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def read_weights(path: Path, sha256: str | None = None) -> Arrays:
    """All tensors of a safetensors file, by name. bfloat16 comes back as float32.

    BitjetsError where the file is missing, truncated, has a malformed header (duplicate names, offsets that overlap
    or leave holes, unknown types, dimensions of 2^31 or more), holds NaN or infinity, or is not the file that
    `sha256` was taken of.
    """
    with _opened(path) as file:
        start, header = _read_header(path, file)
        if sha256 is not None and _sha256(file) != sha256:
            raise BitjetsError(
                f"{path} is not the file that its config.json describes (sha256 differs): fetch the whole folder again."
            )
        arrays = {}
        for name, entry in header.items():
            file.seek(start + entry.begin)
            array = _tensor(file.read(entry.end - entry.begin), entry)  # one at a time: the file may be large
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise BitjetsError(f"{path}: the tensor {name} holds NaN or infinity: fetch the file again.")
            arrays[name] = array
    return arrays


def read_header(path: Path) -> tuple[int, dict[str, Entry]]:
    """(where the tensors begin, what the file says of each), after all checks of the header; see `read_weights`."""
    with _opened(path) as file:
        return _read_header(path, file)


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except FileNotFoundError:
        raise BitjetsError(f"{path} is missing: fetch the whole folder again.") from None
    except OSError as error:
        raise BitjetsError(f"{path} cannot be read ({error.strerror or error}).") from None


def _sha256(file: BinaryIO) -> str:
    """sha256 of a whole file, block by block."""
    digest = hashlib.sha256()
    file.seek(0)
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


def write_weights(path: Path, arrays: Mapping[str, np.ndarray]) -> str:
    """Write tensors as safetensors, in order of their names; returns the file's sha256.

    BitjetsError where one holds NaN or infinity: no such file is ever written.
    """
    header: dict[str, Any] = {}
    offset = 0
    for name in sorted(arrays):
        array = np.asarray(arrays[name])
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise BitjetsError(f"the tensor {name} holds NaN or infinity, so {path.name} was not written.")
        header[name] = {
            "dtype": NAMES[array.dtype],
            "shape": list(array.shape),
            "data_offsets": [offset, offset + array.nbytes],
        }
        offset += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % HEADER_ALIGNMENT)
    digest = hashlib.sha256()
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        for part in _parts(text, arrays):  # one at a time: together they may be large
            digest.update(part)
            file.write(part)
    return digest.hexdigest()


def _parts(header: bytes, arrays: Mapping[str, np.ndarray]) -> Iterator[bytes]:
    yield len(header).to_bytes(8, "little") + header
    for name in sorted(arrays):
        array = np.asarray(arrays[name])
        yield array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()  # row-major


def check_tensors(path: Path, arrays: Mapping[str, np.ndarray], expected: Mapping[str, tuple[int, ...]]) -> None:
    """BitjetsError naming the first few tensors in which the file differs from `expected` (name -> shape)."""
    have = {name: array.shape for name, array in arrays.items()}
    different = [name for name in sorted(have.keys() | expected.keys()) if have.get(name) != expected.get(name)]
    if different:
        shown = ", ".join(
            f"{name} is {have.get(name, 'missing')} and should be {expected.get(name, 'absent')}"
            for name in different[:3]
        )
        raise BitjetsError(
            f"{path} does not belong to the model in its config.json ({len(different)} tensors differ: {shown})."
        )


def _read_header(path: Path, file: BinaryIO) -> tuple[int, dict[str, Entry]]:
    """(where the tensors begin, the header's entries in the order of the file), after all checks."""

    def damaged(reason: str) -> NoReturn:
        raise BitjetsError(f"{path} is damaged or no safetensors file ({reason}): fetch it again.")

    length = file.seek(0, os.SEEK_END)
    file.seek(0)
    if length < 8:
        damaged(f"only {length} bytes")
    size = int.from_bytes(file.read(8), "little")
    if size > min(length - 8, LARGEST_HEADER):
        damaged("truncated header")
    names: list[str] = []

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in pairs]
        if len(set(keys)) != len(keys):
            raise ValueError("duplicate names")
        return dict(pairs)

    try:
        values = json.loads(file.read(size).decode(), object_pairs_hook=unique)
        if not isinstance(values, dict):
            raise ValueError("no object")
        values.pop("__metadata__", None)
        entries = {name: _entry(value) for name, value in values.items()}
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        damaged(f"malformed header: {error}")
    position = 0
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].begin, item[1].end)):
        if entry.begin != position:
            damaged(f"the tensor {name} overlaps another or leaves a hole")
        position = entry.end
        names.append(name)
    if 8 + size + position != length:
        missing = 8 + size + position - length
        damaged(f"{missing} bytes are missing" if missing > 0 else f"{-missing} bytes too many")
    return 8 + size, {name: entries[name] for name in names}


def _entry(value: Any) -> Entry:
    """One header entry; ValueError, TypeError or KeyError where it is malformed."""
    shape, (begin, end) = tuple(value["shape"]), value["data_offsets"]
    if not all(type(number) is int and number >= 0 for number in (*shape, begin, end)):
        raise ValueError("shapes and offsets must be whole numbers")
    if len(shape) > LARGEST_RANK:
        raise ValueError(f"a tensor of more than {LARGEST_RANK} dimensions")
    if any(number >= LARGEST_DIMENSION for number in shape):
        raise ValueError("a dimension of 2^31 or more")
    dtype = value["dtype"]
    if dtype != "BF16" and dtype not in DTYPES:
        raise ValueError(f"unknown type {dtype!r}")
    item = 2 if dtype == "BF16" else np.dtype(DTYPES[dtype]).itemsize
    if end - begin != item * math.prod(shape):
        raise ValueError("a tensor's bytes do not fit its shape")
    return Entry(dtype, shape, begin, end)


def _tensor(data: bytes, entry: Entry) -> np.ndarray:
    """One tensor, as a writable array."""
    stored = "<u2" if entry.dtype == "BF16" else DTYPES[entry.dtype]
    flat = np.frombuffer(data, dtype=stored)
    if entry.dtype == "BF16":  # the upper half of a float32
        flat = (flat.astype(np.uint32) << 16).view(np.float32)
    return flat.reshape(entry.shape).copy()
