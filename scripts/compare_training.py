"""Speed of our acoustic training step beside the PyTorch twin's, in one interleaved run (speaking: compare_forward.py).

    pip install -r requirements.txt -r requirements-bench.txt
    python scripts/compare_training.py [--data PREPARED] [--updates 20]

Updates of a batch of 8, default model, fully quantized; ours and the twin's take turns on the same clips. Without
--data, clips of made-up features that are as long as those of 117 minutes of speech. Torch may use as many threads as
there are cores; `taskset -c 0` before the command gives both one. The ratio of the medians is what counts: seconds
depend on the machine. On a busy one compare processor seconds, on one core: torch's threads wait for each other after
every operation, so that anything else that runs makes two of them slower than one.
"""

import argparse
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bitjets_mlx.native.blas import fast_blas  # noqa: I001  before mlx
from bitjets_mlx.native.processor import cpu_cores

import mlx.core as mx
import numpy as np
import torch
import torch_twin
from torch_twin import TorchBitJets, TorchTraining

from bitjets_mlx.benchmarking.training import made_up_data
from bitjets_mlx.data.prepared import PreparedData
from bitjets_mlx.training import acoustic_stage
from bitjets_mlx.training.acoustic_stage import AcousticStage
from bitjets_mlx.training.batches import MicroBatch
from bitjets_mlx.training.configure import new_config

Times = dict[str, list[float]]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a prepared folder; without it, made-up clips")
    parser.add_argument("--updates", type=int, default=20, help="updates of each (default 20)")
    options = parser.parse_args()
    torch.set_num_threads(cpu_cores())
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as scratch:
        data = PreparedData(options.data) if options.data else made_up_data(Path(scratch))
        settings = {"accumulate": 1, "quantize_from": 0.0, "quantize_until": 0.0, "binarize_from": 0.0}
        config = new_config("acoustic", data, settings)
        stage = AcousticStage(data, config)
        network = stage.networks["acoustic"]
        twin = TorchBitJets(config.model)
        twin.load(network.parameters)
        print(f"{cpu_cores()} cores, MLX {mx.__version__} with {fast_blas()}, torch {torch.__version__}")
        report("training step, batch 8", *compare_updates(stage, TorchTraining(twin, network.config), options.updates))


def compare_updates(stage: AcousticStage, twin: TorchTraining, updates: int) -> tuple[Times, Times]:
    """Seconds of every update and of its parts, ours and the twin's, after two updates to warm up."""
    ours, theirs = defaultdict(list), defaultdict(list)
    our_places = [
        (acoustic_stage, "collate", "padding and prior"),
        (stage, "gradients", "losses and gradients, search included"),
        (stage.networks["acoustic"].optimizer, "step", "clipping, AdamW, EMA"),
    ]
    their_places = [
        (torch_twin, "collate", "padding and prior"),
        (torch_twin, "monotonic_search", "monotonic search"),
        (twin, "forward", "losses, padding and search included"),
        (twin, "backward", "gradients"),
        (twin, "step", "clipping, AdamW, EMA"),
    ]
    for number in range(updates + 2):
        items, shape = stage.reader.micro_batches(number)[0]
        with watched(our_places) as parts:
            stage.update(number)
        take(ours, parts)
        longest = MicroBatch(shape.clips, *(max(len(item[name]) for item in items) for name in ("mel", "tokens")))
        with watched(their_places) as parts:
            twin.update(number, items, longest, rate=1e-4)
        take(theirs, parts)
    return warm(ours), warm(theirs)


@contextmanager
def timed(parts: dict[str, float], name: str) -> Iterator[None]:
    """Add the seconds inside to `parts[name]`."""
    begin = time.perf_counter()
    yield
    parts[name] += time.perf_counter() - begin


@contextmanager
def watched(places: list[tuple[Any, str, str]]) -> Iterator[dict[str, float]]:
    """While inside, the functions (owner, attribute, what it does) add up their seconds, and "whole" all of them."""
    parts: dict[str, float] = defaultdict(float)

    def timing(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:
            with timed(parts, name):
                return function(*arguments)

        return run

    before = [getattr(owner, attribute) for owner, attribute, _ in places]
    for (owner, attribute, name), function in zip(places, before, strict=True):
        setattr(owner, attribute, timing(name, function))
    try:
        processor = time.process_time()
        with timed(parts, "whole"):
            yield parts
        parts["processor"] = time.process_time() - processor
    finally:
        for (owner, attribute, _), function in zip(places, before, strict=True):
            setattr(owner, attribute, function)


def take(times: Times, parts: dict[str, float]) -> None:
    """Append one update's parts to the lists."""
    for name, seconds in parts.items():
        times[name].append(seconds)


def warm(times: Times) -> Times:
    """Without the first two, which warm up."""
    return {name: seconds[2:] for name, seconds in times.items()}


def report(what: str, ours: Times, theirs: Times) -> None:
    """Medians of both, their ratio, that of processor seconds, and the parts."""
    print(f"\n{what}, {len(ours['whole'])} of each, medians:")
    for measure, name in (("whole", "seconds"), ("processor", "processor seconds")):
        a, b = np.median(ours[measure]), np.median(theirs[measure])
        print(f"  {name}: ours {a:.3f}, PyTorch {b:.3f}, ours / PyTorch {a / b:.2f}")
    for title, times in (("ours", ours), ("PyTorch", theirs)):
        for name in sorted(times.keys() - {"whole", "processor"}):
            print(f"  {title:8s}{np.median(times[name]) * 1000:8.1f} ms  {name}")


if __name__ == "__main__":
    main()
