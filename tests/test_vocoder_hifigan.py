"""HiFi-GAN against PyTorch. `data/hifigan_torch.npz` holds a mel (12, 80) and what torch's own convolutions made of
it: `v1`, `v2`, `v3` with the weights of `seeded_weights`, and `lj_v2` with the official LJ V2 checkpoint."""

import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten

from bitjets_mlx.config import HifiganConfig
from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.native import loader
from bitjets_mlx.vocoder import build_vocoder
from bitjets_mlx.vocoder.hifigan import HifiganGenerator

CONFIGS = {
    "v1": HifiganConfig(upsample_initial_channel=512),
    "v2": HifiganConfig(),
    "v3": HifiganConfig(
        resblock="2",
        upsample_rates=(8, 8, 4),
        upsample_kernel_sizes=(16, 16, 8),
        upsample_initial_channel=256,
        resblock_kernel_sizes=(3, 5, 7),
        resblock_dilation_sizes=((1, 2), (2, 6), (3, 12)),
    ),
}
PARAMETERS = {"v1": 13_926_017, "v2": 925_985, "v3": 1_462_273}  # without the weight norm's g


@pytest.fixture(scope="module")
def reference() -> dict[str, np.ndarray]:
    return dict(np.load(Path(__file__).parent / "data" / "hifigan_torch.npz"))


def seeded_weights(model: HifiganGenerator) -> list[tuple[str, mx.array]]:
    """The weights that the fixture was made with, drawn in the order of the names."""
    rng = np.random.default_rng(0)
    weights = []
    for name, parameter in sorted(tree_flatten(model.parameters())):
        shape = parameter.shape
        inputs = shape[-1] * 2 if name.startswith("ups") else np.prod(shape[1:])
        scale = 1.0 / np.sqrt(inputs) if len(shape) == 3 else 0.05
        weights.append((name, mx.array((rng.standard_normal(shape) * scale).astype(np.float32))))
    return weights


@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize("version", ["v1", "v2", "v3"])
def test_equals_torch(
    version: str, plain: bool, reference: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loader, "on_cpu", lambda: not plain)
    model = build_vocoder(CONFIGS[version])
    assert isinstance(model, HifiganGenerator)
    assert sum(leaf.size for _, leaf in tree_flatten(model.parameters())) == PARAMETERS[version]
    model.load_weights(seeded_weights(model))
    audio = np.array(model(mx.array(reference["mel"])[None])[0])
    np.testing.assert_allclose(audio, reference[version], atol=2e-4)


def test_gradient_is_the_same_in_both_forms(reference: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch) -> None:
    model = HifiganGenerator(CONFIGS["v3"])
    model.load_weights(seeded_weights(model))
    mel = mx.array(reference["mel"])[None, :5]
    gradients = []
    for plain in (True, False):
        monkeypatch.setattr(loader, "on_cpu", lambda plain=plain: not plain)
        gradients.append(np.array(mx.grad(lambda x: mx.sum(mx.square(model(x))))(mel)))
    np.testing.assert_allclose(gradients[1], gradients[0], atol=1e-3 * np.abs(gradients[0]).max())


def test_official_checkpoint(reference: dict[str, np.ndarray], shared: Path) -> None:
    file = shared / "checkpoints" / "hifigan_lj_v2" / "generator_v2"
    if not file.exists():
        pytest.skip("needs the official HiFi-GAN V2 checkpoint in ../shared/checkpoints")
    model = HifiganGenerator(CONFIGS["v2"])
    model.load_weights(official_weights(file), strict=True)
    audio = np.array(model(mx.array(reference["mel"])[None])[0])
    np.testing.assert_allclose(audio, reference["lj_v2"], atol=1e-4)


def test_batch_and_extra_inputs(reference: dict[str, np.ndarray]) -> None:
    model = HifiganGenerator(CONFIGS["v2"])
    model.load_weights(seeded_weights(model))
    mel = mx.array(reference["mel"])
    pair = model(mx.stack([mel, mel[::-1]]), mx.zeros((2, 12)), mx.ones((2, 12)), seed=3)
    assert pair.shape == (2, 12 * 256)
    np.testing.assert_allclose(np.array(pair[1]), np.array(model(mel[None, ::-1])[0]), atol=1e-4)


@pytest.mark.parametrize("broken", [{"resblock": "3"}, {"upsample_rates": (8, 8, 2, 4)}])
def test_refuses_other_configurations(broken: dict[str, Any]) -> None:
    with pytest.raises(BitjetsError, match=r"resblock is '3'|must multiply to the hop"):
        HifiganConfig(**broken)


class _LegacyTensors(pickle.Unpickler):
    """Reads torch's legacy pickles far enough for this one file: tensors become (storage key, shape)."""

    def find_class(self, module: str, name: str) -> Any:
        if name == "OrderedDict":
            return OrderedDict
        if name == "_rebuild_tensor_v2":
            return lambda storage, offset, size, stride, *_: (storage, size)
        return name  # a storage's type, which is always float here

    def persistent_load(self, pid: Any) -> Any:
        return pid[2]


def official_weights(file: Path) -> list[tuple[str, mx.array]]:
    """Weight norm folded (w = g v / |v|) and laid out for MLX."""
    with file.open("rb") as stream:
        for _ in range(3):  # magic number, protocol, machine
            pickle.load(stream)
        tensors = _LegacyTensors(stream).load()["generator"]
        keys = pickle.load(stream)
        storages = {}
        for key in keys:
            count = int(np.frombuffer(stream.read(8), np.int64)[0])
            storages[key] = np.frombuffer(stream.read(4 * count), np.float32)
    arrays = {name: storages[key].reshape(size).astype(np.float64) for name, (key, size) in tensors.items()}
    weights = []
    for name, array in arrays.items():
        if name.endswith("bias"):
            weights.append((name, mx.array(array.astype(np.float32))))
        elif name.endswith("weight_v"):
            base = name.removesuffix("_v")
            norm = np.sqrt(np.sum(array**2, axis=(1, 2), keepdims=True))
            folded = arrays[base + "_g"] * array / norm
            order = (1, 2, 0) if name.startswith("ups") else (0, 2, 1)
            weights.append((base, mx.array(folded.transpose(order).astype(np.float32))))
    return weights
