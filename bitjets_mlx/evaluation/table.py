"""Diagnostics of all clips as one table, a row for each measure and a column for each speaker; and the judges'."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from bitjets_mlx.evaluation import judges
from bitjets_mlx.evaluation.artefacts import CLICK, CUT
from bitjets_mlx.evaluation.pitch import root_mean_square
from bitjets_mlx.evaluation.sentences import SpeakerStatistics, SpeechMeasures, TakeMeasures

Row = dict[str, float | int | str]

LABELS = {
    "clips": "recordings",
    "sentences": "sentences (takes of one share its weight)",
    "mcd_db": "mel-cepstral distortion, dB",
    "mcd_rereading_db": "  of two recordings of one sentence, where there are two",
    "log_f0_rmse": "log-F0 RMSE (mean over clips)",
    "log_f0_rmse_rereading": "  of two recordings of one sentence",
    "log_f0_rmse_pooled": "log-F0 RMSE (over all frames)",
    "log_f0_deviation_ratio": "deviation of log F0, synthesis / recordings",
    "voicing_error_percent": "voicing error, %",
    "duration_error_percent": "duration error (mean of absolute values), %",
    "longer_percent": "synthesis longer than the recordings by, %",
    "faulty_sentences": "sentences silent, cut or endless",
    "noise_floor_natural_db": "noise floor in pauses of the recordings, dB",
    "noise_floor_synthesis_db": "  of the synthesis",
    "noise_floor_difference_db": "  synthesis above the recordings (mean over sentences)",
    "ending_natural_db": "last 30 ms of the recordings against speech, dB",
    "ending_synthesis_db": "  of the synthesis",
    "cut_endings": "sentences whose ending is cut (above -30 dB)",
    "joins": "joins of sentences in running text",
    "worst_join_db": "  largest bend at one against its neighborhood, dB",
    "clicks_at_joins": "  that click (above 6 dB)",
    "nearest_by_mel": "recordings nearest by mean mel",
    "nearest_by_f0": "recordings nearest by mean F0",
    "copy_pesq_wb": "copy synthesis: PESQ-WB",
    "copy_stoi": "copy synthesis: STOI",
    "copy_mel_l1": "copy synthesis: mel L1, nats",
}


def summarize(measured: Sequence[TakeMeasures], joins: Mapping[str, Sequence[float]] | None = None) -> dict[str, Row]:
    """One row of measures for each speaker, in the order they come. `joins`: `artefacts.join_click` of each, in dB."""
    speakers = list(dict.fromkeys(take.speaker for take in measured))
    natural = {name: _statistics(take.statistics for take in _of(measured, name)) for name in speakers}
    rows = {name: _speaker_row(_of(measured, name), natural) for name in speakers}
    for name, clicks in (joins or {}).items():
        rows[name] |= _joins(clicks)
    return rows


def _of(measured: Iterable[TakeMeasures], speaker: str) -> list[TakeMeasures]:
    return [take for take in measured if take.speaker == speaker]


def _speaker_row(takes: list[TakeMeasures], natural: Mapping[str, SpeakerStatistics]) -> Row:
    share = np.array([take.share for take in takes])
    row: Row = {"clips": len(takes), "sentences": round(float(share.sum()))}
    speech = [take.speech for take in takes if take.speech]
    if len(speech) == len(takes):
        row |= _likeness(speech, share) | _pitch(takes, speech) | _noise(speech, share)
        row |= _nearest(_statistics(one.statistics for one in speech), natural) | _rereadings(takes)
    copies = [take.quality for take in takes if take.quality]
    if len(copies) < len(takes):
        return row
    columns = zip(("pesq_wb", "stoi", "mel_l1"), zip(*copies, strict=True), strict=True)
    return row | {f"copy_{name}": _mean(values, share) for name, values in columns}


def _likeness(speech: list[SpeechMeasures], share: np.ndarray) -> Row:
    longer = np.array([one.duration_error for one in speech])
    return {
        "mcd_db": _mean([one.mcd for one in speech], share),
        "log_f0_rmse": _mean([one.log_f0_rmse for one in speech], share),
        "voicing_error_percent": 100.0 * _mean([one.voicing_error for one in speech], share),
        "duration_error_percent": 100.0 * _mean(np.abs(longer), share),
        "longer_percent": 100.0 * _mean(longer, share),
        "faulty_sentences": round(float(share[[bool(one.fault) for one in speech]].sum())),
    }


def _rereadings(takes: list[TakeMeasures]) -> Row:
    read = [(take.rereading, take.share) for take in takes if take.rereading]
    if not read:
        return {}
    share = np.array([share for _, share in read])
    return {
        "mcd_rereading_db": _mean([one.mcd for one, _ in read], share),
        "log_f0_rmse_rereading": _mean([one.log_f0_rmse for one, _ in read], share),
    }


def _pitch(takes: list[TakeMeasures], speech: list[SpeechMeasures]) -> Row:
    spread = np.concatenate([one.statistics.log_f0 for one in speech]).std()
    natural = np.concatenate([take.statistics.log_f0 for take in takes]).std()
    return {
        "log_f0_rmse_pooled": root_mean_square(np.concatenate([one.log_f0_errors for one in speech])),
        "log_f0_deviation_ratio": float(spread / natural),
    }


def _noise(speech: list[SpeechMeasures], share: np.ndarray) -> Row:
    floors = np.array([one.noise_floor for one in speech]), np.array([one.noise_floor_natural for one in speech])
    return {
        "noise_floor_natural_db": _mean(floors[1], share),
        "noise_floor_synthesis_db": _mean(floors[0], share),
        "noise_floor_difference_db": _mean(floors[0] - floors[1], share),
        "ending_natural_db": _mean([one.ending_natural for one in speech], share),
        "ending_synthesis_db": _mean([one.ending for one in speech], share),
        "cut_endings": round(float(share[[one.ending > CUT for one in speech]].sum())),
    }


def _joins(clicks: Sequence[float]) -> Row:
    worst = {"worst_join_db": max(clicks)} if clicks else {}
    return {"joins": len(clicks), **worst, "clicks_at_joins": sum(click > CLICK for click in clicks)}


def _nearest(own: SpeakerStatistics, natural: Mapping[str, SpeakerStatistics]) -> Row:
    by_mel = {name: np.linalg.norm(own.mel - other.mel) for name, other in natural.items()}
    by_f0 = {name: abs(own.log_f0.mean() - other.log_f0.mean()) for name, other in natural.items()}
    return {"nearest_by_mel": min(by_mel, key=by_mel.__getitem__), "nearest_by_f0": min(by_f0, key=by_f0.__getitem__)}


def _statistics(parts: Iterable[SpeakerStatistics]) -> SpeakerStatistics:
    """The mean of the clips' mean mels, and all of their voiced frames."""
    known = list(parts)
    return SpeakerStatistics(np.mean([one.mel for one in known], axis=0), np.concatenate([one.log_f0 for one in known]))


