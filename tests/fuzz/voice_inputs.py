"""Voice folders: config.json, weight files (safetensors), and what is asked of the Python API."""

import ast
import hashlib
import json
import struct
import tempfile
import warnings
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from mutations import NUMBERS, TEXTS, Random, any_value, as_json, changed_json, damaged, pick
from tiny_voice import HIFIGAN, tiny_voice

from bitjets_mlx import load_voice
from bitjets_mlx.voice.prediction import Style
from bitjets_mlx.voice.weights_file import read_weights

SPOKEN = ["HH", "AH0", "L", "OW1"]


@lru_cache(1)
def voices() -> tuple[Path, Path]:
    """Two voices that are whole: one with the harmonic vocoder, one with HiFi-GAN."""
    folder = Path(tempfile.mkdtemp(prefix="bitjets-fuzz-"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return tiny_voice(folder / "harmonic"), tiny_voice(folder / "hifigan", HIFIGAN)


def config(random: Random) -> bytes:
    """config.json of one of the two."""
    values = json.loads((pick(random, voices()) / "config.json").read_text())
    return as_json(changed_json(values, random), random)


def load_config(path: Path) -> None:
    """Load a voice that has this config.json, and speak."""
    hifigan = b'"hifigan"' in path.read_bytes()
    folder = _copy(voices()[hifigan], path.with_name("voice"))
    (folder / "config.json").write_bytes(path.read_bytes())
    _load_and_speak(folder)


def weights(random: Random) -> bytes:
    """A weight file: header and data, changed in structure or damaged."""
    data = (voices()[0] / pick(random, ["acoustic.safetensors", "vocoder.safetensors"])).read_bytes()
    if random.random() < 0.3:
        return damaged(data, random)
    size = int.from_bytes(data[:8], "little")
    header, body = json.loads(data[8 : 8 + size]), data[8 + size :]
    kind = int(random.integers(5))
    if kind == 0:
        body = damaged(body, random)
    elif kind == 1:  # numbers at the edges, where floats are
        numbers = np.frombuffer(body[: len(body) // 2 * 2], np.float16).copy()
        numbers[random.integers(len(numbers), size=3)] = pick(random, [np.nan, np.inf, 65504.0, -65504.0, 6e-8])
        body = numbers.tobytes()
    elif kind == 2:  # another shape of the same size
        entry = header[pick(random, sorted(header))]
        entry["shape"] = pick(
            random, [entry["shape"][::-1], [*entry["shape"], 1], [1, *entry["shape"]], [int(np.prod(entry["shape"]))]]
        )
    elif kind == 3:
        entry = header[pick(random, sorted(header))]
        entry["dtype"] = pick(random, ["F32", "F16", "BF16", "I8", "U8", "BOOL", "I16", "F8", 3, None])
    else:
        header = changed_json(header, random)
    text = as_json(header, random)
    length = pick(random, [len(text)] * 12 + [0, 2**62, 2**64 - 1, len(text) + 1])
    return struct.pack("<Q", length) + text + body


def load_weights(path: Path) -> None:
    """Read it, then speak with a voice that has it and says so."""
    data = path.read_bytes()
    folder = _copy(voices()[0], path.with_name("voice"))
    name = (
        "vocoder.safetensors" if b"step" in data[:20_000] and b"trits" not in data[:20_000] else "acoustic.safetensors"
    )
    (folder / name).write_bytes(data)
    values = json.loads((folder / "config.json").read_text())
    values["files"][name] = hashlib.sha256(data).hexdigest()
    (folder / "config.json").write_text(json.dumps(values))
    read_weights(folder / name)
    _load_and_speak(folder)


def _copy(source: Path, folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    for file in source.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


def _load_and_speak(folder: Path) -> None:
    samples = load_voice(folder).speak(phonemes=SPOKEN, speed=1.2, pitch=1.0)
    assert samples.dtype == np.float32 and samples.ndim == 1


# -- the API -------------------------------------------------------------------------------------------------------


@lru_cache(1)
def _voice() -> Any:
    return load_voice(voices()[0])


def arguments(random: Random) -> bytes:
    """A Python literal: (which call, its arguments)."""
    name = pick(random, ["speak", "speak", "stream", "predict", "load_voice", "load_vocoder", "Style", "sentences"])
    usual: dict[str, Any] = {"text": "Hello there.", "speaker": "anna", "phonemes": SPOKEN, "speed": 1.0, "pitch": 0.0}
    usual |= {"energy": 1.0, "seed": 0, "lexicon": {"hello": ("HH", "AH0")}}
    wanted = {
        "stream": ["text", "speaker", "lexicon"],
        "load_voice": ["folder", "vocoder"],
        "load_vocoder": ["folder"],
        "Style": ["speed", "pitch", "energy", "seed"],
        "sentences": ["text", "lexicon"],
        "predict": [key for key in usual if key != "seed"],
    }.get(name, list(usual))
    given = {}
    for key in wanted:
        chance = random.random()
        if chance < 0.3 or (key in ("text", "folder") and chance < 0.6 and name not in ("speak", "predict")):
            given[key] = _literal(random)
        elif chance < 0.6 and key in usual:
            given[key] = usual[key]
    return repr((name, given)).encode()


def _literal(random: Random) -> Any:
    """A value of any kind that Python's own notation has."""
    kind = int(random.integers(7))
    if kind == 0:
        return pick(random, NUMBERS)
    if kind == 1:
        return pick(random, TEXTS)
    if kind == 2:
        return pick(random, [b"", b"HH", b"\xff", 1j, (), [], {}, {"a"}, None])
    if kind == 3:
        return [pick(random, [*SPOKEN, *TEXTS, 1, None]) for _ in range(int(random.integers(1, 6)))]
    if kind == 4:
        key = pick(random, ["hello", "", "there", 3, None])
        return {key: pick(random, [("HH",), ["ZZ"], "HH", 5, None, (), [[]], ("HH", 5)])}
    if kind == 5:
        return pick(random, ["anna", "BEN", "Hello.", "1" * 5000, "{HH}", "[" * 500, "1/2 " * 50])
    return any_value(random, 2)


def call(path: Path) -> None:
    """Make that call."""
    text = path.read_text().replace("nan", "None").replace("-inf", "-1e999").replace(" inf", " 1e999")
    try:
        name, given = ast.literal_eval(text)
    except (SyntaxError, ValueError, MemoryError, RecursionError):  # in the shrinking of a failure
        return
    calls: dict[str, Callable[..., Any]] = {
        "speak": lambda **given: _voice().speak(**given),
        "stream": lambda **given: list(_voice().stream(**{"text": "", **given})),
        "predict": lambda **given: _voice().predict(**given),
        "sentences": lambda **given: _voice().sentences(**{"text": "", **given}),
        "load_voice": load_voice,
        "load_vocoder": lambda **given: __import__("bitjets_mlx").load_vocoder(**{"folder": "", **given}),
        "Style": Style,
    }
    if name in calls and isinstance(given, dict):
        calls[name](**given)
