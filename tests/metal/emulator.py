"""Metal kernels on the CPU: the exact source MLX would compile, built as C++ and run one fiber a GPU thread.

`emulated_metal()` puts an emulated GPU under `bitjets_mlx.ternary.metal`, whose functions then work as on a Mac. MLX
prints the source of a kernel inside `mx.export_function` with `verbose=True`, on Linux too. Its signature is parsed,
device pointers become counting and checking ones, threadgroup arrays guarded memory; the rest is compiled as it is.
Not shown by it: Apple's compiler, the limits of its registers, and speed.
"""

import contextlib
import ctypes
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from bitjets_mlx.ternary import metal

HERE = Path(__file__).parent
BUILDS = Path(tempfile.gettempdir()) / f"bitjets_metal_{os.getuid()}"  # compiled kernels, by hash: kept between runs
COMPILER = shutil.which("g++") or shutil.which("clang++")
FLAGS = ["-O2", "-std=c++20", "-fPIC", "-ffp-contract=off", "-Wno-attributes", "-Wno-psabi", "-I", str(HERE)]
GRID_VALUES = {
    "thread_position_in_grid": "uint3{t.in_grid.x, t.in_grid.y, t.in_grid.z}",
    "thread_position_in_threadgroup": "uint3{t.in_threadgroup.x, t.in_threadgroup.y, t.in_threadgroup.z}",
    "threadgroup_position_in_grid": "uint3{t.threadgroup.x, t.threadgroup.y, t.threadgroup.z}",
    "thread_index_in_simdgroup": "t.lane",
    "simdgroup_index_in_threadgroup": "t.simdgroup",
    "thread_index_in_threadgroup": "t.index",
}
C_TYPES = {"float": mx.float32, "float16_t": mx.float16, "bfloat16_t": mx.bfloat16}

Mutation = Callable[[str], str]
Kernel = Callable[..., list[mx.array]]


class EmulationError(Exception):
    """What the kernel did that a GPU leaves undefined."""


class _Counters(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_uint64)
        for name in (
            "barriers",
            "multiply_accumulates",
            "simd_operations",
            "threadgroup_bytes",
            "fused_multiply_adds",
            "conversions",
            "matrix_loads",
        )
    ]


@dataclass(frozen=True)
class Launch:
    """One run of a kernel: the shapes of what it was given, and what the run counted."""

    kernel: str
    inputs: dict[str, tuple[int, ...]]
    bytes: dict[str, int]  # read of every input and written of every output, all threads together
    counters: dict[str, int]


@dataclass
class Gpu:
    """An emulated GPU: how it schedules, what becomes of sources before they are compiled, and what it has run."""

    seed: int = 0
    mutate: Mutation | None = None
    launches: list["Launch"] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)


@contextlib.contextmanager
def emulated_metal(seed: int = 0, mutate: Mutation | None = None) -> Iterator[Gpu]:
    """Inside, `bitjets_mlx.ternary.metal` runs on an emulated GPU whose schedule is drawn from `seed`."""
    gpu, real = Gpu(seed, mutate), metal._kernel

    def kernel(name: str) -> Kernel:
        def launch(*, inputs: list[mx.array], **how: Any) -> list[mx.array]:
            return _launch(gpu, name, real(name), inputs, how)

        return launch

    metal._kernel = kernel  # type: ignore[assignment]
    try:
        yield gpu
    finally:
        metal._kernel = real


# -- the source ----------------------------------------------------------------------------------------------------

_sources: dict[Any, str] = {}


def generated_source(kernel: Kernel, inputs: list[mx.array], how: dict[str, Any]) -> str:
    """The text that MLX would hand to the Metal compiler, after its own header of Metal types."""
    key = (id(kernel), str(how["template"]), *((x.dtype, x.ndim, x.size < 8) for x in inputs))
    if key not in _sources:
        inputs = [mx.zeros(x.shape, x.dtype) for x in inputs]
        with tempfile.TemporaryDirectory() as folder:
            printed = _printed(
                lambda: mx.export_function(
                    str(Path(folder) / "kernel.mlxfn"),
                    lambda *arrays: kernel(inputs=list(arrays), **{**how, "verbose": True}),
                    *inputs,
                )
            )
        _sources[key] = re.findall(r"```\n(.*?)\n```", printed, re.S)[0]
    return _sources[key]


