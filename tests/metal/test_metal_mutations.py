"""The emulation is worth something only if it fails where a GPU would: every kernel is broken on purpose, many times.

Each barrier is removed, and made divergent; each store goes one element before or beyond its buffer; each comparison
that guards an edge is made one too generous; arithmetic is bent. Every one of these must be noticed.
"""

import re
from collections.abc import Callable, Iterator

import mlx.core as mx
import numpy as np
import pytest
from emulator import EmulationError, emulated_metal
from products import expected_output, full_output, operands

from bitjets_mlx.ternary import metal

KERNELS = ("rms_quantize", "gemv", "tiled")
BARRIER = "threadgroup_barrier(mem_flags::mem_threadgroup);"
SIZES = {  # elements of what kernels store into, as the kernel would write it
    "activations": "BM * LD",
    "weights": "BN * LD",
    "partial_squares": "SIMDGROUPS",
    "partial_largest": "SIMDGROUPS",
    "integers": "int(x_shape[0] * words)",
    "inverse_scale": "int(x_shape[0])",
    "out": {"gemv": "int(ROWS * outputs)", "tiled": "int(integers_shape[0] * frames * outputs)"},
}
STORE = re.compile(r"\b(\w+)\[([^\[\]]+(?:\[[^\[\]]*\][^\[\]]*)*)\] = (?!=)")


def run(kernel: str, mutate: Callable[[str], str] | None) -> bool:
    """Whether the kernel, after the mutation, still does everything right under the schedules tried."""
    return all(_right(kernel, mutate, seed) for seed in (1, 2, 7))


def _right(kernel: str, mutate: Callable[[str], str] | None, seed: int) -> bool:
    try:
        with emulated_metal(
            seed, lambda source: mutate(source) if mutate and f"bitjets_{kernel}" in source else source
        ):
            if kernel == "rms_quantize":
                return _quantizes()
            shape = (1, 3, 100, 21) if kernel == "gemv" else (2, 40, 96, 40, 3, 2)
            made = operands(*shape)
            return bool(
                mx.array_equal(full_output(made, "relu", mx.float32), expected_output(made, "relu", mx.float32))
            )
    except EmulationError as error:
        assert "does not compile" not in str(error), error  # a mutant that is no program shows nothing
        return False


def _quantizes() -> bool:
    """A row for each simdgroup's share of the largest value, so that all of them matter."""
    random = np.random.default_rng(0)
    x = random.normal(size=(1, 3, 1100)).astype(np.float32)
    for row in range(3):
        x[0, row, 500 * row] = 20 + row
    packed, inverse = metal.quantize(mx.array(x), mx.ones(1100), mx.ones((1, 3, 1)), 1e-6)
    normed = x / np.sqrt((x.astype(np.float64) ** 2).mean(-1, keepdims=True) + 1e-6)
    scale = 127 / np.abs(normed).max(-1, keepdims=True)
    whole = np.array(packed).view(np.int8)
    close = np.abs(whole[..., :1100] - normed * scale).max() < 0.5001 and not whole[..., 1100:].any()
    return bool(close) and np.allclose(np.array(inverse), 1 / scale[..., 0], rtol=1e-5)


def source(kernel: str) -> str:
    """A kernel's source without its comments."""
    return re.sub(r"//.*", "", (metal.SOURCES / f"{kernel}.metal").read_text())


def at(text: str, found: re.Match[str], replacement: str) -> str:
    return text[: found.start()] + replacement + text[found.end() :]


def replaced(pattern: str, number: int, replacement: str) -> Callable[[str], str]:
    """Replace the `number`-th match of a pattern in the kernel's body."""

    def mutate(text: str) -> str:
        start = text.index("[[kernel]]")
        text = text[:start] + re.sub(r"//.*", "", text[start:])
        matches = [found for found in re.finditer(pattern, text) if found.start() > start]
        return at(text, matches[number], matches[number].expand(replacement))

    return mutate


