"""Dataclasses whose fields are held to their annotations, and which go to JSON and back.

    @dataclass(frozen=True)
    class Model(Checked):
        KIND: ClassVar[str] = "model"  # "kind" in JSON, where a field may be one of several dataclasses
        width: Annotated[int, Range(1, 4096)] = 256
        norm: Literal["rms", "layer"] = "rms"

`Model(width="wide")` and `from_json(Model, {"width": 10**9})` raise BitjetsError before anything is built. Annotations
may be bool, int, float, str, Any, Literal, tuples, dictionaries, other dataclasses, and unions of them.
"""

import dataclasses
import functools
import math
import reprlib
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from bitjets_mlx.errors import BitjetsError

T = TypeVar("T")
Reader = Callable[[Any, str], Any]  # JSON and its file in, the field's value out; ValueError says what it must be

NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


@dataclass(frozen=True)
class Range:
    """Limits of a number, both included."""

    low: float
    high: float


@dataclass(frozen=True)
class Length:
    """The most entries of a tuple, or characters of a text."""

    most: int


class Contradiction(BitjetsError):
    """Fields that are good one by one and do not go together."""


class Checked:
    """Base of dataclasses that refuse what their annotations do not allow, however they are made."""

    KIND: ClassVar[str] = ""

    def __post_init__(self) -> None:
        for name, reader in _readers(type(self)).items():  # type: ignore[arg-type]
            _checked(reader, getattr(self, name), f"{type(self).__name__}.{name}", "")
        if contradiction := self.contradiction():
            raise Contradiction(f"{type(self).__name__} contradicts itself: {contradiction}.")

    def contradiction(self) -> str:
        """What in the fields does not go together, which no annotation can say; nothing where all is well."""
        return ""

    @classmethod
    def upgraded(cls, values: dict[str, Any]) -> dict[str, Any]:
        """JSON that an older version wrote, as this one would have written it."""
        return values


def to_json(config: Any) -> Any:
    """A dataclass as plain JSON types, with its `kind` where it has one."""
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        kind = getattr(config, "KIND", "")
        fields = {field.name: to_json(getattr(config, field.name)) for field in dataclasses.fields(config)}
        return {"kind": kind} | fields if kind else fields
    if isinstance(config, list | tuple):
        return type(config)(to_json(item) for item in config)
    if isinstance(config, Mapping):
        return {name: to_json(value) for name, value in config.items()}
    return config


def from_json(kind: type[T], values: Any, where: str = "config.json") -> T:
    """The dataclass `kind` from JSON; BitjetsError where a key is missing, unknown, or not as annotated."""
    if not isinstance(values, dict):
        raise BitjetsError(f"{kind.__name__} in {where} must be an object: the file is damaged, fetch it again.")
    if getattr(kind, "KIND", ""):
        values = {name: value for name, value in values.items() if name != "kind"}
    values = getattr(kind, "upgraded", dict)(values)
    readers: dict[str, Reader] = _readers(kind)  # type: ignore[arg-type]
    optional = {field.name for field in dataclasses.fields(kind) if _has_default(field)}  # type: ignore[arg-type]
    unknown, missing = sorted(set(values) - set(readers)), sorted(set(readers) - set(values) - optional)
    if unknown or missing:
        raise BitjetsError(
            f"{kind.__name__} in {where} has unknown keys {reprlib.repr(unknown)} and lacks {missing}: "
            "it is from another version of bitjets_mlx, or damaged."
        )
    read = {}
    for name, value in values.items():
        read[name] = _checked(readers[name], value, f"{where}: {kind.__name__}.{name}", where)
    try:
        return kind(**read)
    except Contradiction as error:
        raise BitjetsError(f"{where}: {error}") from None


def _checked(reader: Reader, value: Any, name: str, file: str) -> Any:
    try:
        return reader(value, file)
    except ValueError as error:
        fix = ": it is damaged or from another version" if file else ""
        raise BitjetsError(f"{name} is {reprlib.repr(value)}, and must be {error}{fix}.") from None


def _has_default(field: Any) -> bool:
    return field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING


# -- one reader for every annotation -------------------------------------------------------------------------------


