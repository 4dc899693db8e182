"""PYTHONPATH=. python tests/torch_reference/bitjets_parity.py: converted BitJETS of whole size against PyTorch.

For each of 20 sentences and 4 random models a generation: is the converted model, PyTorch with one thread, PyTorch in
float64, what PyTorch with two threads is? Needs torch.
"""

import contextlib
import io
import tempfile
import warnings
from pathlib import Path

from bitjets_mlx.voice import Voice, load_voice  # first: it chooses MLX's BLAS

# isort: split
import numpy as np
import torch
from torch import nn

from bitjets_mlx.torch_import.conversion import Options, convert, write_converted
from tests.torch_reference.bitjets_torch import BitConv, BitJets, lively

MODELS = 4
TEXTS = """Generative AI on the edge is the future.
What, burgers?  No! Three please.
Hello.
Yes.
The quick brown fox jumps over the lazy dog.
She sells sea shells by the sea shore, and the shells she sells are sea shells for sure.
A small model can say a great deal, if it is trained with care and patience.
Is this the end?
I do not know what you are talking about.
The ship sailed at dawn, heavy with grain and hope, towards a harbour none of the crew had ever seen before.
Go!
Nothing in the file is executed.
My favorite season is autumn, when the leaves turn red.
Please close the window, it is getting cold in here.
Every good voice begins with a good recording.
Mathematics is the queen of the sciences.
We waited for an hour, but nobody came.
Could you repeat that, please?
There is no such thing as a free lunch, as economists like to say to anyone who will listen to them for long enough.
The end.""".splitlines()

Said = tuple[np.ndarray, np.ndarray, np.ndarray]  # durations, log-durations, mel


def random_model(generation: str, seed: int) -> BitJets:
    """With the weights that PyTorch gives convolutions, and norms as training leaves them."""
    torch.manual_seed(seed)
    model = BitJets(generation)
    for module in model.modules():
        if isinstance(module, BitConv):
            nn.init.kaiming_uniform_(module.weight, a=5**0.5)
    return lively(model)


def converted(model: BitJets, generation: str) -> Voice:
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        file, output = Path(folder) / "x.pth", Path(folder) / "v"
        torch.save(model.state_dict(), file)
        list(write_converted(output, convert(file, output, Options(generation=generation))))
        return load_voice(output)


def said(model: BitJets, text: str, threads: int) -> Said:
    torch.set_num_threads(threads)
    with torch.no_grad():
        durations, log_durations, mel = (value.numpy() for value in model(text))
    return durations, log_durations, mel


def compared(found: Said, wanted: Said) -> tuple[bool, bool, float, float]:
    """(within what is asked for, same durations, largest difference of log-durations, and of mels)."""
    logs = float(np.abs(found[1] - wanted[1]).max())
    if not np.array_equal(found[0], wanted[0]):
        return False, False, logs, 0.0
    off = np.abs(found[2] - wanted[2])
    good = logs < 1e-4 and (off < 1e-4).mean() >= 0.8 and off.max() < 0.05
    return bool(good), True, logs, float(off.max())


def main() -> None:
    warnings.simplefilter("ignore")  # no vocoder
    for generation in ("early", "late"):
        rows: dict[str, list[tuple[bool, bool, float, float]]] = {}
        for seed in range(MODELS):
            model, double = random_model(generation, seed), random_model(generation, seed).double()
            voice = converted(model, generation)
            for text in TEXTS:
                wanted, p = said(model, text, 2), voice.predict(text)
                others = {"converted": (p.durations, p.log_durations, p.mel)}
                others |= {"torch, one thread": said(model, text, 1), "torch, float64": said(double, text, 2)}
                for name, found in others.items():
                    rows.setdefault(name, []).append(compared(found, wanted))
        for name, results in rows.items():
            good, same, logs, mels = zip(*results, strict=True)
            print(
                f"{generation:6}{name:18} {sum(good)} of {len(good)} equal, {sum(same)} with the same durations, ",
                end="",
            )
            print(f"log-durations within {max(logs):.1e}, mels within {max(mels):.1e}", flush=True)


if __name__ == "__main__":
    main()
