"""Checkpoints of every element type and layout, for the reader's tests."""

from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch


def sample() -> OrderedDict[str, object]:
    """A training file in miniature. Nothing is larger than it must be: fuzzing runs over it ten thousand times."""
    torch.manual_seed(0)
    base = torch.arange(24, dtype=torch.float32)
    tree: OrderedDict[str, object] = OrderedDict()
    tree["float32"] = base.view(4, 6)
    tree["transposed"] = base.view(4, 6).t()
    tree["shared"] = base[6:18:2]
    tree["expanded"] = torch.tensor([1.5, 2.5])[:, None].expand(2, 3)
    tree["scalar"] = torch.tensor(2.5, dtype=torch.float64)
    tree["empty"] = torch.zeros(0, 3)
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        tree[str(dtype)[6:]] = torch.randn(3, 2).to(dtype)
    for dtype in (torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64):
        tree[str(dtype)[6:]] = torch.tensor([-3 if dtype.is_signed else 3, 0, 5], dtype=dtype)
    tree["bool"] = torch.tensor([True, False, True])
    tree["complex64"] = torch.complex(torch.tensor([1.0, 2.0]), torch.tensor([3.0, -4.0]))
    tree["parameter"] = torch.nn.Parameter(torch.randn(2, 2))
    tree["plain"] = {
        "step": 7,
        "loss": 0.25,
        "name": "x",
        "none": None,
        "list": [1, (2, True)],
        "size": torch.Size([3]),
    }
    return tree


def expected(tree: OrderedDict[str, object]) -> dict[str, np.ndarray]:
    """The tensors as numpy has them; narrow floats as float32."""
    values = {}
    for name, value in tree.items():
        if isinstance(value, torch.Tensor):
            narrow = value.dtype == torch.bfloat16 or "float8" in str(value.dtype)
            values[name] = (value.detach().float() if narrow else value.detach()).contiguous().numpy()
    return values


def write(folder: Path) -> None:
    tree = sample()
    torch.save(tree, folder / "reader_legacy.pt", _use_new_zipfile_serialization=False)
    newer = [torch.float8_e4m3fn, torch.float8_e5m2]  # the legacy format is older than these types
    for dtype in newer:
        tree[str(dtype)[6:]] = torch.tensor([0.0, -1.5, 0.015625, 240.0, 0.001953125]).to(dtype)
    for dtype in (torch.uint16, torch.uint32, torch.uint64):
        tree[str(dtype)[6:]] = torch.tensor([3, 0, 5], dtype=torch.int64).to(dtype)
    torch.save(tree, folder / "reader_zip.pt")
    np.savez_compressed(folder / "reader_expected.npz", **expected(tree))
    module = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    optimizer = torch.optim.AdamW(module.parameters())
    module(torch.randn(4, 2)).sum().backward()
    optimizer.step()
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    training = {
        "model_state_dict": module.state_dict(),
        "optimizer_state_dict": optimizer.state_dict(),
        "scheduler_state_dict": scheduler.state_dict(),
        "global_step": 3,
        "loss": 0.5,
    }
    torch.save(training, folder / "reader_training.pt")
