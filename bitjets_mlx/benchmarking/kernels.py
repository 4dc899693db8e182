"""Check the ternary product on the machine's backend, and time it against what it competes with."""

import platform as machine
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import mlx.core as mx
import numpy as np

from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.native.blas import fast_blas
from bitjets_mlx.native.loader import library
from bitjets_mlx.ternary import cpu, matmul, metal
from bitjets_mlx.ternary.packing import pack_codes

Timed = dict[str, Callable[[], mx.array]]


class Case(NamedTuple):
    """A layer: rows (tokens or frames), inputs, outputs, taps of the convolution."""

    what: str
    rows: int
    inputs: int
    outputs: int
    taps: int = 1


# What a voice of the default size multiplies: 80 tokens and 400 frames are 4.6 s of speech.
CASES = (
    Case("attention in", 400, 192, 576),
    Case("attention out", 400, 192, 192),
    Case("expand", 400, 192, 384, 3),
    Case("contract", 400, 384, 192),
    Case("predictor", 80, 192, 192, 3),
    Case("one token", 1, 192, 576),
    Case("eight tokens", 8, 192, 576),
    *(Case(f"{width} wide", rows, width, width) for width in (1024, 2048, 4096) for rows in (1, 8, 64)),
)


def benchmark_kernels(seconds: float, largest: int) -> dict[str, Any]:
    """Everything that `table` prints; on a CPU every contender that can use all cores does.

    BitjetsError where a sum is wrong: then no time is worth anything.
    """
    backend = matmul.backend()
    rows = []
    bandwidth = _bandwidth()
    for case in CASES:
        if max(case.inputs, case.outputs) > largest:
            continue
        trits = np.random.default_rng(0).integers(-1, 2, (case.outputs, case.taps, case.inputs)).astype(np.int8)
        _check(backend, case, trits)
        _check_quantization(backend, case)
        times = _times(_contenders(backend, case, trits), seconds)
        operations = 2 * case.rows * case.inputs * case.outputs * case.taps
        moved = _bytes(backend, case)
        ours = times["ternary"]
        rows.append(
            {
                **case._asdict(),
                "bytes": moved,
                "milliseconds": {name: 1e3 * taken for name, taken in times.items()},
                "gflops": operations / ours / 1e9,
                "bandwidth_share": moved / ours / bandwidth,
            }
        )
    return {
        "backend": backend,
        "instructions": _instructions(backend),
        "machine": f"{machine.system()} {machine.machine()}",
        "bandwidth_gb_s": bandwidth / 1e9,
        "rows": rows,
    }


def table(report: dict[str, Any]) -> str:
    """The report as text."""
    lines = [
        f"backend {report['backend']} ({report['instructions']}), {report['machine']}, "
        f"{report['bandwidth_gb_s']:.0f} GB/s measured from memory; every sum was checked and is exact",
        f"{'layer':14} {'M':>4} {'K':>5} {'N':>5} {'taps':>4} {'kB':>7} | {'ternary':>8} {'fp16':>8} {'fp32':>8} "
        f"{'2-bit':>8} {'no int8':>8} ms | {'GFLOP/s':>8} {'bandwidth':>9}",
    ]
    for row in report["rows"]:
        times = row["milliseconds"]
        shown = " ".join(f"{times[name]:8.3f}" if name in times else f"{'-':>8}" for name in _COLUMNS)
        lines.append(
            f"{row['what']:14} {row['rows']:4} {row['inputs']:5} {row['outputs']:5} {row['taps']:4} "
            f"{row['bytes'] / 1e3:7.0f} | {shown}    | {row['gflops']:8.1f} {100 * row['bandwidth_share']:8.1f}%"
        )
    return "\n".join(lines)


_COLUMNS = ("ternary", "fp16", "fp32", "2-bit", "no int8")


