"""A corpus read aloud by a larger synthesizer, in LJSpeech layout, for `prepare` and `train`.

    pip install -r requirements.txt soxr onnxruntime hibari-tts==0.2.1        # and for Kokoro, see teachers.py
    python scripts/teacher_corpus.py --texts sentences.tsv --out corpus/heart --voice heart --sentences 0:5000
    python scripts/teacher_corpus.py --texts sentences.tsv --out corpus/am_adam --voice am_adam \
        --styles package/voices --sentences 5960:6440 --jobs 4

--texts: a table with tabs, whose first column is the id and whose last is the sentence, or any text, which is split
into sentences. They are shuffled with seed 0; those of which teacher and student disagree in pronunciation are left
out, since the student would learn a blur from them; --sentences FIRST:LAST counts what is left. The teacher speaks its
own phonemes. What comes out depends on the texts, this project's pronunciations and the packages' versions only: not on
the number of jobs, nor on where it was stopped; called again, it goes on. OUT then holds wavs/<id>.flac (22,050 Hz),
metadata.csv with every clip that is there, and NOTICE, the teachers' licenses.

Clips that are silent or of a strange length are named and left out. Of a sample of the rest Moonshine
(requirements-quality.txt) tells how many words it understands.
"""

import argparse
import os
import random
import re
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bitjets_mlx import text  # noqa: I001  before mlx
import numpy as np
import soundfile

from bitjets_mlx.benchmarking.teachers import NOTICE, SAMPLE_RATE, Teacher, load_phonemizer, load_teacher
from bitjets_mlx.data.parallel import parallel
from bitjets_mlx.data.progress import progress
from bitjets_mlx.errors import BitjetsError, run_command
from bitjets_mlx.evaluation.intelligibility import MOONSHINE, error_rate, recognize, recognizer, word_errors
from bitjets_mlx.files import atomic_write, atomic_write_bytes

SEED = 0
RATE = 22050
PEAK = 0.98
MOST_PHONEMES = 400  # of the teacher's: anything longer is not a sentence to learn from
DISAGREEMENT = 0.06  # differing phonemes, as a fraction of the student's; one in a sentence is allowed
SECONDS_A_PHONEME = (0.03, 0.3)
SILENT = 1e-3  # root mean square


@dataclass(frozen=True)
class Sentence:
    """What is read, and how the teacher pronounces it; "" before it was asked."""

    id: str
    text: str
    phonemes: str = ""


@dataclass(frozen=True)
class Reader:
    """A voice, its style vectors and the folder that it reads into."""

    voice: str
    styles: Path | None
    folder: Path

    def file(self, sentence: Sentence) -> Path:
        """Where a sentence's clip is."""
        return self.folder / "wavs" / f"{sentence.id}.flac"


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    options = _parser().parse_args(arguments)
    first, last = options.sentences
    shuffled = shuffle(read_sentences(options.texts))
    chosen = agreed(shuffled, first, last, options.jobs)
    reader = Reader(options.voice, options.styles, options.out)
    (options.out / "wavs").mkdir(parents=True, exist_ok=True)
    atomic_write_bytes(options.out / "NOTICE", NOTICE.encode())
    open_ones = [one for one in chosen if not reader.file(one).is_file()]
    if open_ones:
        own_teacher(reader.voice, reader.styles)  # says what is missing before processes are started
    began = time.perf_counter()
    spoken = parallel(partial(read_aloud, reader), open_ones, options.jobs)
    faults = dict(zip((one.id for one in open_ones), progress(spoken, len(open_ones), "reading"), strict=True))
    for name, fault in faults.items():
        if fault:
            print(f"left out {name}: {fault}")
    rows = write_metadata(options.out, shuffled)
    hours = sum(soundfile.info(path).duration for path in (options.out / "wavs").glob("*.flac")) / 3600
    taken = time.perf_counter() - began
    print(f"{options.out}: {rows} clips, {hours:.2f} h; {len(open_ones)} of them were read now, in {taken:.0f} s")
    check_words(reader, chosen, options.check)


# -- sentences -------------------------------------------------------------------------------------------------------


