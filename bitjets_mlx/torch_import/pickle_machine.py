"""A pickle interpreter that can build tensors, OrderedDict and plain containers, and nothing else.

Not a subclass of Python's unpickler: no opcode here imports a module, calls a function that the stream names, or sets
an attribute. A name that is not in `NAMES` is refused and the error says which it was. Every length is checked against
what is left of the stream before anything is allocated, and the number of instructions is limited.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

from bitjets_mlx.torch_import.tensor import DTYPE_NAMES, STORAGE_TYPES, Storage, Tensor

MOST_INSTRUCTIONS = 500_000  # a checkpoint of 500 tensors with its optimizer takes some 50,000
LONGEST_PICKLE = 64 << 20  # bytes
LONGEST_INTEGER = 16  # bytes; the longest in a real file is torch's magic number, 10
LONGEST_LINE = 4096  # of the text opcodes
LARGEST_MEMO = 2**32


class Refused(Exception):
    """The stream asks for something that is never done; the message names it."""


class Malformed(Exception):
    """The stream is not a pickle that torch writes: truncated, damaged, or worse."""


@dataclass(frozen=True)
class Name:
    """A global that the stream may mention. What it does, if anything, is decided in `_called`."""

    module: str
    name: str


MARK = object()
PARTS = "torch._utils"
CALLABLE = {
    ("collections", "OrderedDict"),
    ("torch", "Size"),
    ("torch", "device"),
    (PARTS, "_rebuild_tensor"),
    (PARTS, "_rebuild_tensor_v2"),
    (PARTS, "_rebuild_tensor_v3"),
    (PARTS, "_rebuild_parameter"),
}
NAMES = (
    CALLABLE
    | {(module, name) for module in ("torch", "torch.cuda") for name in STORAGE_TYPES}
    | {("torch.storage", name) for name in ("UntypedStorage", "_UntypedStorage")}
    | {("torch", name) for name in DTYPE_NAMES}
)

Find = Callable[[Any], Storage]


class PickleMachine:
    """Runs one pickle from a binary file, of which `limit` bytes are left.

    `find_storage` turns a persistent id into a storage, or raises Malformed.
    """

    def __init__(self, file: BinaryIO, find_storage: Find, limit: int) -> None:
        self.file, self.find_storage, self.left = file, find_storage, limit
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        """The object that the stream describes; Refused or Malformed where it is not one of ours."""
        for _ in range(MOST_INSTRUCTIONS):
            code = self._take(1)[0]
            if code == STOP:
                return self._pop()
            step = STEPS.get(code)
            if code in REFUSED:
                raise Refused(f"the pickle instruction {REFUSED[code]}")
            if step is None:
                raise Malformed(f"there is no pickle instruction {code:#x}")
            step(self)
        raise Malformed(f"more than {MOST_INSTRUCTIONS:,} instructions")

    # -- the stream ------------------------------------------------------------------------------------------------

    def _take(self, count: int) -> bytes:
        if count > self.left:
            raise Malformed("a length that goes beyond the end")
        data = self.file.read(count)
        if len(data) != count:
            raise Malformed("it ends too early")
        self.left -= count
        return data

    def _line(self) -> str:
        data = self.file.readline(min(self.left, LONGEST_LINE))
        self.left -= len(data)
        if not data.endswith(b"\n"):
            raise Malformed("a line without an end")
        return data[:-1].decode("utf-8")

    def _number(self, form: str) -> Any:
        return struct.unpack(form, self._take(struct.calcsize(form)))[0]

    def _text(self, form: str) -> str:
        return self._take(self._number(form)).decode("utf-8", "surrogatepass")

    def _integer(self, form: str) -> int:
        length = self._number(form)
        if not 0 <= length <= LONGEST_INTEGER:
            raise Malformed(f"a whole number of {length} bytes")
        return int.from_bytes(self._take(length), "little", signed=True)

    # -- the stack -------------------------------------------------------------------------------------------------

    def _pop(self) -> Any:
        if not self.stack or self.stack[-1] is MARK:
            raise Malformed("a value is missing")
        return self.stack.pop()

    def _pop_to_mark(self) -> list[Any]:
        for index in range(len(self.stack) - 1, -1, -1):
            if self.stack[index] is MARK:
                values = self.stack[index + 1 :]
                del self.stack[index:]
                return values
        raise Malformed("a mark is missing")

    def _top(self, kind: type) -> Any:
        if not self.stack or type(self.stack[-1]) is not kind:
            raise Malformed(f"a {kind.__name__} is missing")
        return self.stack[-1]

    def _put(self, value: Any) -> None:
        self.stack.append(value)

    def _remember(self, index: int) -> None:
        if not 0 <= index < LARGEST_MEMO or not self.stack or self.stack[-1] is MARK:
            raise Malformed("nothing to remember")
        self.memo[index] = self.stack[-1]

    def _recall(self, index: int) -> None:
        if index not in self.memo:
            raise Malformed("something was forgotten")
        self._put(self.memo[index])

    # -- instructions that need more than a line -------------------------------------------------------------------

    def _set_items(self, pairs: list[Any]) -> None:
        table = self._top(dict)
        if len(pairs) % 2:
            raise Malformed("a key without a value")
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            # Only keys whose hash cannot be steered, so that a table cannot be made slow.
            if not (isinstance(key, str | bool | None) or (type(key) is int and abs(key) < 2**63)):
                raise Refused(f"a dict key that is a {_kind(key)}")
            table[key] = value

    def _name(self, module: str, name: str) -> None:
        if (module, name) not in NAMES:
            raise Refused(f"the name {printable(module)}.{printable(name)}")
        self._put(Name(module, name))

    def _stack_name(self) -> None:
        name, module = self._pop(), self._pop()
        if not (isinstance(name, str) and isinstance(module, str)):
            raise Malformed("a name that is not text")
        self._name(module, name)

    def _call(self) -> None:
        arguments, function = self._pop(), self._pop()
        if not isinstance(function, Name):
            raise Refused(f"a call of a {_kind(function)}")
        if (function.module, function.name) not in CALLABLE:
            raise Refused(f"a call of {function.module}.{function.name}")
        if not isinstance(arguments, tuple):
            raise Malformed("a call without arguments")
        self._put(_called(function.name, arguments))

    def _build(self) -> None:
        # OrderedDict carries attributes (a state dict's `_metadata`). They are dropped, never set.
        self._pop()
        if not self.stack or type(self.stack[-1]) is not dict:
            raise Refused(f"attributes of a {_kind(self.stack[-1]) if self.stack else 'missing value'}")

    def _persistent(self) -> None:
        self._put(self.find_storage(self._pop()))

    def _long_text(self) -> None:
        text = self._line().rstrip("L")
        if len(text) > 2 * LONGEST_INTEGER:
            raise Malformed("a whole number that is too long")
        self._put(int(text))

    def _integer_text(self) -> None:
        text = self._line()
        if text in ("00", "01"):
            self._put(text == "01")
        elif len(text) > 2 * LONGEST_INTEGER:
            raise Malformed("a whole number that is too long")
        else:
            self._put(int(text))

    def _protocol(self) -> None:
        version = self._take(1)[0]
        if version > 5:
            raise Malformed(f"pickle protocol {version}")

    def _extend(self) -> None:
        values = self._pop_to_mark()
        self._top(list).extend(values)

    def _append(self) -> None:
        value = self._pop()
        self._top(list).append(value)

    def _set_item(self) -> None:
        value, key = self._pop(), self._pop()
        self._set_items([key, value])

    def _set_marked(self) -> None:
        pairs = self._pop_to_mark()
        self._set_items(pairs)

    def _new_dict(self) -> None:
        pairs = self._pop_to_mark()
        self._put({})
        self._set_items(pairs)

    def _tuple(self, count: int) -> None:
        values = [self._pop() for _ in range(count)]
        self._put(tuple(values[::-1]))

    def _copy_top(self) -> None:
        value = self._pop()
        self.stack += [value, value]

    def _drop(self) -> None:
        if not self.stack:
            raise Malformed("a value is missing")
        self.stack.pop()  # a value or a mark


def _called(name: str, arguments: tuple[Any, ...]) -> Any:
    """What the few callables give. All of them build plain data."""
    if name == "OrderedDict":
        return _ordered(arguments)
    if name == "Size":
        if len(arguments) > 1:
            raise Malformed("a torch.Size of several values")
        return _whole_numbers(arguments[0]) if arguments else ()
    if name == "device":
        return "device"
    if name == "_rebuild_parameter":
        if not arguments or not isinstance(arguments[0], Tensor):
            raise Malformed("a parameter without a tensor")
        return arguments[0]
    return _tensor(name, arguments)


def _ordered(arguments: tuple[Any, ...]) -> dict[Any, Any]:
    """OrderedDict(), or as Python 2 wrote it, OrderedDict([[key, value], ...])."""
    table: dict[Any, Any] = {}
    for pair in arguments[0] if len(arguments) == 1 and isinstance(arguments[0], list) else arguments:
        if not isinstance(pair, list | tuple) or len(pair) != 2 or not isinstance(pair[0], str | int):
            raise Malformed("an OrderedDict of something else than pairs")
        table[pair[0]] = pair[1]
    return table


def _tensor(name: str, arguments: tuple[Any, ...]) -> Tensor:
    """_rebuild_tensor(storage, offset, size, stride), v2 with gradient and hooks behind, v3 with the type too."""
    if len(arguments) < 4 or not isinstance(arguments[0], Storage):
        raise Malformed("a tensor without a storage")
    storage, offset, size, stride = arguments[:4]
    dtype = storage.dtype
    if name == "_rebuild_tensor_v3":
        if len(arguments) < 7 or not isinstance(arguments[6], Name) or arguments[6].name not in DTYPE_NAMES:
            raise Malformed("a tensor without a type")
        dtype = DTYPE_NAMES[arguments[6].name]
    if type(offset) is not int:
        raise Malformed("a tensor's offset is not a whole number")
    try:
        return Tensor.checked(storage, dtype, offset, _whole_numbers(size), _whole_numbers(stride))
    except ValueError as error:
        raise Malformed(str(error)) from None


def _whole_numbers(values: Any) -> tuple[int, ...]:
    if not isinstance(values, tuple | list) or not all(type(value) is int for value in values):
        raise Malformed("a shape or stride that is not a list of whole numbers")
    return tuple(values)


def _kind(value: Any) -> str:
    return f"{value.module}.{value.name}" if isinstance(value, Name) else type(value).__name__


def printable(text: str) -> str:
    """Foreign text, safe to print and of bounded length."""
    shown = text[:80].encode("ascii", "backslashreplace").decode()[:80]
    return "".join(letter if letter.isprintable() else "?" for letter in shown)


STOP = ord(".")
STEPS: dict[int, Callable[[PickleMachine], Any]] = {
    0x80: PickleMachine._protocol,
    0x95: lambda m: m._take(8),  # a frame's length: the stream is read byte by byte anyway
    ord("("): lambda m: m._put(MARK),
    ord("0"): PickleMachine._drop,
    ord("1"): PickleMachine._pop_to_mark,
    ord("2"): PickleMachine._copy_top,
    # constants
    ord("N"): lambda m: m._put(None),
    0x88: lambda m: m._put(True),
    0x89: lambda m: m._put(False),
    ord("I"): PickleMachine._integer_text,
    ord("J"): lambda m: m._put(m._number("<i")),
    ord("K"): lambda m: m._put(m._number("<B")),
    ord("M"): lambda m: m._put(m._number("<H")),
    ord("L"): PickleMachine._long_text,
    0x8A: lambda m: m._put(m._integer("<B")),
    0x8B: lambda m: m._put(m._integer("<i")),
    ord("F"): lambda m: m._put(float(m._line())),
    ord("G"): lambda m: m._put(m._number(">d")),
    # text and bytes
    ord("V"): lambda m: m._put(m._line()),
    ord("X"): lambda m: m._put(m._text("<I")),
    0x8C: lambda m: m._put(m._text("<B")),
    0x8D: lambda m: m._put(m._text("<Q")),
    ord("T"): lambda m: m._put(m._text("<I")),  # Python 2's str
    ord("U"): lambda m: m._put(m._text("<B")),
    ord("B"): lambda m: m._put(m._take(m._number("<I"))),
    ord("C"): lambda m: m._put(m._take(m._number("<B"))),
    0x8E: lambda m: m._put(m._take(m._number("<Q"))),
    # containers
    ord("]"): lambda m: m._put([]),
    ord("l"): lambda m: m._put(m._pop_to_mark()),
    ord("a"): PickleMachine._append,
    ord("e"): PickleMachine._extend,
    ord("}"): lambda m: m._put({}),
    ord("d"): PickleMachine._new_dict,
    ord("s"): PickleMachine._set_item,
    ord("u"): PickleMachine._set_marked,
    ord(")"): lambda m: m._put(()),
    ord("t"): lambda m: m._put(tuple(m._pop_to_mark())),
    0x85: lambda m: m._tuple(1),
    0x86: lambda m: m._tuple(2),
    0x87: lambda m: m._tuple(3),
    # memo
    ord("p"): lambda m: m._remember(int(m._line())),
    ord("q"): lambda m: m._remember(m._number("<B")),
    ord("r"): lambda m: m._remember(m._number("<I")),
    0x94: lambda m: m._remember(len(m.memo)),
    ord("g"): lambda m: m._recall(int(m._line())),
    ord("h"): lambda m: m._recall(m._number("<B")),
    ord("j"): lambda m: m._recall(m._number("<I")),
    # names, calls of the few, storages
    ord("c"): lambda m: m._name(m._line(), m._line()),
    0x93: PickleMachine._stack_name,
    ord("R"): PickleMachine._call,
    ord("b"): PickleMachine._build,
    ord("Q"): PickleMachine._persistent,
}
REFUSED = {
    ord("i"): "INST (makes an object)",
    ord("o"): "OBJ (makes an object)",
    0x81: "NEWOBJ (makes an object)",
    0x92: "NEWOBJ_EX (makes an object)",
    0x82: "EXT1 (a registered extension)",
    0x83: "EXT2 (a registered extension)",
    0x84: "EXT4 (a registered extension)",
    ord("P"): "PERSID (a text reference)",
    ord("S"): "STRING (Python source of a string)",
    0x8F: "EMPTY_SET",
    0x90: "ADDITEMS",
    0x91: "FROZENSET",
    0x96: "BYTEARRAY8",
    0x97: "NEXT_BUFFER",
    0x98: "READONLY_BUFFER",
}
