"""PYTHONPATH=. python tests/torch_reference/make_fixtures.py: writes tests/data/torch.

Needs torch, and for the JETS of ESPnet the package `espnet` with what its import asks for. The tests need neither.
"""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch.nn.utils import parametrizations, weight_norm

from bitjets_mlx.benchmarking.torch_discriminators import Periods, Scales
from bitjets_mlx.benchmarking.torch_twin import HifiganGenerator
from bitjets_mlx.config import HIFIGAN_VERSIONS
from tests.torch_reference import jets_espnet, reader_samples
from tests.torch_reference.bitjets_torch import BitJets, lively, packed
from tests.torch_reference.known_numbers import (
    known_bitjets,
    known_discriminators,
    known_hifigan,
    known_numbers,
    real_mel,
)

NORMS = {False: weight_norm, True: parametrizations.weight_norm}  # torch's older and newer one
FOLDER = Path(__file__).resolve().parents[1] / "data" / "torch"


WHOLE_TEXT = "The ship sailed at dawn."
TEXTS = ("Generative AI on the edge is the future.", "What, burgers?  No! 3 please.")


def bitjets(folder: Path, generation: str, encoder: int, decoder: int, layers: int) -> None:
    """Raw, training and packed file of a random BitJETS, and what the original makes of `TEXTS`."""
    torch.manual_seed(1 if generation == "early" else 2)
    model = lively(BitJets(generation, encoder, decoder, layers))
    state = {name: value.clone() for name, value in model.state_dict().items()}
    torch.save(state, folder / f"bitjets_{generation}.pth")
    torch.save(packed(state), folder / f"bitjets_{generation}_packed.pth")
    expected = {}
    with torch.no_grad():
        for number, text in enumerate(TEXTS):
            values = model(text)
            expected |= {f"{key}{number}": value.numpy() for key, value in zip(("d", "l", "m"), values, strict=True)}
    np.savez_compressed(folder / f"bitjets_{generation}_expected.npz", **expected)
    optimizer = torch.optim.AdamW(model.parameters())
    model(TEXTS[0])[2].mean().backward()
    optimizer.step()
    training = {"model_state_dict": state, "optimizer_state_dict": optimizer.state_dict(), "global_step": 164000}
    training |= {"loss": 0.5, "extra_state": None, "scheduler_state_dict": {"last_epoch": 3}}
    torch.save(training, folder / f"bitjets_{generation}_training.pth", _use_new_zipfile_serialization=False)


def whole_size(folder: Path) -> None:
    """What BitJETS of 2,519,953 known parameters say; `shapes` is their names and shapes."""
    torch.set_num_threads(2)
    for generation in ("early", "late"):
        model = BitJets(generation).eval()
        shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
        state = known_bitjets(shapes)
        model.load_state_dict({name: torch.from_numpy(value) for name, value in state.items()})
        with torch.no_grad():
            durations, log_durations, mel = model(WHOLE_TEXT)
        np.savez_compressed(
            folder / f"bitjets_{generation}_whole.npz",
            shapes=json.dumps(shapes),
            d=durations.numpy(),
            l=log_durations.numpy(),
            m=mel.numpy(),
        )


def sums(folder: Path) -> None:
    """LayerNorm, mean magnitude and Linear of known numbers, to the last bit."""
    torch.set_num_threads(2)
    results = {}
    for width in (7, 20, 192, 256, 600):
        x, gain, bias = (
            torch.from_numpy(known_numbers(n, s)) for n, s in (("x", (5, width)), ("g", (width,)), ("b", (width,)))
        )
        results[f"norm_{width}"] = torch.nn.functional.layer_norm(3.0 * x + 0.5, (width,), gain, bias, 1e-5).numpy()
    for shape in ((3, 3, 1), (24, 24, 5), (192, 192, 5), (256, 256, 3)):
        results["mean_" + "_".join(map(str, shape))] = torch.from_numpy(known_numbers("w", shape)).abs().mean().numpy()
    for inputs in (150, 256, 500):
        x, weight, bias = (
            torch.from_numpy(known_numbers(n, s)) for n, s in (("x", (100, inputs)), ("w", (96, inputs)), ("b", (96,)))
        )
        results[f"linear_{inputs}"] = torch.nn.functional.linear(x, weight, bias).numpy()[::10]
    np.savez_compressed(folder / "sums.npz", **results)


