"""Atomic writes: the old file or the new one, and no litter, whatever happens."""

import errno
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny_training import ROOT

from bitjets_mlx.audio.files import write_wav
from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.files import atomic_write, atomic_write_bytes, check_file, read_json


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


def test_a_link_is_followed_and_modes_are_kept(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    atomic_write_bytes(tmp_path / "real" / "a.json", b"old")
    (tmp_path / "real" / "a.json").chmod(0o640)
    (tmp_path / "link.json").symlink_to("real/a.json")
    atomic_write_bytes(tmp_path / "link.json", b"new")
    assert (tmp_path / "link.json").is_symlink() and (tmp_path / "real" / "a.json").read_bytes() == b"new"
    assert stat.S_IMODE((tmp_path / "real" / "a.json").stat().st_mode) == 0o640


def test_what_is_something_else_is_not_written_over(tmp_path: Path) -> None:
    thesis, sound, empty = tmp_path / "thesis.wav", tmp_path / "sound.wav", tmp_path / "empty.wav"
    thesis.write_text("mine")
    sound.write_bytes(b"RIFF....WAVE")
    empty.touch()
    for good in (sound, empty, tmp_path / "new.wav"):
        check_file(good, [b"RIFF"])
    with pytest.raises(BitjetsError, match="holds something else: give another name, or --overwrite"):
        check_file(thesis, [b"RIFF"])
    check_file(thesis, [b"RIFF"], overwrite=True)
    with pytest.raises(BitjetsError, match="is read from"):
        check_file(sound, [b"RIFF"], overwrite=True, inputs=[tmp_path / "." / "sound.wav"])


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "cannot be read as JSON"), ("[" * 10**6, "deeper than 50"), ("[" * 51 + "]" * 51, "deeper than 50")],
)
def test_json_is_read_within_bounds(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(BitjetsError, match=message):
        read_json(tmp_path / "a.json")
    (tmp_path / "a.json").write_text("[" * 49 + "]" * 49)
    assert read_json(tmp_path / "a.json")
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "none.json")


WRITER = """
import sys, time
from bitjets_mlx.files import atomic_write
with atomic_write({place!r}) as temporary:
    temporary.write_bytes(b"theirs")
    print("there", flush=True)
    time.sleep(60)
"""


def test_what_a_killed_writer_leaves_is_removed_by_the_next_and_of_a_living_one_nothing(tmp_path: Path) -> None:
    place = tmp_path / "a.json"
    (tmp_path / ".a.0123abcd.tmp.jsonl").write_bytes(b"mine")
    command = [sys.executable, "-c", WRITER.format(place=str(place))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as writer:
        assert writer.stdout is not None and writer.stdout.readline() == "there\n"
        atomic_write_bytes(place, b"new")
        assert len(list(tmp_path.iterdir())) == 3
        writer.kill()
    assert place.read_bytes() == b"new"
    atomic_write_bytes(place, b"newer")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".a.0123abcd.tmp.jsonl", "a.json"]
