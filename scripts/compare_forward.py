"""Speed of a voice's acoustic forward pass beside PyTorch's, and whether both say the same, in one interleaved run.

    pip install -r requirements.txt -r requirements-bench.txt
    python scripts/compare_forward.py [--voice weights/duo] [--rounds 20]

Three contenders take turns on sentences of about 1, 5 and 15 s, from phonemes to mel, F0 and voicing, on all cores that
this process may use (`taskset -c 0` before the command gives them one):

    packed    the voice as it is loaded here: int8 weights and the C kernels of ternary/cpu.py
    fp32      the same voice, its weights expanded to fp32 (BITJETS_TERNARY=blas): MLX's operations and a real BLAS
    PyTorch   the same weights in the twin of torch_voice.py: fp32, eager, fused operations

The ratio of the medians is what counts: seconds depend on the machine. On a busy one give them one core, since threads
that wait for each other make PyTorch many times slower there. The command ends with an error where outputs differ by
more than 1e-4 for another reason than a tie in rounding to int8, or at all where both sides are kept from disagreeing
on ties (torch_exact.py).
"""

import argparse
import os
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bitjets_mlx.native.blas import fast_blas, one_blas_thread  # noqa: I001  before mlx
from bitjets_mlx.native.processor import cpu_cores

import mlx.core as mx
import numpy as np
import torch
import torch.nn.functional as F
import torch_voice
from torch import Tensor
from torch_exact import exact
from torch_voice import TorchAcoustic

from bitjets_mlx import load_voice
from bitjets_mlx.acoustic import blocks, model
from bitjets_mlx.acoustic.model import whole_durations
from bitjets_mlx.benchmarking.cost import operations
from bitjets_mlx.benchmarking.torch_export import export_for_torch
from bitjets_mlx.native.loader import library
from bitjets_mlx.ternary import cpu
from bitjets_mlx.ternary.matmul import RMS_EPS, VARIABLE
from bitjets_mlx.voice import Voice

VOICE = Path(__file__).resolve().parents[1] / "weights" / "duo"
SENTENCES = {
    "1 s": "Hello, how are you?",
    "5 s": "The birch canoe slid on the smooth planks, and the show in the circus was a success.",
    "15 s": "When the sunlight strikes raindrops in the air, they act as a prism and form a rainbow, which is a "
    "division of white light into many beautiful colors; these take the shape of a long round arch, with its path "
    "high above and its two ends beyond the horizon.",
}
CLOSE = 1e-4
TIE = 2e-3  # of 1 between two integers: so near to the middle a value must be to count as a tie
Spoken = tuple[np.ndarray, np.ndarray]  # durations (N,), and mel, log F0 and voicing (T, 82)
Times = dict[str, list[float]]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--voice", type=Path, default=VOICE)
    parser.add_argument("--rounds", type=int, default=20, help="forward passes of each contender (default 20)")
    options = parser.parse_args()
    torch.set_num_threads(cpu_cores())
    packed, expanded, twin = held_for("cpu", options.voice), held_for("blas", options.voice), torch_twin(options.voice)
    kernel = library("speaking")
    assert kernel is not None
    print(f"{cpu_cores()} cores, MLX {mx.__version__} with {fast_blas()}, torch {torch.__version__}")
    print(f"packed: {kernel.bitjets_instructions().decode()}; load average {os.getloadavg()[0]:.1f} (0 is best)")
    right = True
    for name, sentence in SENTENCES.items():
        tokens = [phoneme for phonemes in packed.sentences(sentence) for phoneme in phonemes]
        ours, theirs = (
            packed._family.tokens(tokens),
            torch.from_numpy(np.array(packed._family.tokens(tokens))[0]).long(),
        )
        contenders: dict[str, Callable[[], object]] = {
            "packed": one_blas_thread()(lambda ours=ours: speak(packed, ours)),  # as `Voice` does
            "fp32": lambda ours=ours: speak(expanded, ours),
            "PyTorch": lambda theirs=theirs: twin_speaks(twin, theirs),
        }
        frames = int(speak(packed, ours)[0].sum())
        print(f"\n{name}: {len(tokens)} tokens, {frames} frames ({frames * 256 / 22050:.1f} s of speech)")
        report(packed, len(tokens), frames, in_turns(contenders, options.rounds), parts(contenders["packed"]))
        right &= says_the_same(packed, ours, twin, theirs)
    if not right:
        sys.exit("error: outputs differ by more than ties explain.")


