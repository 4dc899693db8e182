"""Times of words as files that other programs read: JSON, subtitles, Praat's TextGrid, lyrics."""

import html
import json
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.files import atomic_write_bytes, check_file
from bitjets_mlx.voice.timing import SentenceTiming, Timing, WordTiming

LINE, LINES = 42, 2  # characters of a subtitle's line, and its lines: what broadcasters and streaming services ask for
_OPENING = re.compile(r"(?:(?<=\s)[^\w\s]+)?\Z")
_TAG = re.compile(r"</?[A-Za-z][^<>]*>|<!--.*?-->", re.DOTALL)  # HTML's and SSML's are not shown


class Cue(NamedTuple):
    """Words that are shown together, with what stands before each in the text."""

    words: Sequence[WordTiming]
    pieces: Sequence[str]

    @property
    def text(self) -> str:
        return "".join(self.pieces).strip()


def cues_of(timing: Timing) -> Iterator[Cue]:
    """Sentences, and parts of those that two lines of a subtitle cannot hold."""
    for sentence in timing.sentences:
        pieces, start = _pieces(sentence), 0
        for index in range(1, len(pieces)):
            if len(_wrapped("".join(pieces[start : index + 1]), LINE)) > LINES:
                yield Cue(sentence.words[start:index], pieces[start:index])
                start = index
        yield Cue(sentence.words[start:], pieces[start:])


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_long_words=False)


def _pieces(sentence: SentenceTiming) -> list[str]:
    """The sentence's text cut where its words begin, opening quotes and brackets with them."""
    text = sentence.text
    starts = [word.text_start - sentence.text_start for word in sentence.words[1:]]
    begins = [0, *(start - len(_OPENING.search(text[:start])[0]) for start in starts), len(text)]  # type: ignore[index]
    shown = (html.unescape(_TAG.sub("", text[a:b])) for a, b in pairwise(begins))
    return [" ".join(f"x{piece}x".split())[1:-1] for piece in shown]


def to_json(timing: Timing) -> str:
    """All there is, in samples."""
    return json.dumps(asdict(timing), indent=1, ensure_ascii=False) + "\n"


def to_srt(timing: Timing) -> str:
    """SubRip."""
    blocks = []
    for number, cue in enumerate(cues_of(timing), start=1):
        start, end = (_clock(at, timing, ",") for at in (cue.words[0].start, cue.words[-1].end))
        blocks.append(f"{number}\n{start} --> {end}\n{_lines(cue.text)}\n")
    return "\n".join(blocks)


def to_vtt(timing: Timing) -> str:
    """WebVTT, with the time of every word."""
    blocks = ["WEBVTT\n"]
    for cue in cues_of(timing):
        start, end = (_clock(at, timing, ".") for at in (cue.words[0].start, cue.words[-1].end))
        words = zip(cue.words, map(_escaped, cue.pieces), strict=True)
        tagged = (f"<{_clock(word.start, timing, '.')}>{piece}" for word, piece in words)
        first = _escaped(cue.pieces[0])  # its time is the cue's own
        blocks.append(f"{start} --> {end}\n{first}{''.join([*tagged][1:]).rstrip()}\n")
    return "\n".join(blocks)


def to_lrc(timing: Timing) -> str:
    """Lyrics, a line for a cue, with the time of every word."""
    lines = ["[re:bitjets_mlx]"]
    for cue in cues_of(timing):
        words = (f"<{_minutes(word, timing)}>{piece}" for word, piece in zip(cue.words, cue.pieces, strict=True))
        lines.append(f"[{_minutes(cue.words[0], timing)}]{''.join(words).rstrip()}")
    return "\n".join(lines) + "\n"


