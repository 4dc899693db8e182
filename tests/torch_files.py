"""Checkpoints in PyTorch's formats written by hand, opcode by opcode, and how the tests read one."""

import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np

from bitjets_mlx.torch_import.reader import named_tensors, read_checkpoint


def read_all(path: Path) -> dict[str, np.ndarray]:
    """Every tensor's values."""
    return {name: tensor.read() for name, tensor in named_tensors(read_checkpoint(path)).items()}


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def whole(value: int) -> bytes:
    return b"\x8a\x09" + value.to_bytes(9, "little", signed=True)


def numbers(values: tuple[int, ...]) -> bytes:
    return b"(" + b"".join(map(whole, values)) + b"t"


def tensor(
    shape: tuple[int, ...] = (2, 2), stride: tuple[int, ...] = (2, 1), offset: int = 0, count: int = 4, key: str = "0"
) -> bytes:
    """Opcodes of one tensor of a storage of `count` floats."""
    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text(key) + text("cpu") + whole(count) + b"tQ"
    arguments = storage + whole(offset) + numbers(shape) + numbers(stride) + b"\x89)"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + arguments + b"tR"


def state(value: bytes, name: str = "weight") -> bytes:
    """A pickle of {name: value}."""
    return b"\x80\x02}" + text(name) + value + b"s."


def as_zip(path: Path, data: bytes, storages: dict[str, bytes] | None = None, **more: bytes) -> Path:
    entries = {"archive/data.pkl": data, "archive/byteorder": b"little", "archive/version": b"3\n"}
    entries |= {f"archive/data/{key}": value for key, value in (storages or {"0": bytes(16)}).items()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, value in (entries | more).items():
            archive.writestr(name, value)
    return path


def as_legacy(path: Path, data: bytes, count: int = 4, stored: bytes = bytes(16)) -> Path:
    head = b"".join(
        pickle.dumps(value, 2) for value in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True, "type_sizes": {}})
    )
    path.write_bytes(head + data + pickle.dumps(["0"], 2) + struct.pack("<q", count) + stored)
    return path
