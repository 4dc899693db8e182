"""The tests of the C kernels once more, with every access and every operation watched (address, undefined)."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
WATCHED = """
import sys
import bitjets_mlx
from bitjets_mlx.native import loader
watched = ("-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-g", "-O1")
for name, made in loader.LIBRARIES.items():
    loader.LIBRARIES[name] = made._replace(flags=(*made.flags, *watched))
import pytest
sys.exit(pytest.main(["-q", "-x", "-s", "-p", "no:cacheprovider", *sys.argv[1:]]))
"""


def runtime(name: str) -> str:
    """Where the compiler keeps a sanitizer's library, which must be loaded before all others."""
    compiler = shutil.which("gcc") if sys.platform.startswith("linux") else None
    if compiler is None:
        pytest.skip("needs Linux and gcc")
    found = subprocess.run([compiler, f"-print-file-name={name}"], capture_output=True, text=True).stdout.strip()
    if not Path(found).is_absolute():
        pytest.skip(f"gcc has no {name}")
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "which"),
    [
        ("test_cpu_training.py", ""),
        ("test_alignment.py", ""),
        ("test_cpu_kernels.py", "not every_layer_of"),
        ("test_vocoder_cpu.py", "native or pieces or packed"),
    ],
)
def test_kernels_do_nothing_undefined(file: str, which: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, str(TESTS / file), "-k", which],
        cwd=TESTS.parent,
        env={
            **os.environ,
            "LD_PRELOAD": f"{runtime('libasan.so')} {runtime('libubsan.so')}",
            "ASAN_OPTIONS": "detect_leaks=0",  # Python's own
            "XDG_CACHE_HOME": str(tmp_path),
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    assert " passed" in done.stdout
