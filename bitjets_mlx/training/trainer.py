"""What all stages share: networks with their optimizers, and gradients summed over shards, micro-batches and processes.

A stage is a subclass that reads batches and gives the losses: `acoustic_stage`, `vocoder_stage`, `joint_stage`.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import mlx.core as mx
from mlx.utils import tree_map

from bitjets_mlx.training.config import OptimizerConfig, TrainConfig
from bitjets_mlx.training.optimize import Optimizer, Tree, leaves, scalar, tree_add
from bitjets_mlx.training.shards import ShardPool, compiled
from bitjets_mlx.training.validation import Example, Validation

Line = dict[str, float]
DISCRIMINATORS = "discriminators"


class Network:
    """Parameters that one optimizer moves, with its schedule, its state and, if `averaged`, their moving average."""

    def __init__(self, parameters: Tree, config: OptimizerConfig, updates: int, averaged: bool = True) -> None:
        self.parameters, self.config, self.updates = parameters, config, updates
        self.optimizer = Optimizer(parameters, config.betas, config.gradient_clip, config.ema if averaged else None)

    def start_from(self, weights: Tree) -> None:
        """Start a training with these weights."""
        self.parameters = weights
        if self.optimizer.ema_decay is not None:
            self.optimizer.ema = weights

    def step(self, number: int, gradients: Tree, own: int | None = None) -> Line:
        """Move the weights by the gradients of update `number`, its own `own`-th; says with what rate."""
        rate, decay = self.config.rate(number, self.updates, own), self.config.decay(number, self.updates)
        self.parameters, norm = self.optimizer.step(self.parameters, gradients, number + 1, rate, decay)
        return {"gradient_norm": norm, "learning_rate": rate}


class Trainer:
    """The state of a training and how its gradients are made. Subclasses give `networks` and `update`."""

    def __init__(self, config: TrainConfig, validation: Validation, pool: ShardPool | None = None) -> None:
        self.config, self.validation = config, validation
        self.group = mx.distributed.init()
        self.pool = pool or ShardPool(config.batch_size)
        self.networks: dict[str, Network] = {}

    def update(self, number: int) -> Line:
        """Make update `number`, counted from 0; returns the losses and what else the log should show."""
        raise NotImplementedError

    # -- state ---------------------------------------------------------------------------------------------------

    def parts(self) -> dict[str, Tree]:
        """Everything a checkpoint must hold: `model`, `ema`, and the state of every optimizer."""
        ema = {name: network.optimizer.ema for name, network in self.networks.items()}
        parts = {"model": self._of_models({n: network.parameters for n, network in self.networks.items()})}
        parts["ema"] = self._of_models(ema)
        for name, network in self.networks.items():
            parts[self._optimizer_part(name)] = network.optimizer.state
            if name == DISCRIMINATORS:
                parts[name] = network.parameters
        return parts

    def load_parts(self, parts: dict[str, Tree]) -> None:
        """Take up the state of a checkpoint."""
        for name, network in self.networks.items():
            network.optimizer.state = parts[self._optimizer_part(name)]
            if name == DISCRIMINATORS:
                network.parameters = parts[name]
            else:
                own = [parts[part][name] if len(self._models()) > 1 else parts[part] for part in ("model", "ema")]
                network.parameters, network.optimizer.ema = own

    def _models(self) -> list[str]:
        return [name for name in self.networks if name != DISCRIMINATORS]

    def _of_models(self, trees: dict[str, Tree]) -> Tree:
        """The tree of the only model, or those of both by name."""
        models = self._models()
        return trees[models[0]] if len(models) == 1 else {name: trees[name] for name in models}

    def _optimizer_part(self, name: str) -> str:
        if name == DISCRIMINATORS:
            return "discriminator_optimizer"
        return "optimizer" if len(self._models()) == 1 else f"{name}_optimizer"

    # -- validation ----------------------------------------------------------------------------------------------

    def validate(self, update: int) -> Line:
        """Losses of the averaged weights on a few validation clips after `update` updates."""
        return self.validation.losses(self.parts()["ema"], self.config.quantization(update))

    def examples(self, count: int) -> list[Example]:
        """The averaged weights' output for validation clips."""
        return self.validation.examples(self.parts()["ema"], count)

    def ternary_weights(self) -> dict[str, mx.array]:
        """The latent weights of every ternary layer, by its name."""
        acoustic = self.networks.get("acoustic")
        weights = dict(leaves(acoustic.parameters)) if acoustic else {}
        return {f"{name}.weight": weights[f"{name}.weight"] for name in self.validation.ternary_layers()}

    # -- one update ----------------------------------------------------------------------------------------------

    def gradients_of(
        self,
        functions: Sequence[Callable[..., Any]],
        micro_batches: Iterable[list[tuple[Any, ...]]],
        scale: float = 1.0,
    ) -> tuple[Tree, Line, list[list[Any]]]:
        """Gradients and losses, summed over all micro-batches and processes, times `scale`; and what else was returned.

        functions: one for each shard, of which each returns (gradients, losses, ...); micro_batches: their arguments.
        """
        gradients: Tree = None
        losses: Tree = None
        others = []
        for arguments in micro_batches:
            results = self.pool.run(functions, arguments)
            for more, own, *_ in results:
                gradients, losses = tree_add(gradients, more), tree_add(losses, own)
            mx.eval(gradients, losses)
            others.append([other for _, _, *rest in results for other in rest])
        if scale != 1.0:
            gradients, losses = tree_map(lambda leaf: leaf * scale, (gradients, losses))
        if self.group.size() > 1:
            gradients, losses = tree_map(partial(mx.distributed.all_sum, group=self.group), (gradients, losses))
        return gradients, {name: scalar(value) for name, value in losses.items()}, others

    @property
    def fraction(self) -> float:
        """A shard's part of an update whose shards are all of one size: for means over them."""
        return 1.0 / (self.config.accumulate * self.pool.count * self.group.size())

    def skipped(self) -> Line:
        """Whether the last update of any network was left out, because something was not finite."""
        return {"skipped": float(any(network.optimizer.skipped > 0 for network in self.networks.values()))}


def gradient_of(loss: Callable[..., tuple[mx.array, dict[str, mx.array]]]) -> Callable[..., Any]:
    """(gradients, losses) by the first argument of `loss`, which returns (sum, losses); compiled on a GPU."""

    def gradients(parameters: Tree, *given: Any) -> tuple[Tree, dict[str, mx.array]]:
        (_, losses), found = mx.value_and_grad(lambda own: loss(own, *given))(parameters)
        return found, losses

    return compiled(gradients)
