"""A voice: text to phonemes to mel to samples. The public Python API.

from bitjets_mlx import load_voice, load_vocoder
voice = load_voice("weights/duo")
audio = voice.speak("Hello there.", speaker="lj")  # float32 (S,) at voice.sample_rate
"""

import warnings
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from bitjets_mlx.acoustic import AcousticModel
from bitjets_mlx.audio.joins import finished_sentence, held_edges
from bitjets_mlx.catalog import DEFAULT_VOICE, find_voice
from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.text.spoken import Phonemes
from bitjets_mlx.voice.families import LONGEST_PIECE, Lexicon, family_of
from bitjets_mlx.voice.folder import read_acoustic, read_vocoder
from bitjets_mlx.voice.frame_vocoder import FrameVocoder
from bitjets_mlx.voice.prediction import Prediction, Style
from bitjets_mlx.voice.process import check_process
from bitjets_mlx.voice.streaming import Listener, sentences_of
from bitjets_mlx.voice.timing import TimedSpeech, Timeline
from bitjets_mlx.voice.voice_config import VoiceConfig, read_config

MOST_CACHED = 256 * 2**20  # bytes of buffers that a GPU keeps between sentences


class Voice:
    """A loaded voice. `config` is what its config.json says."""

    def __init__(self, config: VoiceConfig, acoustic: AcousticModel, vocoder: FrameVocoder) -> None:
        self.config = config
        self.sample_rate = config.audio.sample_rate
        self.speakers = config.speakers
        self._vocoder = vocoder
        self._family = family_of(config, acoustic)
        self._family.check_vocoder(vocoder)

    def speak(
        self,
        text: str | None = None,
        speaker: str | None = None,
        *,
        phonemes: Sequence[str] | None = None,
        speed: float = 1.0,
        pitch: float = 0.0,
        energy: float = 1.0,
        seed: int = 0,
        lexicon: Lexicon | None = None,
    ) -> np.ndarray:
        """Samples, float32 (S,). The first speaker is the default; the same seed gives the same samples.

        Text is spoken sentence by sentence with pauses between; one that begins with <speak> is SSML. `phonemes` are
        spoken as they are, with no token added and the vocoder's output untouched. A voice that reads characters takes
        them as its phonemes.
        """
        style = Style(speed, pitch, energy, seed)
        if phonemes is not None:
            given, number = self._one_of(text, phonemes, lexicon), self.speaker_number(speaker)
            predicted = self._predict(given, number, style)
            return self._family.sound(
                self._vocoder, predicted.mel, predicted.f0, predicted.voiced, number, style, style.seed
            )
        return np.concatenate(list(self.stream("" if text is None else _text(text), speaker, style, lexicon)))

    def stream(
        self,
        text: str | Iterable[str],
        speaker: str | None = None,
        style: Style | None = None,
        lexicon: Lexicon | None = None,
    ) -> Iterator[np.ndarray]:
        """The samples of `speak`, sentence by sentence, in memory that does not grow with the text.

        `text` may come in pieces, as a language model writes it: each sentence is spoken as soon as it is whole, and
        the very first clause already (`bitjets_mlx.voice.streaming` says when). Stop taking, and no more is made.
        """
        style, number = style or Style(), self.speaker_number(speaker)
        for index, (phonemes, last) in enumerate(self._ready(text, lexicon)):
            yield self._utterance(phonemes, index, last, number, style)[1]

    async def stream_async(
        self,
        text: str | Iterable[str] | AsyncIterable[str],
        speaker: str | None = None,
        style: Style | None = None,
        lexicon: Lexicon | None = None,
    ) -> AsyncIterator[np.ndarray]:
        """`stream` for asyncio, also of pieces that come asynchronously; the event loop is never held up.

        Sentences are made in a thread. Where the task is cancelled, what is being made then is the last that is.
        """
        import asyncio  # not needed to speak otherwise, and it takes a moment

        style, number = style or Style(), self.speaker_number(speaker)
        index = 0
        async for phonemes, last in self._ready_async(text, lexicon):
            yield (await asyncio.to_thread(self._utterance, phonemes, index, last, number, style))[1]
            index += 1

    def speak_with_timing(
        self,
        text: str,
        speaker: str | None = None,
        *,
        speed: float = 1.0,
        pitch: float = 0.0,
        energy: float = 1.0,
        seed: int = 0,
        lexicon: Lexicon | None = None,
    ) -> TimedSpeech:
        """The samples of `speak`, and when each word and phoneme is heard, with its place in `text`.

        `bitjets_mlx.voice.write_timing` writes the times as JSON, subtitles, TextGrid or lyrics.
        """
        style, sentences = Style(speed, pitch, energy, seed), self.sentences(text, lexicon)
        timeline, pieces = Timeline(text, self.sample_rate), []
        for phonemes, (predicted, samples) in zip(sentences, self.utterances(sentences, speaker, style), strict=True):
            timeline.add(phonemes, predicted, len(samples))
            pieces.append(samples)
        return TimedSpeech(np.concatenate(pieces), timeline.finished())

    def sentences(self, text: str, lexicon: Lexicon | None = None) -> list[Phonemes]:
        """The symbols that this voice reads for every sentence of a text, with its words and their places."""
        return self._family.sentences(_text(text), lexicon)

    def utterances(
        self,
        sentences: Sequence[Sequence[str]],
        speaker: str | None = None,
        style: Style | None = None,
        pauses: Sequence[float | None] = (),
    ) -> Iterator[tuple[Prediction, np.ndarray]]:
        """As `stream`, of sentences that are phonemes already, with what was predicted for each.

        `pauses`: seconds of silence behind each sentence but the last; None, and where there is no entry, as its
        punctuation asks for.
        """
        style, number = style or Style(), self.speaker_number(speaker)
        for index, phonemes in enumerate(sentences):
            pause = pauses[index] if index < len(pauses) else None
            yield self._utterance(phonemes, index, index + 1 == len(sentences), number, style, pause)

    def predict(
        self,
        text: str | None = None,
        speaker: str | None = None,
        *,
        phonemes: Sequence[str] | None = None,
        speed: float = 1.0,
        pitch: float = 0.0,
        energy: float = 1.0,
        lexicon: Lexicon | None = None,
    ) -> Prediction:
        """What the acoustic model predicts for one utterance, which is never split."""
        given = self._one_of(text, phonemes, lexicon)
        return self._predict(given, self.speaker_number(speaker), Style(speed, pitch, energy))

    # -- inside ----------------------------------------------------------------------------------------------------

    def speaker_number(self, name: str | None) -> int:
        """Which speaker a name, in any case, means; None means the first."""
        if name is None:
            return 0
        if name in self.speakers:
            return self.speakers.index(name)
        alike = [known for known in self.speakers if isinstance(name, str) and known.lower() == name.lower()]
        if len(alike) != 1:
            raise BitjetsError(f"there is no speaker {name!r:.60} in this voice: take {' or '.join(self.speakers)}.")
        return self.speakers.index(alike[0])

    def _ready(self, text: str | Iterable[str], lexicon: Lexicon | None) -> Iterator[tuple[Phonemes, bool]]:
        """What can be spoken, as soon as it can, and whether it is the last."""
        utterances = self._family.utterances(lexicon)
        if isinstance(text, str):
            yield from utterances.of(sentences_of(text, LONGEST_PIECE), ended=True)
            return
        listener = Listener(LONGEST_PIECE)
        for piece in _pieces(text):
            yield from utterances.of(listener.heard(piece), ended=False)
        yield from utterances.of(listener.ended(), ended=True)

    async def _ready_async(
        self, text: str | Iterable[str] | AsyncIterable[str], lexicon: Lexicon | None
    ) -> AsyncIterator[tuple[Phonemes, bool]]:
        if not isinstance(text, AsyncIterable):
            for ready in self._ready(text, lexicon):
                yield ready
            return
        utterances, listener = self._family.utterances(lexicon), Listener(LONGEST_PIECE)
        async for piece in text:
            for ready in utterances.of(listener.heard(piece), ended=False):
                yield ready
        for ready in utterances.of(listener.ended(), ended=True):
            yield ready

    def _utterance(
        self, phonemes: Sequence[str], index: int, last: bool, speaker: int, style: Style, pause: float | None = None
    ) -> tuple[Prediction, np.ndarray]:
        """One utterance of running speech, the `index`-th, and the pause behind it."""
        manner = phonemes.manner if isinstance(phonemes, Phonemes) else None
        if manner is not None:
            speaker = speaker if manner.speaker is None else self.speaker_number(manner.speaker)
            style = self._family.in_manner(style, manner, speaker)
            pause = pause if manner.pause is None else manner.pause
        predicted = self._predict(phonemes, speaker, style)
        mel, f0, voiced = held_edges(predicted.mel, predicted.f0, predicted.voiced, last)
        seed = style.seed + (index << 32)
        samples = self._family.sound(self._vocoder, mel, f0, voiced, speaker, style, seed)
        if manner is not None and manner.energy == 0.0:
            samples = np.zeros_like(samples)  # volume="silent"
        if mx.get_cache_memory() > MOST_CACHED:  # every sentence has shapes of its own: old buffers pile up
            mx.clear_cache()
        return predicted, finished_sentence(samples, phonemes, last, style.speed, self.sample_rate, pause)

    def _one_of(self, text: str | None, phonemes: Sequence[str] | None, lexicon: Lexicon | None) -> Sequence[str]:
        """What is spoken as one utterance."""
        if (text is None) == (phonemes is None):
            raise BitjetsError("give either a text or phonemes.")
        if phonemes is None:
            return self._family.symbols(_text(text), lexicon)
        listed = isinstance(phonemes, Sequence) and not isinstance(phonemes, str | bytes)
        if not listed or not phonemes or not all(isinstance(phoneme, str) for phoneme in phonemes):
            raise BitjetsError('phonemes must be a list that is not empty, such as ["HH", "AH0", "L", "OW1"].')
        return phonemes

    def _predict(self, symbols: Sequence[str], speaker: int, style: Style) -> Prediction:
        check_process()
        return self._family.predict(symbols, speaker, style)


