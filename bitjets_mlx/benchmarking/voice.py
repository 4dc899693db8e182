"""`benchmark voice`: a voice of this project beside other speech synthesis that is installed here.

Rounds: every contender in turn, each in a fresh process, `rounds` times over; what counts is the median.
"""

import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bitjets_mlx.benchmarking import contenders
from bitjets_mlx.benchmarking.contenders import Contender, program
from bitjets_mlx.benchmarking.cost import acoustic_operations, vocoder_operations
from bitjets_mlx.benchmarking.machine import describe_machine, peak_gflops
from bitjets_mlx.config import AcousticConfig, HarmonicConfig
from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.evaluation.packages import lacking
from bitjets_mlx.native.processor import cpu_cores
from bitjets_mlx.voice import load_voice
from bitjets_mlx.voice.voice_config import VOCODER_FILE, VoiceConfig, read_config

FIRST = 1  # the text of about five seconds is the one that is spoken first
TEXTS = (
    "Good morning to you.",
    "The quick brown fox jumps over the lazy dog, and runs into the deep forest.",
    "The old harbour lay quiet in the grey light before dawn. A single fishing boat rocked against the wall, and its "
    "ropes creaked with every slow wave. Nobody had painted it for years, so that its name could hardly be read. From "
    "the hill above the town came the sound of a bell, thin and far away. An old man walked down the steps with a "
    "basket on his arm. He looked at the sky, nodded to himself, and began to untie the rope. By noon he would be home "
    "again, with enough fish for the whole street.",
)
LENGTHS = ("1 s", "5 s", "30 s")


@dataclass(frozen=True)
class Plan:
    """What to measure. `hifigan` and `piper` may be None."""

    voice: Path
    speaker: str | None
    hifigan: Path | None
    piper: Path | None
    rounds: int
    repeat: int


def benchmark_voice(plan: Plan, say: Callable[[str], None]) -> dict[str, Any]:
    """Everything that `table` prints; `say` gets a line for what is going on."""
    with tempfile.TemporaryDirectory() as folder:
        entrants = _entrants(plan, Path(folder))
        found: dict[str, list[dict[str, Any]]] = {entrant.name: [] for entrant in entrants}
        for number in range(plan.rounds):
            for entrant in entrants:
                if not entrant.missing:
                    say(f"round {number + 1} of {plan.rounds}: {entrant.name}")
                    found[entrant.name].append(contenders.run(entrant, list(TEXTS), FIRST, plan.repeat))
        rows = [_row(entrant, found[entrant.name]) for entrant in entrants]
    peak = peak_gflops()
    report = {"machine": describe_machine(), "peak_gflops": peak, "voice": str(plan.voice), "rows": rows}
    return report | {"operations": _operations(plan, rows, peak)}


def _entrants(plan: Plan, scratch: Path) -> list[Contender]:
    """All contenders, whether they are here or not; this project's own first."""
    config = read_config(plan.voice)
    if not config.speakers:
        raise BitjetsError(f"{plan.voice} holds a vocoder and no voice: give a voice folder, such as weights/duo.")
    speaker = plan.speaker or config.speakers[0]
    if speaker not in config.speakers:
        raise BitjetsError(f"there is no speaker {speaker!r} in this voice: take {' or '.join(config.speakers)}.")
    entrants = []
    for vocoder, label in ((plan.voice, "its vocoder"), (plan.hifigan, "HiFi-GAN")):
        if vocoder is None:
            entrants.append(Contender("bitjets_mlx, HiFi-GAN", missing="no --hifigan FOLDER was given"))
            entrants.append(Contender("PyTorch twin, HiFi-GAN", missing="no --hifigan FOLDER was given"))
            continue
        entrants.append(_ours(plan, vocoder, label, speaker))
        entrants.append(_twin(plan, vocoder, label, config.speakers.index(speaker), scratch))
    entrants.append(_jets(plan))
    entrants.append(program("espeak-ng", "apt install espeak-ng", ("espeak-ng", "--stdout")))
    entrants.append(program("flite", "apt install flite", ("flite", "-o", "/dev/stdout", "-t")))
    entrants.append(_piper(plan))
    return entrants


