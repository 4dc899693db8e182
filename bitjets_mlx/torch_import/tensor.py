"""Tensors of a checkpoint: where their bytes lie and how they are laid out. Nothing is read before `read` asks."""

import math
import zlib
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, NoReturn

import numpy as np

from bitjets_mlx.errors import BitjetsError

LARGEST_RANK = 32

# torch's name of an element type -> what numpy stores it as. bfloat16 and float8 have no numpy type of their own.
DTYPE_NAMES = {
    "float32": "<f4",
    "float": "<f4",
    "float64": "<f8",
    "double": "<f8",
    "float16": "<f2",
    "half": "<f2",
    "bfloat16": "bfloat16",
    "float8_e4m3fn": "float8_e4m3fn",
    "float8_e5m2": "float8_e5m2",
    "int64": "<i8",
    "int32": "<i4",
    "int16": "<i2",
    "int8": "|i1",
    "uint8": "|u1",
    "uint16": "<u2",
    "uint32": "<u4",
    "uint64": "<u8",
    "bool": "|b1",
    "complex64": "<c8",
    "complex128": "<c16",
}
STORAGE_TYPES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "|i1",
    "ByteStorage": "|u1",
    "BoolStorage": "|b1",
    "ComplexFloatStorage": "<c8",
    "ComplexDoubleStorage": "<c16",
    "UntypedStorage": "|u1",
}
WIDE = {"bfloat16": ("<u2", 8, 7), "float8_e4m3fn": ("|u1", 4, 3), "float8_e5m2": ("|u1", 5, 2)}  # bits of exponent


def item_size(dtype: str) -> int:
    """Bytes of one element."""
    return np.dtype(WIDE[dtype][0] if dtype in WIDE else dtype).itemsize


@dataclass(eq=False)
class Storage:
    """A run of bytes in the file, which several tensors may share."""

    dtype: str
    count: int  # elements
    path: Path
    position: int = -1  # in the file; legacy files tell it only after the pickle
    checksum: int | None = None  # CRC-32 of all its bytes, where the format has one
    name: str = ""
    checked: bool = field(default=False)

    @property
    def size(self) -> int:
        """Bytes."""
        return self.count * item_size(self.dtype)

    def read(self, begin: int, size: int) -> bytes:
        """`size` bytes from `begin`; BitjetsError where the file was cut or does not match its checksum."""
        with self.path.open("rb") as file:
            if self.checksum is not None and not self.checked:
                self._check(file)
            file.seek(self.position + begin)
            data = file.read(size)
        if len(data) != size:
            self._damaged("ends too early")
        return data

    def _check(self, file: BinaryIO) -> None:
        file.seek(self.position)
        found, left = 0, self.size
        while left and (block := file.read(min(left, 1 << 20))):
            found, left = zlib.crc32(block, found), left - len(block)
        if left or found != self.checksum:
            self._damaged("does not match its checksum")
        self.checked = True

    def _damaged(self, what: str) -> NoReturn:
        raise BitjetsError(f"{self.path} is damaged (the storage {self.name} {what}): fetch it again.")


@dataclass(frozen=True, eq=False)
class Tensor:
    """A view of a storage: element (i, j, ...) lies at offset + i stride[0] + j stride[1] + ..."""

    storage: Storage
    dtype: str
    offset: int  # elements
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @staticmethod
    def checked(storage: Storage, dtype: str, offset: int, shape: tuple[int, ...], stride: tuple[int, ...]) -> "Tensor":
        """A tensor that lies within its storage; ValueError says what is wrong with one that does not."""
        if len(shape) != len(stride) or len(shape) > LARGEST_RANK:
            raise ValueError(f"a tensor of {len(shape)} dimensions has {len(stride)} strides")
        if offset < 0 or any(number < 0 for number in (*shape, *stride)):
            raise ValueError("a tensor has a negative size, stride or offset")
        tensor = Tensor(storage, dtype, offset, shape, stride)
        if (offset + tensor.span) * item_size(dtype) > storage.size:
            raise ValueError(f"a tensor of shape {_shown(shape)} goes beyond its storage of {storage.size} bytes")
        if tensor.count > max(storage.count, 1) and tensor.count * item_size(dtype) > storage.path.stat().st_size:
            raise ValueError(f"a tensor repeats {storage.count} elements until they fill {_shown(shape)}")
        return tensor

    @property
    def count(self) -> int:
        """Elements."""
        return math.prod(self.shape)

    @property
    def span(self) -> int:
        """Elements of the storage from the first to the last that is used."""
        if self.count == 0:
            return 0
        return 1 + sum((size - 1) * step for size, step in zip(self.shape, self.stride, strict=True))

    def read(self) -> np.ndarray:
        """The values, contiguous; bfloat16 and float8 as float32. BitjetsError where the file is damaged."""
        item = item_size(self.dtype)
        data = self.storage.read(self.offset * item, self.span * item)
        flat = np.frombuffer(data, dtype=WIDE[self.dtype][0] if self.dtype in WIDE else self.dtype)
        if self.dtype == "|b1":
            flat = flat.view(np.uint8) != 0  # a bool byte other than 0 and 1 is not a bool to numpy
        if self.count == 0:
            return np.zeros(self.shape, flat.dtype)
        steps = tuple(step * flat.itemsize for step in self.stride)
        view = np.lib.stride_tricks.as_strided(flat, self.shape, steps, writeable=False)
        return _widened(view, self.dtype) if self.dtype in WIDE else np.ascontiguousarray(view).reshape(self.shape)


def _widened(codes: np.ndarray, dtype: str) -> np.ndarray:
    """Narrow floats as float32, exactly."""
    _, exponent_bits, mantissa_bits = WIDE[dtype]
    if dtype == "bfloat16":  # the upper half of a float32
        wide = codes.astype(np.uint32)
        wide <<= 16
        return wide.view(np.float32)
    return _small_floats(exponent_bits, mantissa_bits)[codes]


@lru_cache
def _small_floats(exponent_bits: int, mantissa_bits: int) -> np.ndarray:
    """The values of all 256 codes of an 8-bit float."""
    table = np.array([_small_float(code, exponent_bits, mantissa_bits) for code in range(256)], np.float32)
    if exponent_bits == 4:  # no infinities: one code of either sign is NaN, its neighbors are numbers
        table[[0x7F, 0xFF]] = np.nan
    return table


def _small_float(code: int, exponent_bits: int, mantissa_bits: int) -> float:
    """The value of an 8-bit float."""
    sign = -1.0 if code & 0x80 else 1.0
    exponent, mantissa = (code & 0x7F) >> mantissa_bits, code & ((1 << mantissa_bits) - 1)
    bias, largest = (1 << (exponent_bits - 1)) - 1, (1 << exponent_bits) - 1
    if exponent == largest and exponent_bits == 5:
        return sign * math.inf if mantissa == 0 else math.nan
    if exponent == 0:
        return sign * math.ldexp(mantissa, 1 - bias - mantissa_bits)
    return sign * math.ldexp((1 << mantissa_bits) + mantissa, exponent - bias - mantissa_bits)


def _shown(shape: tuple[int, ...]) -> str:
    """A shape, short."""
    text = ", ".join(str(size) if size < 10**12 else "huge" for size in shape[:6])
    return f"({text}{', ...' if len(shape) > 6 else ''})"
