"""Reads PyTorch checkpoints (zip, and the legacy format from before torch 1.6) and safetensors.

What comes back is plain Python (dicts, lists, numbers, text) with `Tensor`s, which know where their bytes lie and are
read one by one when asked for. So an optimizer's state costs nothing, and no file can make the reader allocate more
than its own size.
"""

import io
import os
import struct
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.torch_import.pickle_machine import (
    LONGEST_PICKLE,
    Find,
    Malformed,
    Name,
    PickleMachine,
    Refused,
    printable,
)
from bitjets_mlx.torch_import.tensor import STORAGE_TYPES, Storage, Tensor, item_size
from bitjets_mlx.voice.weights_file import DTYPES, read_header

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001
END_RECORD = 22  # bytes of a zip's end record; torch writes no comment behind it
ZIP64_LOCATOR = 20
ZIP64_RECORDS = ZIP64_LOCATOR + 56
LARGEST_DIRECTORY = 4 << 20  # bytes of a zip's list of entries: some 50,000
LOCAL_HEADER = 30
ENCRYPTED = 1  # of an entry's flags
MOST_TENSORS = 100_000
DEEPEST = 16


def read_checkpoint(path: Path) -> Any:
    """The contents of a checkpoint; BitjetsError where it is damaged or holds something that is not allowed."""
    try:
        with path.open("rb") as file:
            start = file.read(512)
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            return _contents(path, file, start, size)
    except Refused as error:
        raise BitjetsError(
            f"{path} was refused: it asks for {error}, and nothing but tensors, OrderedDict and plain containers is "
            "ever built (nothing in the file was run); save its state_dict() alone."
        ) from None
    except (
        Malformed,
        zipfile.BadZipFile,
        EOFError,
        NotImplementedError,
        ValueError,
        TypeError,
        LookupError,
        RecursionError,
        ArithmeticError,
        struct.error,
    ) as error:
        raise BitjetsError(
            f"{path} is damaged or no PyTorch checkpoint ({printable(str(error))}): fetch it again."
        ) from None
    except FileNotFoundError:
        raise BitjetsError(f"{path} is missing: give the path of a checkpoint.") from None
    except OSError as error:
        raise BitjetsError(f"{path} cannot be read ({error.strerror or error}).") from None


def _contents(path: Path, file: BinaryIO, start: bytes, size: int) -> Any:
    if start.startswith(b"PK"):
        return _read_zip(path, file, size)
    if start[8:9] == b"{":
        return _read_safetensors(path)
    if start.startswith(b"version https://git-lfs"):
        raise BitjetsError(f"{path} is a Git LFS pointer and not the checkpoint itself: run `git lfs pull`.")
    if start.lstrip()[:9].lower() in (b"<!doctype", b"<html>") or start.lstrip()[:5].lower() == b"<html":
        raise BitjetsError(f"{path} is a web page and not a checkpoint: download the file itself.")
    if start[:1] != b"\x80":
        raise Malformed("it is neither a zip, nor a pickle, nor safetensors")
    return _read_legacy(path, file, size)


def named_tensors(tree: Any, prefix: str = "") -> dict[str, Tensor]:
    """Every tensor in nested dicts, by its dotted name. Lists are not looked into."""
    found: dict[str, Tensor] = {}
    stack = [(prefix, tree, 0)]
    for _ in range(MOST_TENSORS):
        if not stack:
            return found
        name, value, depth = stack.pop()
        if isinstance(value, Tensor):
            found[name] = value
        elif isinstance(value, dict) and depth < DEEPEST:
            inner = [(f"{name}.{key}" if name else str(key), item, depth + 1) for key, item in value.items()]
            stack += inner[::-1]
    raise BitjetsError(f"the checkpoint holds more than {MOST_TENSORS:,} values: give one of a known model.")


# -- zip -----------------------------------------------------------------------------------------------------------


def _read_zip(path: Path, file: BinaryIO, size: int) -> Any:
    _check_directory(file, size)
    with zipfile.ZipFile(file) as archive:
        entries = _checked_entries(archive, size)
        pickles = [name for name in entries if name.endswith("data.pkl") and name.count("/") <= 1]
        if len(pickles) != 1:
            raise Malformed("a zip without data.pkl, which is not what torch.save writes")
        root = pickles[0].removesuffix("data.pkl")
        order = entries.get(f"{root}byteorder")
        if order and archive.read(order) != b"little":
            raise Refused("numbers in big-endian order")
        if entries[pickles[0]].file_size > LONGEST_PICKLE:
            raise Malformed(f"a pickle of more than {LONGEST_PICKLE} bytes")
        data = archive.read(pickles[0])
    storages: dict[str, Storage] = {}

    def find(reference: Any) -> Storage:
        dtype, key, count = _reference(reference)
        if key not in storages:
            entry = entries.get(f"{root}data/{key}")
            if entry is None:
                raise Malformed(f"the storage {key} is missing")
            storage = Storage(dtype, count, path, _position(file, entry), entry.CRC, key)
            if storage.size != entry.file_size:
                raise Malformed(f"the storage {key} should have {storage.size} bytes and has {entry.file_size}")
            storages[key] = storage
        return _same_type(storages[key], dtype, count)

    return PickleMachine(io.BytesIO(data), find, len(data)).run()