def _text(text: Any) -> str:
    if not isinstance(text, str):
        raise BitjetsError(f"the text is {text!r:.60}: give a str.")
    return text


def _pieces(pieces: Any) -> Iterable[str]:
    if isinstance(pieces, bytes) or not isinstance(pieces, Iterable):
        raise BitjetsError(f"the text is {pieces!r:.60}: give a str, or an iterator of str.")
    return pieces


def load_voice(folder: str | Path = DEFAULT_VOICE, vocoder: str | Path | None = None) -> Voice:
    """Load a voice folder, or by its name one that comes with the package; BitjetsError names what is wrong with it.

    `vocoder` is another vocoder or voice folder, to speak with its vocoder instead.
    """
    check_process()
    folder = find_voice(folder)
    config = read_config(folder)
    if config.acoustic is None:
        raise BitjetsError(f"{folder} is a vocoder folder: give a voice folder, which was packed with --acoustic.")
    acoustic = read_acoustic(folder, config)
    if vocoder is not None:
        return Voice(config, acoustic, load_vocoder(vocoder))
    if config.vocoder is not None:
        return Voice(config, acoustic, load_vocoder(folder))
    warnings.warn(f"{folder} has no vocoder: speaking with Griffin-Lim, which sounds metallic.", stacklevel=2)
    return Voice(config, acoustic, FrameVocoder(None))


def load_vocoder(folder: str | Path) -> FrameVocoder:
    """Load the vocoder of a vocoder folder or a voice folder, checked."""
    check_process()
    folder = find_voice(folder)
    config = read_config(folder)
    return FrameVocoder(read_vocoder(folder, config), config.vocoder_audio or config.audio)
