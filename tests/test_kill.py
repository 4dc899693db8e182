"""A real training killed again and again with SIGKILL: it always resumes, and ends where an unharmed one does."""

import json
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
from tiny_training import ROOT, assert_same_trees, begin_run, quick_environment, run_train, tiny_data, train_command

from bitjets_mlx.data.prepared import PreparedData
from bitjets_mlx.training.checkpoints import load_checkpoint, newest_checkpoint

KILLS = 22
SAVE_EVERY = 3
UPDATES = 3 * KILLS + 12
OPTIONS = ("--resume", "--log-every", "1", "--save-every", str(SAVE_EVERY), "--validate-every", "1000")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    return tiny_data(tmp_path_factory.mktemp("prepared"), train=8, validation=0)


def logged(run: Path) -> int:
    """The last update that the log has a whole line of."""
    if not (run / "log.jsonl").exists():
        return 0
    lines = (run / "log.jsonl").read_text().splitlines(keepends=True)
    done = [json.loads(line)["update"] for line in lines if line.endswith("\n")]
    return int(done[-1]) if done else 0


def saved(run: Path) -> int:
    """The update of the newest whole checkpoint."""
    newest = newest_checkpoint(run)
    return load_checkpoint(newest)[0] if newest else 0


def kill_once(data: PreparedData, run: Path, how: str, dice: random.Random, stage: str = "acoustic") -> bool:
    """Start it and kill it; says whether a checkpoint was being written."""
    before = logged(run)
    with subprocess.Popen(
        train_command(data, run, stage, *OPTIONS),
        cwd=ROOT,
        env=quick_environment(),
        stderr=subprocess.DEVNULL,
    ) as process:
        deadline = time.monotonic() + 120
        if how == "while starting":
            time.sleep(dice.uniform(0.0, 1.0))
        elif how == "while writing":
            while not list(run.glob("checkpoints/*.tmp")) and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.0002)
            time.sleep(dice.uniform(0.0, 0.01))
        else:
            target = before + dice.randint(1, 4)
            while logged(run) < target and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.002)
            time.sleep(dice.uniform(0.0, 0.05))
        assert process.poll() is None, "the training ended before it could be killed"
        process.send_signal(signal.SIGKILL)
    return bool(list(run.glob("checkpoints/*.tmp")))


@pytest.mark.slow
def test_killed_at_any_moment_it_resumes_and_loses_one_interval_at_most(data: PreparedData, tmp_path: Path) -> None:
    whole, harmed = tmp_path / "whole", tmp_path / "harmed"
    for run in (whole, harmed):
        begin_run(run, data, "acoustic", updates=UPDATES, batch_size=2, accumulate=1)
    dice, in_writes, furthest = random.Random(0), 0, 0
    kinds = ["at a random moment", "while writing"] * (KILLS // 2 - 1) + ["while starting"] * 2
    dice.shuffle(kinds)
    for how in kinds:
        in_writes += kill_once(data, harmed, how, dice)
        furthest = max(furthest, logged(harmed))
        assert saved(harmed) > logged(harmed) - SAVE_EVERY - 1, how
        assert saved(harmed) >= furthest - SAVE_EVERY, how
    assert in_writes >= 3
    assert 0 < saved(harmed) < UPDATES
    for run in (whole, harmed):
        done = run_train(data, run, "acoustic", *OPTIONS)
        assert done.returncode == 0, done.stderr
        assert "damaged" not in done.stderr
    assert saved(harmed) == saved(whole) == UPDATES
    name = f"step_{UPDATES:08d}"
    assert_same_trees(*(load_checkpoint(run / "checkpoints" / name)[1] for run in (harmed, whole)))
    updates = [json.loads(line)["update"] for line in (harmed / "log.jsonl").read_text().splitlines()]
    assert updates == list(range(1, UPDATES + 1))
    assert not list(harmed.glob("checkpoints/*.tmp"))


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["vocoder", "joint"])
def test_other_stages_resume_from_a_kill_too(stage: str, data: PreparedData, tmp_path: Path) -> None:
    """With all they have: discriminators, and of the joint stage three optimizers."""
    whole, harmed = tmp_path / "whole", tmp_path / "harmed"
    for run in (whole, harmed):
        begin_run(run, data, stage, updates=9, batch_size=2, accumulate=1, adversarial_from=0.4)
    dice = random.Random(0)
    for how in ("at a random moment", "while writing"):
        kill_once(data, harmed, how, dice, stage)
    assert saved(harmed) < 9
    for run in (whole, harmed):
        done = run_train(data, run, stage, *OPTIONS)
        assert done.returncode == 0, done.stderr
    assert_same_trees(*(load_checkpoint(run / "checkpoints" / "step_00000009")[1] for run in (harmed, whole)))