def _printed(function: Callable[[], object]) -> str:
    """What `function` writes to the process's standard output, C++ included."""
    with tempfile.TemporaryFile() as file:
        kept = os.dup(1)
        os.dup2(file.fileno(), 1)
        try:
            function()
        finally:
            os.dup2(kept, 1)
            os.close(kept)
        file.seek(0)
        return file.read().decode()


@dataclass(frozen=True)
class Signature:
    """A generated kernel's name, its parameters as MLX wrote them, and its template arguments with the brackets."""

    name: str
    parameters: list[str]
    arguments: str


def signature(source: str) -> Signature:
    found = re.search(r"\[\[kernel\]\] void (\w+)\(\n(.*?)\) \{\n", source, re.S)
    assert found, "MLX generates another kind of source than this reads"
    arguments = re.search(r"decltype\(\w+(<.*?>)\)", source)
    return Signature(found[1], [text.strip() for text in found[2].split(",\n")], arguments[1] if arguments else "")


def as_cpp(source: str) -> str:
    """A translation unit that defines `entry`, which calls the kernel with the current thread's values."""
    kernel = signature(source)
    body = re.sub(r"\ntemplate \[\[host_name.*?;\n", "\n", source, flags=re.S)
    values = []
    for parameter in kernel.parameters:
        buffer = re.fullmatch(r"(const )?(?:device|constant) (\w+)\* (\w+) \[\[buffer\((\d+)\)\]\]", parameter)
        if buffer:
            constant, kind, name, number = buffer.groups()
            at = f"b[{number}]"
            if constant:
                body = body.replace(parameter, f"gpu::Input<{kind}> {name}")
                values.append(f"gpu::Input<{kind}>{{({kind}*){at}.data, {at}.bytes}}")
            else:
                body = body.replace(parameter, f"gpu::Output<{kind}> {name}")
                fields = f'({kind}*){at}.data, {at}.elements, {at}.written, {at}.bytes, "{name}"'
                values.append(f"gpu::Output<{kind}>{{{fields}}}")
        else:
            attribute = re.search(r"\[\[(\w+)\]\]", parameter)
            assert attribute and attribute[1] in GRID_VALUES, f"unknown parameter: {parameter}"
            body = body.replace(parameter, re.sub(r" \[\[.*", "", parameter))
            values.append(GRID_VALUES[attribute[1]])
    body = re.sub(
        r"threadgroup (\w+) (\w+)\[(.*?)\];",
        r"\1* \2 = static_cast<\1*>(gpu::threadgroup_memory(sizeof(\1) * (\3), __LINE__));",
        body,
    )
    call = ",\n    ".join(values)
    return (
        f'#include "msl.h"\n#line 1 "kernel.metal"\n{body}\n'
        'extern "C" void entry(const gpu::Buffer* b) {\n  const gpu::Thread& t = *gpu::current; (void)t;\n'
        f"  {kernel.name}{kernel.arguments}(\n    {call});\n}}\n"
    )


# -- building and running ------------------------------------------------------------------------------------------


def build(source: str) -> ctypes.CDLL:
    """The kernel as a library; EmulationError where it does not compile."""
    return ctypes.CDLL(str(_compiled(as_cpp(source), ["-shared", _compiled_scheduler()])))


def _compiled_scheduler() -> str:
    return str(_compiled((HERE / "scheduler.cpp").read_text(), ["-c"], ".o"))


