"""AdamW with an outside schedule, gradient clipping and a moving average of the weights, as one function."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import mlx.core as mx
import mlx.optimizers as optim
from mlx.utils import tree_flatten, tree_map

from bitjets_mlx.training.shards import compiled

Tree = Any
EMA_WARM_UP = 20.0


def tree_add(first: Tree, second: Tree) -> Tree:
    """Leaf by leaf sum of two trees; None counts as nothing yet."""
    return second if first is None else tree_map(mx.add, first, second)


def leaves(tree: Tree) -> list[tuple[str, mx.array]]:
    """(dotted name, array) of every leaf, by name: a tree read from a file has another order than the one saved."""
    return sorted(cast(list[tuple[str, mx.array]], tree_flatten(tree)), key=lambda leaf: leaf[0])


def scalar(value: mx.array) -> float:
    """A 0-d array as a Python number."""
    return float(cast(float, value.item()))


def global_norm(tree: Tree) -> mx.array:
    """The L2 norm of all leaves together, (); the order of the sum, and so its last bit, depends on names alone."""
    squares = [mx.sum(mx.square(leaf.astype(mx.float32))) for _, leaf in leaves(tree)]
    return mx.sqrt(mx.sum(mx.stack(squares)))


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
        adam = optim.Adam(learning_rate=0.0, betas=list(betas), bias_correction=True)
        adam.init(parameters)
        self.state = adam.state
        mx.eval(parameters, adam.state)
        self.ema: Tree = {} if ema_decay is None else parameters
        self._apply: Callable[..., tuple[Tree, Tree, Tree, mx.array]] = compiled(partial(_adamw, adam))

    def step(self, parameters: Tree, gradients: Tree, update: int, rate: float, decay: float) -> tuple[Tree, float]:
        """(new parameters, norm of the gradient before clipping) after update number `update`, counted from 1."""
        norm = scalar(global_norm(gradients))
        if not math.isfinite(norm):
            self._skip("gradients")
            return parameters, norm
        scale = min(1.0, self.clip / max(norm, 1e-12))
        average = min(self.ema_decay or 0.0, update / (update + EMA_WARM_UP))
        scalars = [mx.array(value, dtype=mx.float32) for value in (rate, decay, scale, average)]
        state = tree_map(lambda leaf: leaf, self.state)  # MLX's Adam writes into the tree it is given
        *new, size = self._apply(parameters, gradients, state, self.ema, *scalars)
        mx.eval(new, size)
        if not math.isfinite(scalar(size)):
            self._skip("weights")
            return parameters, norm
        self.skipped = 0
        parameters, self.state, self.ema = new
        return parameters, norm

    def _skip(self, what: str) -> None:
        self.skipped += 1
        if self.skipped >= self.patience:
            raise FloatingPointError(f"{self.patience} updates in a row had {what} that are not finite")


def _adamw(
    adam: optim.Adam,
    parameters: Tree,
    gradients: Tree,
    state: Tree,
    ema: Tree,
    rate: mx.array,
    decay: mx.array,
    scale: mx.array,
    average: mx.array,
) -> tuple[Tree, Tree, Tree, mx.array]:
    """New parameters, optimiser state and EMA, and the norm of the parameters, in which any NaN shows."""
    adam.state = state
    adam.state["learning_rate"] = rate
    gradients = tree_map(lambda gradient: gradient * scale, gradients)
    parameters = tree_map(lambda leaf: leaf * (1.0 - rate * decay), parameters)
    parameters = adam.apply_gradients(gradients, parameters)
    if ema:
        ema = tree_map(lambda old, new: old * average + new * (1.0 - average), ema, parameters)
    return parameters, adam.state, ema, global_norm(parameters)


def learning_rate(update: int, updates: int, peak: float, warm_up: int, hold: float, final: float) -> float:
    """Linear warm-up, constant until the share `hold` of the run, then linear decay to `final` x peak."""
    progress = update / updates
    falling = 1.0 if progress < hold else max(final, (1.0 - progress) / (1.0 - hold))
    return peak * min(1.0, (update + 1) / max(warm_up, 1)) * falling
