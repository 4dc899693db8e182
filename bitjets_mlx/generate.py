"""python -m bitjets_mlx.generate --text "Hello there." --output out.wav

Speaks text into a 16-bit WAV file. The text may also come from --file or from standard input. With --batch every line
becomes a file of its own, 0001.wav and so on by line number, in the folder --output.
"""

import argparse
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bitjets_mlx.errors import BitjetsError, run_command

if TYPE_CHECKING:  # imported when needed: --help and mistakes in the arguments are answered at once
    from bitjets_mlx.voice import Prediction, Style, Voice

DEFAULT_VOICE = Path(__file__).resolve().parents[1] / "weights" / "duo"
PLAYERS = (["afplay"], ["paplay"], ["pw-play"], ["aplay", "-q"], ["ffplay", "-nodisp", "-autoexit", "-v", "error"])
PLOTTED_SECONDS = 30.0

Sentences = Sequence[Sequence[str]]


def main() -> None:
    """Parse, load the voice, speak, say where and how fast."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # as an exception, so that nothing half-written stays
    arguments = _parser().parse_args()
    player = _player() if arguments.play else []
    from bitjets_mlx.voice import Style, load_voice

    style = Style(arguments.speed, arguments.pitch, arguments.energy, arguments.seed)
    text = "" if arguments.list_speakers else _text(arguments)
    started = time.perf_counter()
    voice = load_voice(arguments.voice, arguments.vocoder)
    if arguments.list_speakers:
        print("\n".join(voice.speakers))
        return
    loaded = time.perf_counter() - started
    jobs = _jobs(arguments, text, voice)
    print(f"{arguments.voice}: loaded in {loaded:.2f} s")
    for path, sentences in jobs:
        plotted = _speak(voice, path, sentences, arguments.speaker, style, bool(arguments.plot))
        if arguments.plot:
            from bitjets_mlx.mel_plot import plot_predictions

            plot_predictions(Path(arguments.plot), plotted)
            print(f"{Path(arguments.plot).resolve()}: mel spectrogram and pitch")
        if player:
            _play(player, path)


def _speak(
    voice: "Voice", path: Path, sentences: Sentences, speaker: str | None, style: "Style", plot: bool
) -> "list[Prediction]":
    """Speak into one file, sentence by sentence; returns the first half minute of predictions if they are wanted."""
    from bitjets_mlx.audio.wav_writer import open_wav

    kept, kept_seconds = [], 0.0
    began = time.perf_counter()
    with open_wav(path, voice.sample_rate) as writer:
        for prediction, samples in voice.utterances(sentences, speaker, style):
            writer.write(samples)
            if plot and kept_seconds < PLOTTED_SECONDS:
                kept.append(prediction)
                kept_seconds += len(samples) / voice.sample_rate
    took, seconds = time.perf_counter() - began, writer.samples / voice.sample_rate
    print(f"{path.resolve()}: {seconds:.2f} s of speech in {took:.2f} s (real-time factor {took / seconds:.3f})")
    return kept


def _jobs(arguments: argparse.Namespace, text: str, voice: "Voice") -> list[tuple[Path, list[list[str]]]]:
    """What to speak into which file. All of it is turned into symbols, and so checked, before anything is written."""
    from bitjets_mlx.audio.wav_writer import check_output
    from bitjets_mlx.text import load_lexicon

    lexicon = load_lexicon(arguments.lexicon) if arguments.lexicon else None
    output = Path(arguments.output)
    if arguments.plot:
        check_output(Path(arguments.plot))
    if not arguments.batch:
        check_output(output)
        return [(output, voice.sentences(text, lexicon))]
    if arguments.plot or output.suffix == ".wav":
        raise BitjetsError("--batch writes many files: give a folder as --output, and no --plot.")
    jobs = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            jobs.append((output / f"{number:04d}.wav", voice.sentences(line, lexicon)))
        except BitjetsError as error:
            raise BitjetsError(f"line {number}: {error}") from None
    if not jobs:
        raise BitjetsError("there is no text to speak: give at least one line with words.")
    output.mkdir(parents=True, exist_ok=True)
    return jobs


def _text(arguments: argparse.Namespace) -> str:
    """The text of --text, --file or standard input."""
    if arguments.text is not None:
        return str(arguments.text)
    if arguments.file is None and sys.stdin.isatty():
        raise BitjetsError("there is no text to speak: give --text or --file, or pipe some in.")
    try:
        if arguments.file in (None, "-"):
            return sys.stdin.buffer.read().decode("utf-8-sig")
        return Path(arguments.file).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise BitjetsError(f"{arguments.file or 'standard input'} is not UTF-8 text: convert it first.") from None
    except OSError as error:
        raise BitjetsError(f"{arguments.file} cannot be read: {error.strerror or error}.") from None


def _player() -> list[str]:
    """The command that plays a sound file here; BitjetsError where there is none."""
    for command in PLAYERS:
        if shutil.which(command[0]):
            return command
    names = ", ".join(command[0] for command in PLAYERS)
    raise BitjetsError(f"there is no program to play sound (looked for {names}): install one or leave out --play.")


def _play(player: Sequence[str], path: Path) -> None:
    if subprocess.run([*player, str(path)], check=False).returncode != 0:
        raise BitjetsError(f"{player[0]} could not play {path}, which was written: is there a sound device?")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bitjets_mlx.generate", description=__doc__)
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--text", help="what to say")
    source.add_argument("--file", help="a UTF-8 text file (- for standard input, which is also the default)")
    parser.add_argument("--output", default="out.wav", help="WAV file to write, or a folder with --batch (out.wav)")
    parser.add_argument("--batch", action="store_true", help="one WAV file for every line of the text")
    parser.add_argument("--voice", default=DEFAULT_VOICE, metavar="FOLDER", help="voice folder (weights/duo)")
    parser.add_argument("--vocoder", metavar="FOLDER", help="speak with the vocoder of this folder instead")
    parser.add_argument("--speaker", help="one of the voice's speakers (its first)")
    parser.add_argument("--list-speakers", action="store_true", help="print the voice's speakers and stop")
    parser.add_argument("--speed", type=float, default=1.0, help="2 is twice as fast (1)")
    parser.add_argument("--pitch", type=float, default=0.0, help="semitones up or down (0)")
    parser.add_argument("--energy", type=float, default=1.0, help="factor on the loudness (1)")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same samples (0)")
    parser.add_argument("--lexicon", metavar="FILE", help="pronunciations of your own, such as: hello HH AH0 L OW1")
    parser.add_argument("--play", action="store_true", help="play what was written")
    parser.add_argument("--plot", metavar="PNG", help="draw the mel spectrogram and pitch of the first half minute")
    return parser


if __name__ == "__main__":
    sys.exit(run_command(main))
