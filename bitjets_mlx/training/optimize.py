"""AdamW with an outside schedule, gradient clipping and a moving average of the weights, as one function."""

import math
from typing import cast

import mlx.core as mx
import mlx.optimizers as optim
import numpy as np
from mlx.utils import tree_map, tree_unflatten

from bitjets_mlx.ops.adamw import Scalars, adamw, norm
from bitjets_mlx.voice.arrays import Tree, named_arrays

ENDS = ("", "", ".m", ".v", "")  # of the names of parameter, gradient, moments, EMA
EMA_WARM_UP = 20.0
SMALL = 16384  # elements


def tree_add(first: Tree, second: Tree) -> Tree:
    """Leaf by leaf sum of two trees; None counts as nothing yet."""
    return second if first is None else tree_map(mx.add, first, second)


def leaves(tree: Tree) -> list[tuple[str, mx.array]]:
    """(dotted name, array) of every leaf, by name: a tree read from a file has another order than the one saved."""
    return sorted(named_arrays(tree).items())


def scalar(value: mx.array) -> float:
    """A 0-d array as a Python number."""
    return float(cast(float, value.item()))


def global_norm(tree: Tree) -> float:
    """The L2 norm of all leaves together; the order of the sum, and so its last bit, depends on names alone."""
    return norm([leaf for _, leaf in leaves(tree)])


class Optimizer:
    """Adam (arXiv:1412.6980) with decoupled weight decay (arXiv:1711.05101) and an EMA of the weights.

    `state` and `ema` (empty without `ema_decay`) are trees of arrays and all there is to save. An update whose
    gradient is not finite, or that would make the weights so, leaves everything as it was and is counted in
    `skipped`; after `patience` in a row, `step` raises FloatingPointError.
    """

    def __init__(
        self,
        parameters: Tree,
        betas: tuple[float, float],
        clip: float,
        ema_decay: float | None,
        patience: int = 20,
    ) -> None:
        self.clip, self.ema_decay, self.patience = clip, ema_decay, patience
        self.skipped = 0
        self.betas = betas
        adam = optim.Adam(learning_rate=0.0, betas=list(betas), bias_correction=True)  # for the form of its state
        adam.init(parameters)
        self.state = adam.state
        mx.eval(parameters, adam.state)
        self.ema: Tree = {} if ema_decay is None else parameters

    def step(self, parameters: Tree, gradients: Tree, update: int, rate: float, decay: float) -> tuple[Tree, float]:
        """(new parameters, norm of the gradient before clipping) after update number `update`, counted from 1."""
        norm = global_norm(gradients)
        if not math.isfinite(norm):
            self._skip("gradients")
            return parameters, norm
        count = int(scalar(self.state["step"])) + 1
        average = min(self.ema_decay or 0.0, update / (update + EMA_WARM_UP))
        scalars = Scalars(
            min(1.0, self.clip / max(norm, 1e-12)),
            1.0 - rate * decay,
            rate / (1.0 - self.betas[0] ** count),
            1.0 / math.sqrt(1.0 - self.betas[1] ** count),
            1.0 - average,
        )
        (new, state, ema), finite = self._moved(parameters, gradients, scalars)
        if not finite:
            self._skip("weights")
            return parameters, norm
        self.skipped = 0
        step = mx.array(count, dtype=self.state["step"].dtype)
        self.state = {**state, "step": step, "learning_rate": mx.array(rate, dtype=mx.float32)}
        self.ema = ema
        return new, norm

    def _moved(self, parameters: Tree, gradients: Tree, scalars: Scalars) -> tuple[tuple[Tree, Tree, Tree], bool]:
        """New parameters, moments and EMA, and whether the parameters are finite.

        A group of leaves after the other, so that each stays in the cache.
        """
        old, given, state = dict(leaves(parameters)), dict(leaves(gradients)), dict(leaves(self.state))
        ema = dict(leaves(self.ema)) or old
        new: dict[str, mx.array] = {}
        moments: dict[str, mx.array] = {}
        averages: dict[str, mx.array] = {}
        groups = _groups(old)
        sources = [
            [
                _joined(source, [name + end for name in names])
                for source, end in zip((old, given, state, state, ema), ENDS, strict=True)
            ]
            for names in groups
        ]
        results, finite = adamw(sources, self.betas, scalars)
        for names, moved in zip(groups, results, strict=True):
            shapes = [old[name].shape for name in names]
            for array, target, end in zip(moved, (new, moments, moments, averages), ENDS[:1] + ENDS[2:], strict=True):
                target.update(zip([name + end for name in names], _parted(array, shapes), strict=True))
        mx.eval(new, moments, averages)
        trees = [tree_unflatten(list(arrays.items())) for arrays in (new, moments, averages)]
        return (trees[0], trees[1], trees[2] if self.ema else {}), finite

    def _skip(self, what: str) -> None:
        self.skipped += 1
        if self.skipped >= self.patience:
            raise FloatingPointError(f"{self.patience} updates in a row had {what} that are not finite")


def _groups(arrays: dict[str, mx.array]) -> list[list[str]]:
    """Names of the small arrays together, whose number costs more time than their size, and of each large one alone."""
    small = [name for name, array in arrays.items() if array.size < SMALL]
    return [small] * bool(small) + [[name] for name, array in arrays.items() if array.size >= SMALL]


def _joined(arrays: dict[str, mx.array], names: list[str]) -> mx.array:
    """One vector of several arrays; one array as it is."""
    return arrays[names[0]] if len(names) == 1 else mx.concatenate([arrays[name].reshape(-1) for name in names])


def _parted(vector: mx.array, shapes: list[tuple[int, ...]]) -> list[mx.array]:
    """What `_joined` joined."""
    if len(shapes) == 1:
        return [vector]
    ends = np.cumsum([math.prod(shape) for shape in shapes])
    parts = mx.split(vector, [int(end) for end in ends[:-1]])
    return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]
