"""The reader of PyTorch checkpoints: every type and layout comes back exactly (hostile files: test_torch_hostile.py).

`data/torch` was written by PyTorch (`tests/torch_reference/make_fixtures.py`).
"""

from pathlib import Path

import numpy as np
import pytest
from torch_files import as_legacy, as_zip, read_all, state, tensor

from bitjets_mlx.torch_import.reader import named_tensors, read_checkpoint
from bitjets_mlx.torch_import.tensor import Tensor
from bitjets_mlx.voice.weights_file import write_weights

DATA = Path(__file__).parent / "data" / "torch"


@pytest.mark.parametrize("file", ["reader_zip.pt", "reader_legacy.pt"])
def test_every_type_and_layout(file: str) -> None:
    expected = dict(np.load(DATA / "reader_expected.npz"))
    found = read_all(DATA / file)
    assert len(found) >= 17 and found.keys() <= expected.keys()
    for name, array in found.items():
        assert (array.dtype, array.shape) == (expected[name].dtype, expected[name].shape), name
        assert array.flags.c_contiguous, name
        np.testing.assert_array_equal(array, expected[name], err_msg=name)
    plain = read_checkpoint(DATA / file)["plain"]
    assert plain == {"step": 7, "loss": 0.25, "name": "x", "none": None, "list": [1, (2, True)], "size": (3,)}


def test_newer_types_are_only_in_the_zip() -> None:
    assert {"float8_e4m3fn", "float8_e5m2", "uint16", "uint32", "uint64"} <= read_all(DATA / "reader_zip.pt").keys()


def test_a_training_file_is_not_loaded_before_it_is_asked_for() -> None:
    tree = read_checkpoint(DATA / "reader_training.pt")
    assert tree["global_step"] == 3 and tree["scheduler_state_dict"]["gamma"] == 0.9
    assert isinstance(tree["optimizer_state_dict"]["state"][0]["exp_avg"], Tensor)
    assert set(tree["model_state_dict"]) >= {"0.weight", "1.num_batches_tracked"}


def test_safetensors(tmp_path: Path) -> None:
    arrays = {"a.b": np.arange(6, dtype=np.float32).reshape(2, 3), "c": np.array([1, 2], np.int8)}
    write_weights(tmp_path / "x.safetensors", arrays)
    found = read_all(tmp_path / "x.safetensors")
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)


def test_official_checkpoint(shared: Path) -> None:
    tree = read_checkpoint(shared / "checkpoints" / "hifigan_lj_v2" / "generator_v2")  # legacy, saved on CUDA
    arrays = {name: tensor.read() for name, tensor in named_tensors(tree).items()}
    assert len(arrays) == 234 and all(array.dtype == np.float32 for array in arrays.values())
    assert arrays["generator.conv_pre.weight_v"].shape == (128, 80, 7)


def test_the_files_written_here_are_valid(tmp_path: Path) -> None:
    for path in (as_zip(tmp_path / "a", state(tensor())), as_legacy(tmp_path / "b", state(tensor()))):
        np.testing.assert_array_equal(read_all(path)["weight"], np.zeros((2, 2), np.float32))