def _check(backend: str, case: Case, trits: np.ndarray) -> None:
    """BitjetsError unless the backend's integer sums are those of numpy, tap by tap and for each tile."""
    whole = np.random.default_rng(1).integers(-128, 128, (1, case.rows, case.inputs))
    if backend == "cpu":  # its kernel quantizes too, which leaves rows alone whose largest value is 127
        whole = np.maximum(whole, -127)
        whole[..., 0] = 127
    expected = np.concatenate([whole @ trits[:, tap].astype(np.int64).T for tap in range(case.taps)], axis=-1)
    codes = mx.array(pack_codes(trits.transpose(1, 0, 2)))
    found: list[Any] = []
    if backend == "metal":
        packed = np.pad(whole, [(0, 0), (0, 0), (0, -case.inputs % 32)]).astype(np.int8).view(np.uint32)
        tiles = [None, metal.SMALL, metal.MEDIUM, metal.LARGE] if case.taps == 1 else [None]
        ones, unit = mx.ones((1, case.rows)), mx.array(1.0)
        for tile in tiles:
            parts = [
                metal.product(mx.array(packed), ones, codes[tap, None], unit, tile=tile) for tap in range(case.taps)
            ]
            found.append(mx.concatenate(parts, axis=-1))
        together = metal.product(mx.array(packed), ones, codes, unit)
        shifted = matmul.scaled_taps(mx.array(expected.astype(np.float32)), ones[..., None], case.outputs)
        if not bool(mx.array_equal(together, shifted)):
            raise BitjetsError(f"{case.what}: the convolution is wrong on {backend}; please report this.")
    elif backend == "cpu":
        found.append(_cpu_sums(whole, trits))
    else:
        found.append(matmul.tap_sums_of_codes(mx.array(whole.astype(np.float32)), codes))
    if not all(np.array_equal(np.array(sums), expected) for sums in found):
        raise BitjetsError(f"{case.what}: integer sums are wrong on {backend}; please report this.")


def _check_quantization(backend: str, case: Case) -> None:
    """BitjetsError unless the prologue gives what numpy does, but for values that fp32 cannot tell from a half."""
    if backend not in ("metal", "cpu"):  # the others have MLX's own operations
        return
    x = np.random.default_rng(3).normal(size=(1, case.rows, case.inputs)).astype(np.float32)
    given, mask, gain = mx.array(x), mx.ones((1, case.rows, 1)), mx.ones(case.inputs)
    if backend == "metal":
        packed, scales = metal.quantize(given, gain, mask, matmul.RMS_EPS)
        whole, inverse = np.array(packed).view(np.int8)[..., : case.inputs], np.array(scales)
    else:
        whole, inverse = cpu.quantize(given, mask, gain, matmul.RMS_EPS)
    normed = x.astype(np.float64) / np.sqrt((x.astype(np.float64) ** 2).mean(-1, keepdims=True) + matmul.RMS_EPS)
    scale = 127.0 / np.abs(normed).max(-1, keepdims=True)
    close = np.abs(whole - normed * scale).max() <= 0.5 + 1e-4
    if not close or not np.allclose(inverse[..., None] * scale, 1.0, atol=1e-5):
        raise BitjetsError(f"{case.what}: RMSNorm and quantization are wrong on {backend}; please report this.")


def _cpu_sums(whole: np.ndarray, trits: np.ndarray) -> np.ndarray:
    """The C kernel's sums (1, M, K O), freed of 1 / s, which is the norm that its RMSNorm took out."""
    rows, inputs, outputs = whole.shape[1], whole.shape[2], trits.shape[0]
    x, mask, gain, beta = mx.array(whole.astype(np.float32)), mx.ones((1, rows, 1)), mx.ones(inputs), mx.array(1.0)
    parts = []
    for tap in range(trits.shape[1]):
        held = mx.array(cpu.blocked(trits[None, :, tap]))
        scaled = cpu.bit_conv1d(x, mask, gain, held, beta, mx.zeros(outputs), 0.0)
        parts.append(np.array(scaled) * np.sqrt((whole.astype(np.float64) ** 2).mean(-1, keepdims=True)))
    sums = np.concatenate(parts, axis=-1)
    return np.where(np.abs(sums - np.rint(sums)) < 0.2, np.rint(sums), np.nan)  # no whole number, no sum