def read_sentences(path: Path) -> list[Sentence]:
    """The sentences of a table or of a text; BitjetsError where there are none, or ids are no file names."""
    try:
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise BitjetsError(f"{path} cannot be read as UTF-8 text ({error}): give a table or a text.") from None
    if lines and all("\t" in line for line in lines):
        columns = [line.split("\t") for line in lines]
        found = [Sentence(row[0].strip(), row[-1].strip()) for row in columns]
    else:
        pieces = text.split_sentences("\n".join(lines), MOST_PHONEMES)
        found = [Sentence(f"s{number:05d}", piece.strip()) for number, piece in enumerate(pieces, 1)]
    names = {one.id for one in found}
    if not found or len(names) < len(found) or not all(re.fullmatch(r"\w[\w.\-]*", name) for name in names):
        raise BitjetsError(f"{path}: every line needs an id of its own that can name a file, a tab, and a sentence.")
    return found


def shuffle(sentences: Sequence[Sentence]) -> list[Sentence]:
    """In the order of seed 0."""
    shuffled = list(sentences)
    random.Random(SEED).shuffle(shuffled)
    return shuffled


def agreed(sentences: Sequence[Sentence], first: int, last: int, jobs: int) -> list[Sentence]:
    """Numbers `first` to `last` - 1 of those that teacher and student pronounce alike, with the teacher's phonemes."""
    found = (one for one in parallel(pronounced, sentences, jobs) if one)
    kept = list(islice(progress(found, min(last, len(sentences)), "comparing pronunciations"), last))[first:]
    if not kept:
        raise BitjetsError(
            f"there are no sentences {first} to {last} of which both pronunciations agree: choose fewer."
        )
    return kept


def pronounced(sentence: Sentence) -> Sentence | None:
    """The sentence with the teacher's phonemes; None where it cannot be used."""
    if "|" in sentence.text:  # separates the columns of metadata.csv
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of characters that nobody speaks
            own = skeleton_of_student(text.phonemize(sentence.text))
    except BitjetsError:
        return None
    phonemes = phonemizer()(sentence.text)
    if not 0 < len(phonemes) <= MOST_PHONEMES:
        return None
    apart = distance(own, skeleton_of_teacher(phonemes))
    usable = apart <= 1 or apart / max(1, len(own)) <= DISAGREEMENT
    return Sentence(sentence.id, sentence.text, phonemes) if usable else None


# -- pronunciations --------------------------------------------------------------------------------------------------

SYMBOLS = (  # misaki's, and ours; stress and length are not compared
    "A EY I AY W AW O OW Y OY ɑ AA ɔ AO ɛ EH ɪ IH ᵻ IH ʊ UH ʌ AH ə AH ᵊ AH ɐ AH æ AE i IY u UW ɜ ER "
    "ʤ JH ʧ CH ɹ R ɾ T T T θ TH ð DH ʃ SH ʒ ZH ŋ NG j Y ɡ G h HH b B d D f F k K l L m M n N p P s S t T v V w W z Z"
)
ARPABET = dict(zip(SYMBOLS.split()[::2], SYMBOLS.split()[1::2], strict=True))
REDUCED = {"AH": "ə", "IH": "ə", "EH": "e", "UH": "ə", "AE": "a", "AA": "o", "AO": "o", "UW": "ə", "D": "T"}


def skeleton_of_student(phonemes: Sequence[str]) -> list[str]:
    """Of this project's phonemes."""
    return skeleton([re.sub(r"\d", "", one) for one in phonemes if re.match("[A-Z]", one)])


def skeleton_of_teacher(phonemes: str) -> list[str]:
    """Of misaki's phonemes."""
    return skeleton([ARPABET[symbol] for symbol in phonemes if symbol in ARPABET])


def skeleton(phonemes: Sequence[str]) -> list[str]:
    """What both sides must share: reduced vowels are one, open ones too, flaps are T, ER is a vowel and an R.

    Repeated reduced vowels and Rs count once: misaki writes the vowel of "bird" with an R behind it.
    """
    parts = [part for one in phonemes for part in (("ə", "R") if one == "ER" else (REDUCED.get(one, one),))]
    return [part for index, part in enumerate(parts) if part not in ("ə", "R") or parts[index - 1 : index] != [part]]


