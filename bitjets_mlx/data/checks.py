"""What is wrong with a recording: every clip is inspected, and what is found goes into a table."""

import csv
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bitjets_mlx.audio.files import read_audio_as_recorded
from bitjets_mlx.config import HOP, SAMPLE_RATE
from bitjets_mlx.data.corpus import Utterance
from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.files import atomic_write_bytes

KEPT_SILENCE = 0.12  # seconds left at each end of a clip
COLUMNS = (
    *("speaker", "id", "used", "seconds", "rate", "channels", "peak"),
    *("loud_db", "quiet_db", "trimmed_start", "trimmed_end", "pace", "findings"),
)
SILENT = 1e-3  # a clip whose loud frames stay below this RMS (-60 dB) has nothing in it


@dataclass
class Inspection:
    """What one recording is like. `faults` keep it out of the training data, `notes` do not."""

    speaker: str
    id: str
    seconds: float = 0.0
    rate: int = 0
    channels: int = 0
    peak: float = 0.0
    loud: float = 0.0  # 95th percentile of the frames' RMS
    quiet: float = 0.0  # 5th percentile
    clipped: float = 0.0  # share of samples in flat runs at full scale
    start: int = 0  # first and last sample kept, at 22,050 Hz
    end: int = 0
    characters: int = 0
    sha256: str = ""
    frame_rms: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32), repr=False)
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def pace(self) -> float:
        """Characters a second, of what is kept."""
        return self.characters * SAMPLE_RATE / max(self.end - self.start, 1)


def inspect(utterance: Utterance, shortest: float, longest: float) -> Inspection:
    """Read a recording and look for everything that would spoil training. Never raises."""
    result = Inspection(utterance.speaker, utterance.id, characters=len(utterance.text))
    if utterance.fault:
        result.faults.append(utterance.fault)
        return result
    try:
        audio, result.rate, result.channels = read_audio_as_recorded(utterance.path, SAMPLE_RATE)
        result.sha256 = hashlib.sha256(utterance.path.read_bytes()).hexdigest()
    except BitjetsError as error:
        result.faults.append(str(error))
        return result
    except Exception as error:  # a decoder's own bug must not end an hour's work on the other clips
        result.faults.append(f"unreadable ({type(error).__name__}: {error})")
        return result
    result.seconds, result.end = len(audio) / SAMPLE_RATE, len(audio)
    result.peak = float(np.abs(audio).max())
    result.clipped = _share_clipped(audio)
    if len(audio) >= 4 * HOP:
        result.frame_rms = frame_rms(audio)
        result.loud, result.quiet = (float(np.percentile(result.frame_rms, q)) for q in (95, 5))
        result.start, result.end = speech_bounds(result.frame_rms, len(audio))
    _judge(result, shortest, longest)
    return result


def frame_rms(audio: np.ndarray) -> np.ndarray:
    """RMS of consecutive frames of 256 samples: (S,) -> (S // 256,)."""
    count = len(audio) // HOP
    return np.sqrt(np.mean(np.square(audio[: count * HOP].reshape(count, HOP)), axis=1))


def speech_bounds(rms: np.ndarray, samples: int) -> tuple[int, int]:
    """First and last sample to keep: what is silent at the ends beyond 0.12 s is cut.

    Silent is below 6 dB above the noise floor, or 40 dB below the loud frames.
    """
    loud, quiet = np.percentile(rms, 95), np.percentile(rms, 5)
    active = np.flatnonzero(rms > max(min(2 * quiet, 0.1 * loud), 0.01 * loud))
    if not len(active):
        return 0, samples
    keep = round(KEPT_SILENCE * SAMPLE_RATE / HOP)
    start = max(int(active[0]) - keep, 0) * HOP
    end = (int(active[-1]) + 1 + keep) * HOP
    return start, min(end, samples)


def _share_clipped(audio: np.ndarray) -> float:
    """Share of samples inside runs of at least three at full scale."""
    full = np.abs(audio) >= 0.999
    runs = full[2:] & full[1:-1] & full[:-2]
    return float(runs.sum()) / len(audio) if len(runs) else 0.0