def _check_directory(file: BinaryIO, size: int) -> None:
    """A zip's list of entries must be small, before Python's zipfile reads all of it."""
    file.seek(max(size - END_RECORD - ZIP64_RECORDS, 0))
    tail = file.read(END_RECORD + ZIP64_RECORDS)
    end = tail[-END_RECORD:]
    if len(end) < END_RECORD or not end.startswith(b"PK\5\6"):
        raise Malformed("a zip without its end")
    length = int.from_bytes(end[12:16], "little")
    if tail[-END_RECORD - ZIP64_LOCATOR :].startswith(b"PK\6\7"):  # zipfile then believes the record before it
        length = int.from_bytes(tail[-END_RECORD - ZIP64_RECORDS :][40:48], "little")
    if length > LARGEST_DIRECTORY:
        raise Malformed("a zip whose list of entries is too long")
    file.seek(0)


def _checked_entries(archive: zipfile.ZipFile, size: int) -> dict[str, zipfile.ZipInfo]:
    """Entries by name, none compressed (so no bomb), none twice, together no larger than the file."""
    entries: dict[str, zipfile.ZipInfo] = {}
    total = 0
    for entry in archive.infolist():
        name = entry.filename
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
            raise Malformed(f"the entry {name} is compressed, which torch.save never does")
        if entry.flag_bits & ENCRYPTED:
            raise Malformed(f"the entry {name} is encrypted")
        if name in entries:
            raise Malformed(f"the entry {name} is there twice")
        entries[name] = entry
        total += entry.file_size
    if total > size:
        raise Malformed("its entries overlap")
    return entries


def _position(file: BinaryIO, entry: zipfile.ZipInfo) -> int:
    """Where an entry's bytes begin: behind its local header, whose length the list of entries does not tell."""
    file.seek(entry.header_offset)
    header = file.read(LOCAL_HEADER)
    if len(header) != LOCAL_HEADER or not header.startswith(b"PK\3\4"):
        raise Malformed(f"the entry {entry.filename} is not where it should be")
    return entry.header_offset + LOCAL_HEADER + sum(struct.unpack("<HH", header[26:30]))


# -- legacy --------------------------------------------------------------------------------------------------------


def _read_legacy(path: Path, file: BinaryIO, size: int) -> Any:
    """Five pickles (magic number, version, system, contents, keys of storages), then every storage's bytes."""
    storages: dict[str, Storage] = {}
    views: list[tuple[Storage, Storage, int]] = []

    def no_storage(reference: Any) -> Storage:
        raise Malformed("a storage where none should be")

    def find(reference: Any) -> Storage:
        dtype, key, count = _reference(reference)
        storage = storages.setdefault(key, Storage(dtype, count, path, name=key))
        view = reference[5] if len(reference) > 5 else None
        _same_type(storage, dtype, count)
        return storage if view is None else _view(storage, view, views)

    def run(find_storage: Find) -> Any:
        return PickleMachine(file, find_storage, min(LONGEST_PICKLE, size - file.tell())).run()

    if run(no_storage) != LEGACY_MAGIC:
        raise Malformed("a pickle that torch.save did not write")
    if run(no_storage) != LEGACY_PROTOCOL:
        raise Malformed("an unknown version of torch's legacy format")
    system = run(no_storage)
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise Refused("numbers in big-endian order")
    contents, keys = run(find), run(no_storage)
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys) or sorted(keys) != sorted(storages):
        raise Malformed("its list of storages does not fit its tensors")
    for key in keys:
        storage = storages[key]
        count = int.from_bytes(file.read(8), "little", signed=True)
        storage.position = file.tell()
        if count != storage.count:
            raise Malformed(f"the storage {key} should have {storage.count} elements and has {count}")
        if storage.position + storage.size > size:
            raise Malformed("it ends too early")
        file.seek(storage.size, os.SEEK_CUR)
    for view, root, offset in views:
        view.position = root.position + offset * item_size(root.dtype)
    return contents


def _view(root: Storage, view: Any, views: list[tuple[Storage, Storage, int]]) -> Storage:
    """A part of a storage that was saved as one of its own: (key, offset, elements)."""
    if not isinstance(view, tuple) or len(view) != 3 or not all(type(number) is int for number in view[1:]):
        raise Malformed("a view of a storage that is not a triple")
    _, offset, count = view
    if offset < 0 or count < 0 or offset + count > root.count:
        raise Malformed("a view that goes beyond its storage")
    part = Storage(root.dtype, count, root.path, name=root.name)
    views.append((part, root, offset))
    return part


def _reference(reference: Any) -> tuple[str, str, int]:
    """(element type, key, elements) of a persistent id ('storage', type, key, location, elements[, view])."""
    if not isinstance(reference, tuple) or len(reference) not in (5, 6) or reference[0] != "storage":
        raise Malformed("a reference that is not a storage")
    _, kind, key, _, count = reference[:5]
    if not isinstance(kind, Name) or not isinstance(key, str) or type(count) is not int or count < 0:
        raise Malformed("a storage without type, key or size")
    dtype = STORAGE_TYPES.get(kind.name.removeprefix("_"))
    if dtype is None:
        raise Malformed(f"a storage of type {kind.name}")
    return dtype, key, count


def _same_type(storage: Storage, dtype: str, count: int) -> Storage:
    if (storage.dtype, storage.count) != (dtype, count):
        raise Malformed(f"the storage {storage.name} has two types or sizes")
    return storage


# -- safetensors ---------------------------------------------------------------------------------------------------


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    start, header = read_header(path)
    tensors = {}
    for name, entry in header.items():
        dtype = "bfloat16" if entry.dtype == "BF16" else DTYPES[entry.dtype]
        storage = Storage(dtype, (entry.end - entry.begin) // item_size(dtype), path, start + entry.begin, name=name)
        strides, step = [], 1
        for size in entry.shape[::-1]:
            strides.append(step)
            step *= size
        tensors[name] = Tensor.checked(storage, dtype, 0, entry.shape, tuple(strides[::-1]))
    return tensors
