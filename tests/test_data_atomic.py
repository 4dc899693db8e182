"""Atomic writes: the old file or the new one, and no litter, whatever happens."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from bitjets_mlx import files
from bitjets_mlx.audio.files import write_wav
from bitjets_mlx.files import atomic_folder, atomic_write, atomic_write_bytes


def test_replaces_the_old_file(tmp_path: Path) -> None:
    atomic_write_bytes(tmp_path / "a.json", b"old")
    atomic_write_bytes(tmp_path / "a.json", b"new")
    assert (tmp_path / "a.json").read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_temporary_name_keeps_the_suffix(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "a.npz") as temporary:
        assert temporary.suffix == ".npz" and temporary.parent == tmp_path
        temporary.write_bytes(b"x")


@pytest.mark.parametrize("error", [RuntimeError("x"), KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left")])
def test_failure_keeps_the_old_file(tmp_path: Path, error: BaseException) -> None:
    atomic_write_bytes(tmp_path / "a.json", b"old")
    with pytest.raises(type(error)), atomic_write(tmp_path / "a.json") as temporary:
        temporary.write_bytes(b"half")
        raise error
    assert (tmp_path / "a.json").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, which is Linux's")
def test_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write_to_full_disk(self: Path, data: bytes) -> int:
        self.touch()
        with open("/dev/full", "wb") as file:
            return file.write(data)

    monkeypatch.setattr(Path, "write_bytes", write_to_full_disk)
    with pytest.raises(OSError) as caught:
        write_wav(tmp_path / "a.wav", np.zeros(100000, np.float32))
    assert caught.value.errno == errno.ENOSPC
    assert not list(tmp_path.iterdir())


def test_folder_replaces_the_old_one(tmp_path: Path) -> None:
    for content in ("old", "new"):
        with atomic_folder(tmp_path / "voice") as temporary:
            (temporary / "weights").mkdir()
            (temporary / "weights" / content).write_text(content)
    assert [path.name for path in (tmp_path / "voice" / "weights").iterdir()] == ["new"]
    assert [path.name for path in tmp_path.iterdir()] == ["voice"]


def test_failure_keeps_the_old_folder(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "voice") as temporary:
        (temporary / "a").write_text("old")
    with pytest.raises(ValueError), atomic_folder(tmp_path / "voice") as temporary:
        (temporary / "b").write_text("half")
        raise ValueError
    assert [path.name for path in (tmp_path / "voice").iterdir()] == ["a"]
    assert [path.name for path in tmp_path.iterdir()] == ["voice"]


def test_failed_rename_keeps_the_old_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with atomic_folder(tmp_path / "voice") as temporary:
        (temporary / "a").write_text("old")
    replace, calls = os.replace, []

    def second_fails(source: Path, target: Path) -> None:
        calls.append(source)
        if len(calls) == 2:
            raise OSError(errno.EIO, "broken disk")
        replace(source, target)

    monkeypatch.setattr(files.os, "replace", second_fails)
    with pytest.raises(OSError), atomic_folder(tmp_path / "voice") as temporary:
        (temporary / "b").write_text("new")
    assert [path.name for path in (tmp_path / "voice").iterdir()] == ["a"]
