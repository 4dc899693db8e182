"""The reader of PyTorch checkpoints: no hostile file gets anywhere, and each is refused in one sentence."""

import io
import os
import pickle
import signal
import struct
import sys
import tracemalloc
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch_files import as_legacy, as_zip, read_all, state, tensor, text

from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.torch_import.reader import named_tensors, read_checkpoint

DATA = Path(__file__).parent / "data" / "torch"


# -- hostile files -------------------------------------------------------------------------------------------------


class Payload:
    """Pickles as a call."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def executing(canary: Path) -> dict[str, tuple[bytes, str]]:
    """Pickles that would do something if they were run, and what the refusal must name."""
    touch = f"touch {canary}"
    nested = OrderedDict(weight=[{"deep": (Payload(os.system, touch),)}])
    return {
        "os.system": (pickle.dumps(Payload(os.system, touch), 2), "posix.system"),
        "os.system, protocol 0": (pickle.dumps(Payload(os.system, touch), 0), "posix"),
        "os.system, protocol 4": (pickle.dumps(Payload(os.system, touch), 4), "posix.system"),
        "eval": (pickle.dumps(Payload(eval, f"open({str(canary)!r}, 'w')"), 2), "__builtin__.eval"),
        "exec": (pickle.dumps(Payload(exec, f"open({str(canary)!r}, 'w')"), 4), "builtins.exec"),
        "nested": (pickle.dumps(nested, 2), "posix.system"),
        "reduce in reduce": (pickle.dumps(Payload(getattr, Payload(__import__, "os"), "system"), 2), "getattr"),
        "dotted": (b"\x80\x04\x8c\x0bcollections\x8c\x14OrderedDict.__init__\x93.", "OrderedDict.__init__"),
        "dotted module": (b"\x80\x02ctorch._utils.os\nsystem\n" + text(touch) + b"\x85R.", "torch._utils.os.system"),
        "torch.load": (b"\x80\x02ctorch\nload\n" + text(str(canary)) + b"\x85R.", "torch.load"),
        "torch hub": (b"\x80\x02ctorch.hub\nload\n" + text("x") + b"\x85R.", "torch.hub.load"),
        "call of a storage": (b"\x80\x02ctorch\nFloatStorage\n(tR.", "torch.FloatStorage"),
        "call of a dict": (b"\x80\x02}(tR.", "dict"),
        "INST": (b"\x80\x02(" + text(touch) + b"iposix\nsystem\n.", "INST"),
        "OBJ": (b"\x80\x02(ccollections\nOrderedDict\no.", "OBJ"),
        "NEWOBJ": (b"\x80\x02ccollections\nOrderedDict\n)\x81.", "NEWOBJ"),
        "NEWOBJ_EX": (b"\x80\x04ccollections\nOrderedDict\n)}\x92.", "NEWOBJ_EX"),
        "EXT1": (b"\x80\x02\x82\x01.", "EXT1"),
        "EXT2": (b"\x80\x02\x83\x01\x01.", "EXT2"),
        "EXT4": (b"\x80\x02\x84\x01\x01\x01\x01.", "EXT4"),
        "BUILD": (b"\x80\x02ccollections\nOrderedDict\n}b.", "collections.OrderedDict"),
        "BUILD of a list": (b"\x80\x02]}b.", "list"),
        "numpy": (pickle.dumps(np.float64(1.0), 2), "numpy"),
        "key": (b"\x80\x02}K\x01K\x02\x86Ns.", "tuple"),
    }


def test_nothing_is_executed(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    for name, (data, named) in executing(canary).items():
        path = tmp_path / "file"
        for write in (as_zip, as_legacy):
            write(path, data)
            with pytest.raises(BitjetsError) as refusal:
                read_checkpoint(path)
            sentence = str(refusal.value)
            assert "was refused" in sentence and named in sentence and "\n" not in sentence, (name, sentence)
    assert not canary.exists()


LIES = {
    "larger than its storage": state(tensor(shape=(3, 2))),
    "beyond its storage": state(tensor(offset=1)),
    "negative stride": state(tensor(stride=(-2, 1), offset=2)),
    "negative offset": state(tensor(offset=-1)),
    "negative size": state(tensor(shape=(-2, 2))),
    "huge stride": state(tensor(stride=(2**62, 1))),
    "huge shape": state(tensor(shape=(2**62, 2**62), stride=(0, 0))),
    "repeated for ever": state(tensor(shape=(10**9, 4), stride=(0, 1))),
    "many dimensions": state(tensor(shape=(1,) * 1000, stride=(0,) * 1000)),
    "strides missing": state(tensor(stride=(1,))),
    "storage of another size": state(tensor(count=5)),
    "huge storage": state(tensor(count=2**61)),
    "negative storage": state(tensor(count=-4)),
    "storage missing": state(tensor(key="1")),
    "two sizes": b"\x80\x02}" + text("a") + tensor() + b"s" + text("b") + tensor(count=3) + b"s.",
    "no storage": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(NK\x00))\x89)tR.",
    "reference to nothing": b"\x80\x02NQ.",
    "length beyond the end": b"\x80\x02X\xff\xff\xff\x7fabc.",
    "longer still": b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7fabc.",
    "bytes beyond the end": b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7fabc.",
    "huge integer": b"\x80\x02\x8b\xff\xff\xff\x7f.",
    "forgotten": b"\x80\x02h\x07.",
    "empty stack": b"\x80\x020.",
    "no mark": b"\x80\x02Nt.",
    "key without value": b"\x80\x02}(K\x01u.",
    "append to nothing": b"\x80\x02Na.",
    "no end": b"\x80\x02]",
    "protocol 9": b"\x80\x09].",
    "endless": b"\x80\x02" + b"N0" * 400_000 + b"].",
    "not unicode": b"\x80\x02X\x01\x00\x00\x00\xff.",
}


@pytest.mark.parametrize("lie", LIES)
def test_lies_are_told_in_one_sentence(lie: str, tmp_path: Path) -> None:
    for write in (as_zip, as_legacy):
        path = write(tmp_path / "file", LIES[lie])
        with pytest.raises(BitjetsError) as error:
            read_checkpoint(path)
        assert "damaged or no PyTorch checkpoint" in str(error.value) and "\n" not in str(error.value)


def test_what_refers_to_itself_ends(tmp_path: Path) -> None:
    itself = b"\x80\x02}q\x00" + text("self") + b"h\x00s."  # d["self"] = d
    assert named_tensors(read_checkpoint(as_zip(tmp_path / "a", itself))) == {}
    deep = b"\x80\x02" + b"]" * 200_000 + b"a" * 199_999 + b"."
    read_checkpoint(as_zip(tmp_path / "b", deep))
    doubling = b"\x80\x02}q\x00"  # a dict of two dicts of two dicts ...
    for index in range(15):
        inner = b"h" + bytes([index])
        doubling += b"}" + text("a") + inner + b"s" + text("b") + inner + b"sq" + bytes([index + 1])
    assert len(named_tensors(read_checkpoint(as_zip(tmp_path / "c", doubling + b".")))) == 0
    wide = doubling + b"}" + text("a") + b"h\x0fs" + text("b") + b"h\x0fs"
    wide = wide.replace(text("b"), text("b") + b"h\x00s" + text("c"))
    with pytest.raises(BitjetsError, match="more than"):
        named_tensors(read_checkpoint(as_zip(tmp_path / "d", wide + b".")))


def test_zips_that_lie(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:  # a bomb: 1 GB of zeros would be 1 MB
        archive.writestr("archive/data.pkl", state(tensor()))
        archive.writestr("archive/data/0", bytes(50_000_000))
    with pytest.raises(BitjetsError, match="is compressed"):
        read_checkpoint(path)
    as_zip(path, state(tensor()))
    raw = bytearray(path.read_bytes())
    at = raw.rindex(b"PK\1\2", 0, raw.rindex(b"archive/data/0"))
    raw[at + 20 : at + 28] = struct.pack("<II", 2**31, 2**31)  # sizes in the list of entries
    path.write_bytes(raw)
    with pytest.raises(BitjetsError, match=r"overlap|should have"):
        read_checkpoint(path)
    as_zip(path, state(tensor()))
    raw = bytearray(path.read_bytes())
    raw[-10:-6] = struct.pack("<I", 2**30)  # the length of the list of entries
    path.write_bytes(raw)
    with pytest.raises(BitjetsError, match="too long"):
        read_checkpoint(path)
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", state(tensor()))
        archive.writestr("archive/data.pkl", state(tensor()))
    with pytest.raises(BitjetsError, match="twice"):
        read_checkpoint(path)
    as_zip(path, state(tensor()), **{"archive/byteorder": b"big"})
    with pytest.raises(BitjetsError, match="big-endian"):
        read_checkpoint(path)
    as_zip(path, state(tensor()))
    raw = path.read_bytes()
    path.write_bytes(raw.replace(bytes(16), b"\1" + bytes(15), 1))
    with pytest.raises(BitjetsError, match="checksum"):
        read_all(path)


def test_zips_of_strange_entries(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "file"
    path.parent.mkdir()
    as_zip(path, state(tensor()))
    raw = path.read_bytes()
    listed = raw.index(b"PK\1\2")
    for at in (6, listed + 8):  # the flags, in the entry and in the list of entries
        raw = raw[:at] + b"\1" + raw[at + 1 :]
    path.write_bytes(raw)
    with pytest.raises(BitjetsError, match="is encrypted"):
        read_checkpoint(path)
    with zipfile.ZipFile(path, "w") as archive:  # nothing is ever unpacked
        archive.writestr("../data.pkl", state(tensor()))
        archive.writestr("../data/0", bytes(16))
        archive.writestr("/etc/../evil", b"x")
    assert read_all(path)["weight"].shape == (2, 2)
    assert [file.name for file in tmp_path.rglob("*")] == ["folder", "file"]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../../data.pkl", state(tensor()))
    with pytest.raises(BitjetsError, match=r"without data\.pkl"):
        read_checkpoint(path)
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(11_000):
            archive.writestr(f"archive/data/{number:0400}", b"")
    with pytest.raises(BitjetsError, match="list of entries is too long"):
        read_checkpoint(path)


def test_zip64(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with zipfile.ZipFile(path, "w") as archive:
        for name, value in (("archive/data.pkl", state(tensor())), ("archive/data/0", bytes(range(16)))):
            with archive.open(name, "w", force_zip64=True) as entry:
                entry.write(value)
    np.testing.assert_array_equal(read_all(path)["weight"].reshape(-1).view(np.uint8), np.arange(16))
    raw = path.read_bytes()
    end, start = raw[-22:], raw.index(b"PK\1\2")
    size, count = len(raw) - 22 - start, 2

    def with_zip64_end(size: int) -> bytes:
        """Sizes of the list of entries only in the 64-bit record."""
        record = b"PK\6\6" + struct.pack("<QHHLLQQQQ", 44, 45, 45, 0, 0, count, count, size, start)
        locator = b"PK\6\7" + struct.pack("<LQL", 0, len(raw) - 22, 1)
        return raw[:-22] + record + locator + end[:8] + b"\xff" * 12 + end[20:]

    path.write_bytes(with_zip64_end(size))
    assert read_all(path)["weight"].shape == (2, 2)
    for lie in (2**40, 2**63):
        path.write_bytes(with_zip64_end(lie))
        with pytest.raises(BitjetsError, match="list of entries is too long"):
            read_checkpoint(path)


def test_safetensors_that_lie(tmp_path: Path) -> None:
    import json

    def entry(begin: int, end: int, count: int = 4, dtype: str = "F32") -> dict[str, Any]:
        return {"dtype": dtype, "shape": [count], "data_offsets": [begin, end]}

    lies: dict[str, Any] = {
        "overlap": {"a": entry(0, 16), "b": entry(8, 24)},
        "hole": {"a": entry(0, 16), "b": entry(20, 36)},
        "beyond the end": {"a": entry(0, 1600, 400)},
        "bytes too many": {"a": entry(0, 8, 2)},
        "do not fit": {"a": entry(0, 16, 2**40)},
        "whole numbers": {"a": entry(-16, 0)},
        "unknown type": {"a": entry(0, 16, dtype="POINTER")},
        "no object": [],
    }
    for name, header in lies.items():
        text = json.dumps(header).encode()
        (tmp_path / "file").write_bytes(struct.pack("<Q", len(text)) + text + bytes(24))
        with pytest.raises(BitjetsError, match="damaged") as error:
            read_checkpoint(tmp_path / "file")
        assert "\n" not in str(error.value), name
    twice = (
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    )
    (tmp_path / "file").write_bytes(struct.pack("<Q", len(twice)) + twice + bytes(4))
    with pytest.raises(BitjetsError, match="duplicate names"):
        read_checkpoint(tmp_path / "file")
    (tmp_path / "file").write_bytes(struct.pack("<Q", 2**62) + b'{"a"')
    with pytest.raises(BitjetsError, match="truncated header"):
        read_checkpoint(tmp_path / "file")


def test_a_link_is_followed(tmp_path: Path) -> None:
    as_zip(tmp_path / "file", state(tensor()))
    (tmp_path / "link").symlink_to("file")
    assert read_all(tmp_path / "link")["weight"].shape == (2, 2)
    (tmp_path / "gone").symlink_to("nothing")
    with pytest.raises(BitjetsError, match="is missing"):
        read_checkpoint(tmp_path / "gone")
    (tmp_path / "itself").symlink_to("itself")
    with pytest.raises(BitjetsError, match="cannot be read"):
        read_checkpoint(tmp_path / "itself")


@pytest.mark.parametrize(
    ("start", "named"),
    [
        (b"", "neither"),
        (b"PK", "zip without its end"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (b"<!DOCTYPE html><html></html>", "web page"),
        (b"\x7fELF and so on", "neither"),
        (pickle.dumps({"weight": 1}, 2), "that torch.save did not write"),
    ],
)
def test_files_of_another_kind(start: bytes, named: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(start)
    with pytest.raises(BitjetsError, match=named):
        read_checkpoint(tmp_path / "file")


def test_missing_and_folder(tmp_path: Path) -> None:
    with pytest.raises(BitjetsError, match="is missing"):
        read_checkpoint(tmp_path / "none")
    with pytest.raises(BitjetsError, match="cannot be read"):
        read_checkpoint(tmp_path)


# -- fuzzing -------------------------------------------------------------------------------------------------------

VARIANTS = 10_400
DOING = ("os.system", "subprocess.Popen", "exec", "compile", "import", "pickle.find_class", "ctypes.dlopen", "os.exec")
SEEN: list[str] = []
WATCHING = [False]


def mutated(data: bytes, random: np.random.Generator) -> bytes:
    """Flipped bits, replaced and inserted bytes, a cut, a repeated piece."""
    raw = bytearray(data)
    for _ in range(int(random.integers(1, 5))):
        place, kind = int(random.integers(len(raw))), int(random.integers(6))
        if kind <= 1:
            raw[place] ^= 1 << int(random.integers(8))
        elif kind == 2:
            raw[place] = int(random.integers(256))
        elif kind == 3:
            raw[place : place + 4] = random.choice([b"\xff\xff\xff\x7f", b"\xff\xff\xff\xff", b"\0\0\0\x80", b"cos\n"])
        elif kind == 4:
            raw[place:place] = raw[: int(random.integers(1, 40))]
        else:
            del raw[place : place + int(random.integers(1, 60))]
        if len(raw) < 2:
            break
    return bytes(raw[: int(random.integers(len(raw)))] if random.random() < 0.1 else raw)


def rezipped(data: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """A zip with another pickle inside and right checksums, so that the change gets as far as the interpreter."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w") as new:
        for entry in old.infolist():
            value = old.read(entry)
            new.writestr(entry.filename, change(value) if entry.filename.endswith("data.pkl") else value)
    return buffer.getvalue()


