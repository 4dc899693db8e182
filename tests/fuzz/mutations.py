"""What every generator builds on: damaged bytes, numbers at the edges, JSON with a value of another kind in it."""

import json
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np

Random = np.random.Generator
T = TypeVar("T")

NUMBERS: list[Any] = [0, -1, 1, 2, 7, 255, 256, 65_536, 2**31 - 1, 2**31, 2**32, 2**62, 2**63, 2**64, 10**30, -(2**63)]
NUMBERS += [0.5, -0.0, 1e-320, 1e38, 1e308, -1e308, float("nan"), float("inf"), -float("inf"), True, False]
TEXTS = [
    "",
    " ",
    "\0",
    "\n",
    "a\nb",
    "x" * 3000,
    "..",
    "../../etc/passwd",
    "/",
    "é",
    "\ud7ff",
    "🙂",
    "%s%n",
    "{}",
    "-1",
]
NAMES = ["acoustic.safetensors", "kind", "harmonic", "hifigan", "bitjets", "anna", "HH", "rms", "1", "none", "mel"]


def pick(random: Random, options: Sequence[T]) -> T:
    """One of them."""
    return options[int(random.integers(len(options)))]


def damaged(data: bytes, random: Random) -> bytes:
    """Flipped bits, replaced, repeated and removed pieces, a cut."""
    raw = bytearray(data)
    for _ in range(int(random.integers(1, 5))):
        if len(raw) < 2:
            break
        place, kind = int(random.integers(len(raw))), int(random.integers(6))
        if kind <= 1:
            raw[place] ^= 1 << int(random.integers(8))
        elif kind == 2:
            raw[place] = int(random.integers(256))
        elif kind == 3:
            edge = pick(random, [b"\xff\xff\xff\x7f", b"\xff\xff\xff\xff", b"\0\0\0\x80", b"\0\0\0\0", b"\xff" * 8])
            raw[place : place + len(edge)] = edge
        elif kind == 4:
            raw[place:place] = raw[place : place + int(random.integers(1, 40))]
        else:
            del raw[place : place + int(random.integers(1, 60))]
    return bytes(raw[: int(random.integers(len(raw) + 1))] if random.random() < 0.1 else raw)


def any_value(random: Random, depth: int = 3) -> Any:
    """Any JSON value."""
    kind = int(random.integers(8))
    if kind < 3 or depth == 0:
        return pick(random, NUMBERS)
    if kind == 3:
        return pick(random, [*TEXTS, *NAMES])
    if kind == 4:
        return None
    if kind == 5:
        return [any_value(random, depth - 1) for _ in range(int(random.integers(5)))]
    if kind == 6:
        return {pick(random, [*NAMES, "a"]): any_value(random, depth - 1) for _ in range(int(random.integers(4)))}
    value: Any = 1
    for _ in range(pick(random, [2, 20, 60, 300])):
        value = [value]
    return value


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths to everything in a JSON value; of long lists the first few, of deep ones the upper part."""
    found = [path] if path else []
    if len(path) > 20:
        return found
    items: Any = value.items() if isinstance(value, dict) else enumerate(value[:4]) if isinstance(value, list) else ()
    for name, inner in items:
        found += places(inner, (*path, name))
    return found


def changed_json(value: Any, random: Random) -> Any:
    """A copy with one to three entries replaced, removed, renamed, added, repeated or exchanged."""
    value = json.loads(json.dumps(value))
    for _ in range(int(random.integers(1, 4))):
        known = places(value)
        if not known:
            return any_value(random)
        *path, last = pick(random, known)
        parent = value
        for name in path:
            parent = parent[name]
        kind = int(random.integers(10))
        if kind < 4:
            parent[last] = any_value(random)
        elif kind < 6 and isinstance(parent[last], int | float):
            near = [parent[last] + 1, parent[last] - 1, parent[last] * 2, -parent[last], parent[last] * 1000]
            parent[last] = pick(random, near)
        elif kind == 6:
            del parent[last]
        elif kind == 7 and isinstance(parent, dict):
            parent[pick(random, [*NAMES, *TEXTS])] = parent[last]
        elif kind == 8 and isinstance(parent[last], list):
            parent[last] = parent[last] * pick(random, [0, 2, 3, 50])
        else:
            *other, end = pick(random, known)
            source = value
            for name in other:
                source = source[name] if isinstance(source, dict | list) and _has(source, name) else {}
            if isinstance(source, dict | list) and _has(source, end):
                parent[last] = json.loads(json.dumps(source[end]))
    return value


def _has(holder: Any, name: Any) -> bool:
    return name in holder if isinstance(holder, dict) else isinstance(name, int) and name < len(holder)


def as_json(value: Any, random: Random) -> bytes:
    """JSON, now and then damaged, deep, or with a number of very many digits."""
    text = json.dumps(value)
    kind = int(random.integers(30))
    if kind == 0:
        return damaged(text.encode(), random)
    if kind == 1:
        return b"[" * int(random.integers(1, 100_000))
    if kind == 2:
        return text.replace("1", "1" * int(random.integers(1, 6000)), 1).encode()
    return text.encode()


def text_of(random: Random, pieces: Sequence[str], most: int = 12) -> str:
    """Pieces in a row, some many times over."""
    return "".join(
        pick(random, pieces) * pick(random, [1, 1, 1, 1, 2, 3, 40]) for _ in range(int(random.integers(most)))
    )
