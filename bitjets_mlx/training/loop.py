"""The training loop, the same for every stage: update, validate, log, save, until done.

RUN/config.json        everything needed to rebuild the stage; RUN/log.jsonl one line a `log_every` updates;
RUN/checkpoints/       see `training.checkpoints`
"""

import json
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import mlx.core as mx

from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.files import atomic_write_bytes
from bitjets_mlx.training.checkpoints import load_checkpoint, newest_checkpoint, save_checkpoint
from bitjets_mlx.training.examples import Example
from bitjets_mlx.training.progress import ProgressBar

CACHE_LIMIT = 2 << 30  # bytes that MLX may keep for reuse; unbounded it grows with every new shape

Line = dict[str, float]


class Stage(Protocol):
    """What the loop and its observers need of a stage."""

    def parts(self) -> dict[str, Any]: ...

    def load_parts(self, parts: dict[str, Any]) -> None: ...

    def update(self, number: int) -> Line: ...

    def validate(self, update: int) -> Line: ...

    def examples(self, count: int) -> list[Example]: ...

    def ternary_weights(self) -> dict[str, mx.array]: ...


@dataclass(frozen=True)
class LoopConfig:
    """How long, and how often to log, validate and save, in updates."""

    updates: int
    log_every: int = 50
    save_every: int = 200
    validate_every: int = 200


def train(
    stage: Stage,
    run: Path,
    config: LoopConfig,
    resume: bool,
    observe: Callable[[int, Line], None] = lambda update, line: None,
) -> None:
    """Run `stage` up to `config.updates`, from the newest whole checkpoint where `resume` says so.

    `observe(update, line)` is called with every line that was logged (wandb, for one). Process 0 writes; the others
    only compute.
    """
    mx.set_cache_limit(CACHE_LIMIT)
    start = _resume(stage, run) if resume else 0
    if mx.distributed.init().rank() > 0:
        for number in range(start, config.updates):
            _guarded(stage, number)
        return
    log = run / "log.jsonl"
    _cut_log(log, start)
    averages, bar = Averages(), ProgressBar(start, config.updates)
    for number in range(start, config.updates):
        averages.add(_guarded(stage, number))
        done = number + 1
        bar.show(done, averages.means())
        if _due(done, config.validate_every, config):
            averages.validation = {f"validation_{name}": value for name, value in stage.validate(done).items()}
        if averages.validation or _due(done, config.log_every, config):
            line = {"update": done} | averages.line()
            _append(log, line)
            observe(done, line)
            averages = Averages()
        if _due(done, config.save_every, config):
            save_checkpoint(run, done, stage.parts())
    bar.close()


class Averages:
    """Means of what the updates since the last logged line reported; a skipped update's NaN does not count."""

    def __init__(self) -> None:
        self.began, self.updates = time.monotonic(), 0
        self.values: dict[str, list[float]] = {}
        self.validation: Line = {}

    def add(self, metrics: Line) -> None:
        """One update's report."""
        self.updates += 1
        for name, value in metrics.items():
            self.values.setdefault(name, []).extend([value] if math.isfinite(value) else [])

    def means(self) -> Line:
        """By name; what was never finite is left out."""
        return {name: sum(values) / len(values) for name, values in self.values.items() if values}

    def line(self) -> Line:
        """Means, validation losses, speed and memory: a line of the log."""
        seconds = (time.monotonic() - self.began) / max(self.updates, 1)
        return (
            self.means()
            | self.validation
            | {"seconds_per_update": seconds, "peak_memory_gb": mx.get_peak_memory() / 1e9}
        )


def _due(done: int, every: int, config: LoopConfig) -> bool:
    return done % every == 0 or done == config.updates


def _guarded(stage: Stage, number: int) -> Line:
    try:
        return stage.update(number)
    except FloatingPointError as error:
        raise BitjetsError(
            f"training diverged at update {number + 1} ({error}): begin a new run, with --init and this run if its "
            "weights are worth it, and a lower --learning-rate."
        ) from error


def _resume(stage: Stage, run: Path) -> int:
    folder = newest_checkpoint(run)
    if folder is None:
        print(f"{run} has no checkpoint yet: starting from update 0", file=sys.stderr)
        return 0
    update, parts = load_checkpoint(folder)
    stage.load_parts(parts)
    print(f"resumed {run} at update {update}", file=sys.stderr)
    return update


def _cut_log(path: Path, start: int) -> None:
    """Drop lines that a killed run logged after its last checkpoint, and a half-written last one."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text().splitlines():
        try:
            if json.loads(line)["update"] <= start:
                kept.append(line)
        except (ValueError, KeyError, TypeError):
            continue
    atomic_write_bytes(path, "".join(line + "\n" for line in kept).encode())


def _append(path: Path, line: Line) -> None:
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")
