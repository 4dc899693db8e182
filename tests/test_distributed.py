"""Two processes under `mlx.launch` make the update that one makes with a doubled batch."""

import json
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from mlx.utils import tree_flatten
from tiny_training import (
    ACOUSTIC,
    HIFIGAN,
    JOINT_MODELS,
    ROOT,
    STILL,
    UNDROPPED,
    begin_run,
    quick_environment,
    run_train,
    tiny_data,
    train_command,
)

from bitjets_mlx.data.prepared import PreparedData
from bitjets_mlx.training.checkpoints import load_checkpoint

UPDATES = 2
JOINT = JOINT_MODELS["states"]
# Nothing random is left but which clips are taken: each process draws its own dropout and noise.
STAGES: dict[str, Any] = {
    "acoustic": (replace(ACOUSTIC, **UNDROPPED), {}),
    "vocoder": (HIFIGAN, {**STILL, "adversarial_from": 1.0}),
    "joint": (replace(JOINT, acoustic=replace(JOINT.acoustic, **UNDROPPED)), {"adversarial_from": 0.0}),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    return tiny_data(tmp_path_factory.mktemp("prepared"))


def free_port() -> int:
    """The first of some ports that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def launch(data: PreparedData, run: Path, stage: str, *options: str) -> "subprocess.CompletedProcess[str]":
    """`mlx.launch -n 2 -- python -m bitjets_mlx.train ...` on this machine."""
    launcher = Path(sys.executable).parent / "mlx.launch"
    if not launcher.exists():
        pytest.skip("needs mlx.launch, which is not beside this Python")
    command = [str(launcher), "-n", "2", "--backend", "ring", "--starting-port", str(free_port()), "--cwd", str(ROOT)]
    for name in ("OPENBLAS_NUM_THREADS", "PYTHONPATH"):
        command += ["--env", f"{name}={quick_environment()[name]}"]
    command += ["--", *train_command(data, run, stage, *options)]
    return subprocess.run(command, cwd=ROOT, env=quick_environment(), capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("stage", list(STAGES))
def test_two_processes_make_the_update_of_one_with_a_doubled_batch(
    stage: str, data: PreparedData, tmp_path: Path
) -> None:
    model, training = STAGES[stage]
    training = {"updates": UPDATES, "accumulate": 2, **training}
    one, two = tmp_path / "one", tmp_path / "two"
    begin_run(one, data, stage, model, batch_size=4, **training)
    begin_run(two, data, stage, model, batch_size=2, **training)
    options = ("--resume", "--log-every", "1", "--save-every", "1")
    alone = run_train(data, one, stage, *options)
    assert alone.returncode == 0, alone.stderr
    together = launch(data, two, stage, *options)
    assert together.returncode == 0, together.stderr
    logs = [[json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()] for run in (one, two)]
    assert [len(log) for log in logs] == [UPDATES, UPDATES]  # one process wrote
    for ours, theirs in zip(*logs, strict=True):
        for name in ours:
            if "second" not in name and "memory" not in name:
                assert ours[name] == pytest.approx(theirs[name], rel=2e-3, abs=1e-6), name
    assert_close(one, two)


def assert_close(one: Path, two: Path) -> None:
    """Adam's first moments, which are averaged gradients, and the weights after the last updates."""
    for update, tolerance in ((1, 1e-4), (2, 2e-3)):
        ours, theirs = (load_checkpoint(run / "checkpoints" / f"step_{update:08d}")[1] for run in (one, two))
        for optimizer in (name for name in ours if name.endswith("optimizer")):
            moments = [
                {n: leaf for n, leaf in tree_flatten(part[optimizer]) if n.endswith(".m")} for part in (ours, theirs)
            ]
            scale = max(float(mx.abs(leaf).max()) for leaf in moments[0].values())
            error = max(float(mx.abs(moments[0][name] - moments[1][name]).max()) for name in moments[0])
            assert error <= tolerance * scale, optimizer
        weights = [dict(tree_flatten(part["model"])) for part in (ours, theirs)]
        apart = sum(float(mx.sum(mx.square(weights[0][name] - weights[1][name]))) for name in weights[0])
        size = sum(float(mx.sum(mx.square(leaf))) for leaf in weights[0].values())
        assert apart < 1e-6 * size


def test_two_processes_begin_a_run_together(data: PreparedData, tmp_path: Path) -> None:
    """Neither takes the other's config.json for a run that was there before."""
    run = tmp_path / "run"
    options = ("--updates", "1", "--batch-size", "1", "--accumulate", "1", "--segment-frames", "16")
    done = launch(data, run, "vocoder", *options)
    assert "error" not in done.stderr, done.stderr
    assert load_checkpoint(run / "checkpoints" / "step_00000001")[0] == 1
    assert sorted(path.name for path in run.iterdir()) == ["checkpoints", "config.json", "log.jsonl"]
