"""What training reads: recordings, metadata.csv, lexicons, prepared folders, runs. And texts."""

import io
import json
import shutil
import struct
import tempfile
import warnings
from functools import lru_cache
from pathlib import Path

import numpy as np
import soundfile
from mutations import TEXTS, Random, as_json, changed_json, damaged, pick, text_of
from tiny_voice import ACOUSTIC, acoustic_run, write_data

from bitjets_mlx.audio.files import read_audio
from bitjets_mlx.data.corpus import choose_validation, read_corpus
from bitjets_mlx.data.prepared import PreparedData
from bitjets_mlx.text import phonemize, split_sentences
from bitjets_mlx.text.lexicon import load_lexicon
from bitjets_mlx.text.symbols import PHONEMES
from bitjets_mlx.training.runs import hours, is_run, load_run_config, read_log, run_weights, summary

FORMATS = [
    ("WAV", "PCM_16"),
    ("WAV", "FLOAT"),
    ("WAV", "PCM_24"),
    ("FLAC", "PCM_16"),
    ("OGG", "VORBIS"),
    ("AIFF", "PCM_16"),
]
FORMATS += [("AU", "PCM_16"), ("CAF", "PCM_16"), ("W64", "PCM_16"), ("WAV", "IMA_ADPCM"), ("RF64", "PCM_16")]


def sound(random: Random) -> bytes:
    """A short recording in one of the formats, its header's numbers changed, or damaged."""
    channels, rate = pick(random, [1, 1, 2, 5]), pick(random, [8000, 22050, 44100, 48000, 192_000])
    container, subtype = pick(random, FORMATS)
    if container in ("OGG",):
        channels, rate = min(channels, 2), min(rate, 48_000)
    if subtype == "IMA_ADPCM":
        channels = min(channels, 2)
    buffer = io.BytesIO()
    samples = random.normal(0.0, 0.1, (int(random.integers(0, 3000)), channels)).astype(np.float32)
    if subtype == "FLOAT" and random.random() < 0.3 and len(samples):
        samples[0] = pick(random, [np.nan, np.inf, 1e30])
    soundfile.write(buffer, samples, rate, format=container, subtype=subtype)
    raw = bytearray(buffer.getvalue())
    if random.random() < 0.5:
        return damaged(bytes(raw), random)
    for _ in range(int(random.integers(0, 3))):  # numbers of the header
        place = int(random.integers(4, min(len(raw), 60) - 3))
        struct.pack_into(pick(random, ["<I", ">I"]), raw, place, pick(random, [0, 1, 2**31, 2**32 - 1, 2**24, 65_535]))
    return bytes(raw)


def metadata(random: Random) -> bytes:
    """metadata.csv."""
    ids = [
        "u0",
        "u1",
        "u2",
        "wavs/u0.wav",
        "sub/u 1",
        "../u0",
        "U0",
        "é" * 90,
        "x" * 200,
        "..",
        ".",
        "/u0",
        "",
        "u0.WAV",
        "\0",
    ]
    texts = ["Hello.", "", "One 2 three.", "é", "\u2028", '"quoted', "a|b", "…", "\x85", "{HH}", "%", "7" * 300]
    breaks = ["\n", "\r\n", "\n\n", "\r", "\x0b", "\x1e"]
    lines = [
        pick(random, ids)
        + pick(random, ["|", "|", "|", "|", ",", "||", "\t", ""])
        + pick(random, texts)
        + pick(random, breaks)
        for _ in range(int(random.integers(0, 12)))
    ]
    data = pick(random, ["", "", "\ufeff"]).encode() + "".join(lines).encode()
    return damaged(data, random) if random.random() < 0.3 else data


def read_metadata(path: Path) -> None:
    """A corpus of this metadata and three recordings."""
    folder = path.with_name("corpus")
    (folder / "wavs" / "sub").mkdir(parents=True)
    shutil.copy(path, folder / "metadata.csv")
    for name in ("u0.wav", "u1.flac", "sub/u 1.wav"):
        soundfile.write(folder / "wavs" / name, np.zeros(400), 22050)
    for utterance in (found := read_corpus("anna", folder)):
        assert folder in utterance.path.parents and ".." not in utterance.path.parts, utterance
    choose_validation(found, None)


def lexicon(random: Random) -> bytes:
    """A lexicon."""
    pieces = [
        *PHONEMES[:6],
        "hello",
        "HELLO",
        "#",
        " ",
        " ",
        " ",
        "\n",
        "\n",
        "\t",
        "é",
        "\0",
        "\x85",
        "hh",
        "x" * 2000,
        "\r",
    ]
    data = text_of(random, pieces, 40).encode()
    return damaged(data, random) if random.random() < 0.3 and len(data) > 2 else data