def _contenders(backend: str, case: Case, trits: np.ndarray) -> Timed:
    random = np.random.default_rng(2)
    x = mx.array(random.normal(size=(1, case.rows, case.inputs)).astype(np.float32))
    dtype = mx.float16 if backend in ("metal", "cuda") else mx.float32
    given, weight = x.astype(dtype), mx.array(trits.astype(np.float32))
    mask, gain, bias = mx.ones((1, case.rows, 1)), mx.ones(case.inputs), mx.zeros(case.outputs)
    packed = matmul.packed(trits, mx.array(0.5))
    codes = mx.array(pack_codes(trits.transpose(1, 0, 2)))
    half, half_weight = x.astype(mx.float16), weight.astype(mx.float16)
    contenders: Timed = {"ternary": lambda: matmul.bit_conv1d(given, mask, gain, packed, bias)}
    if case.inputs <= 1024 or backend in ("metal", "cuda"):  # MLX's CPU products of these types are scalar
        contenders["fp16"] = lambda: matmul.convolve(half, half_weight)
        contenders["2-bit"] = lambda: matmul.tap_sums_of_codes(x, codes)
    contenders["fp32"] = lambda: matmul.convolve(x, weight)
    if backend == "metal" and case.taps == 1:
        contenders["no int8"] = lambda: _without_int8(half, codes)
    mx.eval(given, weight, half, half_weight, packed.codes, codes)
    return contenders


def _without_int8(x: mx.array, codes: mx.array) -> mx.array:
    _, outputs, words = codes.shape
    kernel: Any = mx.fast.metal_kernel(
        name="bitjets_simdgroup_gemv",
        input_names=["x", "codes"],
        output_names=["out"],
        source=(Path(__file__).parent / "simdgroup_gemv.metal").read_text(encoding="utf-8"),
    )
    rows = mx.pad(x, [(0, 0), (0, 0), (0, 16 * words - x.shape[-1])])[0]
    made: list[mx.array] = kernel(
        inputs=[rows, codes],
        template=[("T", x.dtype)],
        grid=(outputs * 32, rows.shape[0], 1),
        threadgroup=(32, 1, 1),
        output_shapes=[(rows.shape[0], outputs)],
        output_dtypes=[x.dtype],
    )
    return made[0]


def _times(contenders: Timed, seconds: float) -> dict[str, float]:
    """Median seconds of each, their runs taking turns."""
    for run in contenders.values():
        mx.eval(run())
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    began = time.perf_counter()
    while len(taken["ternary"]) < 3 or time.perf_counter() - began < seconds * len(contenders):
        for name, run in contenders.items():
            start = time.perf_counter()
            mx.eval(run())
            taken[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in taken.items()}


def _bytes(backend: str, case: Case) -> int:
    """What a layer must move at least: activations in, weights as they are held, output."""
    width = 2 if backend in ("metal", "cuda") else 4
    held = {"metal": 0.25, "cuda": 0.25, "cpu": 1, "blas": 4}[backend]
    activations = width * case.rows * (case.inputs + case.outputs)
    return int(activations + held * case.inputs * case.outputs * case.taps)


def _bandwidth() -> float:
    """Bytes a second of a copy that no cache holds."""
    big = mx.zeros((32 << 20,))
    mx.eval(big)
    taken = _times({"ternary": lambda: big + 1.0}, 0.3)["ternary"]
    return 2 * big.nbytes / taken


def _instructions(backend: str) -> str:
    if backend == "cpu":
        kernel = library("speaking")
        return kernel.bitjets_instructions().decode() if kernel else ""
    return {"metal": "own kernels", "cuda": "MLX's 2-bit product", "blas": fast_blas()}[backend]
