"""Weights of PyTorch layers in MLX's layout, weight and spectral normalization folded."""

import numpy as np

from bitjets_mlx.torch_import.source import Shape, Source


def take_weight(source: Source, name: str, target: str, wanted: Shape, transposed: bool = False) -> np.ndarray:
    """The weight of the layer `name`: plain, or folded from weight normalization of the old or new style.

    Convolution (O, I, K) -> (O, K, I); transposed convolution (I, O, K) -> (O, K, I); linear (O, I) as it is, or
    (O, 1, I) where a convolution is wanted.
    """
    direction = _factor(source, name, "weight_v", "parametrizations.weight.original1")
    if f"{name}.weight_orig" in source or f"{name}.parametrizations.weight.original" in source:
        return _spectral(source, name, target, wanted)
    if direction:
        gain = _factor(source, name, "weight_g", "parametrizations.weight.original0")
        if not gain:
            return source.lacks(f"{name}.weight_g", (wanted[0], 1, 1))
        v, g = source.read(direction), source.read(gain)
        axes = tuple(range(1, v.ndim))
        length = np.sqrt(np.sum(np.square(v, dtype=np.float64), axis=axes, keepdims=True))
        if g.size != length.size:
            source.check_shape(gain, g, length.shape)
        weight = (v * (g.reshape(length.shape) / np.maximum(length, 1e-30))).astype(np.float32)
        what = "folded"
        names: tuple[str, ...] = (direction, gain)
    elif f"{name}.weight" in source:
        weight, what = source.read(f"{name}.weight"), "mapped"
        names = (f"{name}.weight",)
    else:
        return source.lacks(f"{name}.weight", wanted)
    weight = source.check_shape(f"{name}.weight", channels_last(weight, len(wanted), transposed), wanted)
    source.note(what, names, target, weight)
    return weight


def take_plain(source: Source, name: str, target: str, wanted: Shape) -> np.ndarray:
    """A tensor that stays as it is."""
    if name not in source:
        return source.lacks(name, wanted)
    array = source.read(name)
    if array.size == int(np.prod(wanted)) and array.ndim <= 1:
        array = array.reshape(wanted)  # a scalar as (1,)
    source.check_shape(name, array, wanted)
    source.note("mapped", (name,), target, array)
    return array


def channels_last(weight: np.ndarray, rank: int, transposed: bool) -> np.ndarray:
    """torch's layout -> MLX's."""
    if weight.ndim == 4:  # a 2-D convolution over one column
        weight = weight[..., 0]
    if weight.ndim == 2 and rank == 3:
        weight = weight[:, :, None]
    if weight.ndim == 3 and rank == 2 and weight.shape[2] == 1:
        return weight[:, :, 0]
    if weight.ndim == 3:
        return np.ascontiguousarray(weight.transpose((1, 2, 0) if transposed else (0, 2, 1)))
    return weight


def _factor(source: Source, name: str, *forms: str) -> str:
    """The full name of the first of several forms that is there."""
    return next((f"{name}.{form}" for form in forms if f"{name}.{form}" in source), "")


def _spectral(source: Source, name: str, target: str, wanted: Shape) -> np.ndarray:
    """Spectral normalization: W / (u W v), with the vectors that training left; weight_v is not a direction here."""
    old, new = ("weight_orig", "weight_u", "weight_v"), ("original", "0._u", "0._v")
    forms = old if f"{name}.weight_orig" in source else tuple(f"parametrizations.weight.{form}" for form in new)
    names = tuple(f"{name}.{form}" for form in forms)
    for part in names:
        if part not in source:
            return source.lacks(part, wanted)
    weight, u, v = (source.read(part) for part in names)
    rows = len(weight) if weight.ndim else 0
    source.check_shape(names[1], u, (rows,))
    source.check_shape(names[2], v, (weight.size // max(rows, 1),))
    sigma = u.astype(np.float64) @ weight.reshape(len(weight), -1).astype(np.float64) @ v.astype(np.float64)
    weight = (weight / sigma).astype(np.float32)
    weight = source.check_shape(names[0], channels_last(weight, len(wanted), False), wanted)
    source.note("folded", names, target, weight)
    return weight
