"""A vocoder's weights on disk: matrices and kernels as int8 with a step size an output channel, the rest as fp16.

Half the size of fp16, and not to be heard: see docs/quantisation.md. Once loaded, everything is fp32.
"""

from collections.abc import Mapping

import numpy as np

from bitjets_mlx.weights_file import Arrays

LARGEST = 127
STEP = ".step"


def pack_int8(weights: Mapping[str, np.ndarray]) -> Arrays:
    """Weights (O, ...) by name -> int8 `name` (O, ...) and fp16 `name.step` (O,); vectors -> fp16 `name`."""
    arrays: Arrays = {}
    for name, weight in weights.items():
        if weight.ndim < 2:
            arrays[name] = weight.astype(np.float16)
            continue
        rows = weight.astype(np.float32).reshape(len(weight), -1)  # (O, all else)
        step = (np.abs(rows).max(axis=1) / LARGEST).astype(np.float16)
        divisor = np.where(step > 0, step, 1).astype(np.float32)[:, None]
        integers = np.clip(np.rint(rows / divisor), -LARGEST, LARGEST).astype(np.int8)
        arrays[name], arrays[name + STEP] = integers.reshape(weight.shape), step
    return arrays


def packed_shapes(
    shapes: Mapping[str, tuple[int, ...]], arrays: Mapping[str, np.ndarray]
) -> dict[str, tuple[int, ...]]:
    """What a file must hold for a model of these shapes: a step size with every int8 tensor."""
    packed = [name for name, shape in shapes.items() if name in arrays and arrays[name].dtype == np.int8 and shape]
    return dict(shapes) | {name + STEP: shapes[name][:1] for name in packed}


def unpack_int8(arrays: Arrays) -> None:
    """Put fp32 weights in the place of each int8 tensor and its step size."""
    for name in [name.removesuffix(STEP) for name in arrays if name.endswith(STEP)]:
        step = arrays.pop(name + STEP).astype(np.float32)
        arrays[name] = arrays[name] * step.reshape(-1, *[1] * (arrays[name].ndim - 1))
