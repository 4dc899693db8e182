"""The harmonic vocoder through the C kernels: weights packed once, then the utterance piece by piece."""

import ctypes
from collections.abc import Mapping
from functools import cache, partial

import mlx.core as mx
import numpy as np

from bitjets_mlx.config import HarmonicConfig
from bitjets_mlx.vocoder import cpu

PIECE = 256  # frames at most; what a piece computes twice is some 10 frames on either side


class _Shape(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int) for name in ("mels", "width", "hidden", "layers", "kernel", "frames")]


_ARRAYS = ("mel", "log_f0", "voiced", "phase", "frequency", "gate", "noise", "envelope_low", "envelope_share")


class _Inputs(ctypes.Structure):
    _fields_ = [(name, ctypes.c_void_p) for name in _ARRAYS]


@cache
def _tables() -> np.ndarray:
    kernel = cpu.library()
    assert kernel is not None
    tables = cpu.zeros(kernel.bitjets_harmonic_tables(None))
    kernel.bitjets_harmonic_tables(tables.ctypes.data)
    return tables


class PackedHarmonic:
    """The weights of a harmonic vocoder as the kernel reads them. `low` and `share`: `harmonic.envelope_positions`."""

    def __init__(
        self, config: HarmonicConfig, parameters: Mapping[str, mx.array], low: np.ndarray, share: np.ndarray
    ) -> None:
        w = {name: cpu.as_numpy(leaf) for name, leaf in parameters.items()}
        parts = [cpu.packed(w["input_weight"], w["input_bias"])]
        for i in range(config.layers):
            block = f"blocks.{i}"
            parts += [w[f"{block}.depthwise"].T.reshape(-1), w[f"{block}.norm.weight"], w[f"{block}.norm.bias"]]
            parts += [_linear(w, f"{block}.widen"), _linear(w, f"{block}.narrow"), w[f"{block}.scale"]]
        parts += [w["norm.weight"], w["norm.bias"], _linear(w, "output")]
        self.config = config
        self.weights = cpu.zeros(sum(map(len, parts)))
        self.weights[:] = np.concatenate(parts)
        self.low, self.share = low.astype(np.int32), share.astype(np.float32)

    def __call__(self, **arrays: np.ndarray) -> np.ndarray:
        """mel (T, 80), log_f0, voiced (T,), phase (T + 3,), frequency, gate (T + 4,), noise (256 (T + 3),), all float32
        -> samples (T * 256,). phase, frequency and gate are those of `harmonic.frame_phases` and `extended`."""
        kernel, config = cpu.library(), self.config
        assert kernel is not None
        frames = len(arrays["mel"])
        out = np.empty(frames * 256, dtype=np.float32)
        shape = _Shape(config.n_mels, config.width, config.hidden, config.layers, config.kernel, frames)
        given = {name: np.ascontiguousarray(array, dtype=np.float32) for name, array in arrays.items()}
        places = {name: array.ctypes.data for name, array in given.items()}
        places |= {"envelope_low": self.low.ctypes.data, "envelope_share": self.share.ctypes.data}
        inputs = _Inputs(**places)
        tables = _tables().ctypes.data

        def run(begin: int, end: int) -> None:
            work = cpu.room(kernel.bitjets_harmonic_work(ctypes.byref(shape), end - begin))
            kernel.bitjets_harmonic(
                ctypes.byref(shape), ctypes.byref(inputs), tables, self.weights.ctypes.data, begin, end,
                out.ctypes.data, work.ctypes.data,
            )  # fmt: skip

        cpu.side_by_side([partial(run, *piece) for piece in cpu.pieces(frames, PIECE)])
        return out


def _linear(weights: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    return cpu.packed(weights[f"{name}.weight"][:, None], weights[f"{name}.bias"])
