"""The harmonic vocoder through the C kernels: weights packed once, then the utterance piece by piece."""

import ctypes
from collections.abc import Mapping
from functools import cache

import mlx.core as mx
import numpy as np

from bitjets_mlx.config import HarmonicConfig
from bitjets_mlx.native import vocoder
from bitjets_mlx.native.loader import as_numpy
from bitjets_mlx.native.threads import side_by_side

PIECE = 256  # frames at most; what a piece computes twice is some 10 frames on either side


class _Shape(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int) for name in ("mels", "width", "hidden", "layers", "kernel", "frames")]


_ARRAYS = ("mel", "log_f0", "voiced", "phase", "frequency", "gate", "noise", "envelope_low", "envelope_share")


class _Inputs(ctypes.Structure):
    _fields_ = [(name, ctypes.c_void_p) for name in _ARRAYS]


@cache
def _tables(kernels: ctypes.CDLL) -> np.ndarray:
    tables = vocoder.zeros(kernels.bitjets_harmonic_tables(None))
    kernels.bitjets_harmonic_tables(tables.ctypes.data)
    return tables


class PackedHarmonic:
    """The weights of a harmonic vocoder as the kernel reads them. `low` and `share`: `harmonic.envelope_positions`."""

    def __init__(
        self,
        kernels: ctypes.CDLL,
        config: HarmonicConfig,
        parameters: Mapping[str, mx.array],
        low: np.ndarray,
        share: np.ndarray,
    ) -> None:
        self.kernels = kernels
        w = {name: as_numpy(leaf) for name, leaf in parameters.items()}
        parts = [vocoder.packed(w["input_weight"], w["input_bias"])]
        for i in range(config.layers):
            block = f"blocks.{i}"
            parts += [w[f"{block}.depthwise"].T.reshape(-1), w[f"{block}.norm.weight"], w[f"{block}.norm.bias"]]
            parts += [_linear(w, f"{block}.widen"), _linear(w, f"{block}.narrow"), w[f"{block}.scale"]]
        parts += [w["norm.weight"], w["norm.bias"], _linear(w, "output")]
        self.config = config
        self.weights = vocoder.zeros(sum(map(len, parts)))
        self.weights[:] = np.concatenate(parts)
        self.low, self.share = low.astype(np.int32), share.astype(np.float32)

    def __call__(self, **arrays: np.ndarray) -> np.ndarray:
        """mel (T, 80), log_f0, voiced (T,), phase (T + 3,), frequency, gate (T + 4,), noise (256 (T + 3),), all float32
        -> samples (T * 256,). phase, frequency and gate are those of `harmonic.frame_phases` and `extended`."""
        kernels, config = self.kernels, self.config
        frames = len(arrays["mel"])
        out = np.empty(frames * 256, dtype=np.float32)
        shape = _Shape(config.n_mels, config.width, config.hidden, config.layers, config.kernel, frames)
        given = {name: np.ascontiguousarray(array, dtype=np.float32) for name, array in arrays.items()}
        places = {name: array.ctypes.data for name, array in given.items()}
        places |= {"envelope_low": self.low.ctypes.data, "envelope_share": self.share.ctypes.data}
        inputs = _Inputs(**places)
        tables = _tables(kernels).ctypes.data

        def run(piece: tuple[int, int]) -> None:
            begin, end = piece
            work = vocoder.scratch(kernels.bitjets_harmonic_work(ctypes.byref(shape), end - begin))
            kernels.bitjets_harmonic(
                ctypes.byref(shape), ctypes.byref(inputs), tables, self.weights.ctypes.data, begin, end,
                out.ctypes.data, work.ctypes.data,
            )  # fmt: skip

        side_by_side(run, vocoder.pieces(frames, PIECE))
        return out


def _linear(weights: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    return vocoder.packed(weights[f"{name}.weight"][:, None], weights[f"{name}.bias"])