def too_slow(*_: Any) -> None:
    raise AssertionError("a variant hangs")


@pytest.mark.parametrize("write", [as_zip, as_legacy])
def test_damaged_files_that_are_large(write: Callable[..., Path], tmp_path: Path) -> None:
    """Where the file is a megabyte, twice its size is a bound that a doubled copy would break."""
    count = 1 << 18
    path, data = tmp_path / "file", state(tensor((512, 512), (512, 1), 0, count))
    stored = {"storages": {"0": bytes(4 * count)}} if write is as_zip else {"count": count, "stored": bytes(4 * count)}
    random = np.random.default_rng(1)
    outcomes = {"read": 0, "refused": 0}
    for number in range(150):
        write(path, mutated(data, random) if number else data, **stored)
        size = path.stat().st_size
        tracemalloc.start()
        try:
            read_all(path)
            outcomes["read"] += 1
        except BitjetsError:
            outcomes["refused"] += 1
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2 * size, f"variant {number}: {peak} bytes for a file of {size}"
    assert outcomes["read"] and outcomes["refused"]


@pytest.mark.slow
def test_ten_thousand_damaged_files(tmp_path: Path) -> None:
    sys.addaudithook(lambda event, _: SEEN.append(event) if WATCHING[0] and event.startswith(DOING) else None)
    random = np.random.default_rng(0)
    bases = [(DATA / f"reader_{name}.pt").read_bytes() for name in ("zip", "legacy", "training")]
    path, outcomes = tmp_path / "file", {"read": 0, "refused": 0}
    for base in bases:
        path.write_bytes(base)
        read_all(path)  # whatever is imported late is imported now
    signal.signal(signal.SIGALRM, too_slow)
    tracemalloc.start()
    try:
        for number in range(VARIANTS):
            base = bases[number % 3]
            inside = number % 3 != 1 and number % 2
            data = rezipped(base, lambda value: mutated(value, random)) if inside else mutated(base, random)
            path.write_bytes(data)
            tracemalloc.reset_peak()
            before, _ = tracemalloc.get_traced_memory()
            signal.alarm(20)
            WATCHING[0] = True
            try:
                read_all(path)
                outcomes["read"] += 1
            except BitjetsError as error:
                assert "\n" not in str(error)
                outcomes["refused"] += 1
            finally:
                WATCHING[0] = False
                signal.alarm(0)
            peak = tracemalloc.get_traced_memory()[1] - before
            assert peak < 2 * len(data) + 400_000, f"variant {number}: {peak} bytes for a file of {len(data)}"
    finally:
        tracemalloc.stop()
    assert not SEEN
    assert min(outcomes.values()) > VARIANTS // 20, outcomes  # both ways are reached


