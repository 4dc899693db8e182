"""SIGKILL at random moments, and inside every rename: nothing is lost, and the next start mends it.

    python tests/fuzz/kill.py N [--seed S]

N kills in turn of generate, pack, convert, prepare, and of trainings of the three stages. After each kill the output
must be what it was before or what it becomes; run again, a command must end as one that nobody killed: the same bytes.
"""

import argparse
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile
from test_kill import OPTIONS, kill_once, saved
from tiny_training import assert_same_trees, begin_run, quick_environment, run_train, sound, tiny_data
from tiny_voice import acoustic_run, tiny_voice, vocoder_run

from bitjets_mlx.audio.files import read_audio
from bitjets_mlx.data.prepared import PreparedData
from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.folders import recover
from bitjets_mlx.training.checkpoints import load_checkpoint
from bitjets_mlx.voice import load_voice

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CHECKPOINT = ROOT / "tests" / "data" / "torch" / "bitjets_late.pth"
Tree = dict[str, str]


@dataclass
class Command:
    """A command that writes: its arguments, where to, and what reads what is there."""

    name: str
    arguments: list[str]
    output: Path
    check: Callable[[Path], object]
    renames: int = 0
    unharmed: Tree = field(default_factory=dict)


def tree(place: Path) -> Tree:
    """What is in a file or folder: the sha256 of each file."""
    files = [place] if place.is_file() else sorted(place.rglob("*"))
    return {
        file.relative_to(place).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in files
        if file.is_file()
    }