def distance(first: Sequence[str], second: Sequence[str]) -> int:
    """Levenshtein's."""
    row = list(range(len(second) + 1))
    for i, one in enumerate(first, 1):
        diagonal, row[0] = row[0], i
        for j, other in enumerate(second, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (one != other))
    return row[-1]


@lru_cache(maxsize=1)
def phonemizer() -> Callable[[str], str]:
    """The teacher's, one per process."""
    return load_phonemizer()


# -- clips -----------------------------------------------------------------------------------------------------------


def read_aloud(reader: Reader, sentence: Sentence) -> str:
    """Write one clip; returns what is wrong with it, in which case there is none."""
    import soxr

    samples = own_teacher(reader.voice, reader.styles).speak(sentence.phonemes)
    fault = find_fault(samples, sentence.phonemes)
    if fault:
        return fault
    waveform = soxr.resample(samples, SAMPLE_RATE, RATE)
    waveform = waveform * min(1.0, PEAK / float(np.abs(waveform).max()))
    with atomic_write(reader.file(sentence), sync=False) as temporary:
        soundfile.write(temporary, waveform, RATE, format="FLAC")
    return ""


def find_fault(samples: np.ndarray, phonemes: str) -> str:
    """What is plainly wrong with samples (S,) at the teacher's rate; "" for nothing."""
    if not len(samples) or not np.isfinite(samples).all():
        return "no samples, or samples that are not finite"
    if float(np.sqrt(np.mean(np.square(samples)))) < SILENT:
        return "silent"
    pace = len(samples) / SAMPLE_RATE / max(1, sum(symbol in ARPABET for symbol in phonemes))
    shortest, longest = SECONDS_A_PHONEME
    if pace < shortest or (pace > longest and len(samples) > 2 * SAMPLE_RATE):  # a single word has its pauses
        return f"{pace:.3f} s for each phoneme"
    return ""


@lru_cache(maxsize=1)
def own_teacher(voice: str, styles: Path | None) -> Teacher:
    """One per process."""
    return load_teacher(voice, styles)


def write_metadata(folder: Path, sentences: Sequence[Sentence]) -> int:
    """`id|text` of every clip that is there, in the sentences' order; returns how many."""
    there = {path.stem for path in (folder / "wavs").glob("*.flac")}
    rows = [f"{one.id}|{one.text}\n" for one in sentences if one.id in there]
    atomic_write_bytes(folder / "metadata.csv", "".join(rows).encode())
    return len(rows)


def check_words(reader: Reader, sentences: Sequence[Sentence], count: int) -> None:
    """Print the word errors of `count` clips, spread over the sentences."""
    there = [one for one in sentences if reader.file(one).is_file()]
    if not count or not there:
        return
    if recognizer() != MOONSHINE:
        print("words were not checked: pip install moonshine-voice==0.0.73.")
        return
    sample = there[:: max(1, len(there) // count)][:count]
    found = [_word_errors(reader, one) for one in progress(sample, len(sample), "checking words")]
    errors, lengths = np.array(found).T
    print(f"word errors of {len(sample)} clips ({MOONSHINE}): {100 * error_rate(errors, lengths):.1f} %")


def _word_errors(reader: Reader, sentence: Sentence) -> tuple[int, int]:
    waveform, rate = soundfile.read(reader.file(sentence), dtype="float32")
    return word_errors(sentence.text, recognize(waveform, rate))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=Path, required=True, metavar="FILE", help="what is read")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="the corpus, gone on with if it is there"
    )
    parser.add_argument("--voice", default="heart", help="heart is hibari's, others Kokoro's: am_adam, ... (heart)")
    parser.add_argument("--styles", type=Path, metavar="DIR", help="folder of Kokoro's voices, <voice>.bin")
    parser.add_argument("--sentences", type=_slice, default=(0, sys.maxsize), metavar="FIRST:LAST", help="(all)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (one per core)")
    parser.add_argument("--check", type=int, default=50, metavar="N", help="clips whose words are checked (50)")
    return parser


def _slice(given: str) -> tuple[int, int]:
    first, colon, last = given.partition(":")
    if not colon or not first.isdigit() or not last.isdigit() or int(first) >= int(last):
        raise argparse.ArgumentTypeError("give FIRST:LAST, such as 0:5000")
    return int(first), int(last)


if __name__ == "__main__":
    run_command(main)
