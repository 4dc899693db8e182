"""The cache of compiled C: private, verified, repaired, and done without where it cannot be."""

import os
import shutil
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bitjets_mlx.native import build, loader

SOURCE = "int answer(void) { return 42; }"
EVIL = "int answer(void) { return 666; }"
COMPILER = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
REPOSITORY = Path(__file__).resolve().parents[1]

pytestmark = pytest.mark.skipif(COMPILER is None, reason="needs a C compiler")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, whose folder does not exist yet; and hints that nobody has heard."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    build.say_slower.cache_clear()
    return tmp_path / "xdg" / "bitjets_mlx"


def answer(source: str = SOURCE) -> int:
    return int(build.load("test", source).answer())


def libraries(cache: Path) -> list[Path]:
    return sorted(cache.glob("test-*.so"))


def no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build.shutil, "which", lambda name: None)


def compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """A shell script takes the place of cc."""
    file = tmp_path / "cc"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    monkeypatch.setattr(build.shutil, "which", lambda name: str(file))


def test_compiled_once_and_found_from_then_on(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert answer() == 42
    no_compiler(monkeypatch)
    assert answer() == 42
    assert len(libraries(cache)) == 1 and libraries(cache) == sorted(cache.iterdir())


def test_nobody_else_can_enter_the_cache(cache: Path) -> None:
    before = os.umask(0)
    try:
        answer()
    finally:
        os.umask(before)
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700
    assert stat.S_IMODE(libraries(cache)[0].stat().st_mode) == 0o600
    cache.chmod(0o777)  # as an older version left it
    answer()
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700


@pytest.mark.parametrize("size", [0, 1000])
def test_a_damaged_library_is_built_again(cache: Path, size: int) -> None:
    """Loading a truncated one would kill the process."""
    answer()
    whole = libraries(cache)[0]
    content = whole.read_bytes()
    whole.unlink()  # this process has it loaded
    whole.write_bytes(content[:size])
    assert answer() == 42
    assert [path.read_bytes() for path in libraries(cache)] == [content]


@pytest.mark.parametrize("how", ["a link", "open to others", "another's"])
def test_what_somebody_else_may_have_put_there_is_not_loaded(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """A library of the right name, whose bytes have the hash that the name says."""
    answer()
    (right,) = libraries(cache)
    right.unlink()
    answer(EVIL)
    (evil,) = libraries(cache)
    planted = cache / "-".join([*right.name.split("-")[:2], evil.name.split("-")[2]])
    shutil.move(evil, tmp_path / "evil.so")
    if how == "a link":
        planted.symlink_to(tmp_path / "evil.so")
    else:
        shutil.copy(tmp_path / "evil.so", planted)
        planted.chmod(0o666 if how == "open to others" else 0o600)
    lstat = Path.lstat

    def of_another(path: Path) -> os.stat_result:
        found = lstat(path)
        if how != "another's" or path != planted:
            return found
        return os.stat_result([*found[:4], found.st_uid + 1, *found[5:]])

    monkeypatch.setattr(Path, "lstat", of_another)
    assert answer() == 42
    assert planted not in libraries(cache)


def test_a_cache_of_another_user_is_left_alone(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    answer(EVIL)
    before = list(cache.iterdir())
    user = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: user + 1)
    assert answer() == 42 and answer() == 42
    assert list(cache.iterdir()) == before
    assert capfd.readouterr().err.count("there is no cache folder") == 1


def test_a_relative_cache_home_is_ignored(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert answer() == 42
    assert not Path("relative").exists() and libraries(tmp_path / "home" / ".cache" / "bitjets_mlx")


def test_without_a_home_every_process_compiles(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", homeless)
    assert answer() == 42 and not cache.exists()
    assert "set XDG_CACHE_HOME" in capfd.readouterr().err


def test_a_home_that_is_not_there_is_not_made(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "nobody"))
    assert answer() == 42 and not (tmp_path / "nobody").exists()


def test_without_a_compiler_one_line_says_so(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    no_compiler(monkeypatch)
    for name in ("vocoder", "vocoder", "training"):
        assert loader.library.__wrapped__(name) is None
    said = capfd.readouterr().err
    assert said == "hint: this is slower than it could be: there is no C compiler; install gcc or clang.\n"


def test_a_processor_that_the_layers_are_not_made_for_is_said(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(loader, "cpu_flags", lambda: frozenset(["sse2"]))
    assert loader.library.__wrapped__("speaking") is None and not cache.exists()
    assert "the C of ternary layers is for x86-64 processors with AVX2.\n" in capfd.readouterr().err


def test_a_compiler_that_hangs_is_stopped_with_all_it_started(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler(tmp_path, monkeypatch, f"sleep 1000 & echo $! > {tmp_path}/child; wait")
    monkeypatch.setattr(build, "SECONDS", 3)
    with pytest.raises(build.BuildError, match="did not finish within 3 s"):
        answer()
    child = (tmp_path / "child").read_text().strip()
    state = "S"
    for _ in range(200):  # on a busy machine it takes a moment to die
        state = subprocess.run(["ps", "-o", "stat=", "-p", child], capture_output=True, text=True).stdout.strip()
        if not state or state.startswith("Z"):  # gone, or waiting for its parent to notice
            break
        time.sleep(0.05)
    assert not state or state.startswith("Z")
    assert not list(cache.iterdir())


def test_what_a_compiler_complains_of_is_said(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler(tmp_path, monkeypatch, "echo no such luck >&2; echo and more >&2; exit 1")
    with pytest.raises(build.BuildError, match=r"refused: no such luck$"):
        answer()
    assert not list(cache.iterdir())


def test_a_compiler_that_does_not_know_this_processor(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler(tmp_path, monkeypatch, f'case "$*" in *=native*) echo unknown; exit 1;; esac; exec {COMPILER} "$@"')
    assert answer() == 42


def test_a_full_disk_is_an_error_with_a_reason(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(build, "sync_to_disk", full)
    with pytest.raises(build.BuildError, match="No space left"):
        answer()
    assert not libraries(cache)


def test_another_processor_with_the_same_home_has_its_own(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer()
    monkeypatch.setattr(build, "cpu_flags", lambda: frozenset(["another"]))
    assert answer() == 42
    assert len(libraries(cache)) == 2


def test_many_processes_at_once(cache: Path) -> None:
    program = f"from bitjets_mlx.native.build import load; print(load('test', {SOURCE!r}).answer())"
    started = [
        subprocess.Popen([sys.executable, "-c", program], cwd=REPOSITORY, stdout=subprocess.PIPE) for _ in range(4)
    ]
    assert [process.communicate()[0] for process in started] == [b"42\n"] * 4
    assert libraries(cache) and libraries(cache) == sorted(cache.iterdir())


# -- importing -----------------------------------------------------------------------------------------------------


def python(program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=REPOSITORY,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )


def test_importing_compiles_nothing_says_nothing_and_leaves_the_environment_alone(cache: Path) -> None:
    program = """
import os
before = dict(os.environ)
import bitjets_mlx.voice, bitjets_mlx.native.loader, bitjets_mlx.training.optimize, bitjets_mlx.vocoder.hifigan
assert dict(os.environ) == before
"""
    done = python(program)
    assert (done.stdout, done.stderr) == ("", "") and not cache.exists()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="MLX's BLAS is replaced on Linux alone")
def test_mlx_multiplies_by_openblas_from_the_first_time_on(cache: Path, tmp_path: Path) -> None:
    """The linker tells whom MLX calls: with a stub compiled after MLX was imported, and with one found in the cache."""
    program = """
import bitjets_mlx, mlx.core as mx
from bitjets_mlx.native.blas import fast_blas, load_openblas
print(*load_openblas(), fast_blas(), sep="\\n")
mx.eval(mx.ones((64, 64)) @ mx.ones((64, 64)))
"""
    for number in range(2):
        done = python(program, LD_DEBUG="bindings", LD_DEBUG_OUTPUT=str(tmp_path / f"linker{number}"))
        name, renamed, used = done.stdout.splitlines()
        if name != used or "BITJETS_BLAS" in os.environ:
            pytest.skip(f"no OpenBLAS here: {used}")
        said = "".join(
            file.read_text(errors="replace") for file in tmp_path.glob(f"linker{number}.*")
        )  # the compiler's too
        (bound,) = [line for line in said.splitlines() if "libmlx" in line and "`cblas_sgemm'" in line]
        assert (str(cache) if renamed == "True" else "openblas") in bound.split(" to ")[1]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="MLX's BLAS is replaced on Linux alone")
def test_mlx_imported_first_is_said_once_and_only_when_it_matters(cache: Path) -> None:
    done = python("import mlx.core, bitjets_mlx", BITJETS_BLAS="")
    assert done.stderr == ""
    program = "import mlx.core\nfrom bitjets_mlx.native.blas import *\nset_blas_threads(1)\nprint(fast_blas())"
    done = python(program, BITJETS_BLAS="")
    assert "mlx was imported first" in done.stdout
    assert done.stderr.count("import bitjets_mlx first") == done.stderr.count("\n") == 1


def test_libraries_have_all_their_functions() -> None:
    """Or a wrong name would be an error on somebody else's machine."""
    for name in loader.LIBRARIES:
        made = loader.library(name)
        assert made is None or all(hasattr(made, function) for function in loader.LIBRARIES[name].functions)
