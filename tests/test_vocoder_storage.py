"""A vocoder's integer weights: what is stored comes back within half a step, and nothing else is taken."""

import shutil
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from tiny_voice import tiny_voice

from bitjets_mlx import load_vocoder
from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.vocoder import build_vocoder
from bitjets_mlx.vocoder.quantized import TERNARY, quantized
from bitjets_mlx.vocoder.storage import pack_integers, packed_shapes, unpack_integers
from bitjets_mlx.voice.arrays import parameter_shapes
from bitjets_mlx.voice.voice_config import read_config, write_config
from bitjets_mlx.voice.weights_file import read_weights, write_weights


def test_weights_come_back_within_half_a_step_of_their_own_row() -> None:
    random = np.random.default_rng(0)
    sizes = 10.0 ** random.uniform(-3, 1, (6, 1, 1))
    weights = {"kernel": (random.standard_normal((6, 5, 4)) * sizes).astype(np.float32), "bias": np.ones(6, np.float32)}
    weights["kernel"][2] = 0.0
    arrays = pack_integers(weights)
    assert {name: array.dtype for name, array in arrays.items()} == {
        "kernel": np.int8,
        "kernel.step": np.float16,
        "bias": np.float16,
    }
    step = arrays["kernel.step"].astype(np.float32)[:, None, None]
    unpack_integers(arrays, {name: weight.shape for name, weight in weights.items()})
    assert arrays.keys() == weights.keys() and arrays["kernel"].dtype == np.float32
    # The largest weight of a row may lie a little beyond 127 steps, since the step itself is rounded to fp16.
    assert (np.abs(arrays["kernel"] - weights["kernel"]) <= 0.57 * step).all()
    assert not arrays["kernel"][2].any()


@pytest.mark.parametrize("bits", [4, TERNARY])
def test_what_was_trained_at_few_bits_is_stored_in_four_and_loses_nothing(bits: float) -> None:
    random = np.random.default_rng(0)
    weights = {"kernel": mx.array(random.standard_normal((6, 5, 3))), "output.weight": mx.array(np.ones((2, 3)))}
    trained = {name: np.array(weight) for name, weight in quantized(weights, bits).items()}
    arrays = pack_integers(trained, bits)
    assert arrays["kernel"].dtype == np.uint8 and arrays["kernel"].shape == (6, 8)  # 15 weights to a row, two to a byte
    assert arrays["output.weight"].dtype == np.int8  # the last layer is not among those with few bits
    assert packed_shapes({"kernel": (6, 5, 3)}, arrays) == {"kernel": (6, 8), "kernel.step": (6,)}
    unpack_integers(arrays, {name: weight.shape for name, weight in trained.items()})
    np.testing.assert_allclose(arrays["kernel"], trained["kernel"], rtol=1e-3)  # the step is fp16


@pytest.fixture(scope="module")
def voice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_voice(tmp_path_factory.mktemp("voice") / "tiny")


def changed(voice: Path, folder: Path, **tensors: Any) -> Path:
    """A copy of the voice whose vocoder has other tensors; None leaves one out."""
    shutil.copytree(voice, folder)
    arrays: dict[str, Any] = {**read_weights(folder / "vocoder.safetensors"), **tensors}
    sha256 = write_weights(
        folder / "vocoder.safetensors", {name: array for name, array in arrays.items() if array is not None}
    )
    config = read_config(folder)
    config.files["vocoder.safetensors"] = sha256
    write_config(folder, config)
    return folder


def test_a_voice_holds_int8_and_half_precision_alone(voice: Path) -> None:
    arrays = read_weights(voice / "vocoder.safetensors")
    kernels = {name for name, array in arrays.items() if array.dtype == np.int8}
    assert {"input_weight", "output.weight", "blocks.0.depthwise", "blocks.0.widen.weight"} <= kernels
    assert all(arrays[name].dtype == np.float16 for name in arrays.keys() - kernels)


def test_a_file_in_floating_point_is_read_as_well(voice: Path, tmp_path: Path) -> None:
    arrays = read_weights(voice / "vocoder.safetensors")
    plain = dict(arrays)
    unpack_integers(plain, parameter_shapes(build_vocoder(read_config(voice).vocoder)))
    tensors = {name: plain.get(name) for name in arrays}
    same = load_vocoder(changed(voice, tmp_path / "float", **tensors))
    mel, f0, voiced = np.full((20, 80), -4.0, np.float32), np.full(20, 200.0), np.ones(20)
    assert np.array_equal(same(mel, f0=f0, voiced=voiced), load_vocoder(voice)(mel, f0=f0, voiced=voiced))


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"output.weight.step": None}, "output.weight.step is missing"),
        ({"output.weight.step": np.ones(3, np.float16)}, r"output.weight.step is \(3,\)"),
        ({"input_bias.step": np.ones(1, np.float16)}, "input_bias.step is"),
        ({"output.weight.step": np.full(4 * 513, np.inf, np.float16)}, "NaN or infinity"),
    ],
)
def test_a_step_that_does_not_fit_is_refused(voice: Path, tmp_path: Path, tensors: Any, message: str) -> None:
    with pytest.raises(BitjetsError, match=message):
        load_vocoder(changed(voice, tmp_path / "bad", **tensors))