# -- the contenders --------------------------------------------------------------------------------------------------


def held_for(backend: str, folder: Path) -> Voice:
    """The voice with its weights held for one backend, whatever this machine's own is."""
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = backend
    try:
        return load_voice(folder)
    finally:
        os.environ.pop(VARIABLE)
        if before is not None:
            os.environ[VARIABLE] = before


def torch_twin(folder: Path) -> TorchAcoustic:
    """The same acoustic model in torch."""
    with tempfile.TemporaryDirectory() as scratch:
        export_for_torch(folder, folder, Path(scratch))
        config, weights = torch_voice.read_export(Path(scratch))
    return TorchAcoustic(config["acoustic"], torch_voice.part(weights, "acoustic"))


def speak(voice: Voice, tokens: mx.array) -> Spoken:
    """tokens (1, N): what `Voice` asks its acoustic model for, before it leaves normalized units."""
    model, mask = voice._family.model, mx.ones((*tokens.shape, 1))
    states = model.encode(tokens, mx.array([0]), mask)
    variance = model.predict_variance(tokens, mx.array([0]), states, mask)
    durations = whole_durations(variance.log_durations, mask)
    frame_mask = mx.ones((1, int(np.array(durations).sum()), 1))
    frames = model.decode(states, variance, durations, mask, frame_mask)
    columns = mx.concatenate([frames.mel, frames.log_f0[..., None], frames.voicing[..., None]], axis=-1)
    return np.array(durations[0]), np.array(columns[0])


def twin_speaks(twin: TorchAcoustic, tokens: Tensor) -> Spoken:
    """The same of the twin, tokens (N,)."""
    with torch.inference_mode():
        spoken = twin(tokens, 0)
    return spoken.durations.numpy(), spoken.frames.numpy()


# -- speed -----------------------------------------------------------------------------------------------------------


def in_turns(contenders: dict[str, Callable[[], object]], rounds: int) -> Times:
    """Seconds of every round of each, and of a matrix product by BLAS ("sgemm"), which shows the cores' peak."""
    square = np.ones((1024, 1024), np.float32)
    running = {**contenders, "sgemm": lambda: square @ square}
    times: Times = defaultdict(list)
    for number in range(rounds + 2):
        for name, run in running.items():
            time.sleep(0.003)  # until the threads of the one before have stopped waiting for more work
            begin, processor = time.perf_counter(), time.process_time()
            run()
            if number >= 2:  # the first two warm up
                times[name].append(time.perf_counter() - begin)
                times[f"{name}, processor"].append(time.process_time() - processor)
    return times


def parts(run: Callable[[], object]) -> Times:
    """Seconds that the C kernels take in each of ten rounds, by what they do, and "whole"."""
    timed = (
        (cpu, "bit_conv1d", "ternary layers"),
        (blocks, "attention", "attention"),
        (model, "upsample", "upsampling"),
    )
    times: Times = defaultdict(list)
    for _ in range(10):
        spent: dict[str, float] = defaultdict(float)

        def timing(name: str, function: Callable[..., Any], spent: dict[str, float] = spent) -> Callable[..., Any]:
            def run_timed(*given: Any, **options: Any) -> Any:
                begin = time.perf_counter()
                made = function(*given, **options)
                spent[name] += time.perf_counter() - begin
                return made

            return run_timed

        with ExitStack() as changed:
            for owner, name, what in timed:
                changed.enter_context(replaced(owner, {name: timing(what, getattr(owner, name))}))
            timing("whole", run)()
        for name, seconds in spent.items():
            times[name].append(seconds)
    return times


