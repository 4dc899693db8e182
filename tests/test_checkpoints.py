"""Checkpoints: exact, and whatever is not whole is passed over, also after a kill or on a full disk."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from tiny_training import ROOT, assert_same_trees, quick_environment

from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.training import checkpoints
from bitjets_mlx.training.checkpoints import load_checkpoint, newest_checkpoint, save_checkpoint


def parts(seed: int = 0) -> dict[str, Any]:
    key = mx.random.key(seed)
    model = {"layers": [{"weight": mx.random.normal((3, 4), key=key)}, {"weight": mx.zeros((2,))}], "gain": mx.ones(5)}
    state = {"step": mx.array(7, dtype=mx.uint64), "learning_rate": mx.array(1e-3), "gain": {"m": mx.ones(5)}}
    return {"model": model, "optimizer": state}


def save_three(run: Path) -> None:
    for update in (10, 20, 30):
        save_checkpoint(run, update, parts(update))


def test_what_is_saved_comes_back_bit_for_bit(tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path, 12, parts())
    update, loaded = load_checkpoint(folder)
    assert update == 12
    assert loaded.keys() == parts().keys()
    assert_same_trees(loaded, parts())
    step = loaded["optimizer"]["step"]
    assert step.dtype == mx.uint64 and step.shape == ()


def test_the_newest_two_are_kept_and_nothing_else(tmp_path: Path) -> None:
    save_three(tmp_path)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["step_00000020", "step_00000030"]
    newest = newest_checkpoint(tmp_path)
    assert newest is not None and newest.name == "step_00000030"


def test_no_checkpoint_is_none(tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path) is None


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)


def empty(file: Path) -> None:
    file.write_bytes(b"")


@pytest.mark.parametrize("harm", [truncate, flip, empty, Path.unlink])
@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "meta.json"])
def test_a_damaged_one_is_named_and_passed_over(tmp_path: Path, harm: Any, name: str) -> None:
    save_three(tmp_path)
    folder = tmp_path / "checkpoints" / "step_00000030"
    harm(folder / name)
    with pytest.warns(UserWarning, match="step_00000030 is damaged"):
        newest = newest_checkpoint(tmp_path)
    assert newest is not None and newest.name == "step_00000020"
    with pytest.raises(BitjetsError, match="damaged or incomplete"):
        load_checkpoint(folder)


def test_a_file_of_another_checkpoint_is_noticed(tmp_path: Path) -> None:
    save_three(tmp_path)
    newer, older = tmp_path / "checkpoints" / "step_00000030", tmp_path / "checkpoints" / "step_00000020"
    (newer / "model.safetensors").write_bytes((older / "model.safetensors").read_bytes())
    with pytest.warns(UserWarning, match="damaged"):
        assert newest_checkpoint(tmp_path) == older


@pytest.mark.parametrize("text", ["[]", "{}", '{"update": 3, "sha256": {}}', '{"sha256": 5}', "null", "{"])
def test_strange_meta_is_damage(tmp_path: Path, text: str) -> None:
    folder = save_checkpoint(tmp_path, 10, parts())
    (folder / "meta.json").write_text(text)
    with pytest.warns(UserWarning, match="damaged"):
        assert newest_checkpoint(tmp_path) is None


def test_a_half_written_folder_does_not_count_and_is_cleared_away(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 10, parts())
    scratch = tmp_path / "checkpoints" / "step_00000020.tmp"
    scratch.mkdir()
    (scratch / "model.safetensors").write_bytes(b"half")
    newest = newest_checkpoint(tmp_path)
    assert newest is not None and newest.name == "step_00000010"
    save_checkpoint(tmp_path, 30, parts())
    assert not scratch.exists()


def test_a_damaged_one_is_replaced_when_training_comes_there_again(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 10, parts(1))
    folder = save_checkpoint(tmp_path, 20, parts(2))
    flip(folder / "model.safetensors")
    save_checkpoint(tmp_path, 20, parts(3))
    assert_same_trees(load_checkpoint(folder)[1], parts(3))


@pytest.mark.parametrize("call", range(1, 6))
def test_full_disk_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int) -> None:
    """Whichever write meets it."""
    save_checkpoint(tmp_path, 10, parts())
    calls, plain = 0, os.fsync

    def full(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls == call:
            raise OSError(errno.ENOSPC, "No space left on device")
        plain(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BitjetsError, match=r"update 20 could not be written .*No space left on device.*--resume"):
        save_checkpoint(tmp_path, 20, parts())
    monkeypatch.undo()
    left = {path.name for path in (tmp_path / "checkpoints").iterdir()}
    newest = newest_checkpoint(tmp_path)
    assert newest is not None
    assert left == {"step_00000010"} | ({newest.name} if call == 5 else set())  # the fifth comes after the rename


def test_a_file_size_limit_is_reported_not_truncated(tmp_path: Path) -> None:
    """The real thing: the system refuses the bytes."""
    program = (
        "import resource, sys; from pathlib import Path; import bitjets_mlx, mlx.core as mx\n"
        "from bitjets_mlx.errors import run_command\n"
        "from bitjets_mlx.training.checkpoints import save_checkpoint\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))\n"
        "run_command(lambda: save_checkpoint(Path(sys.argv[1]), 5, {'model': {'w': mx.ones((1 << 15,))}}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        cwd=ROOT,
        env=quick_environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: the checkpoint of update 5 could not be written")
    assert "Traceback" not in done.stderr
    assert list((tmp_path / "checkpoints").iterdir()) == []


def test_weights_that_are_not_numbers_are_never_saved(tmp_path: Path) -> None:
    with pytest.raises(BitjetsError, match="NaN"):
        save_checkpoint(tmp_path, 10, {"model": {"w": mx.array([1.0, float("nan")])}})
    assert list((tmp_path / "checkpoints").iterdir()) == []


WRITER = """
import sys
from pathlib import Path
import bitjets_mlx, mlx.core as mx
from bitjets_mlx.training.checkpoints import save_checkpoint
for update in range(1, 100000):
    save_checkpoint(Path(sys.argv[1]), update, {"model": {"w": mx.full((300000,), float(update))}})
    print(update, flush=True)
