"""Output folders: one rule for what is replaced, and nothing lost whatever happens."""

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bitjets_mlx import folders
from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.folders import FolderKind, check_folder, exchange, locked, output_folder, recover

KIND = FolderKind("box", ("box.txt", "parts/*.bin"), lambda folder: (folder / "box.txt").is_file())


def write(place: Path, text: str, **options: Any) -> None:
    with output_folder(place, KIND, **options) as scratch:
        (scratch / "parts").mkdir()
        (scratch / "parts" / "one.bin").write_text(text)
        (scratch / "box.txt").write_text(text)


def tree(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_text() for path in files}


@pytest.fixture
def box(tmp_path: Path) -> Path:
    write(tmp_path / "box", "old")
    return tmp_path / "box"


def test_one_of_the_same_kind_is_replaced(box: Path) -> None:
    (box / ".DS_Store").touch()
    write(box, "new")
    assert tree(box.parent) == {"box/box.txt": "new", "box/parts/one.bin": "new"}


def test_new_and_empty_places_are_taken(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("empty", "new", "deep/er"):
        write(tmp_path / name, "x")
        assert (tmp_path / name / "box.txt").read_text() == "x"


def test_links_are_followed_and_modes_kept(box: Path) -> None:
    box.chmod(0o750)
    link = box.with_name("link")
    link.symlink_to(box)
    write(link, "new")
    assert link.is_symlink() and (box / "box.txt").read_text() == "new"
    assert stat.S_IMODE(box.stat().st_mode) == 0o750


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda box: (box / "parts" / "thesis.txt").write_text("mine"), "holds parts/thesis.txt, which belongs to no"),
        (lambda box: (box / "box.txt").unlink(), "holds parts/one.bin, which belongs to no box"),
        (lambda box: (box / "thesis.txt").symlink_to("/etc/passwd"), "holds thesis.txt"),
    ],
)
def test_anything_else_is_refused(box: Path, make: Callable[[Path], Any], message: str) -> None:
    make(box)
    before = tree(box.parent)
    with pytest.raises(BitjetsError, match=message):
        write(box, "new")
    assert tree(box.parent) == before
    write(box, "new", overwrite=True)
    assert tree(box) == {"box.txt": "new", "parts/one.bin": "new"}


def test_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "box").write_text("mine")
    with pytest.raises(BitjetsError, match="is a file"):
        write(tmp_path / "box", "new", overwrite=True)


def test_inputs_and_what_holds_them_are_never_replaced(box: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = box.with_name("link")
    link.symlink_to(box)
    for place, source in ((box, box), (box, box / "parts"), (box.parent, box), (link, box), (box, link / "box.txt")):
        with pytest.raises(BitjetsError, match="is read from"):
            check_folder(place, KIND, overwrite=True, inputs=[source])
    monkeypatch.chdir(box)
    with pytest.raises(BitjetsError, match="is read from"):
        check_folder(box, KIND, overwrite=True)


def test_a_folder_in_use_is_never_replaced(box: Path) -> None:
    run = box / "run"
    run.mkdir()
    with locked(run), pytest.raises(BitjetsError, match=rf"in use by process {os.getpid()}"):
        check_folder(box, KIND, overwrite=True)


@pytest.mark.parametrize("error", [RuntimeError("x"), KeyboardInterrupt(), OSError(28, "No space left")])
def test_an_error_changes_nothing(box: Path, error: BaseException) -> None:
    before = tree(box.parent)
    with pytest.raises(type(error)), output_folder(box, KIND) as scratch:
        (scratch / "box.txt").write_text("half")
        raise error
    assert tree(box.parent) == before and [entry.name for entry in box.parent.iterdir()] == ["box"]


def test_a_full_disk_is_said_of_the_place_that_was_named(tmp_path: Path) -> None:
    with pytest.raises(OSError) as caught, output_folder(tmp_path / "box", KIND) as scratch:
        raise OSError(28, "No space left on device", str(scratch / "a"))
    assert caught.value.filename == str(tmp_path / "box" / "a")


# -- killed, and two at once -----------------------------------------------------------------------------------------


def test_the_exchange_is_one_step_here(box: Path) -> None:
    write(box.with_name("other"), "other")
    if not exchange(box, box.with_name("other")):
        pytest.skip("this system or disk cannot exchange two folders")
    assert (box / "box.txt").read_text() == "other"


def test_without_an_exchange_a_kill_between_two_renames_is_put_right(
    box: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "exchange", lambda *_: False)
    write(box, "new")
    assert tree(box.parent) == {"box/box.txt": "new", "box/parts/one.bin": "new"}
    os.rename(box, box.with_name(".box.0123abcd.old"))  # as a kill leaves it
    box.with_name(".box.89abcdef.tmp").mkdir()
    recover(box)
    assert tree(box.parent) == {"box/box.txt": "new", "box/parts/one.bin": "new"}
    assert [entry.name for entry in box.parent.iterdir()] == ["box"]


def test_a_second_rename_that_fails_is_undone(box: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, calls, rename = tree(box.parent), [], os.rename

    def second_fails(source: Path, target: Path) -> None:
        calls.append(source)
        if len(calls) == 2:
            raise OSError(5, "broken disk")
        rename(source, target)

    monkeypatch.setattr(folders, "exchange", lambda *_: False)
    monkeypatch.setattr(folders.os, "rename", second_fails)
    with pytest.raises(OSError):
        write(box, "new")
    assert tree(box.parent) == before


WRITER = """
import sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_folders import KIND, output_folder
with output_folder({place!r}, KIND) as scratch:
    (scratch / "box.txt").write_text("theirs")
    print("there", flush=True)
    time.sleep(60)
"""


def test_a_second_writer_is_told_who_is_there_and_a_killed_one_leaves_nothing(box: Path) -> None:
    code = WRITER.format(tests=str(Path(__file__).parent), place=str(box))
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "there\n"
        with pytest.raises(BitjetsError, match=rf"in use by process {other.pid}"):
            write(box, "mine")
        other.send_signal(signal.SIGKILL)
    write(box, "mine")
    assert tree(box.parent) == {"box/box.txt": "mine", "box/parts/one.bin": "mine"}


@pytest.mark.slow
def test_there_is_always_one_of_the_two(box: Path) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from pathlib import Path\nfrom test_folders import write\n"
        "print('ready', flush=True)\n"
        f"for number in range(10**9): write(Path({str(box)!r}), str(number))\n"
    )
    for attempt in range(12):
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None and writer.stdout.readline() == "ready\n"
            time.sleep(0.01 + 0.007 * attempt)
            writer.kill()
        recover(box)
        found = tree(box)
        assert set(found) == {"box.txt", "parts/one.bin"} and len(set(found.values())) == 1