def report(voice: Voice, tokens: int, frames: int, times: Times, spent: Times) -> None:
    """Medians, ratios, operations, and how near to the peak."""
    medians = {name: float(np.median(seconds)) for name, seconds in times.items()}
    for name in ("packed", "fp32", "PyTorch"):
        best, processor = 1e3 * min(times[name]), 1e3 * medians[f"{name}, processor"]
        print(f"  {name:8} {1e3 * medians[name]:7.2f} ms (best {best:.2f}; processor {processor:.2f})")
    torch_ratio, fp32_ratio = medians["PyTorch"] / medians["packed"], medians["fp32"] / medians["packed"]
    print(f"  packed is {torch_ratio:.2f} x as fast as PyTorch and {fp32_ratio:.2f} x as fast as fp32")
    count = operations(voice._family.model.config, tokens, frames)
    peak = 2 * 1024**3 / min(times["sgemm"])
    reached = count.total / medians["packed"]
    print(
        f"  {count.total / 1e9:.2f} G operations (ternary {count.ternary / 1e9:.2f}, attention "
        f"{count.attention / 1e9:.2f}): {reached / 1e9:.0f} G/s, {100 * reached / peak:.0f} % of what sgemm reaches "
        f"({peak / 1e9:.0f} GFLOP/s)"
    )
    for name, work in (("ternary layers", count.ternary), ("attention", count.attention), ("upsampling", 0)):
        seconds = float(np.median(spent[name]))
        speed = f", {work / seconds / 1e9:.0f} G/s, {100 * work / seconds / peak:.0f} % of sgemm" if work else ""
        print(f"    {name:15} {1e3 * seconds:6.2f} ms{speed}")
    rest = np.median(spent["whole"]) - sum(np.median(seconds) for name, seconds in spent.items() if name != "whole")
    print(f"    {'the rest':15} {1e3 * rest:6.2f} ms (Python and MLX's own operations)")


# -- equality --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ran:
    """A ternary layer of ours that has run: int8 (T, I), 1 / s (T, 1), what came next, and the result (T, O)."""

    integers: np.ndarray
    inverse: np.ndarray
    relu: bool
    residual: np.ndarray | None
    out: np.ndarray


def says_the_same(voice: Voice, ours: mx.array, twin: TorchAcoustic, theirs: Tensor) -> bool:
    """Print how equal the outputs are; False where they differ by more than ties in rounding explain.

    (a) Given our integers, every layer is compared on its own. (b) End to end, with what lies between the ternary
    layers in fp64 on both sides, so that nothing depends on the order of a sum. (c) End to end as both run: norms and
    sums differ in their last bits, so that here and there a value in the middle between two integers is rounded the
    other way, and the layers behind carry the step, 1 of 127, on. (d) With such ties rounded as ours were.
    """
    ran, (durations, expected) = recorded(voice, ours)
    turned = Ties(ran, follow=False)
    free = watched(twin, theirs, turned)
    shared = Ties(ran, follow=True)
    following = watched(twin, theirs, shared)
    alone = max(layer_difference(layer, one) for layer, one in zip(shared.layers, ran, strict=True))
    with exact():
        apart, same = difference(*speak(voice, ours), twin_speaks(twin, theirs))
    print(f"  equal? (a) each of {len(ran)} layers, given the same integers: largest difference {alone:.1e}")
    print(f"  (b) end to end, fp64 between the ternary layers: {same}")
    total = sum(one.integers.size for one in ran)
    print(f"  (c) end to end as they run, fp32: {difference(durations, expected, free)[1]};")
    print(f"      {turned.count} of {total:,} activations were rounded to another integer (some because of others)")
    largest, text = difference(durations, expected, following)
    print(f"  (d) with {shared.count} ties rounded as ours: {text}; {shared.wrong} differ and are no ties")
    return max(alone, apart, largest) <= CLOSE and shared.wrong == 0