"""


def test_killed_in_the_middle_of_a_write_a_whole_one_is_left(tmp_path: Path) -> None:
    """SIGKILL while a checkpoint is half there: the one before is whole, and nothing warns."""
    middles = 0
    for attempt in range(6):
        run = tmp_path / str(attempt)
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(run)],
            cwd=ROOT,
            env=quick_environment(),
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        for _ in range(2 + attempt):
            said = int(process.stdout.readline())
        while not list((run / "checkpoints").glob("*.tmp")):
            time.sleep(0.0002)
        time.sleep(0.001 * attempt)
        process.send_signal(signal.SIGKILL)
        process.wait()
        said = max([said, *map(int, process.stdout.read().split())])
        middles += bool(list((run / "checkpoints").glob("*.tmp")))
        newest = newest_checkpoint(run)
        assert newest is not None
        update, loaded = load_checkpoint(newest)
        assert said <= update <= said + 1
        assert bool(mx.all(loaded["model"]["w"] == float(update)))
        assert json.loads((newest / "meta.json").read_text())["update"] == update
    assert middles >= 1


def test_checkpoints_written_by_mlx_itself_can_be_read(tmp_path: Path) -> None:
    """Those of early runs were."""
    folder = save_checkpoint(tmp_path, 10, parts())
    path = folder / "model.safetensors"
    arrays: Any = mx.load(str(path))
    mx.eval(arrays)
    mx.save_safetensors(str(path), arrays)
    meta = json.loads((folder / "meta.json").read_text())
    meta["sha256"]["model.safetensors"] = checkpoints.hashlib.sha256(path.read_bytes()).hexdigest()
    (folder / "meta.json").write_text(json.dumps(meta))
    assert_same_trees(load_checkpoint(folder)[1], parts())
