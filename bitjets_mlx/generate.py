"""bitjets generate "Hello there."    or    python -m bitjets_mlx.generate "Hello there." --output out.wav

Speaks text into a sound file: WAV, FLAC, Ogg Vorbis or MP3, by the suffix of --output. The text may also come from
--file or from standard input; --output - sends WAV to standard output while it is spoken, with --raw its samples alone
(16 bit, little-endian). With --batch every line becomes a file of its own, 0001.wav and so on by line number.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bitjets_mlx import __version__
from bitjets_mlx.arguments import Parser
from bitjets_mlx.catalog import DEFAULT_VOICE, find_voice, known_voices
from bitjets_mlx.errors import BitjetsError, complain, run_command, say

if TYPE_CHECKING:  # imported when needed: --help and mistakes in the arguments are answered at once
    from bitjets_mlx.audio.sound_writer import SoundWriter
    from bitjets_mlx.text.spoken import Phonemes
    from bitjets_mlx.voice import Prediction, Style, Voice
    from bitjets_mlx.voice.families import Lexicon

PLAYERS = (["afplay"], ["paplay"], ["pw-play"], ["aplay", "-q"], ["ffplay", "-nodisp", "-autoexit", "-v", "error"])
PIPE = "-"
PLOTTED_SECONDS = 30.0
LONG = 10  # sentences, from which on a bar shows the progress
LONGEST_PAUSE = 60.0  # seconds
PARAGRAPH = re.compile(r"\n[ \t\r]*\n")


@dataclass(frozen=True)
class Job:
    """What to speak into which file. pauses: seconds behind each sentence, None as its punctuation asks for."""

    path: Path
    text: str
    sentences: "Sequence[Phonemes]"
    pauses: Sequence[float | None]


def main() -> None:
    """Parse, load the voice, speak, say where and how fast."""
    arguments = _parser().parse_args()
    if arguments.list_voices:
        say("\n".join(known_voices()))
        return
    tell = complain if arguments.output == PIPE else say
    if not arguments.list_speakers:
        _check(arguments)
    player = _player() if arguments.play else []
    from bitjets_mlx.voice import Style, load_voice

    style = Style(arguments.speed, arguments.pitch, arguments.energy, arguments.seed)
    text = "" if arguments.list_speakers else _text(arguments)
    folder = find_voice(arguments.voice)
    started = time.perf_counter()
    voice = load_voice(folder, arguments.vocoder)
    if arguments.list_speakers:
        say("\n".join(voice.speakers))
        return
    loaded = time.perf_counter() - started
    voice.speaker_number(arguments.speaker)
    jobs, failures = _jobs(arguments, text, voice)
    tell(f"{folder}: loaded in {loaded:.2f} s")
    for job in jobs:
        plotted = _speak(voice, job, arguments, style, tell)
        if arguments.plot:
            from bitjets_mlx.mel_plot import plot_predictions

            plot_predictions(Path(arguments.plot), plotted)
            tell(f"{Path(arguments.plot).resolve()}: mel spectrogram and pitch")
        if player:
            _play(player, job.path)
    if failures:
        raise BitjetsError(f"{len(failures)} lines were not spoken: {'; '.join(failures)}")


def _speak(
    voice: "Voice", job: Job, arguments: argparse.Namespace, style: "Style", tell: Callable[[str], None]
) -> "list[Prediction]":
    """Speak into one file, sentence by sentence; returns the first half minute of predictions if they are wanted."""
    from bitjets_mlx.voice.timing import Timeline

    kept, kept_seconds, timeline = [], 0.0, Timeline(job.text, voice.sample_rate)
    began = time.perf_counter()
    with _opened(job.path, voice.sample_rate, arguments.raw) as writer:
        spoken = voice.utterances(job.sentences, arguments.speaker, style, job.pauses)
        for sentence, (prediction, samples) in zip(job.sentences, _with_bar(spoken, len(job.sentences)), strict=True):
            writer.write(samples)
            if arguments.timestamps:
                timeline.add(sentence, prediction, len(samples))
            if arguments.plot and kept_seconds < PLOTTED_SECONDS:
                kept.append(prediction)
                kept_seconds += len(samples) / voice.sample_rate
    took, seconds = time.perf_counter() - began, writer.samples / voice.sample_rate
    where = "standard output" if str(job.path) == PIPE else job.path.resolve()
    tell(f"{where}: {seconds:.2f} s of speech in {took:.2f} s (real-time factor {took / seconds:.3f})")
    if arguments.timestamps:
        from bitjets_mlx.voice import write_timing

        write_timing(arguments.timestamps, timeline.finished())
        tell(f"{Path(arguments.timestamps).resolve()}: when each word is heard")
    return kept


def _opened(path: Path, sample_rate: int, raw: bool) -> "AbstractContextManager[SoundWriter]":
    from bitjets_mlx.audio.sound_writer import open_sound, sound_to_pipe

    if str(path) == PIPE:
        return sound_to_pipe(sys.stdout.buffer, sample_rate, raw)
    return open_sound(path, sample_rate)


def _with_bar(spoken: "Iterator[tuple[Prediction, Any]]", sentences: int) -> "Iterator[tuple[Prediction, Any]]":
    """A progress bar on a terminal, where there is something to wait for."""
    if sentences < LONG or sys.stderr is None or not sys.stderr.isatty():
        return spoken
    from tqdm import tqdm

    return iter(tqdm(spoken, total=sentences, unit=" sentences", leave=False, dynamic_ncols=True))


# -- what is asked for ---------------------------------------------------------------------------------------------


def _check(arguments: argparse.Namespace) -> None:
    """BitjetsError where the outputs cannot be written, before any work is done."""
    from bitjets_mlx.audio.sound_writer import check_sound
    from bitjets_mlx.files import check_file

    output = Path(arguments.output)
    inputs = [Path(path) for path in (arguments.file, arguments.lexicon) if path not in (None, PIPE)]
    if arguments.raw and arguments.output != PIPE:
        raise BitjetsError("--raw is for standard output: give --output - with it.")
    if arguments.plot:
        if Path(arguments.plot).suffix.lower() != ".png":
            raise BitjetsError(f"--plot draws a PNG, and {arguments.plot} has another suffix: end it in .png.")
        check_file(Path(arguments.plot), [b"\x89PNG"], arguments.overwrite, inputs)
    if arguments.timestamps:
        from bitjets_mlx.voice.timing_files import check_timing

        check_timing(Path(arguments.timestamps), arguments.overwrite, inputs)
    if arguments.batch:
        if arguments.timestamps:
            raise BitjetsError("--batch writes many files, and --timestamps one: leave one of them out.")
        if arguments.plot or arguments.output == PIPE or output.suffix:
            raise BitjetsError("--batch writes many files: give a folder as --output, and no --plot.")
        if output.exists() and not output.is_dir():
            raise BitjetsError(f"{output} is a file: give a folder as --output.")
    elif arguments.output != PIPE:
        check_sound(output, arguments.overwrite, inputs)
    elif arguments.play:
        raise BitjetsError("--play plays a file: give a file as --output.")
    elif sys.stdout is None or sys.stdout.isatty():
        raise BitjetsError("--output - would fill the terminal with sound: send it into a pipe or a file.")


def _jobs(arguments: argparse.Namespace, text: str, voice: "Voice") -> tuple[list[Job], list[str]]:
    """What to speak into which file, and of --batch which lines cannot be spoken."""
    from bitjets_mlx.audio.sound_writer import check_sound
    from bitjets_mlx.text import load_lexicon

    lexicon = load_lexicon(arguments.lexicon) if arguments.lexicon else None
    output = Path(arguments.output)
    if not arguments.batch:
        return [_job(output, text, arguments, voice, lexicon)], []
    jobs, failures = [], []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            jobs.append(_job(output / f"{number:04d}.wav", line, arguments, voice, lexicon))
        except BitjetsError as error:
            failures.append(f"line {number}: {error}")
    if not jobs:
        raise BitjetsError(failures[0] if failures else "there is no text to speak: give at least one line with words.")
    output.mkdir(parents=True, exist_ok=True)
    for job in jobs:
        check_sound(job.path, arguments.overwrite)
    return jobs, failures


def _job(path: Path, text: str, arguments: argparse.Namespace, voice: "Voice", lexicon: "Lexicon | None") -> Job:
    """The sentences of a text and the pauses behind them."""
    from bitjets_mlx.text.ssml import is_ssml

    if arguments.ssml and not is_ssml(text):
        raise BitjetsError("--ssml was given, and the text does not begin with <speak>: put it around the text.")
    if arguments.paragraph_pause is None or is_ssml(text):
        sentences = voice.sentences(text, lexicon)
        return Job(path, text, sentences, [arguments.sentence_pause] * len(sentences))
    sentences, pauses, failure = [], [], None
    ends = [match.end() for match in PARAGRAPH.finditer(text)]
    for start, end in zip([0, *ends], [*ends, len(text)], strict=True):
        paragraph = text[start:end]
        try:
            found = voice.sentences(paragraph, lexicon) if paragraph.strip() else []
        except BitjetsError as error:
            failure = failure or error
            continue
        sentences += [sentence.moved(start) for sentence in found]
        pauses += [*[arguments.sentence_pause] * (len(found) - 1), arguments.paragraph_pause][: len(found)]
    if not sentences:
        raise failure or BitjetsError("there is no text to speak: give some words.")
    return Job(path, text, sentences, pauses)


def _text(arguments: argparse.Namespace) -> str:
    """The text given, of --file, or of standard input."""
    given = arguments.words if arguments.words is not None else arguments.text
    if given is not None:
        return str(given)
    if arguments.file is None and (sys.stdin is None or sys.stdin.isatty()):
        raise BitjetsError('there is no text to speak: give some, such as "Hello there.", or --file, or pipe it in.')
    try:
        if arguments.file not in (None, PIPE):
            return Path(arguments.file).read_text(encoding="utf-8-sig")
        if sys.stdin is None:
            raise BitjetsError("standard input is closed: give the text another way.")
        return sys.stdin.buffer.read().decode("utf-8-sig")
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
    if subprocess.run([*player, os.fspath(path)], check=False).returncode != 0:
        raise BitjetsError(f"{player[0]} could not play {path}, which was written: is there a sound device?")


def _pause(text: str) -> float:
    seconds = float(text)
    if not 0.0 <= seconds <= LONGEST_PAUSE:
        raise argparse.ArgumentTypeError(f"{text} is not from 0 to {LONGEST_PAUSE:g} seconds")
    return seconds


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="bitjets generate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group()
    source.add_argument("words", nargs="?", metavar="TEXT", help="what to say")
    source.add_argument("--text", help="the same")
    source.add_argument("--file", help="a UTF-8 text file (- for standard input, which is also the default)")
    parser.add_argument(
        "--output",
        default="out.wav",
        help="sound file to write, - for standard output, a folder with --batch (out.wav)",
    )
    parser.add_argument("--raw", action="store_true", help="with --output -: samples without a header, s16le")
    parser.add_argument("--overwrite", action="store_true", help="write over files that hold no sound, too")
    parser.add_argument("--batch", action="store_true", help="one WAV file for every line of the text")
    parser.add_argument("--voice", default=DEFAULT_VOICE, metavar="NAME|FOLDER", help="a voice (duo)")
    parser.add_argument("--list-voices", action="store_true", help="print the voices that are here and stop")
    parser.add_argument("--vocoder", metavar="FOLDER", help="speak with the vocoder of this folder instead")
    parser.add_argument("--speaker", help="one of the voice's speakers (its first)")
    parser.add_argument("--list-speakers", action="store_true", help="print the voice's speakers and stop")
    parser.add_argument("--speed", type=float, default=1.0, help="2 is twice as fast (1)")
    parser.add_argument("--pitch", type=float, default=0.0, help="semitones up or down (0)")
    parser.add_argument("--energy", type=float, default=1.0, help="factor on the loudness (1)")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same samples (0)")
    parser.add_argument(
        "--sentence-pause", type=_pause, metavar="SECONDS", help="silence after a sentence (by its punctuation)"
    )
    parser.add_argument(
        "--paragraph-pause", type=_pause, metavar="SECONDS", help="silence before an empty line (as any sentence)"
    )
    parser.add_argument("--lexicon", metavar="FILE", help="pronunciations of your own, such as: hello HH AH0 L OW1")
    parser.add_argument("--play", action="store_true", help="play what was written")
    parser.add_argument("--plot", metavar="PNG", help="draw the mel spectrogram and pitch of the first half minute")
    parser.add_argument("--ssml", action="store_true", help="refuse what is not SSML (by itself where <speak> begins)")
    parser.add_argument(
        "--timestamps", metavar="FILE", help="when each word is heard: .json, .srt, .vtt, .TextGrid or .lrc by suffix"
    )
    parser.add_argument("--version", action="version", version=f"bitjets-mlx {__version__}")
    return parser


if __name__ == "__main__":
    sys.exit(run_command(main))
