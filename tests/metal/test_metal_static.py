"""Address spaces, doubles, recursion and the other rules, on the kernels' real sources and on broken ones."""

import re
from pathlib import Path

import mlx.core as mx
import pytest
from emulator import emulated_metal
from products import full_output, operands
from static_check import CLANG, rolled, rule_breaches, type_errors

from bitjets_mlx.ternary import metal

FILES = sorted(metal.SOURCES.glob("*.metal"))
needs_clang = pytest.mark.skipif(CLANG is None, reason="needs clang, to type-check address spaces")


def generated() -> dict[str, str]:
    """Every kernel's source as MLX generates it: small inputs (constant) and others (device), and all types."""
    sources = {}
    with emulated_metal() as gpu:
        for dtype in metal.TYPES:
            for shape in ((1, 2, 32, 5), (1, 9, 64, 9), (1, 20, 64, 40, 3, 2)):
                full_output(operands(*shape), "gelu", dtype)
                sources[f"{gpu.launches[-1].kernel} {shape} {dtype}"] = gpu.sources[-1]
            for inputs in (5, 1100):
                metal.quantize(mx.ones((1, 9, inputs)).astype(dtype), mx.ones(inputs), mx.ones((1, 9, 1)), 1e-6)
                sources[f"rms_quantize {inputs} {dtype}"] = gpu.sources[-1]
    return sources


@needs_clang
def test_sources_are_well_typed_with_real_address_spaces(emulator: None) -> None:
    for name, source in generated().items():
        assert not type_errors(source), name


@needs_clang
@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("simdgroup_load(a[m], activations +", "simdgroup_load(a[m], &total[0][0][0] +"),
        ("threadgroup half weights[BN * LD];", "threadgroup float weights[BN * LD];"),
        ("float total[FM][FN][2];", "threadgroup float* total_at = beta; float total[FM][FN][2];"),
        ("value = activate(value, ACTIVATION);", "value = activate(double(value), ACTIVATION);"),
        ("value = activate(value, ACTIVATION);", "value *= 1.5;"),
        ("const int taps = codes_shape[0];", "const int taps = codes_shape;"),
    ],
    ids=["private for threadgroup", "float for half", "device for threadgroup", "double", "double literal", "pointer"],
)
def test_wrong_types_are_found(emulator: None, right: str, wrong: str) -> None:
    with emulated_metal() as gpu:
        full_output(operands(1, 9, 64, 9), None, mx.float32)
    (source,) = gpu.sources
    assert right in source and not type_errors(source)
    assert type_errors(source.replace(right, wrong, 1))


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_kernels_keep_the_rules(path: object) -> None:
    assert len(FILES) == 4
    text = next(found for found in FILES if found == path).read_text()
    assert not rule_breaches(text, is_header=path == metal.SOURCES / "arithmetic.metal")


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("float x = 1.5 * y;", "double literal"),
        ("float x = 1e-5;", "double literal"),
        ("double x = y;", "type double"),
        ("float q = round(x);", "half away"),
        ("threadgroup_barrier(mem_flags::mem_none);", "barrier"),
        ("const device char* bytes = x;", "8-bit"),
        ("const device float* row = x;", "pointer"),
        ("uint i = thread_index_in_simdgroup;", "attributes"),
        ("float f(float x) { return x > 0.0f ? g(x) : x; }\nfloat g(float x) { return f(x); }", "f calls itself"),
    ],
)
def test_broken_rules_are_found(text: str, rule: str) -> None:
    assert any(rule in breach for breach in rule_breaches(text, is_header=True))


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_a_loop_that_stays_rolled_is_found(path: Path) -> None:
    """Each loop over registers in turn; what does not index any of them may roll."""
    text = path.read_text()
    assert rolled(text) == []
    places = [found.end() for found in re.finditer(r"^\s*UNROLL\n", text, re.M)]
    needed = [bool(rolled(text[:end].rpartition("UNROLL")[0] + text[end:])) for end in places]
    assert all(needed) or (path.stem, needed.count(False)) == ("tiled", 1)  # of that the k loop, as in MLX's own GEMM


def test_grids_are_whole_threadgroups(emulator: None) -> None:
    """`grid` counts threads; a ragged threadgroup would leave barriers unreached."""
    with pytest.raises(AssertionError):
        metal._launch("gemv", [], {}, (100, 1, 1), (64, 1, 1), [])
