"""`--wandb`: the log, and with every validation also histograms, pictures and sounds, to Weights & Biases.

WANDB_MODE=offline keeps everything in RUN/wandb, to be sent later with `wandb sync`. The run goes on under the same
id when it is resumed.
"""

import hashlib
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

import mlx.core as mx
import numpy as np

from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.ternary.quantize import ternary_weights
from bitjets_mlx.training.config import TrainConfig
from bitjets_mlx.training.drawing import VALIDATION, draw_example, pixels
from bitjets_mlx.training.trainer import Line, Trainer

CLIPS = 2
BINS = 64
REACH = 4.0  # histograms of weights end at so many times the layer's mean |W|


class WandbLog:
    """An observer of `training.loop.train`; closes its wandb run at the end of a `with` block."""

    def __init__(self, run: Path, config: TrainConfig, trainer: Trainer) -> None:
        try:
            import wandb
        except ImportError:
            raise BitjetsError("--wandb needs wandb: run pip install wandb, or leave --wandb out.") from None
        self.wandb: Any = wandb
        self.trainer, self.sample_rate = trainer, config.data.audio.sample_rate
        run.mkdir(parents=True, exist_ok=True)
        about = asdict(config) | {"data": config.data.folder}
        try:
            self.session = wandb.init(
                project="bitjets_mlx",
                name=run.name,
                id=hashlib.sha256(str(run.resolve()).encode()).hexdigest()[:16],
                resume="allow",
                dir=str(run),
                config=about,
            )
        except (wandb.errors.Error, OSError) as error:
            raise BitjetsError(
                f"wandb could not start ({error}): log in with `wandb login`, or set WANDB_MODE=offline."
            ) from error

    def __enter__(self) -> "WandbLog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.session.finish(exit_code=0 if error is None else 1)

    def observe(self, update: int, line: Line) -> None:
        """Log a line; with validation losses in it also what is costly to make."""
        values: dict[str, Any] = {name: value for name, value in line.items() if name != "update"}
        if any(name.startswith(VALIDATION) for name in line):
            values |= self._histograms() | self._pictures()
        self.session.log(values, step=update)

    def _histograms(self) -> dict[str, Any]:
        """Of every ternary layer the latent weights in units of beta, and how many trits are -1, 0 and 1."""
        out = {}
        for name, weight in self.trainer.ternary_weights().items():
            trits, beta = ternary_weights(weight)
            latent = np.array(weight / mx.maximum(beta, 1e-8)).ravel()
            out[f"latent/{name}"] = self._histogram(latent, np.linspace(-REACH, REACH, BINS + 1))
            out[f"trits/{name}"] = self._histogram(np.array(trits).ravel(), np.array([-1.5, -0.5, 0.5, 1.5]))
        return out

    def _histogram(self, values: np.ndarray, edges: np.ndarray) -> Any:
        return self.wandb.Histogram(np_histogram=np.histogram(np.clip(values, edges[0], edges[-1]), edges))

    def _pictures(self) -> dict[str, Any]:
        out = {}
        for example in self.trainer.examples(CLIPS):
            out[f"clips/{example.name}"] = self.wandb.Image(pixels(draw_example(example)))
            if example.audio is not None:
                sound = np.clip(example.audio, -1.0, 1.0)
                out[f"sounds/{example.name}"] = self.wandb.Audio(sound, sample_rate=self.sample_rate)
        return out
