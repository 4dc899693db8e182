"""The training loop, the same for every stage: update, validate, log, save, until done.

RUN/config.json        everything needed to rebuild the stage; RUN/log.jsonl one line per `log_every` updates;
RUN/checkpoints/       see `training.checkpoints`
"""

import json
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
from tqdm import tqdm

from bitjets_mlx.data.progress import interval
from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.files import atomic_write_bytes
from bitjets_mlx.training.checkpoints import load_checkpoint, newest_checkpoint, save_checkpoint
from bitjets_mlx.training.config import Count, setting
from bitjets_mlx.training.runs import read_log
from bitjets_mlx.training.trainer import Line, Trainer

CACHE_LIMIT = 2 << 30  # bytes that MLX may keep for reuse; unbounded it grows with every new shape
LOSSES_SHOWN = 8


@dataclass(frozen=True)
class LoopConfig:
    """How long, and how often to log, validate and save, in updates; these may change when resuming."""

    updates: int
    log_every: Count = setting(50, "updates for each line in RUN/log.jsonl")
    save_every: Count = setting(200, "updates for each checkpoint")
    validate_every: Count = setting(200, "updates for each validation")


def train(
    stage: Trainer,
    run: Path,
    config: LoopConfig,
    resume: bool,
    observe: Callable[[int, Line], None] = lambda update, line: None,
) -> None:
    """Run `stage` up to `config.updates`, from the newest whole checkpoint where `resume` says so.

    `observe` is called with every line of the log as it is written. Of several processes all update, and the first
    one logs and saves. BitjetsError where the training diverges.
    """
    mx.set_cache_limit(CACHE_LIMIT)
    start = _resume(stage, run) if resume else 0
    if mx.distributed.init().rank() > 0:
        for number in range(start, config.updates):
            _guarded(stage, number)
        return
    _cut_log(run, start)
    averages = Averages()
    with tqdm(initial=start, total=config.updates, unit="update", mininterval=interval(), dynamic_ncols=True) as bar:
        for number in range(start, config.updates):
            averages.add(_guarded(stage, number))
            done = number + 1
            _show(bar, averages)
            if _due(done, config.validate_every, config):
                averages.validation = {f"validation_{name}": value for name, value in stage.validate(done).items()}
            if averages.validation or _due(done, config.log_every, config):
                line = {"update": done} | averages.line()
                _append(run / "log.jsonl", line)
                observe(done, line)
                averages = Averages()
            if _due(done, config.save_every, config):
                save_checkpoint(run, done, stage.parts())


def _show(bar: "tqdm[Any]", averages: "Averages") -> None:
    losses = list(averages.means().items())[:LOSSES_SHOWN]
    bar.set_postfix_str(" ".join(f"{name} {value:.3g}" for name, value in losses), refresh=False)
    bar.update()


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


def _guarded(stage: Trainer, number: int) -> Line:
    try:
        return stage.update(number)
    except FloatingPointError as error:
        raise BitjetsError(
            f"training diverged at update {number + 1} ({error}): begin a new run, with --init and this run if its "
            "weights are worth it, and a lower --learning-rate."
        ) from error


def _resume(stage: Trainer, run: Path) -> int:
    folder = newest_checkpoint(run)
    if folder is None:
        print(f"{run} has no checkpoint yet: starting from update 0", file=sys.stderr)
        return 0
    update, parts = load_checkpoint(folder)
    stage.load_parts(parts)
    print(f"resumed {run} at update {update}", file=sys.stderr)
    return update


def _cut_log(run: Path, start: int) -> None:
    """Drop lines that a killed run logged after its last checkpoint, and a half-written last one."""
    if (run / "log.jsonl").exists():
        kept = [json.dumps(line) + "\n" for line in read_log(run) if line["update"] <= start]
        atomic_write_bytes(run / "log.jsonl", "".join(kept).encode())


def _append(path: Path, line: Line) -> None:
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")