HIFIGAN = {
    "resblock": "2",
    "upsample_rates": [8, 8, 4],
    "upsample_kernel_sizes": [16, 16, 8],
    "upsample_initial_channel": 16,
    "resblock_kernel_sizes": [3, 5],
    "resblock_dilation_sizes": [[1, 2], [2, 6]],
    "num_mels": 80,
    "n_fft": 1024,
    "hop_size": 256,
    "win_size": 1024,
    "sampling_rate": 22050,
    "fmin": 0,
    "fmax": 8000,
}


def hifigan(folder: Path) -> None:
    """A small V3 with both styles of weight normalization, and its waveform."""
    for style in ("old", "new"):
        torch.manual_seed(3)
        model = HifiganGenerator(HIFIGAN, NORMS[style == "new"]).eval()
        torch.save({"generator": model.state_dict()}, folder / f"hifigan_v3_{style}.pt")
        mel = torch.linspace(-9, 0, 12 * 80).view(1, 12, 80) + torch.randn(1, 12, 80, generator=torch.manual_seed(4))
        with torch.no_grad():
            wav = model(mel.transpose(1, 2))[0]
        if style == "old":
            np.savez_compressed(folder / "hifigan_v3_expected.npz", mel=mel[0].numpy(), wav=wav.numpy())
    (folder / "hifigan_v3.json").write_text(json.dumps(HIFIGAN, indent=1) + "\n")


def hifigan_whole_size(folder: Path, shared: Path) -> None:
    """What V1 and V3 of known parameters, and the official V2 of LJ Speech, make of a recorded word's mel."""
    mel = torch.from_numpy(real_mel(shared).T.copy())[None]
    results = {}
    for version in ("V1", "V3"):
        config = asdict(HIFIGAN_VERSIONS[version])
        for new in (False, True):
            model = HifiganGenerator(config, NORMS[new]).eval()
            old = HifiganGenerator(config, weight_norm).state_dict()
            shapes = {name: tuple(value.shape) for name, value in old.items()}
            state = known_hifigan(shapes, new)
            model.load_state_dict({name: torch.from_numpy(value) for name, value in state.items()})
            with torch.no_grad():
                wav = model(mel)[0].numpy()
            results |= {f"shapes_{version}": json.dumps(shapes), version: wav}  # the same with both styles
    official = shared / "checkpoints" / "hifigan_lj_v2"
    model = HifiganGenerator(json.loads((official / "config.json").read_text()), weight_norm).eval()
    model.load_state_dict(torch.load(official / "generator_v2", map_location="cpu")["generator"])
    with torch.no_grad():
        results["lj_v2"] = model(mel)[0].numpy()
    np.savez_compressed(folder / "hifigan_whole.npz", **results)


def discriminators(folder: Path) -> None:
    """What HiFi-GAN's discriminators of known parameters say of known noise."""
    models = {"mpd": Periods().eval(), "msd": Scales().eval()}
    shapes = {f"{k}.{n}": tuple(v.shape) for k, model in models.items() for n, v in model.state_dict().items()}
    state = known_discriminators(shapes)
    sound = torch.from_numpy(known_numbers("sound", (1, 1, 8192)) * 0.1)
    scores = []
    for kind, model in models.items():
        own = {n.removeprefix(f"{kind}."): torch.from_numpy(a) for n, a in state.items() if n.startswith(f"{kind}.")}
        model.load_state_dict(own)
        with torch.no_grad():
            scores += [score[0].numpy() for score in model(sound)]
    print("scores", [float(abs(score).mean()) for score in scores])
    named = {f"score{number}": score for number, score in enumerate(scores)}
    np.savez_compressed(folder / "discriminators_whole.npz", shapes=json.dumps(shapes), **named)


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    reader_samples.write(FOLDER)
    for generation in ("early", "late"):
        bitjets(FOLDER, generation, encoder=32, decoder=24, layers=2)
    whole_size(FOLDER)
    sums(FOLDER)
    hifigan(FOLDER)
    discriminators(FOLDER)
    hifigan_whole_size(FOLDER, FOLDER.parents[3] / "shared")
    jets_espnet.write(FOLDER)


if __name__ == "__main__":
    main()