def _ours(plan: Plan, vocoder: Path, label: str, speaker: str) -> Contender:
    job = {"voice": str(plan.voice.absolute()), "vocoder": str(vocoder.absolute()), "speaker": speaker}
    return Contender(f"bitjets_mlx, {label}", "bitjets", job=job, bytes=_voice_bytes(plan.voice, vocoder))


def _voice_bytes(voice: Path, vocoder: Path) -> int:
    """The voice folder's files, with the vocoder of another folder in place of its own."""
    files = [path for path in voice.iterdir() if path.is_file()]
    if vocoder != voice:
        files = [path for path in files if path.name != VOCODER_FILE] + [vocoder / VOCODER_FILE]
    return sum(path.stat().st_size for path in files)


def _twin(plan: Plan, vocoder: Path, label: str, speaker: int, scratch: Path) -> Contender:
    name = f"PyTorch twin, {label}"
    if lacking("torch"):
        return Contender(name, missing="torch is not installed (pip install -r requirements-bench.txt)")
    from bitjets_mlx.benchmarking.torch_export import export_for_torch

    export = scratch / label.replace(" ", "_")
    export.mkdir()
    export_for_torch(plan.voice, vocoder, export)
    job = {"export": str(export), "tokens": _tokens(plan.voice), "speaker_number": speaker, "cores": cpu_cores()}
    return Contender(name, "torch", job=job, bytes=(export / "weights.npz").stat().st_size)


def _tokens(voice: Path) -> list[list[list[int]]]:
    """Numbers of the symbols of every sentence of every text."""
    loaded = load_voice(voice)
    index = {symbol: number for number, symbol in enumerate(loaded.config.symbols)}
    spoken = loaded.config.substitutes
    return [
        [[index[spoken.get(symbol, symbol)] for symbol in sentence] for sentence in loaded.sentences(text)]
        for text in TEXTS
    ]


def _jets(plan: Plan) -> Contender:
    name = "ESPnet JETS, random weights"
    missing = lacking("torch", "espnet2")
    if missing:
        return Contender(name, missing=f"not installed (pip install espnet): {', '.join(missing)}")
    job = {"tokens": _tokens(plan.voice), "symbols": len(read_config(plan.voice).symbols), "cores": cpu_cores()}
    return Contender(name, "jets", job=job)


def _piper(plan: Plan) -> Contender:
    if plan.piper is None:
        return Contender("Piper", missing="no --piper VOICE.onnx was given")
    if lacking("piper"):
        return Contender("Piper", missing="not installed (pip install piper-tts)")
    return Contender("Piper", "piper", job={"piper": str(plan.piper.absolute())}, bytes=plan.piper.stat().st_size)


