"""Checkpoints of PyTorch: zips, legacy files, and pickles of random instructions with mostly sensible arguments."""

import io
import pickle
import struct
import zipfile
from pathlib import Path

from mutations import NUMBERS, Random, damaged, pick
from torch_files import as_legacy, as_zip, state, tensor, text, whole

from bitjets_mlx.torch_import.conversion import Options, convert, write_converted
from bitjets_mlx.torch_import.reader import named_tensors, read_checkpoint

DATA = Path(__file__).resolve().parents[1] / "data" / "torch"
WHOLE = [number for number in NUMBERS if type(number) is int]
GLOBALS = ["torch FloatStorage", "torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_parameter", "torch Size"]
GLOBALS += ["collections OrderedDict", "torch device", "torch float16", "builtins eval", "posix system", "os system"]
GLOBALS += ["torch.storage _load_from_bytes", "numpy.core.multiarray scalar", "argparse Namespace", "builtins getattr"]


def zip_file(random: Random) -> bytes:
    """A zip: a real one damaged anywhere, or only in its pickle with right checksums, or of hostile shapes."""
    if random.random() < 0.4:
        data = (DATA / pick(random, ["reader_zip.pt", "reader_training.pt"])).read_bytes()
        return damaged(data, random) if random.random() < 0.5 else rezipped(data, random)
    return _packed(hostile_state(random), as_zip)


def legacy_file(random: Random) -> bytes:
    """A file of the format before the zip."""
    if random.random() < 0.5:
        return damaged((DATA / "reader_legacy.pt").read_bytes(), random)
    data = _packed(hostile_state(random), as_legacy)
    keys = pickle.dumps(["0"], 2)
    return data.replace(keys, instructions(random), 1) if random.random() < 0.3 else data


def pickle_file(random: Random) -> bytes:
    """A zip around random instructions."""
    return _packed(instructions(random), as_zip)


def model_file(random: Random) -> bytes:
    """A checkpoint of a model that is known, its tensors' names, shapes and numbers changed."""
    names = ["bitjets_late.pth", "bitjets_early_packed.pth", "hifigan_v3_old.pt", "jets.pth", "bitjets_early.pth"]
    data = (DATA / pick(random, names)).read_bytes()
    return rezipped(data, random) if zipfile.is_zipfile(io.BytesIO(data)) else damaged(data, random)


def read(path: Path) -> None:
    """Every tensor of it."""
    for one in named_tensors(read_checkpoint(path)).values():
        one.read()


def convert_it(path: Path) -> None:
    """As `convert` does, without what it prints."""
    output = path.with_name("converted")
    write_converted(output, convert(path, output, Options()))


def rezipped(data: bytes, random: Random) -> bytes:
    """Another pickle inside and right checksums, so that the change gets as far as the interpreter."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w") as new:
        for entry in old.infolist():
            value = old.read(entry)
            new.writestr(entry.filename, _edited(value, random) if entry.filename.endswith("data.pkl") else value)
    return buffer.getvalue()


def _edited(data: bytes, random: Random) -> bytes:
    """A pickle with a few of its small integers replaced, or its bytes damaged."""
    if random.random() < 0.4:
        return damaged(data, random)
    raw = bytearray(data)
    spots = [place for place in range(len(raw) - 1) if raw[place] == ord("K")]
    for _ in range(int(random.integers(1, 4))):
        if spots:
            raw[pick(random, spots) + 1] = int(random.integers(256))
    return bytes(raw)


def hostile_state(random: Random) -> bytes:
    """{name: tensor} with shape, stride, offset and size of its storage from the edges."""

    def numbers() -> tuple[int, ...]:
        return tuple(pick(random, [*WHOLE, 1, 2, 4]) for _ in range(int(random.integers(4))))

    shape, stride = (numbers(), numbers()) if random.random() < 0.7 else ((2, 2), (2, 1))
    offset, count = pick(random, [0, 0, *WHOLE]), pick(random, [4, 4, 4, *WHOLE])
    try:
        return state(tensor(shape, stride, offset, count), pick(random, ["weight", "", "a.b.c", "x" * 2000, "\n"]))
    except OverflowError:  # larger than the nine bytes that `whole` has
        return state(tensor(offset=2**62))


def instructions(random: Random) -> bytes:
    """A program for the pickle machine."""
    pieces = [b"\x80\x02"]
    for _ in range(int(random.integers(1, 60))):
        pieces.append(_instruction(random))
        if random.random() < 0.02:
            pieces.append(pieces[-1] * int(random.integers(1, 3000)))
    return b"".join([*pieces, b"."])


def _instruction(random: Random) -> bytes:
    kind = int(random.integers(12))
    if kind < 3:
        return pick(random, [b"}", b"]", b")", b"(", b"N", b"\x88", b"\x89"])
    if kind < 5:
        return pick(random, [b"t", b"l", b"d", b"s", b"u", b"a", b"e", b"\x85", b"\x86", b"\x87", b"0", b"1", b"2"])
    if kind == 5:
        return text(pick(random, ["weight", "storage", "cpu", "0", "", "\n", "x" * 300]))
    if kind == 6:
        number = pick(random, [number for number in WHOLE if abs(number) < 2**70])
        return pick(random, [b"K" + bytes([number % 256]), whole(number), b"J" + struct.pack("<I", number % 2**32)])
    if kind == 7:
        name = pick(random, GLOBALS).split()
        return b"c" + "\n".join(name).encode() + b"\n"
    if kind == 8:
        return pick(random, [b"R", b"Q", b"b", b"\x81", b"R", b"Q"])
    if kind == 9:
        return pick(random, [b"q", b"h"]) + bytes([int(random.integers(6))])
    if kind == 10:
        return tensor()
    return pick(
        random,
        [b"G" + struct.pack(">d", 1e308), b"I9999999999\n", b"F1e999\n", b"\x8a\xff", b"Vabc\n", b"r\xff\xff\xff\x7f"],
    )


def _packed(data: bytes, write: object) -> bytes:
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        return write(Path(folder) / "file", data).read_bytes()  # type: ignore[operator]