def to_textgrid(timing: Timing) -> str:
    """Praat: tiers of sentences, words and phonemes; what lies between is empty."""
    tiers = {
        "sentences": [(sentence.start, sentence.end, "".join(_pieces(sentence))) for sentence in timing.sentences],
        "words": [(word.start, word.end, word.text) for word in timing.words],
        "phones": [
            (phoneme.start, phoneme.end, phoneme.symbol)
            for word in timing.words
            for phoneme in word.phonemes
            if phoneme.end > phoneme.start
        ],
    }
    end = timing.samples / timing.sample_rate
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0", f"xmax = {end:.6f}"]
    lines += ["tiers? <exists>", f"size = {len(tiers)}", "item []:"]
    for number, (name, marks) in enumerate(tiers.items(), start=1):
        intervals = list(_covering(marks, timing.samples))
        lines += [f"    item [{number}]:", '        class = "IntervalTier"', f'        name = "{name}"']
        lines += ["        xmin = 0", f"        xmax = {end:.6f}", f"        intervals: size = {len(intervals)}"]
        for index, (start, stop, text) in enumerate(intervals, start=1):
            quoted = " ".join(text.split()).replace('"', '""')
            lines += [f"        intervals [{index}]:", f"            xmin = {start / timing.sample_rate:.6f}"]
            lines += [f"            xmax = {stop / timing.sample_rate:.6f}", f'            text = "{quoted}"']
    return "\n".join(lines) + "\n"


WRITERS: dict[str, tuple[Callable[[Timing], str], bytes]] = {  # and how files of the kind begin
    ".json": (to_json, b'{\n "sample_rate"'),
    ".srt": (to_srt, b"1\n"),
    ".vtt": (to_vtt, b"WEBVTT"),
    ".textgrid": (to_textgrid, b'File type = "ooTextFile"'),
    ".lrc": (to_lrc, b"[re:bitjets_mlx]"),
}


def check_timing(path: Path, overwrite: bool = False, inputs: Sequence[Path] = ()) -> None:
    """BitjetsError where no times can be written at `path`: said before any work is done."""
    if path.suffix.lower() not in WRITERS:
        raise BitjetsError(f"{path} has no suffix of a timestamp file: take .json, .srt, .vtt, .TextGrid or .lrc.")
    check_file(path, [beginning for _, beginning in WRITERS.values()], overwrite, inputs)


def write_timing(path: str | Path, timing: Timing) -> None:
    """Write times as JSON, SubRip, WebVTT, TextGrid or lyrics by the suffix, whole or not at all.

    BitjetsError where the suffix is none of .json, .srt, .vtt, .TextGrid, .lrc.
    """
    path = Path(path)
    check_timing(path, overwrite=True)
    write, _ = WRITERS[path.suffix.lower()]
    atomic_write_bytes(path, write(timing).encode())


def _covering(marks: Iterable[tuple[int, int, str]], samples: int) -> Iterator[tuple[int, int, str]]:
    """Marks, and empty ones between them, without a hole from 0 to the end."""
    at = 0
    for start, end, text in marks:
        if start > at:
            yield at, start, ""
        yield start, end, text
        at = end
    if samples > at:
        yield at, samples, ""


def _clock(sample: int, timing: Timing, point: str) -> str:
    """00:01:02,345."""
    seconds, milliseconds = divmod(round(1000 * sample / timing.sample_rate), 1000)
    minutes, seconds = divmod(seconds, 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{seconds:02d}{point}{milliseconds:03d}"


def _minutes(word: WordTiming, timing: Timing) -> str:
    """01:02.34: lyrics know hundredths."""
    seconds, hundredths = divmod(round(100 * word.start / timing.sample_rate), 100)
    return f"{seconds // 60:02d}:{seconds % 60:02d}.{hundredths:02d}"


def _lines(text: str) -> str:
    """Two lines of about one length where one is too short."""
    if len(text) <= LINE:
        return text
    return "\n".join(
        next(lines for w in range(len(text) // 2, 2 * len(text)) if len(lines := _wrapped(text, w)) <= LINES)
    )


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
