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

from speaker import JETS_GENERATOR, ROOT, peak_memory  # its neighbor: the folder of a script comes first on the path

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


def acoustic(job: Job) -> Callable[[int], Any]:
    """This project's acoustic model, fully quantized."""
    return _trainer(job, "acoustic").update  # type: ignore[no-any-return]


def torch_acoustic(job: Job) -> Callable[[int], Any]:
    """PyTorch's, on the same clips, read by this project."""
    import torch  # first: what this project loads for MLX must not come before it

    stage = _trainer(job, "acoustic")
    from bitjets_mlx.benchmarking.torch_training import TorchTraining, TrainedBitJets

    torch.set_num_threads(job["cores"])
    model = TrainedBitJets(stage.config.model)
    model.load(stage.networks["acoustic"].parameters)
    training = TorchTraining(model, stage.config.acoustic.optimizer)

    def update(number: int) -> None:
        items, shape = stage.reader.micro_batches(number)[0]
        training.update(number, items, shape, rate=1e-4)

    return update


def _trainer(job: Job, stage: Any, vocoder: str = "harmonic", **settings: Any) -> Any:
    """A stage with the default models, fully quantized, on the job's clips."""
    sys.path.insert(0, str(ROOT))
    import bitjets_mlx  # noqa: F401  before mlx
    from bitjets_mlx.data.prepared import PreparedData
    from bitjets_mlx.training.configure import new_config
    from bitjets_mlx.training.stages import build

    data = PreparedData(Path(job["data"]))
    settings |= {"batch_size": job["batch_size"], "accumulate": 1}
    if stage != "vocoder":
        settings |= {"quantize_from": 0.0, "quantize_until": 0.0, "binarize_from": 0.0}
    return build(data, new_config(stage, data, settings, vocoder=vocoder), data.folder)


def harmonic(job: Job) -> Callable[[int], Any]:
    """This project's harmonic vocoder, with its spectral losses."""
    return _trainer(job, "vocoder").update  # type: ignore[no-any-return]


def hifigan(job: Job) -> Callable[[int], Any]:
    """This project's HiFi-GAN V3 against HiFi-GAN's own discriminators."""
    return _trainer(job, "vocoder", "hifigan-v3", discriminators="full").update  # type: ignore[no-any-return]


def torch_hifigan(job: Job) -> Callable[[int], Any]:
    """PyTorch's; segments of noise of the same length."""
    import torch  # first: what this project loads for MLX must not come before it
    import torch.nn.functional as F

    sys.path.insert(0, str(ROOT))
    import bitjets_mlx  # noqa: F401  before mlx
    from bitjets_mlx.audio.spectrogram import mel_filterbank
    from bitjets_mlx.benchmarking.torch_discriminators import Periods, Scales
    from bitjets_mlx.benchmarking.torch_twin import HifiganGenerator
    from bitjets_mlx.config import HIFIGAN_VERSIONS, to_json
    from bitjets_mlx.training.vocoder_losses import FULL_BAND

    torch.set_num_threads(job["cores"])
    torch.manual_seed(0)
    generator = HifiganGenerator(to_json(HIFIGAN_VERSIONS["V3"]), torch.nn.utils.weight_norm)
    discriminators = torch.nn.ModuleList([Periods(), Scales()])
    optimizers = [
        torch.optim.AdamW(part.parameters(), lr=2e-4, betas=(0.8, 0.99), fused=True)
        for part in (discriminators, generator)
    ]
    layers: list[Any] = []  # outputs of the discriminators' convolutions, in order
    for module in discriminators.modules():
        if hasattr(module, "weight_g") or hasattr(module, "weight_orig"):
            module.register_forward_hook(lambda _module, _given, output: layers.append(output))
    audio = 0.1 * torch.randn(job["batch_size"], 32 * 256)
    window, bands = torch.hann_window(1024), torch.from_numpy(mel_filterbank(FULL_BAND)).float()

    def log_mel(waveform: Any) -> Any:
        padded = F.pad(waveform[:, None], (384, 384), "reflect")[:, 0]
        magnitude = torch.stft(padded, 1024, 256, window=window, center=False, return_complex=True).abs()
        return torch.log((bands @ magnitude).clamp(min=1e-5))  # (B, 80, T)

    def judged(waveform: Any) -> tuple[list[Any], list[Any]]:
        layers.clear()
        scores = [score for one in discriminators for score in one(waveform[:, None])]
        return scores, list(layers)

    def update(_: int) -> None:
        mel = log_mel(audio)
        made = generator(mel)
        loss = sum(((real - 1.0) ** 2).mean() for real in judged(audio)[0])
        loss = loss + sum((fake**2).mean() for fake in judged(made.detach())[0])
        _step(optimizers[0], loss)
        (scores, generated), real = judged(made), judged(audio)[1]
        loss = 45.0 * F.l1_loss(log_mel(made), mel) + sum(((score - 1.0) ** 2).mean() for score in scores)
        _step(optimizers[1], loss + 2.0 * sum(F.l1_loss(a, b.detach()) for a, b in zip(generated, real, strict=True)))

    return update


def _step(optimizer: Any, loss: Any) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()


def joint(job: Job) -> Callable[[int], Any]:
    """This project's joint stage: the default acoustic model and the harmonic vocoder, from phonemes to samples."""
    return _trainer(job, "joint").update  # type: ignore[no-any-return]


def jets(job: Job) -> Callable[[int], Any]:
    """ESPnet's JETS at full size: generator and discriminators both, as it trains, on clips of one length."""
    import torch
    from espnet2.gan_tts.jets.jets import JETS

    torch.set_num_threads(job["cores"])
    torch.manual_seed(0)
    batch, frames, tokens = job["batch_size"], 256, 44
    model = JETS(idim=job["symbols"], odim=80, generator_params={**JETS_GENERATOR, "segment_size": 64}).train()
    parts = {True: model.generator, False: model.discriminator}
    optimizers = {
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
        for generator, optimizer in optimizers.items():
            optimizer.zero_grad(set_to_none=True)
            model(**given, forward_generator=generator)["loss"].backward()
            optimizer.step()

    return update


KINDS: dict[str, Callable[[Job], Callable[[int], Any]]] = {
    "acoustic": acoustic,
    "torch acoustic": torch_acoustic,
    "harmonic": harmonic,
    "hifigan": hifigan,
    "torch hifigan": torch_hifigan,
    "joint": joint,
    "jets": jets,
}

if __name__ == "__main__":
    main()
