"""Packed forms of ternary weights: base 3 on disk, 2-bit codes in memory. Plain numpy, exact both ways.

Base 3 ("weight indexing"): five trits to a byte, as 3^5 = 243 <= 256. 2-bit codes: 16 to a uint32, the layout of MLX's
2-bit `quantized_matmul` with scale 1 and bias -1.
"""

import math

import numpy as np

TRITS_A_BYTE = 5
BASE3_PLACES = np.array([81, 27, 9, 3, 1], dtype=np.uint8)  # most significant digit first
_TRITS_OF_BYTE = np.array([0, 1, -1], dtype=np.int8)[np.arange(243)[:, None] // BASE3_PLACES % 3]  # (243, 5)
CODES_A_WORD = 16
CODE_GROUP = 32  # `quantized_matmul` wants the input axis to be a multiple of this


def packed_size(count: int) -> int:
    """Bytes that `count` trits take in base 3."""
    return -(-count // TRITS_A_BYTE)


def pack_base3(trits: np.ndarray) -> np.ndarray:
    """Trits {-1, 0, 1} of any shape -> uint8 (ceil(n / 5),), row-major, zero-padded to a multiple of five.

    Digits: 0 -> 0, 1 -> 1, -1 -> 2. ValueError where something else than a trit is among them.
    """
    flat = _checked(trits).reshape(-1)
    digits = np.zeros(packed_size(flat.size) * TRITS_A_BYTE, dtype=np.uint8)
    digits[: flat.size] = flat % 3  # numpy's remainder has the divisor's sign: -1 -> 2
    return (digits.reshape(-1, TRITS_A_BYTE) * BASE3_PLACES).sum(axis=1, dtype=np.uint8)


def unpack_base3(packed: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The inverse of `pack_base3`: uint8 (ceil(n / 5),) -> trits int8 of `shape`.

    ValueError where the length does not fit the shape, a byte is above 242, or the padding is not zero.
    """
    count = math.prod(shape)
    if packed.dtype != np.uint8 or packed.shape != (packed_size(count),):
        raise ValueError(f"{count} trits take {packed_size(count)} bytes, not {packed.dtype} {packed.shape}")
    if packed.size and packed.max() > 242:
        raise ValueError("a byte above 242 stands for no five trits")
    trits = _TRITS_OF_BYTE[packed].reshape(-1)  # (bytes * 5,)
    if trits[count:].any():
        raise ValueError("the padding after the last trit is not zero")
    return trits[:count].reshape(shape)


def pack_codes(trits: np.ndarray) -> np.ndarray:
    """Trits (..., K) -> 2-bit codes w + 1, uint32 (..., ceil(K / 32) * 2), lowest bits first.

    K is padded with the code of 0 to a multiple of 32.
    """
    trits = _checked(trits)
    inputs = trits.shape[-1]
    padded = -(-inputs // CODE_GROUP) * CODE_GROUP
    codes = np.ones((*trits.shape[:-1], padded), dtype=np.uint32)
    codes[..., :inputs] = (trits + 1).astype(np.uint32)
    codes = codes.reshape(*trits.shape[:-1], padded // CODES_A_WORD, CODES_A_WORD)
    shifts = np.arange(0, 32, 2, dtype=np.uint32)
    return (codes << shifts).sum(axis=-1, dtype=np.uint32)  # (..., padded / 16)


def unpack_codes(words: np.ndarray, inputs: int) -> np.ndarray:
    """The inverse of `pack_codes`: uint32 (..., W) -> trits int8 (..., inputs).

    ValueError where W does not fit `inputs`, a code is 3, or the padding is not the code of 0.
    """
    expected = -(-inputs // CODE_GROUP) * CODE_GROUP // CODES_A_WORD
    if words.dtype != np.uint32 or words.shape[-1] != expected:
        raise ValueError(f"{inputs} codes take {expected} words, not {words.dtype} {words.shape}")
    shifts = np.arange(0, 32, 2, dtype=np.uint32)
    codes = ((words[..., None] >> shifts) & 3).reshape(*words.shape[:-1], expected * CODES_A_WORD)
    if (codes == 3).any():
        raise ValueError("the code 3 stands for no trit")
    if (codes[..., inputs:] != 1).any():
        raise ValueError("the padding after the last code is not zero")
    return codes[..., :inputs].astype(np.int8) - np.int8(1)


def _checked(trits: np.ndarray) -> np.ndarray:
    """The trits as int8; ValueError where one is not -1, 0 or 1."""
    trits = np.asarray(trits)
    whole = trits.astype(np.int8)
    if not np.array_equal(whole, trits) or (np.abs(whole) > 1).any():
        raise ValueError("only -1, 0 and 1 can be packed")
    return whole
