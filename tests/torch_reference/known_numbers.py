"""Numbers that a test and PyTorch can both make, so that no fixture must hold them: a whole-size BitJETS is 10 MB."""

import zlib

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
