"""Have a voice speak sentences and its vocoder copy recordings, into the files that `sentences` measures."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bitjets_mlx.audio.files import write_wav
from bitjets_mlx.config import AudioConfig
from bitjets_mlx.data.progress import progress
from bitjets_mlx.evaluation.artefacts import join_click
from bitjets_mlx.evaluation.sentences import Sentence, load_as_recorded
from bitjets_mlx.voice import FrameVocoder, Voice


class Speed(NamedTuple):
    """Seconds of computing for so many seconds of speech."""

    seconds: float
    audio_seconds: float

    def real_time_factor(self) -> float:
        """NaN where nothing was spoken."""
        return self.seconds / self.audio_seconds if self.audio_seconds else float("nan")


def speak_sentences(voice: Voice, sentences: Sequence[Sentence]) -> Speed:
    """Speak every sentence once and write it for each of its takes."""
    jobs = [(one.speaker, one.text, [take.speech for take in one.takes if take.speech]) for one in sentences]
    return speak_texts(voice, jobs)


def speak_texts(voice: Voice, jobs: Sequence[tuple[str, str, Sequence[Path]]]) -> Speed:
    """Speak (speaker, text), seed 0, into the files of each."""
    seconds = samples = 0.0
    voice.speak("Warming up.", speaker=jobs[0][0])
    for speaker, text, paths in progress(jobs, len(jobs), "speaking"):
        began = time.perf_counter()
        audio = voice.speak(text, speaker=speaker)
        seconds += time.perf_counter() - began
        samples += len(audio)
        for path in paths:
            _write(path, audio)
    return Speed(seconds, samples / voice.sample_rate)


def clicks_at_joins(voice: Voice, sentences: Sequence[Sentence], most: int = 20) -> dict[str, list[float]]:
    """Speak up to `most` sentences of each speaker as one running text; `join_click` of every place where two meet.

    A join is where the voice puts one sentence's samples behind another's: at the end of the pause.
    """
    found = {}
    for speaker in dict.fromkeys(sentence.speaker for sentence in sentences):
        texts = [sentence.text for sentence in sentences if sentence.speaker == speaker][:most]
        pieces = list(voice.stream(" ".join(texts), speaker))
        ends = np.cumsum([len(piece) for piece in pieces])
        audio = np.concatenate(pieces)
        found[speaker] = [join_click(audio, int(end)) for end in ends[:-1]]
    return found


def copy_recordings(vocoder: FrameVocoder, sentences: Sequence[Sentence]) -> Speed:
    """Copy synthesis of every take: from its recording's mel, F0 and voicing."""
    seconds = samples = 0.0
    takes = [(take, sentence.gain) for sentence in sentences for take in sentence.takes]
    for take, gain in progress(takes, len(takes), "copying"):
        features = load_as_recorded(take, gain)
        began = time.perf_counter()
        audio = vocoder(features.mel, f0=np.exp(features.log_f0), voiced=features.voiced)
        seconds += time.perf_counter() - began
        samples += len(audio)
        if take.copy:
            _write(take.copy, audio)
    return Speed(seconds, samples / AudioConfig().sample_rate)


def _write(path: Path, audio: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_wav(path, audio)