def _judge(result: Inspection, shortest: float, longest: float) -> None:
    kept = (result.end - result.start) / SAMPLE_RATE
    if result.loud < SILENT and result.seconds >= shortest:
        result.faults.append("silent")
    if kept < shortest:
        result.faults.append(f"too short ({kept:.2f} s, at least {shortest:g} s)")
    if kept > longest:
        result.faults.append(f"too long ({kept:.1f} s, at most {longest:g} s)")
    if result.clipped > 0.01:
        result.faults.append(f"clipped ({100 * result.clipped:.1f} % of the samples)")
    elif result.clipped > 0:
        result.notes.append(f"clipped in places ({100 * result.clipped:.2f} %)")
    if result.rate != SAMPLE_RATE:
        result.notes.append(f"resampled from {result.rate} Hz")
    if result.channels > 1:
        result.notes.append(f"{result.channels} channels mixed to one")
    head, tail = result.start / SAMPLE_RATE, result.seconds - result.end / SAMPLE_RATE
    if head + tail > 0.01:
        result.notes.append(f"silence trimmed ({head:.2f} s at the start, {tail:.2f} s at the end)")


def judge_pace(inspections: Sequence[Inspection]) -> None:
    """Compare each clip's characters a second with its speaker's: a wrong transcript stands out."""
    for speaker in {item.speaker for item in inspections}:
        good = [item for item in inspections if item.speaker == speaker and not item.faults]
        if len(good) < 10:
            continue  # too few to say what is usual
        log_pace = np.log([max(item.pace, 1e-3) for item in good])
        middle = np.median(log_pace)
        spread = max(1.4826 * np.median(np.abs(log_pace - middle)), 0.08)
        for item, value in zip(good, log_pace, strict=True):
            words = f"{item.pace:.1f} characters a second, usual are {np.exp(middle):.1f}"
            if abs(value - middle) > max(8 * spread, np.log(2.2)):
                item.faults.append(f"text and audio do not fit ({words})")
            elif abs(value - middle) > 4 * spread:
                item.notes.append(f"unusual pace ({words})")


def speaker_gains(inspections: Sequence[Inspection], speakers: Sequence[str]) -> list[float]:
    """One gain a speaker, so that their loud frames (95th percentile of RMS) match without clipping.

    The common level is 0.15, or lower where 2 % of some speaker's clips would clip. Clips that still would
    are turned down one by one (`clip_gain`).
    """
    loud, headroom = [], []
    for speaker in speakers:
        good = [item for item in inspections if item.speaker == speaker and not item.faults]
        loud.append(float(np.percentile(np.concatenate([item.frame_rms for item in good]), 95)))
        headroom.append(float(0.99 / np.percentile([item.peak for item in good], 98)))
    level = min(0.15, *(one * room for one, room in zip(loud, headroom, strict=True)))
    return [round(level / one, 4) for one in loud]


def clip_gain(gain: float, peak: float) -> float:
    """The speaker's gain, or less where the clip would go beyond 0.99."""
    return min(gain, 0.99 / max(peak, 1e-9))


def write_table(path: Path, inspections: Sequence[Inspection]) -> None:
    """The table of all clips as CSV: measurements, whether it is kept, and what was found."""
    memory = io.StringIO()
    table = csv.writer(memory, lineterminator="\n")
    table.writerow(COLUMNS)
    for item in inspections:
        loud, quiet = (f"{20 * np.log10(max(value, 1e-6)):.1f}" for value in (item.loud, item.quiet))
        start, end = item.start / SAMPLE_RATE, max(item.seconds - item.end / SAMPLE_RATE, 0)
        row = [item.speaker, item.id, "no" if item.faults else "yes", f"{item.seconds:.3f}", item.rate]
        row += [item.channels, f"{item.peak:.4f}", loud, quiet, f"{start:.3f}", f"{end:.3f}", f"{item.pace:.1f}"]
        table.writerow([*row, "; ".join(item.faults + item.notes)])
    atomic_write_bytes(path, memory.getvalue().encode())