@functools.cache
def _readers(kind: Any) -> dict[str, Reader]:
    """The reader of each field."""
    hints = get_type_hints(kind, include_extras=True)
    return {field.name: _reader(hints[field.name]) for field in dataclasses.fields(kind)}


@functools.cache
def _reader(hint: Any) -> Reader:
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return lambda value, file: value
    if origin is Annotated:
        return _limited(_reader(arguments[0]), arguments[1])
    if origin is Literal:
        return _choice(arguments)
    if origin in (Union, types.UnionType):
        return _union(arguments)
    if origin is tuple:
        return _tuple(arguments)
    if origin is dict:
        return _dictionary(_reader(arguments[0]), _reader(arguments[1]))
    if dataclasses.is_dataclass(hint):
        return _dataclass(hint)
    return _plain(hint)


def _dataclass(kind: Any) -> Reader:
    return lambda value, file: value if isinstance(value, kind) else from_json(kind, value, file)


def _plain(kind: Any) -> Reader:
    wanted = NAMES[kind]

    def read(value: Any, file: str) -> Any:
        if type(value) is not kind and not (kind is float and type(value) is int):
            raise ValueError(wanted)
        if kind is float and not math.isfinite(value):
            raise ValueError("a finite number")
        return value

    return read


def _limited(reader: Reader, limit: Range | Length) -> Reader:
    if isinstance(limit, Length):
        wanted = f"no longer than {limit.most:,}"

        def read(value: Any, file: str) -> Any:
            if isinstance(value, list | tuple | str) and len(value) > limit.most:
                raise ValueError(wanted)
            return reader(value, file)

        return read
    wanted = f"from {limit.low:,g} to {limit.high:,g}"

    def read_number(value: Any, file: str) -> Any:
        number = reader(value, file)
        if not limit.low <= number <= limit.high:
            raise ValueError(wanted)
        return number

    return read_number


def _choice(choices: tuple[Any, ...]) -> Reader:
    wanted = " or ".join(map(str, choices))

    def read(value: Any, file: str) -> Any:
        if not any(type(value) is type(choice) and value == choice for choice in choices):
            raise ValueError(wanted)
        return value

    return read


def _union(arguments: tuple[Any, ...]) -> Reader:
    """None where that is allowed; of several dataclasses the one that `kind` names, the first where nothing does."""
    others = [argument for argument in arguments if argument is not type(None)]
    readers = [_reader(other) for other in others]
    kinds = {other.KIND: reader for other, reader in zip(others, readers, strict=True) if hasattr(other, "KIND")}

    def read(value: Any, file: str) -> Any:
        if value is None and len(others) < len(arguments):
            return None
        if isinstance(value, dict) and kinds and "kind" in value:
            if not isinstance(value["kind"], str) or value["kind"] not in kinds:
                raise ValueError(f"of kind {' or '.join(kinds)}")
            return kinds[value["kind"]](value, file)
        if dataclasses.is_dataclass(value):
            if not isinstance(value, tuple(other for other in others if isinstance(other, type))):
                raise ValueError(f"of kind {' or '.join(kinds)}")
            return value
        return readers[0](value, file)

    return read


def _tuple(arguments: tuple[Any, ...]) -> Reader:
    """`tuple[X, ...]`, or one annotation for each entry."""
    if arguments[-1] is Ellipsis:
        each = _reader(arguments[0])

        def read(value: Any, file: str) -> tuple[Any, ...]:
            if not isinstance(value, list | tuple):
                raise ValueError("a list")
            return tuple([each(item, file) for item in value])

        return read
    readers = [_reader(argument) for argument in arguments]

    def read_each(value: Any, file: str) -> tuple[Any, ...]:
        if not isinstance(value, list | tuple) or len(value) != len(readers):
            raise ValueError(f"a list of {len(readers)}")
        return tuple([reader(item, file) for reader, item in zip(readers, value, strict=True)])

    return read_each


def _dictionary(key: Reader, each: Reader) -> Reader:
    def read(value: Any, file: str) -> dict[Any, Any]:
        if not isinstance(value, dict):
            raise ValueError("an object")
        return {key(name, file): each(item, file) for name, item in value.items()}

    return read
