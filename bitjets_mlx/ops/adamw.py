"""AdamW (arXiv:1412.6980, arXiv:1711.05101) with clipping and a moving average of the weights, and a norm."""

import ctypes
import functools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import mlx.core as mx
import numpy as np

from bitjets_mlx.native import loader
from bitjets_mlx.native.loader import addresses, on_host
from bitjets_mlx.native.threads import side_by_side

EPS = 1e-8
PARTS = 4  # of the norm's sum, whatever the cores: they must not decide over its last bit


class Scalars(NamedTuple):
    """What changes from update to update."""

    scale: float  # of the gradient, for clipping
    keep: float  # 1 - rate x weight decay
    rate: float  # over the first moment's bias correction
    correction: float  # the root of one over the second moment's
    fraction: float  # of the new weights in the moving average


Group = Sequence[mx.array]  # parameter, gradient, first and second moment, average: of one shape
Moved = Sequence[mx.array]  # parameter, first and second moment, average


def norm(arrays: Sequence[mx.array]) -> float:
    """The L2 norm of all arrays together; the order of the sum, and so its last bit, is that of the arrays."""
    arrays = [array.astype(mx.float32) for array in arrays]
    if kernels := loader.here("training"):
        given = on_host(*arrays)
        sums = side_by_side(functools.partial(_sum_of_squares, kernels), [given[i::PARTS] for i in range(PARTS)])
        return math.sqrt(math.fsum(sums))
    return norm_plain(arrays)


def norm_plain(arrays: Sequence[mx.array]) -> float:
    """The reference, in MLX."""
    return float(mx.sqrt(mx.sum(mx.stack([mx.sum(mx.square(array)) for array in arrays]))).item())  # type: ignore


def adamw(groups: Sequence[Group], betas: tuple[float, float], scalars: Scalars) -> tuple[list[Moved], bool]:
    """An update of every group, evaluated, and whether all new parameters are finite."""
    if all(group[0].dtype == mx.float32 for group in groups) and (kernels := loader.here("training")):
        return _adamw_training(kernels, groups, betas, scalars)
    plain = _compiled(betas, loader.on_cpu())
    moved = []
    for group in groups:
        moved.append(plain(*group, *[mx.array(value, dtype=mx.float32) for value in scalars]))
        if loader.on_cpu():  # a group after the other, so that each stays in the cache
            mx.eval(moved[-1])
    mx.eval(moved)
    return moved, math.isfinite(norm_plain([parameter for parameter, *_ in moved]))


def adamw_plain(
    betas: tuple[float, float],
    parameter: mx.array,
    gradient: mx.array,
    first: mx.array,
    second: mx.array,
    average: mx.array,
    scale: mx.array,
    keep: mx.array,
    rate: mx.array,
    correction: mx.array,
    fraction: mx.array,
) -> tuple[mx.array, mx.array, mx.array, mx.array]:
    """The reference, in MLX: new parameter, moments and average of arrays of one shape; `Scalars` as 0-d arrays."""
    gradient = gradient * scale
    first = betas[0] * first + (1.0 - betas[0]) * gradient
    second = betas[1] * second + (1.0 - betas[1]) * mx.square(gradient)
    parameter = parameter * keep - rate * first / (mx.sqrt(second) * correction + EPS)
    return parameter, first, second, average + fraction * (parameter - average)


@functools.cache
def _compiled(betas: tuple[float, float], on_cpu: bool) -> Callable[..., Moved]:
    plain: Callable[..., Moved] = functools.partial(adamw_plain, betas)
    return plain if on_cpu else mx.compile(plain)


def _adamw_training(
    kernels: ctypes.CDLL, groups: Sequence[Group], betas: tuple[float, float], scalars: Scalars
) -> tuple[list[Moved], bool]:
    """In C, one pass over every group, on all cores."""
    constants = np.array([*betas, EPS, *scalars], dtype=np.float32)
    results: list[Moved] = [[mx.zeros(group[0].shape) for _ in range(4)] for group in groups]
    mx.eval(results)  # written to in place: numpy's arrays would have to be copied
    work = [(on_host(*group), list(map(np.asarray, new))) for group, new in zip(groups, results, strict=True)]

    def move(arrays: tuple[list[np.ndarray], list[np.ndarray]]) -> bool:
        given, new = arrays
        return bool(kernels.bitjets_adamw(*addresses(*given, *new), new[0].size, constants.ctypes.data))

    return results, all(side_by_side(move, work))


def _sum_of_squares(kernels: ctypes.CDLL, arrays: Sequence[np.ndarray]) -> float:
    total, whole = ctypes.c_double(), 0.0
    for values in arrays:
        kernels.bitjets_sum_of_squares(values.ctypes.data, values.size, ctypes.byref(total))
        whole += total.value
    return whole
