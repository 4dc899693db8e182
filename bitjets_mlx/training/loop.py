"""The training loop, the same for every stage: update, log, save, until done.

RUN/config.json        everything needed to rebuild the stage; RUN/log.jsonl one line a `log_every` updates;
RUN/checkpoints/       see `training.checkpoints`
"""

import json
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

CACHE_LIMIT = 2 << 30  # bytes that MLX may keep for reuse; unbounded it grows with every new shape


class Stage(Protocol):
    """What the loop needs of a stage: its state, and one update."""

    def parts(self) -> dict[str, Any]: ...

    def load_parts(self, parts: dict[str, Any]) -> None: ...

    def update(self, number: int) -> dict[str, float]: ...


@dataclass(frozen=True)
class LoopConfig:
    """How long, and how often to log and save."""

    updates: int
    log_every: int = 50
    save_every: int = 500


def train(
    stage: Stage,
    run: Path,
    config: LoopConfig,
    resume: bool,
    observe: Callable[[int, dict[str, float]], None] = lambda update, metrics: None,
) -> None:
    """Run `stage` up to `config.updates`, from the newest whole checkpoint where `resume` says so.

    `observe(update, metrics)` is called after every logged update (wandb, for one). Process 0 writes; the others
    only compute.
    """
    mx.set_cache_limit(CACHE_LIMIT)
    writer = mx.distributed.init().rank() == 0
    start = _resume(stage, run) if resume else 0
    if writer:
        _cut_log(run / "log.jsonl", start)
    sums: dict[str, float] = {}
    began, since = time.monotonic(), time.monotonic()
    for number in range(start, config.updates):
        metrics = _guarded(stage, number)
        for name, value in metrics.items():
            sums[name] = sums.get(name, 0.0) + value
        done = number + 1
        if writer and (done % config.log_every == 0 or done == config.updates):
            count = (done - 1) % config.log_every + 1 if start < done - config.log_every else done - start
            count = min(count, config.log_every)
            seconds = (time.monotonic() - since) / count
            line = {"update": done} | {name: total / count for name, total in sums.items()}
            line |= {"seconds_per_update": seconds, "peak_memory_gb": mx.get_peak_memory() / 1e9}
            _append(run / "log.jsonl", line)
            observe(done, line)
            sums, since = {}, time.monotonic()
        if writer:
            _progress(done, config.updates, metrics, (time.monotonic() - began) / (done - start))
            if done % config.save_every == 0 or done == config.updates:
                save_checkpoint(run, done, stage.parts())
    if writer:
        print(file=sys.stderr)


def _guarded(stage: Stage, number: int) -> dict[str, float]:
    try:
        return stage.update(number)
    except FloatingPointError as error:
        raise BitjetsError(
            f"training diverged at update {number + 1}: {error}. Resume with a lower --learning-rate."
        ) from error


def _resume(stage: Stage, run: Path) -> int:
    folder = newest_checkpoint(run)
    if folder is None:
        print(f"nothing to resume in {run}: starting from update 0", file=sys.stderr)
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


def _append(path: Path, line: dict[str, float]) -> None:
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")


def _progress(done: int, total: int, metrics: dict[str, float], seconds: float) -> None:
    """One line that rewrites itself on a terminal; elsewhere a line now and then."""
    if not sys.stderr.isatty() and done % max(1, total // 100) and done != total:
        return
    losses = " ".join(f"{name} {value:.3g}" for name, value in list(metrics.items())[:8])
    left = time.strftime("%H:%M:%S", time.gmtime(seconds * (total - done)))
    memory = mx.get_peak_memory() / 1e9
    text = f"{done}/{total} [{100 * done // total:3d} %] {losses} | {seconds:.2f} s/update {memory:.1f} GB left {left}"
    end = "" if sys.stderr.isatty() else "\n"
    print(("\r\x1b[K" if not end else "") + text, end=end, file=sys.stderr, flush=True)
