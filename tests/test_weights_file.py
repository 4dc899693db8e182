"""Weight files: what is written comes back exactly, and nothing damaged, swapped or malicious is taken."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.voice import weights_file
from bitjets_mlx.voice.weights_file import Arrays, check_tensors, read_weights, write_weights


def arrays() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {
        "b.weight": random.normal(size=(3, 4, 5)).astype(np.float16),
        "a.trits": random.integers(0, 243, 17).astype(np.uint8),
        "a.beta": np.array(0.25, np.float32),
        "empty": np.zeros((0, 3), np.float32),
        "codes": random.integers(0, 2**32, (2, 2)).astype(np.uint32),
    }


def raw(path: Path, header: Any, data: bytes) -> Path:
    """A file of any header, given as an object or as the JSON text itself."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def entry(begin: int, end: int, dtype: str = "F32", shape: list[Any] | None = None) -> dict[str, Any]:
    return {"dtype": dtype, "shape": [(end - begin) // 4] if shape is None else shape, "data_offsets": [begin, end]}


def test_round_trip_is_exact(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    digest = write_weights(path, arrays())
    back = read_weights(path, digest)
    assert back.keys() == arrays().keys()
    for name, array in arrays().items():
        assert back[name].dtype == array.dtype and np.array_equal(back[name], array)


def test_mlx_reads_what_is_written_and_the_other_way_round(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours.safetensors", tmp_path / "theirs.safetensors"
    given = {name: array for name, array in arrays().items() if array.size}
    write_weights(ours, given)
    for name, array in mx.load(str(ours)).items():
        assert np.array_equal(np.array(array), given[name])
    half = mx.array([1.5, -2.0, 3e38]).astype(mx.bfloat16)
    mx.save_safetensors(str(theirs), {"half": half, "b": mx.arange(6).reshape(2, 3)}, metadata={"a": "b"})
    back = read_weights(theirs)
    assert np.array_equal(back["half"], np.array(half.astype(mx.float32)))  # bfloat16 widened exactly
    assert np.array_equal(back["b"], np.arange(6).reshape(2, 3))


def test_same_weights_same_bytes(tmp_path: Path) -> None:
    one, other = tmp_path / "1.safetensors", tmp_path / "2.safetensors"
    write_weights(one, arrays())
    write_weights(other, dict(reversed(arrays().items())))
    assert one.read_bytes() == other.read_bytes()


def test_what_was_read_survives_the_file_being_replaced(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    write_weights(path, arrays())
    back = read_weights(path)
    path.write_bytes(b"\0" * path.stat().st_size)
    assert np.array_equal(back["b.weight"], arrays()["b.weight"])
    back["b.weight"] += 1  # a copy, and writable


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(BitjetsError, match="is missing"):
        read_weights(tmp_path / "none.safetensors")


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    write_weights(path, arrays())
    whole = path.read_bytes()
    for length in [0, 4, 8, 60, *range(100, len(whole), 37), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(BitjetsError, match="damaged"):
            read_weights(path)
    path.write_bytes(whole + b"\0")
    with pytest.raises(BitjetsError, match="1 bytes too many"):
        read_weights(path)


def test_every_flipped_bit_is_noticed_by_the_hash(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    digest = write_weights(path, arrays())
    whole = bytearray(path.read_bytes())
    for position in range(0, len(whole), 11):
        flipped = bytearray(whole)
        flipped[position] ^= 1 << (position % 8)
        path.write_bytes(flipped)
        with pytest.raises(BitjetsError):
            read_weights(path, digest)


def test_a_swapped_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    digest = write_weights(path, arrays())
    write_weights(path, {"other": np.ones(3, np.float32)})
    with pytest.raises(BitjetsError, match="sha256 differs"):
        read_weights(path, digest)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_neither_written_nor_read(tmp_path: Path, value: float) -> None:
    path = tmp_path / "w.safetensors"
    bad = np.array([1.0, value], np.float16)
    with pytest.raises(BitjetsError, match="x holds NaN or infinity"):
        write_weights(path, {"x": bad})
    assert not list(tmp_path.iterdir())
    raw(path, {"x": entry(0, 4, "F16", [2])}, bad.tobytes())
    with pytest.raises(BitjetsError, match="x holds NaN or infinity"):
        read_weights(path)


@pytest.mark.parametrize(
    ("header", "size", "message"),
    [
        (b'{"a":' + json.dumps(entry(0, 4)).encode() + b',"a":' + json.dumps(entry(4, 8)).encode() + b"}", 8, "dupl"),
        ({"a": entry(0, 8), "b": entry(4, 12)}, 12, "overlaps"),
        ({"a": entry(0, 4), "b": entry(8, 12)}, 12, "hole"),
        ({"a": entry(4, 8)}, 8, "hole"),
        ({"a": entry(0, 4)}, 8, "4 bytes too many"),
        ({"a": entry(0, 8)}, 4, "4 bytes are missing"),
        ({"a": entry(0, 4, "F8_E4M3", [4])}, 4, "unknown type"),
        ({"a": entry(0, 4, ["F32"], [1])}, 4, "malformed"),  # type: ignore[arg-type]
        ({"a": entry(0, 0, shape=[2**31, 0])}, 0, "2\\^31"),
        ({"a": entry(0, 4, shape=[2])}, 4, "do not fit"),
        ({"a": entry(0, 4, shape=[-1])}, 4, "whole numbers"),
        ({"a": entry(0, 4, shape=[1.0])}, 4, "whole numbers"),
        ({"a": entry(0, 4, shape=[True])}, 4, "whole numbers"),
        ({"a": {"dtype": "F32", "shape": [1]}}, 4, "malformed"),
        ({"a": 7}, 4, "malformed"),
        ({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4, 8]}}, 4, "malformed"),
        ([], 0, "malformed"),
        (b"{", 0, "malformed"),
        (b"\xff\xfe", 0, "malformed"),
        (b"[" * 100_000, 0, "malformed"),
    ],
)
def test_malformed_headers_are_refused(tmp_path: Path, header: Any, size: int, message: str) -> None:
    path = raw(tmp_path / "w.safetensors", header, b"\0" * size)
    with pytest.raises(BitjetsError, match=message):
        read_weights(path)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200), st.integers(0, 400))
def test_rubbish_never_gets_further_than_a_clear_error(tmp_path: Path, data: bytes, cut: int) -> None:
    path = tmp_path / "w.safetensors"
    write_weights(path, arrays())
    whole = bytearray(path.read_bytes())
    whole[cut : cut + len(data)] = data
    path.write_bytes(whole)
    try:
        back = read_weights(path)
    except BitjetsError as error:
        assert len(str(error).splitlines()) == 1
    else:
        assert all(np.isfinite(array).all() for array in back.values() if array.dtype.kind == "f")


def test_tensors_are_checked_against_the_model(tmp_path: Path) -> None:
    have = {"a": np.zeros((2, 3)), "b": np.zeros(4)}
    check_tensors(tmp_path, have, {"a": (2, 3), "b": (4,)})
    with pytest.raises(BitjetsError, match=r"1 tensors differ: a is \(2, 3\) and should be \(3, 2\)"):
        check_tensors(tmp_path, have, {"a": (3, 2), "b": (4,)})
    with pytest.raises(BitjetsError, match=r"b is .* should be absent, c is missing"):
        check_tensors(tmp_path, have, {"a": (2, 3), "c": (4,)})


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "w.safetensors"
    write_weights(path, arrays())
    before = path.read_bytes()

    def full(header: bytes, arrays: Arrays) -> Iterator[bytes]:
        yield header[:10]
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(weights_file, "_parts", full)
    with pytest.raises(OSError, match="No space"):
        write_weights(path, {"x": np.ones(9)})
    monkeypatch.undo()
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