def difference(durations: np.ndarray, expected: np.ndarray, found: Spoken) -> tuple[float, str]:
    """(the largest difference, what to say of it)"""
    if not np.array_equal(durations, found[0]):
        return np.inf, f"{(durations != found[0]).sum()} durations differ"
    apart = np.abs(expected - found[1])
    close = 100 * np.mean(apart <= CLOSE)
    return float(
        apart.max()
    ), f"{close:.2f} % of {apart.size:,} within {CLOSE:.0e}, largest difference {apart.max():.1e}"


def recorded(voice: Voice, tokens: mx.array) -> tuple[list[Ran], Spoken]:
    """Every ternary layer of ours in the order in which they run, and what comes out."""
    ran: list[Ran] = []
    run = cpu.bit_conv1d

    def record(x: Any, mask: Any, gain: Any, codes: Any, beta: Any, bias: Any, eps: float, *then: Any) -> mx.array:
        out = run(x, mask, gain, codes, beta, bias, eps, *then)
        integers, inverse = cpu.quantize(x, mask, gain, eps)
        relu, residual = then[0] == "relu", None if then[1] is None else np.array(then[1][0])
        ran.append(Ran(integers[0], inverse[0][:, None], relu, residual, np.array(out[0])))
        return out

    with replaced(cpu, {"bit_conv1d": record}):
        return ran, speak(voice, tokens)


class Ties:
    """Looks at what the twin's layers round, beside ours. `follow`: ties become what they became with us."""

    def __init__(self, ran: list[Ran], follow: bool) -> None:
        self.ran, self.follow = ran, follow
        self.layers: list[torch_voice.BitConv1d] = []
        self.count = self.wrong = 0

    def round(self, layer: torch_voice.BitConv1d, real: Tensor) -> Tensor:
        """real (T, I) -> whole numbers, as floats."""
        ours, whole = torch.from_numpy(self.ran[len(self.layers)].integers).float(), real.round()
        self.layers.append(layer)
        if ours.shape != whole.shape:  # another duration: nothing to compare
            return whole
        other = ours != whole
        tie = other & ((real - (ours + whole) / 2).abs() < TIE) & ((ours - whole).abs() == 1)
        self.count += int(other.sum())
        self.wrong += int((other & ~tie).sum())
        return torch.where(tie, ours, whole) if self.follow else whole


def watched(twin: TorchAcoustic, tokens: Tensor, ties: Ties) -> Spoken:
    """What the twin says with `ties` doing the rounding."""

    def call(layer: torch_voice.BitConv1d, x: Tensor) -> Tensor:  # as BitConv1d.__call__
        x = F.rms_norm(x, (x.shape[-1],), layer.gain, RMS_EPS)
        scale = 127.0 / torch.linalg.vector_norm(x, torch.inf, -1, keepdim=True).clamp_(min=1e-5)
        return torch_voice.convolve(ties.round(layer, x * scale) / scale, layer.weight, layer.bias, layer.taps)

    with replaced(torch_voice.BitConv1d, {"__call__": call}):
        return twin_speaks(twin, tokens)


def layer_difference(layer: torch_voice.BitConv1d, ran: Ran) -> float:
    """How far the twin's layer is from ours, given our integers and scales."""
    given = torch.from_numpy(ran.integers.astype(np.float32) * ran.inverse)
    out = torch_voice.convolve(given, layer.weight, layer.bias, layer.taps).numpy()
    out = np.maximum(out, 0.0) if ran.relu else out
    return float(np.abs(out + (0.0 if ran.residual is None else ran.residual) - ran.out).max())


@contextmanager
def replaced(owner: Any, functions: dict[str, Callable[..., Any]]) -> Iterator[None]:
    """Inside, these attributes of a module or class are others."""
    before = {name: getattr(owner, name) for name in functions}
    for name, function in functions.items():
        setattr(owner, name, function)
    try:
        yield
    finally:
        for name, function in before.items():
            setattr(owner, name, function)


if __name__ == "__main__":
    main()