def _compiled(text: str, arguments: list[str], suffix: str = ".so") -> Path:
    assert COMPILER
    headers = "".join((HERE / name).read_text() for name in ("msl.h", "scheduler.h"))
    flags = [*FLAGS, *arguments, *(["-march=native"] if os.uname().machine == "x86_64" else [])]
    target = BUILDS / (hashlib.sha256((text + headers + repr(flags) + COMPILER).encode()).hexdigest()[:20] + suffix)
    if target.exists():
        return target
    BUILDS.mkdir(exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(dir=BUILDS) as folder:
        file, built = Path(folder) / "source.cpp", Path(folder) / target.name
        file.write_text(text)
        command = [COMPILER, *FLAGS, *flags[len(FLAGS) :]]
        inputs = [argument for argument in command if argument.endswith(".o")]
        options = [argument for argument in command if not argument.endswith(".o")]
        done = subprocess.run([*options, "-o", str(built), str(file), *inputs], capture_output=True, text=True)
        if done.returncode:
            raise EmulationError(f"does not compile: {done.stderr[:3000]}")
        built.replace(target)
    return target


def _launch(gpu: Gpu, name: str, kernel: Kernel, inputs: list[mx.array], how: dict[str, Any]) -> list[mx.array]:
    """What MLX does on a Mac: run the kernel over the grid."""
    source = generated_source(kernel, inputs, how)
    if gpu.mutate:
        source = gpu.mutate(source)
    gpu.sources.append(source)
    library = build(source)
    given = dict(zip(metal._NAMES[name][0], inputs, strict=True))
    types = how["output_dtypes"]
    made = {
        output: np.zeros(shape, _numpy_type(kind))
        for output, shape, kind in zip(metal._NAMES[name][1], how["output_shapes"], types, strict=True)
    }
    names, arrays, is_output = [], [], []
    for parameter in signature(source).parameters:
        found = re.search(r"(\w+) \[\[buffer", parameter)
        if not found:
            continue
        names.append(found[1])
        is_output.append(found[1] in made)
        if found[1] in made:
            arrays.append(made[found[1]])
        elif found[1].endswith("_shape"):
            arrays.append(np.array(given[found[1][: -len("_shape")]].shape, np.int32))
        else:
            arrays.append(_to_numpy(given[found[1]]))
    moved, counters = _run(library, arrays, is_output, how["grid"], how["threadgroup"], gpu.seed)
    shapes = {key: array.shape for key, array in given.items()}
    gpu.launches.append(Launch(name, shapes, dict(zip(names, moved, strict=True)), counters))
    return [_to_mlx(array, kind) for array, kind in zip(made.values(), types, strict=True)]


def _run(
    library: ctypes.CDLL,
    arrays: list[np.ndarray],
    is_output: list[bool],
    grid: tuple[int, ...],
    threadgroup: tuple[int, ...],
    seed: int,
) -> tuple[list[int], dict[str, int]]:
    count, counters, error = len(arrays), _Counters(), ctypes.create_string_buffer(256)
    moved = (ctypes.c_uint64 * count)()
    failed = library.gpu_launch(
        library.entry,
        count,
        (ctypes.c_void_p * count)(*[array.ctypes.data for array in arrays]),
        (ctypes.c_long * count)(*[array.nbytes for array in arrays]),
        (ctypes.c_long * count)(*[array.size for array in arrays]),
        (ctypes.c_int * count)(*is_output),
        (ctypes.c_uint * 3)(*[size // group for size, group in zip(grid, threadgroup, strict=True)]),
        (ctypes.c_uint * 3)(*threadgroup),
        ctypes.c_uint64(seed),
        moved,
        ctypes.byref(counters),
        error,
    )
    if failed:
        raise EmulationError(error.value.decode())
    return list(moved), {name: getattr(counters, name) for name, _ in _Counters._fields_}


def _numpy_type(kind: mx.Dtype) -> Any:
    return {mx.float32: np.float32, mx.float16: np.float16, mx.bfloat16: np.uint16, mx.uint32: np.uint32}[kind]


def _to_numpy(array: mx.array) -> np.ndarray:
    return np.ascontiguousarray(np.array(array.view(mx.uint16) if array.dtype == mx.bfloat16 else array))


def _to_mlx(array: np.ndarray, kind: mx.Dtype) -> mx.array:
    made = mx.array(array)
    return made.view(mx.bfloat16) if kind == mx.bfloat16 else made