def mutants() -> Iterator[tuple[str, str, Callable[[str], str]]]:
    """(name, kernel, mutation)"""
    for kernel in KERNELS:
        body = source(kernel)
        for number in range(body.count(BARRIER)):
            pattern = re.escape(BARRIER)
            yield f"barrier_{number}_removed", kernel, replaced(pattern, number, "")
            one_leaves = f"if (simdgroup_index_in_threadgroup != 0) {BARRIER}"
            yield f"barrier_{number}_divergent", kernel, replaced(pattern, number, one_leaves)
        for number, store in enumerate(STORE.finditer(body)):
            size = SIZES.get(store[1])
            if size is None:  # registers
                continue
            size = size[kernel] if isinstance(size, dict) else size
            pattern = rf"\b{store[1]}\[{re.escape(store[2])}\] = "
            first = "thread_index_in_simdgroup == 0 && simdgroup_index_in_threadgroup == 0"
            for where, index in (("before", "-1"), ("beyond", size)):
                mutation = replaced(pattern, 0, f"{store[1]}[{first} ? {index} : int({store[2]})] = ")
                yield f"store_{number}_{store[1]}_{where}", kernel, mutation
        for edge in (r"frame < frames", r"output < outputs", r"first \+ i < outputs", r"word < words", r"k < inputs"):
            for number in range(len(re.findall(edge, body))):
                wider = edge.replace(" < ", " <= ").replace("\\", "")
                yield f"{wider}_{number}".replace(" ", ""), kernel, replaced(edge, number, wider)


BENT = [
    ("gemv", r"distance /= 2", "distance /= 4"),
    ("gemv", r"lane % LANES == 0", "lane % LANES == 1 && LANES < 0"),
    ("tiled", r"frame >= 0", "frame >= -1"),
    ("tiled", r"\(tap - taps / 2\) \* settings\[0\]", "(tap - taps / 2)"),
    ("tiled", r"thread_elements\(\)\[1\]", "thread_elements()[0]"),
    ("rms_quantize", r"rint\(", "floor("),
    ("rms_quantize", r"SIMDGROUPS; other", "SIMDGROUPS - 1; other"),
]


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_kernels_themselves_are_right(emulator: None, kernel: str) -> None:
    assert run(kernel, None)


@pytest.mark.parametrize(("name", "kernel", "mutate"), [pytest.param(*m, id=f"{m[1]}-{m[0]}") for m in mutants()])
def test_mutants_are_caught(emulator: None, name: str, kernel: str, mutate: Callable[[str], str]) -> None:
    assert not run(kernel, mutate), f"{name} in {kernel} goes unnoticed"


@pytest.mark.parametrize(("kernel", "pattern", "replacement"), BENT, ids=[f"{k}-{r}" for k, _, r in BENT])
def test_bent_arithmetic_is_caught(emulator: None, kernel: str, pattern: str, replacement: str) -> None:
    assert not run(kernel, replaced(pattern, 0, replacement))


def test_there_are_mutants_of_every_kind() -> None:
    """So that a change of style in the kernels does not leave the patterns without anything to break."""
    names = [f"{kernel} {name}" for name, kernel, _ in mutants()]
    for kernel, kinds in {
        "rms_quantize": ("barrier_1", "partial_squares", "partial_largest", "integers", "inverse_scale", "k<="),
        "gemv": ("out_before", "out_beyond", "output<=", "first+i<="),
        "tiled": ("barrier_1", "activations", "weights", "out_beyond", "frame<=", "output<="),
    }.items():
        for kind in kinds:
            assert any(name.startswith(kernel) and kind in name for name in names), (kernel, kind)


def test_divergent_simd_operations_are_caught(emulator: None) -> None:
    diverging = replaced(
        r"squares = simd_sum\(squares\);", 0, "if (thread_index_in_simdgroup < 16) squares = simd_sum(squares);"
    )
    assert not run("rms_quantize", diverging)
