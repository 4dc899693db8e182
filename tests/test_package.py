"""The package: what it declares, what its wheel holds, and that it speaks from an empty folder."""

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import soundfile

import bitjets_mlx
from bitjets_mlx.__main__ import COMMANDS
from bitjets_mlx.errors import BitjetsError

REPOSITORY = Path(__file__).resolve().parents[1]
LARGEST_WHEEL = 6 << 20


def required(name: str) -> set[str]:
    """The packages of a requirements file, without comments and spaces."""
    lines = (REPOSITORY / name).read_text().splitlines()
    found = (re.sub(r"\s+#.*|^#.*", "", line).strip() for line in lines)
    return {line.replace('"', "'") for line in found if line and not line.startswith("-r ")}


def test_requirements_agree_with_the_package() -> None:
    tomllib = pytest.importorskip("tomllib", reason="tomllib is in Python 3.11 and later")
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    extras = {name: set(packages) for name, packages in project["optional-dependencies"].items()}
    assert required("requirements-speak.txt") == set(project["dependencies"])
    assert required("requirements.txt") == extras["train"] | extras["convert"]
    assert required("requirements-dev.txt") == extras["dev"]
    assert required("requirements-serve.txt") == extras["serve"]
    assert required("requirements-quality.txt") == extras["quality"]
    assert "-r requirements-speak.txt" in (REPOSITORY / "requirements.txt").read_text().splitlines()
    heavy = {"librosa", "wandb", "matplotlib", "torch", "pyyaml"}
    assert not heavy & {re.split(r"[<>=\[]", package)[0] for package in project["dependencies"]}


def test_every_command_is_a_module_with_a_main() -> None:
    root = REPOSITORY / "bitjets_mlx"
    mains = {path.stem for path in root.glob("*.py") if 'if __name__ == "__main__":' in path.read_text()}
    assert mains - {"__main__"} == set(COMMANDS)


def bitjets(*arguments: str, cwd: Path, package: Path = REPOSITORY) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bitjets_mlx", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(package)},
    )


def test_the_dispatcher_answers(tmp_path: Path) -> None:
    assert all(name in bitjets(cwd=tmp_path).stdout for name in COMMANDS)
    assert bitjets("--version", cwd=tmp_path).stdout == f"bitjets-mlx {bitjets_mlx.__version__}\n"
    unknown = bitjets("sing", cwd=tmp_path)
    assert unknown.returncode == 2 and "there is no command 'sing'" in unknown.stderr
    assert "--help lists the options" in bitjets("generate", "--sing", cwd=tmp_path).stderr


@pytest.mark.slow
def test_the_wheel_speaks_in_an_empty_folder(tmp_path: Path) -> None:
    pytest.importorskip("hatchling", reason="needs hatchling, which builds the wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-t", "sdist", "-d", str(tmp_path / "dist")]
    built = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    assert wheel.stat().st_size <= LARGEST_WHEEL and len(list((tmp_path / "dist").glob("*.tar.gz"))) == 1
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
        modes = [entry.external_attr >> 16 & 0o022 for entry in archive.infolist()]
    assert not any(modes), "a file that others may write to"
    here = tmp_path / "empty"
    here.mkdir()
    done = bitjets("generate", "Hello.", cwd=here, package=tmp_path / "installed")
    assert done.returncode == 0, done.stderr
    assert soundfile.info(here / "out.wav").duration > 0.3
    assert "duo" in bitjets("generate", "--list-voices", cwd=here, package=tmp_path / "installed").stdout.split()


def test_the_lock_has_every_requirement_at_one_version_with_hashes() -> None:
    text = (REPOSITORY / "requirements.lock").read_text()
    assert "://" not in text and "--index" not in text
    blocks = re.split(r"\n(?=[a-z])", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).strip())
    locked = {re.split("==", block)[0]: block for block in blocks}
    assert all(re.match(r"[\w.-]+==[\w.]+ ", block) and "--hash=sha256:" in block for block in blocks)
    wanted = required("requirements-speak.txt") | required("requirements.txt") | required("requirements-dev.txt")
    names = {re.split(r"[<>=\[;]", package)[0].lower().replace("_", "-") for package in wanted}
    assert names <= locked.keys(), names - locked.keys()


@pytest.mark.parametrize("name", [5, None, "", "a\0b", b"duo", "x" * 5000, ["duo"]])
def test_a_voice_by_anything_but_its_name_or_path(name: Any) -> None:
    with pytest.raises(BitjetsError, match=r"give its name|take duo"):
        bitjets_mlx.load_voice(name)