# -- small files that stand for much -------------------------------------------------------------------------------


def doubling(times: int) -> bytes:
    """Opcodes of a list that holds the one before it twice, and so on: 2^times leaves."""
    return b"]q\x00" + b"".join(b"]q" + bytes([n + 1]) + (b"h" + bytes([n])) * 2 + b"\x86" + b"a" for n in range(times))


def test_a_list_of_storages_that_doubles_itself_ends(tmp_path: Path) -> None:
    for keys in (b"\x80\x02" + doubling(100) + b".", b"\x80\x02" + b"]" * 20_000 + b"a" * 19_999 + b"."):
        path = as_legacy(tmp_path / "file", state(tensor()))
        data = path.read_bytes()
        path.write_bytes(data.replace(pickle.dumps(["0"], 2), keys))
        assert "list of storages" in refused_in_time(path)


def test_a_size_of_several_values(tmp_path: Path) -> None:
    for inner in (b"K\x01K\x02", b"K\x01K\x02K\x03"):
        data = b"\x80\x02ctorch\nSize\n(" + inner + b"tR."
        assert "torch.Size" in refused_in_time(as_zip(tmp_path / "file", data))


def test_a_zip64_record_that_the_end_does_not_speak_of(tmp_path: Path) -> None:
    """Python's zipfile believes a ZIP64 record wherever there is one: so must the check of its length."""
    path = as_zip(tmp_path / "file", state(tensor()))
    data = path.read_bytes()
    end = data[-22:]
    size, offset = struct.unpack("<II", end[12:20])
    entries = struct.unpack("<H", end[10:12])[0]
    record = struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, entries, entries, 64 << 20, offset)
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, len(data) - 22, 1)
    path.write_bytes(data[:-22] + record + locator + end)
    assert size < 1000 and "list of entries is too long" in refused_in_time(path)


def refused_in_time(path: Path) -> str:
    signal.signal(signal.SIGALRM, too_slow)
    signal.alarm(10)
    try:
        with pytest.raises(BitjetsError) as caught:
            read_checkpoint(path)
    finally:
        signal.alarm(0)
    assert len(str(caught.value).splitlines()) == 1 and len(str(caught.value)) < 500
    return str(caught.value)


@pytest.mark.parametrize("file", ["keys_laughs.pth", "keys_deep.pth", "size_two_args.pth", "size_in_dict.pth"])
def test_files_that_once_got_through(shared: Path, file: str) -> None:
    if not (shared / "hostile").is_dir():
        pytest.skip("needs ../shared/hostile, which is not here")
    refused_in_time(shared / "hostile" / file)