def _row(entrant: Contender, rounds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    row: dict[str, Any] = {"name": entrant.name}
    if entrant.missing:
        return row | {"missing": entrant.missing}

    def median(pick: Callable[[dict[str, Any]], float | None]) -> float | None:
        values = [value for value in map(pick, rounds) if value is not None]
        return statistics.median(values) if values else None

    return row | {
        "cold_seconds": median(lambda one: one["cold"]),
        "warm_seconds": median(lambda one: one["texts"][FIRST]["first"]),
        "rtf": [median(lambda one, i=i: one["texts"][i]["rtf"]) for i in range(len(TEXTS))],  # type: ignore[misc]
        "audio_seconds": [rounds[0]["texts"][i]["audio_seconds"] for i in range(len(TEXTS))],
        "parts": {part: median(lambda one, part=part: one["parts"][part]) for part in rounds[0]["parts"]},  # type: ignore[misc]
        "processor": {name: median(lambda one, name=name: one["processor"][name]) for name in rounds[0]["processor"]},  # type: ignore[misc]
        "memory_mb": (median(lambda one: one["memory"]) or 0.0) / 1e6,
        "disk_mb": (entrant.bytes or rounds[0]["weight_bytes"]) / 1e6,
    }


def _operations(plan: Plan, rows: Sequence[dict[str, Any]], peak: float) -> list[dict[str, Any]]:
    """Of this project's parts, per second of speech: operations, processor seconds, share of a core's peak."""
    config = read_config(plan.voice)
    by_name = {row["name"]: row for row in rows}
    own, other = by_name["bitjets_mlx, its vocoder"], by_name["bitjets_mlx, HiFi-GAN"]
    found = []
    if isinstance(config.acoustic, AcousticConfig):
        frames, tokens = round(own["audio_seconds"][FIRST] * 22050 / 256), sum(map(len, _tokens(plan.voice)[FIRST]))
        count = acoustic_operations(config.acoustic, tokens, frames)
        found.append(("acoustic model", count, own["processor"]["acoustic"]))
    for folder, row in ((plan.voice, own), (plan.hifigan, other)):
        if folder is not None:
            found.append((_vocoder_name(read_config(folder)), _vocoder_operations(folder), row["processor"]["vocoder"]))
    return [
        {"part": name, "gflop": count / 1e9, "processor_seconds": taken, "share": count / 1e9 / taken / peak}
        for name, count, taken in found
    ]


def _vocoder_name(config: VoiceConfig) -> str:
    return "harmonic vocoder" if isinstance(config.vocoder, HarmonicConfig) else "HiFi-GAN"


def _vocoder_operations(folder: Path) -> float:
    config = read_config(folder).vocoder
    assert config is not None
    return vocoder_operations(config)


def table(report: dict[str, Any]) -> str:
    """The report as text."""
    width = max(len(row["name"]) for row in report["rows"])
    lines = [
        report["machine"],
        "",
        f"{'':{width}}  first audio, s      real-time factor                 of it            peak  voice",
        f"{'':{width}}    cold   warm  "
        + " ".join(f"{length:>7}" for length in LENGTHS)
        + "   acoustic vocoder      MB     MB",
    ]
    for row in report["rows"]:
        if "missing" in row:
            lines.append(f"{row['name']:{width}}  {row['missing']}")
            continue
        parts = [_cell(row["parts"].get(part), 8, 4) for part in ("acoustic", "vocoder")]
        lines.append(
            f"{row['name']:{width}}  {_cell(row['cold_seconds'], 6, 2)} {_cell(row['warm_seconds'], 6, 3)}  "
            + " ".join(_cell(rtf, 7, 4) for rtf in row["rtf"])
            + f"   {parts[0]} {parts[1]} {row['memory_mb']:7.0f} {row['disk_mb']:6.1f}"
        )
    lines += ["", f"a core's peak (sgemm): {report['peak_gflops']:.0f} GFLOP per second of processor time"]
    lines += [
        f"  {part['part']:17} {part['gflop']:6.2f} GFLOP per second of speech, in {part['processor_seconds']:.4f} s of "
        f"processor time: {100 * part['share']:.0f} % of the peak"
        for part in report["operations"]
    ]
    return "\n".join(lines)


def _cell(value: float | None, width: int, digits: int) -> str:
    return f"{'-':>{width}}" if value is None else f"{value:{width}.{digits}f}"


def plot(report: dict[str, Any], path: Path) -> None:
    """Bars of what the table says, an image file."""
    from bitjets_mlx.benchmarking.plot import draw_bars

    rows = [row for row in report["rows"] if "missing" not in row]
    draw_bars(
        path,
        [row["name"] for row in rows],
        {
            "first audio, cold process (s)": [row["cold_seconds"] for row in rows],
            "real-time factor, 5 s of speech": [row["rtf"][FIRST] for row in rows],
            "peak memory (MB)": [row["memory_mb"] for row in rows],
            "voice on disk (MB)": [row["disk_mb"] for row in rows],
        },
        report["machine"],
    )
