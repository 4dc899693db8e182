"""Everything that is measured on one sentence, from files; runs in worker processes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import mlx.core as mx
import numpy as np

from bitjets_mlx.audio.files import read_audio
from bitjets_mlx.audio.pitch import extract_pitch
from bitjets_mlx.audio.spectrogram import log_mel
from bitjets_mlx.config import AudioConfig
from bitjets_mlx.data.corpus import sentence_key
from bitjets_mlx.data.features import Features, load_features
from bitjets_mlx.data.prepared import Clip, PreparedData
from bitjets_mlx.evaluation.artefacts import ending_level, noise_floor
from bitjets_mlx.evaluation.judges import COPIES, RECORDINGS, SYNTHESIS, Judged, judge
from bitjets_mlx.evaluation.pitch import Contour, duration_error, log_f0_errors, root_mean_square, voicing_error
from bitjets_mlx.evaluation.quality import Quality, copy_quality
from bitjets_mlx.evaluation.spectra import align, mel_cepstral_distortion, mel_cepstrum

SILENT = 1e-3  # root mean square of a file without speech
SHORTEST, LONGEST = 0.5, 2.0  # times the recording; beyond, a sentence was cut or does not end


@dataclass(frozen=True)
class Take:
    """One recording of a sentence, and where its spoken version and its copy synthesis are, if there are any."""

    id: str
    features: Path
    speech: Path | None
    copy: Path | None


@dataclass(frozen=True)
class Sentence:
    """All takes of one sentence by one speaker. Every take is compared; together they count once."""

    speaker: str
    text: str
    frames: int
    gain: float  # that `prepare` gave the speaker's recordings
    takes: tuple[Take, ...]


@dataclass(frozen=True)
class SpeakerStatistics:
    """Timbre and pitch: mean log mel (80,), log F0 of the voiced frames (K,)."""

    mel: np.ndarray
    log_f0: np.ndarray


@dataclass(frozen=True)
class SpeechMeasures:
    """The synthesis of a sentence against one take of it."""

    mcd: float
    log_f0_errors: np.ndarray
    log_f0_rmse: float
    voicing_error: float
    duration_error: float
    fault: str  # "silent", "cut", "endless" or ""
    noise_floor: float  # dB in the pauses, and the recording's
    noise_floor_natural: float
    ending: float  # dB of the last 30 ms against the speech, and the recording's
    ending_natural: float
    statistics: SpeakerStatistics


@dataclass(frozen=True)
class Rereading:
    """A take against the other takes of its sentence, on average: how near one recording comes to another."""

    mcd: float
    log_f0_rmse: float


@dataclass(frozen=True)
class TakeMeasures:
    """One take, its copy synthesis and the synthesis of its sentence, where there are these."""

    id: str
    speaker: str
    text: str
    share: float  # takes of a sentence share its weight
    judged: dict[str, Judged]  # by `judges.RECORDINGS`, COPIES, SYNTHESIS
    statistics: SpeakerStatistics
    quality: Quality | None
    speech: SpeechMeasures | None
    rereading: Rereading | None = None  # where the sentence was recorded more than once


def group_takes(
    clips: Sequence[Clip], data: PreparedData, output: Path, spoken: bool, copied: bool = True
) -> list[Sentence]:
    """The clips by sentence. `spoken`: there is OUTPUT/<speaker>/<id>.wav; `copied`: <id>.copy.wav."""
    groups: dict[tuple[str, str], list[Clip]] = {}
    for clip in clips:
        groups.setdefault((clip.speaker, sentence_key(clip.text)), []).append(clip)
    sentences = []
    for (speaker, _), group in groups.items():
        folder = output / speaker
        takes = [
            Take(
                clip.id,
                data.folder / clip.features,
                folder / f"{clip.id}.wav" if spoken else None,
                folder / f"{clip.id}.copy.wav" if copied else None,
            )
            for clip in group
        ]
        gain = data.statistics.gain[data.speakers.index(speaker)]
        sentences.append(Sentence(speaker, group[0].text, sum(clip.frames for clip in group), gain, tuple(takes)))
    return sentences


def load_as_recorded(take: Take, gain: float) -> Features:
    """A take's features at the recording's own level, which is also the one that a voice speaks at."""
    features = load_features(take.features)
    audio = features.audio / np.float32(gain)
    mel = np.array(log_mel(mx.array(audio)[None])[0])  # (T, 80)
    return replace(features, mel=mel, energy=features.energy - np.float32(np.log(gain)), audio=audio)


def measure_sentence(sentence: Sentence) -> list[TakeMeasures]:
    """Measure and judge every take of a sentence. The synthesis, one for all takes, is judged once."""
    first = sentence.takes[0].speech
    spoken = read_audio(first) if first else None
    synthesis = {SYNTHESIS: judge(spoken, sentence.text)} if spoken is not None else {}
    recordings = [load_as_recorded(take, sentence.gain) for take in sentence.takes]
    rereadings = measure_rereadings(recordings) if spoken is not None else [None] * len(recordings)
    measured = []
    for take, features, rereading in zip(sentence.takes, recordings, rereadings, strict=True):
        copy = read_audio(take.copy) if take.copy else None
        copied = {COPIES: judge(copy, sentence.text)} if copy is not None else {}
        measured.append(
            TakeMeasures(
                id=take.id,
                speaker=sentence.speaker,
                text=sentence.text,
                share=1.0 / len(sentence.takes),
                judged={RECORDINGS: judge(features.audio, sentence.text)} | copied | synthesis,
                statistics=SpeakerStatistics(features.mel.mean(axis=0), features.log_f0[features.voiced]),
                quality=copy_quality(features.audio, features.mel, copy) if copy is not None else None,
                speech=measure_speech(features, spoken) if spoken is not None else None,
                rereading=rereading,
            )
        )
    return measured


def measure_rereadings(takes: Sequence[Features]) -> list[Rereading | None]:
    """Each recording of a sentence against all others of it; None for the only one."""
    contours = [Contour(np.exp(take.log_f0), take.voiced) for take in takes]
    cepstra = [mel_cepstrum(take.audio, *contour) for take, contour in zip(takes, contours, strict=True)]
    found: list[list[tuple[float, float]]] = [[] for _ in takes]
    for i in range(len(takes)):
        for j in range(i):
            path = align(cepstra[i][:, 1:], cepstra[j][:, 1:])
            errors = log_f0_errors(contours[i], contours[j], path)
            both = mel_cepstral_distortion(cepstra[i], cepstra[j], path), root_mean_square(errors)
            found[i].append(both)
            found[j].append(both)
    return [Rereading(*np.mean(others, axis=0).tolist()) if others else None for others in found]


def measure_speech(natural: Features, spoken: np.ndarray) -> SpeechMeasures:
    """Compare samples (S,) with a recording of the same text."""
    frames = len(spoken) // AudioConfig().hop
    spoken = spoken[: frames * AudioConfig().hop]
    mel = np.array(log_mel(mx.array(spoken)[None])[0])  # (T, 80)
    predicted, recorded = Contour(*extract_pitch(spoken)), Contour(np.exp(natural.log_f0), natural.voiced)
    first = mel_cepstrum(natural.audio, recorded.f0, recorded.voiced)  # (U, 35)
    second = mel_cepstrum(spoken, predicted.f0, predicted.voiced)  # (T, 35)
    path = align(first[:, 1:], second[:, 1:])
    differences = log_f0_errors(recorded, predicted, path)
    longer = duration_error(len(natural.mel), frames)
    return SpeechMeasures(
        mcd=mel_cepstral_distortion(first, second, path),
        log_f0_errors=differences,
        log_f0_rmse=root_mean_square(differences),
        voicing_error=voicing_error(recorded, predicted, path),
        duration_error=longer,
        fault=find_fault(spoken, 1.0 + longer),
        noise_floor=noise_floor(spoken),
        noise_floor_natural=noise_floor(natural.audio),
        ending=ending_level(spoken),
        ending_natural=ending_level(natural.audio),
        statistics=SpeakerStatistics(mel.mean(axis=0), predicted.voiced_log_f0()),
    )


def find_fault(spoken: np.ndarray, relative_length: float) -> str:
    """What is plainly wrong with a spoken sentence; "" for nothing."""
    if not len(spoken) or root_mean_square(spoken) < SILENT:
        return "silent"
    return "cut" if relative_length < SHORTEST else "endless" if relative_length > LONGEST else ""
