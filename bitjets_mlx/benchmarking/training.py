"""`benchmark train`: training the acoustic model, the vocoders and both jointly, beside PyTorch and ESPnet's JETS.

Rounds: every contender in turn, each in a fresh process, `rounds` times over; what counts is the median.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bitjets_mlx.benchmarking.contenders import failed
from bitjets_mlx.benchmarking.machine import describe_machine
from bitjets_mlx.data.features import Features
from bitjets_mlx.data.prepared import Clip, PreparedData, measure_statistics, write_prepared
from bitjets_mlx.evaluation.packages import lacking
from bitjets_mlx.native.processor import cpu_cores
from bitjets_mlx.text.symbols import SYMBOLS

TRAINER = Path(__file__).with_name("trainer.py")
FRAMES = (77, 175, 205, 232, 253, 277, 304, 332, 378, 550)  # deciles of the clips of two hours of read speech
FRAMES_A_TOKEN = 6.0
CLIPS = 192


@dataclass(frozen=True)
class Plan:
    """What to measure. Without `data`, on made-up clips."""

    data: Path | None
    batch_size: int
    updates: int
    rounds: int


def benchmark_training(plan: Plan, say: Callable[[str], None]) -> dict[str, Any]:
    """Everything that `table` prints; `say` gets a line for what is going on."""
    with tempfile.TemporaryDirectory() as folder:
        data = PreparedData(plan.data) if plan.data else made_up_data(Path(folder))
        job = {"data": str(data.folder.absolute()), "cores": cpu_cores(), "symbols": len(SYMBOLS)}
        missing = "torch is not installed (pip install -r requirements-bench.txt)" if lacking("torch") else ""
        size, few = plan.batch_size, max(1, plan.batch_size // 2)
        rows = [
            _row("bitjets_mlx, acoustic model", "acoustic", "", size, plan.updates),
            _row("PyTorch twin, acoustic model", "torch acoustic", missing, size, plan.updates),
            _row("bitjets_mlx, harmonic vocoder", "harmonic", "", size, plan.updates),
            _row("bitjets_mlx, both jointly", "joint", "", size, plan.updates),
            # Updates against full discriminators take so long that two of half a batch must do.
            _row("bitjets_mlx, HiFi-GAN V3, adversarial", "hifigan", "", few, 2),
            _row("PyTorch, HiFi-GAN V3, adversarial", "torch hifigan", missing, few, 2),
            _row("ESPnet JETS with HiFi-GAN V1", "jets", _missing_jets(), few, 2),
        ]
        found: dict[str, list[dict[str, float]]] = {row["name"]: [] for row in rows}
        for number in range(plan.rounds):
            for row in rows:
                if not row.get("missing"):
                    say(f"round {number + 1} of {plan.rounds}: {row['name']}")
                    found[row["name"]].append(_run(row, job, Path(folder)))
    for row in rows:
        if found[row["name"]]:
            seconds = statistics.median(one["seconds"] for one in found[row["name"]])
            row |= {"seconds": seconds, "examples_a_second": row["batch_size"] / seconds}
            row["memory_mb"] = statistics.median(one["memory"] for one in found[row["name"]]) / 1e6
    return {"machine": describe_machine(), "data": str(plan.data or "made-up clips"), "rows": rows}


def _row(name: str, kind: str, missing: str, batch_size: int, updates: int) -> dict[str, Any]:
    row = {"name": name, "kind": kind, "batch_size": batch_size, "updates": updates}
    return row | ({"missing": missing} if missing else {})


def _missing_jets() -> str:
    missing = lacking("torch", "espnet2")
    return f"not installed (pip install espnet): {', '.join(missing)}" if missing else ""


def _run(row: dict[str, Any], job: dict[str, Any], scratch: Path) -> dict[str, float]:
    path = scratch / "job.json"
    path.write_text(json.dumps(job | {"batch_size": row["batch_size"], "updates": row["updates"]}))
    done = subprocess.run(
        [sys.executable, str(TRAINER), row["kind"], str(path)], capture_output=True, text=True, check=False
    )
    if done.returncode or not done.stdout:
        raise failed(row["name"], done.stderr)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def made_up_data(folder: Path) -> PreparedData:
    """A prepared folder of noise whose clips are as long as real ones."""
    random = np.random.default_rng(0)
    clips, features = [], []
    for index in range(CLIPS):
        frames = int(np.interp(random.uniform(0, len(FRAMES) - 1), range(len(FRAMES)), FRAMES))
        clip = Features(
            mel=random.normal(size=(frames, 80)).astype(np.float32),
            log_f0=random.normal(5.0, 0.2, frames).astype(np.float32),
            voiced=random.uniform(size=frames) < 0.6,
            energy=random.normal(size=frames).astype(np.float32),
            audio=random.integers(-3000, 3000, frames * 256, dtype=np.int16),
        )
        name = f"clip{index:04d}"
        np.savez(folder / f"{name}.npz", **vars(clip))
        phonemes = tuple(map(str, random.choice(SYMBOLS[1:], int(frames / FRAMES_A_TOKEN))))
        split = "train" if index % 16 else "validation"
        clips.append(Clip(name, "nobody", "", phonemes, split, frames, frames * 256, f"{name}.npz"))
        features.append(("nobody", clip))
    write_prepared(folder, ("nobody",), SYMBOLS, measure_statistics(features, ("nobody",), (1.0,)), clips)
    return PreparedData(folder)


def table(report: dict[str, Any]) -> str:
    """The report as text."""
    width = max(len(row["name"]) for row in report["rows"])
    lines = [
        report["machine"],
        "",
        f"{report['data']:{width}.{width}}  batch  s an update  examples a second   peak MB",
    ]
    for row in report["rows"]:
        if "missing" in row:
            lines.append(f"{row['name']:{width}}  {row['missing']}")
        else:
            lines.append(
                f"{row['name']:{width}}  {row['batch_size']:5}  {row['seconds']:11.3f}  "
                f"{row['examples_a_second']:17.2f}  {row['memory_mb']:8.0f}"
            )
    return "\n".join(lines)


def plot(report: dict[str, Any], path: Path) -> None:
    """Bars of what the table says, an image file."""
    from bitjets_mlx.benchmarking.plot import draw_bars

    rows = [row for row in report["rows"] if "missing" not in row]
    measures = {
        "training examples a second": [row["examples_a_second"] for row in rows],
        "peak memory (MB)": [row["memory_mb"] for row in rows],
    }
    draw_bars(path, [row["name"] for row in rows], measures, report["machine"])