def started(command: Command, folder: Path, number: int = -1, when: str = "before") -> "subprocess.Popen[bytes]":
    """Run it in a group of processes of its own, to be killed as a whole; see `killed`."""
    arguments = [sys.executable, str(HERE / "killed.py"), str(number), when, str(folder / "renames")]
    return subprocess.Popen(
        [*arguments, f"bitjets_mlx.{command.name}", *command.arguments],
        cwd=folder,
        env=quick_environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def ended(command: Command, folder: Path) -> float:
    """Run it to its end; how long that took."""
    start = time.monotonic()
    code = started(command, folder).wait(600)
    assert code == 0, f"{command.name} ended with {code}"
    return time.monotonic() - start


def prepared(folder: Path) -> object:
    """Every clip of prepared data. Half-way there is no manifest, and `prepare` has to go on."""
    if not (folder / "manifest.json").exists():
        return None
    data = PreparedData(folder)
    return [data.load(clip) for clip in data.split("all")]


def commands(folder: Path) -> list[Command]:
    """The four, with outputs that hold something already."""
    voice = tiny_voice(folder / "voices")
    acoustic, vocoder = acoustic_run(folder / "acoustic", seed=5), vocoder_run(folder / "vocoder")
    (folder / "corpus" / "wavs").mkdir(parents=True)
    dice = np.random.default_rng(0)
    lines = []
    for number in range(8):
        soundfile.write(folder / "corpus" / "wavs" / f"u{number}.wav", sound(1.2, 150.0, dice), 22050)
        lines.append(f"u{number}|Hello there, number {number}.\n")
    (folder / "corpus" / "metadata.csv").write_text("".join(lines))
    pack = ["--acoustic", str(acoustic), "--vocoder", str(vocoder), "--output"]
    prepare = ["--speaker", f"anna={folder / 'corpus'}", "--no-plot", "--workers", "2", "--validation", "1", "--out"]
    generate = ["Hello there.", "--voice", str(voice), "--seed", "3", "--output"]
    outputs = {name: folder / "out" / name for name in ("packed", "converted", "prepared", "said.wav")}
    found = [
        Command("generate", [*generate, str(outputs["said.wav"])], outputs["said.wav"], read_audio),
        Command("pack", [*pack, str(outputs["packed"])], outputs["packed"], load_voice),
        Command("convert", [str(CHECKPOINT), "--output", str(outputs["converted"])], outputs["converted"], load_voice),
        Command("prepare", [*prepare, str(outputs["prepared"])], outputs["prepared"], prepared),
    ]
    (folder / "out").mkdir()
    for command in found:
        ended(command, folder)
        command.unharmed = tree(command.output)
        command.renames = int((folder / "renames").read_text())
    return found


def differing(command: Command) -> list[str]:
    """Files that are not as an unharmed command leaves them."""
    now, wanted = tree(command.output), command.unharmed
    return sorted(name for name in now.keys() | wanted.keys() if now.get(name) != wanted.get(name))


def kill_command(command: Command, folder: Path, dice: random.Random, turn: int) -> str:
    """One kill, what is there then, and the end of it all; says where it was killed."""
    if command.name == "prepare" and dice.random() < 0.7:  # or there is nothing left to do
        for file in dice.sample(sorted(command.output.glob("features/*/*.npz")), 4):
            file.unlink()
    if turn % 2:
        number, when = turn // 4 % command.renames, ("before", "after")[turn // 2 % 2]
        where = f"{when} rename {number + 1} of {command.renames}"
        started(command, folder, number, when).wait(600)
    else:
        process = started(command, folder)
        seconds = dice.uniform(0.0, 6.0)
        where = f"after {seconds:.2f} s"
        try:
            process.wait(seconds)
            where += ", when it had ended"
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    recover(command.output)
    if command.name != "prepare":
        assert not (other := differing(command)), f"{command.name} {where}: {other} differ"
    try:
        command.check(command.output)
    except BitjetsError as error:
        if command.name != "prepare":  # half-way it says what to do
            raise AssertionError(f"{command.name} {where}: {error}") from None
    ended(command, folder)
    assert not (other := differing(command)), f"{command.name} {where}, run again: {other} differ"
    litter = [path.name for path in command.output.parent.glob(f".{command.output.stem}*")]
    assert not litter, f"{command.name} {where}: {litter} is left"
    return where


def kill_trainings(count: int, folder: Path, dice: random.Random) -> None:
    """`count` kills of each stage; killed and unharmed runs end bit for bit alike."""
    data = tiny_data(folder / "data", train=8, validation=0)
    updates = 4 * count + 12
    for stage in ("acoustic", "vocoder", "joint"):
        runs = [folder / f"{stage}_{kind}" for kind in ("whole", "harmed")]
        for run in runs:
            begin_run(run, data, stage, updates=updates, batch_size=2, accumulate=1)
        for _ in range(count):
            how = dice.choice(["at a random moment", "while writing", "while starting"])
            kill_once(data, runs[1], how, dice, stage)
            print(f"{stage}: killed {how}, saved {saved(runs[1])} of {updates}", flush=True)
        for run in runs:
            done = run_train(data, run, stage, *OPTIONS)
            assert done.returncode == 0, done.stderr
        name = f"step_{updates:08d}"
        assert_same_trees(*(load_checkpoint(run / "checkpoints" / name)[1] for run in runs))
        print(f"{stage}: ends bit for bit as a training that nobody killed", flush=True)


def main() -> None:
    """The command; an assertion that fails names the kill."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("count", type=int, help="kills in all; three of ten are of trainings")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="one of generate, pack, convert, prepare")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    dice = random.Random(options.seed)
    trainings = options.count * 3 // 10 // 3
    with tempfile.TemporaryDirectory(prefix="bitjets-kill-") as name:
        folder = Path(name)
        four = [command for command in commands(folder) if options.only in (None, command.name)]
        for turn in range(options.count - 3 * trainings):
            command = four[turn % len(four)]
            print(f"{command.name}: killed {kill_command(command, folder, dice, turn // len(four))}", flush=True)
        if trainings:
            kill_trainings(trainings, folder, dice)
    print(f"{options.count} kills: nothing lost")


if __name__ == "__main__":
    main()