def read_lexicon(path: Path) -> None:
    """Read it and speak by it."""
    try_out = load_lexicon(path)
    phonemize("hello HELLO there", try_out)


# -- folders -------------------------------------------------------------------------------------------------------


@lru_cache(1)
def folders() -> tuple[Path, Path]:
    """Prepared data, and a run."""
    folder = Path(tempfile.mkdtemp(prefix="bitjets-fuzz-"))
    return write_data(folder / "prepared"), acoustic_run(folder / "acoustic")


def _one_file(root: Path, names: list[str], random: Random) -> bytes:
    """One file of a folder, changed: its name, a line feed, what it now holds."""
    name = pick(random, names)
    data = (root / name).read_bytes()
    if name.endswith(".jsonl"):
        lines = data.decode().splitlines()
        index = int(random.integers(len(lines)))
        lines[index] = as_json(changed_json(json.loads(lines[index]), random), random).decode(errors="replace")
        data = "\n".join(lines).encode()
    elif name.endswith(".json"):
        data = as_json(changed_json(json.loads(data), random), random)
    else:
        data = damaged(data, random)
    return name.encode() + b"\n" + data


def _with_file(root: Path, folder: Path, path: Path) -> Path:
    """A copy of a folder with that one file in it."""
    shutil.copytree(root, folder)
    name, _, data = path.read_bytes().partition(b"\n")
    known = {file.relative_to(root).as_posix().encode(): file for file in root.rglob("*") if file.is_file()}
    if name in known:  # not so in the shrinking of a failure
        (folder / known[name].relative_to(root)).write_bytes(data)
    return folder


def prepared(random: Random) -> bytes:
    """manifest.json, clips.jsonl or the features of one clip."""
    return _one_file(folders()[0], ["manifest.json", "clips.jsonl", "clips.jsonl", "anna1.npz"], random)


def read_prepared(path: Path) -> None:
    """Open it, and read every clip."""
    data = PreparedData(_with_file(folders()[0], path.with_name("prepared"), path))
    for clip in data.split("all"):
        assert not Path(clip.features).is_absolute() and ".." not in Path(clip.features).parts
        data.encode(clip.phonemes)
        data.load(clip)


def run(random: Random) -> bytes:
    """config.json, the log, or the checkpoint of a run."""
    checkpoint = "checkpoints/step_00000040/"
    names = ["config.json", "config.json", "log.jsonl", checkpoint + "meta.json", checkpoint + "ema.safetensors"]
    return _one_file(folders()[1], names, random)


def read_run(path: Path) -> None:
    """All that `pack`, `report` and `train --resume` read of it."""
    folder = _with_file(folders()[1], path.with_name("run"), path)
    is_run(folder)
    read_log(folder)
    hours(folder, 40)
    config = load_run_config(folder)
    if config.stage in ("acoustic", "joint"):
        summary(config, "acoustic")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run_weights(folder)


# -- text ----------------------------------------------------------------------------------------------------------

WORDS = ["Hello", "the", "live", "NAACP", "IV", "Dr.", "St", "read", "can't", "Müller", "x", "I", "km", "°C", "№", "½"]
MARKS = [
    " ",
    " ",
    " ",
    ".",
    ",",
    "!",
    "?",
    "\n",
    "\n\n",
    "-",
    "–",
    "—",
    "/",
    "'",
    '"',
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    "<",
    ">",
    "&",
]
MARKS += [
    "&amp;",
    "*",
    "#",
    "$",
    "€",
    "%",
    "@",
    "…",
    ":",
    ";",
    "^",
    "_",
    "`",
    "|",
    "~",
    "\\",
    "\t",
    "\u200b",
    "\u0301",
    "\ufeff",
]
MARKS += [
    "日本",
    "🙂",
    "٣",
    "²",
    "\x00",
    "\x1b[31m",
    "{HH AH0}",
    "http://a.b/c?d=e",
    "a@b.cd",
    "<script>",
    "-->",
    "![x](y)",
]
FIGURES = [
    "0",
    "1",
    "12",
    "1999",
    "007",
    "3.14",
    "1,000",
    "1st",
    "2nd",
    "10:30",
    "5'11\"",
    "1/2",
    "$5.99",
    "1e10",
    "9" * 40,
    "+44",
    "-7",
    "2024-02-30",
]


def words(random: Random) -> bytes:
    """Text of words, figures and marks in any order."""
    return text_of(random, [*WORDS, *MARKS, *MARKS, *FIGURES, *TEXTS], 30).encode(errors="replace")


def speak_words(path: Path) -> None:
    """Sentences and phonemes."""
    for sentence in split_sentences(path.read_bytes().decode(errors="replace")):
        phonemize(sentence)


def read_sound(path: Path) -> None:
    """Samples that are numbers."""
    assert np.isfinite(read_audio(path)).all()


assert ACOUSTIC.speakers == 2  # `folders` have both
