"""Numbers that a test and PyTorch can both make, so that no fixture must hold them: a whole-size BitJETS is 10 MB."""

import zlib
from pathlib import Path

import mlx.core as mx
import numpy as np


def known_numbers(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Float32 between -1 and 1, the same for the same name everywhere: integers, well mixed (splitmix64)."""
    count = int(np.prod(shape))
    state = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(
        zlib.crc32(name.encode())
    )
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        state = (state ^ (state >> np.uint64(shift))) * np.uint64(factor)
    whole = (state >> np.uint64(40)).astype(np.int64) - (1 << 23)  # 24 bits
    return (whole.astype(np.float32) / np.float32(1 << 23)).reshape(shape)


def known_bitjets(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """A state dict of the character-level BitJETS, spread as PyTorch draws it, its norms as trained."""
    state = {}
    for name, shape in shapes.items():
        numbers = known_numbers(name, shape)
        if "norm" in name or "final_form" in name:
            numbers = numbers * np.float32(0.25) + np.float32(name.endswith("weight"))
        elif len(shape) > 1 and name != "encoder.embedding.weight":
            numbers = numbers / np.float32(np.sqrt(np.prod(shape[1:])))
        state[name] = numbers
    state["variance_adaptor.duration_predictor.6.bias"][:] = 1.6  # two to nine frames a character
    state["decoder.output_proj.bias"] = np.linspace(-4, -8, 80).astype(np.float32)
    return state


def known_hifigan(shapes: dict[str, tuple[int, ...]], new: bool = False) -> dict[str, np.ndarray]:
    """A HiFi-GAN generator's state dict that sounds: loud where the mel is, and not clipped.

    `shapes` have the older names of weight normalization, weight_g and weight_v; `new` gives the newer names.
    """
    state = {}
    for name, shape in shapes.items():
        numbers = known_numbers(name, shape)
        if name.endswith("weight_g"):
            size = {"conv_pre": 0.1, "ups": 1.5, "resblocks": 0.6, "conv_post": 0.5}[name.split(".")[0]]
            numbers = size * (1 + np.float32(0.3) * numbers)
        elif name.endswith("bias"):
            numbers = numbers * np.float32(0.05)
        state[name] = numbers.astype(np.float32)
    if not new:
        return state
    names = {"weight_g": "parametrizations.weight.original0", "weight_v": "parametrizations.weight.original1"}
    return {".".join([*n.split(".")[:-1], names.get(n.split(".")[-1], n.split(".")[-1])]): a for n, a in state.items()}


def real_mel(shared: Path) -> np.ndarray:
    """Log mel (24, 80) of a word of recorded speech; the folder is the one beside the repository."""
    from bitjets_mlx.audio.files import read_audio
    from bitjets_mlx.audio.spectrogram import log_mel

    sound = read_audio(min((shared / "speech" / "lj").rglob("*.flac")))
    return np.array(log_mel(mx.array(sound)[None])[0, 60:84])


def known_discriminators(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """State dicts of HiFi-GAN's discriminators, `mpd.` and `msd.` before the names; 283 MB."""
    state = {name: known_numbers(name, shape) for name, shape in shapes.items()}
    for name, numbers in state.items():
        if name.endswith("weight_g"):
            state[name] = np.float32(1.2) + np.float32(0.3) * numbers
        elif name.endswith("weight_u"):  # spectral normalization: u and v as training leaves them
            matrix = state[name.replace("weight_u", "weight_orig")].reshape(len(numbers), -1).astype(np.float64)
            left = numbers / np.linalg.norm(numbers)
            right = left @ matrix
            state[name] = left.astype(np.float32)
            state[name.replace("weight_u", "weight_v")] = (right / np.linalg.norm(right)).astype(np.float32)
    return state