def _mean(values: Sequence[float] | np.ndarray, share: np.ndarray) -> float:
    """Weighted mean of what is not NaN: a clip without a frame voiced in both has no F0 error, a very short no STOI."""
    array = np.array(values)
    known = np.isfinite(array)
    return float(np.average(array[known], weights=share[known])) if known.any() else float("nan")


def judge_summaries(measured: Sequence[TakeMeasures]) -> dict[str, dict[str, judges.Summary]]:
    """The judges' scores of each speaker's recordings, copy synthesis and synthesis, those that there are."""
    found = {}
    for name in dict.fromkeys(take.speaker for take in measured):
        takes = _of(measured, name)
        natural = [take.judged[judges.RECORDINGS] for take in takes]
        columns = {judges.RECORDINGS: judges.summarize(natural, natural)}
        for kind in (judges.COPIES, judges.SYNTHESIS):
            judged = [take.judged[kind] for take in takes if kind in take.judged]
            if judged:
                columns[kind] = judges.summarize(judged, natural)
        found[name] = columns
    return found


def clip_rows(measured: Sequence[TakeMeasures]) -> list[dict[str, Any]]:
    """What was measured clip by clip, as plain JSON types."""
    rows = []
    for take in measured:
        row: dict[str, Any] = {"id": take.id, "speaker": take.speaker, "text": take.text}
        row["judges"] = {kind: judges.plain(judged) for kind, judged in take.judged.items()}
        if take.speech:
            row |= {k: v for k, v in asdict(take.speech).items() if k not in ("statistics", "log_f0_errors")}
        quality = take.quality._asdict() if take.quality else {}
        rows.append(row | {f"copy_{name}": value for name, value in quality.items()})
    return rows


def formatted(speakers: Mapping[str, Row]) -> str:
    """The table as text."""
    keys = [key for key in LABELS if any(key in row for row in speakers.values())]
    width = max(len(LABELS[key]) for key in keys)
    column = max(10, *(len(name) for name in speakers))
    lines = [" " * width + "".join(f"  {name:>{column}}" for name in speakers)]
    for key in keys:
        cells = (_cell(row.get(key, "")) for row in speakers.values())
        lines.append(f"{LABELS[key]:<{width}}" + "".join(f"  {cell:>{column}}" for cell in cells))
    return "\n".join(lines)


def _cell(value: float | int | str) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
