"""One contender of `benchmark train`, in a process of its own: `python trainer.py KIND JOB.json`.

Run by its path, as `speaker.py` is. Makes updates on real or made-up clips of the job's prepared folder, and prints the
median of their seconds and the process's peak memory as JSON.
"""

import contextlib
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from speaker import JETS_GENERATOR, ROOT, peak_memory  # its neighbour: the folder of a script comes first on the path

WARM_UP = 2  # updates that do not count
Job = dict[str, Any]


def main() -> None:
    """Train, measure, print."""
    kind, path = sys.argv[1:]
    job = json.loads(Path(path).read_text())
    with contextlib.redirect_stdout(sys.stderr):
        update = KINDS[kind](job)
        taken = []
        for number in range(WARM_UP + job["updates"]):
            began = time.perf_counter()
            update(number)
            taken.append(time.perf_counter() - began)
    print(json.dumps({"seconds": statistics.median(taken[WARM_UP:]), "memory": peak_memory()}), flush=True)


def bitjets(job: Job) -> Callable[[int], Any]:
    """This project's acoustic model, fully quantised."""
    return _stage(job).update  # type: ignore[no-any-return]


def torch_twin(job: Job) -> Callable[[int], Any]:
    """PyTorch's, on the same clips, read by this project."""
    import torch  # first: what this project loads for MLX must not come before it

    sys.path.insert(0, str(ROOT / "scripts"))
    stage = _stage(job)
    from torch_twin import TorchBitJets, TorchTraining

    torch.set_num_threads(job["cores"])
    model = TorchBitJets(stage.validation.model.config)
    model.load(stage.parameters)
    training = TorchTraining(model, stage.training)

    def update(number: int) -> None:
        items, shape = stage.reader.micro_batches(number)[0]
        training.update(number, items, shape, rate=1e-4)

    return update


def _stage(job: Job) -> Any:
    sys.path.insert(0, str(ROOT))
    import bitjets_mlx  # noqa: F401  before mlx
    from bitjets_mlx.config import AcousticConfig
    from bitjets_mlx.data.prepared import PreparedData
    from bitjets_mlx.text.symbols import SYMBOLS
    from bitjets_mlx.training.acoustic_stage import AcousticStage, AcousticTraining

    data = PreparedData(Path(job["data"]))
    model = AcousticConfig(symbols=len(SYMBOLS), speakers=len(data.speakers))
    training = AcousticTraining(
        batch_size=job["batch_size"], accumulate=1, quantise_from=0.0, quantise_until=0.0, binarise_from=0.0
    )
    return AcousticStage(data, model, training)


def jets(job: Job) -> Callable[[int], Any]:
    """ESPnet's JETS at full size: generator and discriminators both, as it trains, on clips of one length."""
    import torch
    from espnet2.gan_tts.jets.jets import JETS

    torch.set_num_threads(job["cores"])
    torch.manual_seed(0)
    batch, frames, tokens = job["batch_size"], 256, 44
    model = JETS(idim=job["symbols"], odim=80, generator_params={**JETS_GENERATOR, "segment_size": 64}).train()
    parts = {True: model.generator, False: model.discriminator}
    optimisers = {
        which: torch.optim.AdamW(part.parameters(), lr=2e-4, betas=(0.8, 0.99)) for which, part in parts.items()
    }
    given = {
        "text": torch.randint(1, job["symbols"], (batch, tokens)),
        "text_lengths": torch.full((batch,), tokens),
        "feats": torch.randn(batch, frames, 80),
        "feats_lengths": torch.full((batch,), frames),
        "speech": 0.1 * torch.randn(batch, frames * 256),
        "speech_lengths": torch.full((batch,), frames * 256),
        "pitch": torch.rand(batch, frames, 1),
        "pitch_lengths": torch.full((batch,), frames),
        "energy": torch.rand(batch, frames, 1),
        "energy_lengths": torch.full((batch,), frames),
    }

    def update(_: int) -> None:
        for generator, optimiser in optimisers.items():
            optimiser.zero_grad(set_to_none=True)
            model(**given, forward_generator=generator)["loss"].backward()
            optimiser.step()

    return update


KINDS: dict[str, Callable[[Job], Callable[[int], Any]]] = {"bitjets": bitjets, "torch": torch_twin, "jets": jets}

if __name__ == "__main__":
    main()
