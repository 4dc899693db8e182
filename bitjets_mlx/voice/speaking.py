"""A voice: text to phonemes to mel to samples. The public Python API.

    from bitjets_mlx import load_voice, load_vocoder
    voice = load_voice("weights/duo")
    audio = voice.speak("Hello there.", speaker="lj")  # float32 (S,) at voice.sample_rate

The acoustic model works in normalized units; here they become log mel, Hz and frames.
"""

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import mlx.core as mx
import numpy as np

from bitjets_mlx.acoustic import AcousticModel
from bitjets_mlx.acoustic.model import Frames, Variance, whole_durations
from bitjets_mlx.audio.griffin_lim import griffin_lim
from bitjets_mlx.audio.joins import finished_sentence, held_edges
from bitjets_mlx.audio.mel_conventions import check_same_grid, map_log_mel
from bitjets_mlx.audio.pitch import interpolate_f0
from bitjets_mlx.config import AudioConfig, Calibration, CharacterConfig, FeatureStatistics
from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.native.blas import one_blas_thread
from bitjets_mlx.text import phonemize, split_sentences
from bitjets_mlx.text.spelled import spell, spell_sentences
from bitjets_mlx.text.symbols import GAP, PUNCTUATION, SYMBOLS
from bitjets_mlx.vocoder import Vocoder
from bitjets_mlx.vocoder.harmonic import HarmonicVocoder
from bitjets_mlx.voice.folder import read_acoustic, read_vocoder
from bitjets_mlx.voice.voice_config import VoiceConfig, read_config

Lexicon = Mapping[str, Sequence[str]]
Decoded = tuple[np.ndarray, np.ndarray, np.ndarray]  # log mel (T, 80), log F0 in log Hz (T,), voicing (T,)

MOST_FRAMES = 20_000  # of one utterance, four minutes: attention would need gigabytes
LONGEST_PIECE = 180  # characters, some 10 s: no training clip was longer, and attention grows with the square
SEMITONE = math.log(2.0) / 12.0  # of log F0
FURTHEST_SHIFT = 1.5  # deviations of pitch and energy that the model is asked for; the rest is done to its output


@dataclass(frozen=True)
class Style:
    """How to speak. speed: 2 is twice as fast; pitch: semitones up; energy: factor on the amplitude."""

    speed: float = 1.0
    pitch: float = 0.0
    energy: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, low, high in (("speed", 0.25, 4.0), ("pitch", -24.0, 24.0), ("energy", 0.1, 4.0)):
            value = getattr(self, name)
            if not low <= value <= high:  # False for NaN too
                raise BitjetsError(f"{name} is {value}: give a number from {low:g} to {high:g}.")
        if not 0 <= self.seed < 2**32:
            raise BitjetsError(f"seed is {self.seed}: give a whole number from 0 to {2**32 - 1}.")


@dataclass(frozen=True)
class Prediction:
    """What the acoustic model says of one utterance of N tokens and T frames of 256 samples. All numpy.

    durations: whole frames (N,), which sum to T; log_durations: as predicted, log(frames + 1) before speed (N,);
    pitch, energy: (N,) in standard deviations from the speaker's mean log F0 and log energy; mel: (T, 80) natural
    log; f0: (T,) Hz, interpolated through unvoiced frames; voiced: (T,) bool.

    Some models say less. The character-level BitJETS: no pitch, energy and F0 (zeros), and its mel is in the convention
    of `voice.config.audio`. JETS, converted or trained with `--vocoder-reads states`: no F0, and in place of the mel
    its decoder's states (T, D).
    """

    phonemes: tuple[str, ...]
    durations: np.ndarray
    log_durations: np.ndarray
    pitch: np.ndarray
    energy: np.ndarray
    mel: np.ndarray
    f0: np.ndarray
    voiced: np.ndarray


class FrameVocoder:
    """A vocoder that takes and gives numpy; without a model it is Griffin-Lim. `audio` is the mel that it wants."""

    def __init__(self, model: Vocoder | None, audio: AudioConfig | None = None) -> None:
        self.model, self.audio = model, audio or AudioConfig()

    @property
    def channels(self) -> int:
        """Channels of its input: 80 mel bands, or the states of a JETS decoder."""
        return self.model.config.n_mels if self.model else self.audio.n_mels

    def __call__(
        self, mel: np.ndarray, f0: np.ndarray | None = None, voiced: np.ndarray | None = None, seed: int = 0
    ) -> np.ndarray:
        """Log mel (T, 80), F0 in Hz (T,) and voicing (T,) -> float32 samples (T * 256,).

        HiFi-GAN and Griffin-Lim need only the mel. F0 that is 0 or NaN where unvoiced is interpolated.
        """
        mel = np.asarray(mel, dtype=np.float32)
        if mel.ndim != 2 or mel.shape[1] != self.channels or not len(mel) or not np.isfinite(mel).all():
            wanted = f"(frames, {self.channels})"
            raise BitjetsError(f"the vocoder wants a finite log mel of shape {wanted}, not {mel.shape}.")
        with one_blas_thread():
            return self._samples(mel, f0, voiced, seed)

    def _samples(self, mel: np.ndarray, f0: np.ndarray | None, voiced: np.ndarray | None, seed: int) -> np.ndarray:
        if self.model is None:
            return griffin_lim(mel, seed=seed)
        batch = mx.array(mel)[None]  # (1, T, 80)
        if not isinstance(self.model, HarmonicVocoder):
            return np.array(self.model(batch)[0])
        if f0 is None or voiced is None or not len(f0) == len(voiced) == len(mel):
            raise BitjetsError("the harmonic vocoder needs f0 and voiced, one value for every frame of the mel.")
        log_f0, gate = _usable_f0(np.asarray(f0, dtype=np.float64), np.asarray(voiced, dtype=bool))
        samples = self.model(batch, mx.array(log_f0)[None], mx.array(gate)[None], seed)
        return np.array(samples[0])  # (T * 256,)


class Voice:
    """A loaded voice. `config` is what its config.json says."""

    def __init__(self, config: VoiceConfig, acoustic: AcousticModel, vocoder: FrameVocoder) -> None:
        if config.statistics is None:
            raise BitjetsError("the voice's config.json has no statistics: fetch the folder again.")
        self.config = config
        self.sample_rate = config.audio.sample_rate
        self.speakers = config.speakers
        self._acoustic = acoustic
        self._statistics: FeatureStatistics = config.statistics
        ones = (1.0,) * len(config.speakers)
        self._calibration = config.calibration or Calibration(duration=ones, pitch=ones)
        self._vocoder = vocoder
        self._spells = isinstance(acoustic.config, CharacterConfig)
        self._says_states = not acoustic.config.mel
        self._says_f0 = not self._spells and not self._says_states
        self._least_frames = getattr(acoustic.config, "least_frames", 1)
        _check_fit(self._says_states, self._says_f0, config.audio, acoustic.config.outputs, vocoder)
        spoken_as = {symbol: config.substitutes.get(symbol, symbol) for symbol in config.symbols}
        self._index = {symbol: config.symbols.index(spoken_as[symbol]) for symbol in config.symbols}

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

        Text is spoken sentence by sentence with pauses between. `phonemes` are spoken as they are, with no token
        added and the vocoder's output untouched. A voice that reads characters takes them as its phonemes.
        """
        style = Style(speed, pitch, energy, seed)
        if phonemes is not None:
            given, number = self._one_of(text, phonemes, lexicon), self._speaker(speaker)
            prediction = self._predict(given, number, style)
            return self._sound(prediction.mel, prediction.f0, prediction.voiced, number, style, seed)
        return np.concatenate(list(self.stream(text or "", speaker, style, lexicon)))

    def stream(
        self, text: str, speaker: str | None = None, style: Style | None = None, lexicon: Lexicon | None = None
    ) -> Iterator[np.ndarray]:
        """The samples of `speak`, sentence by sentence, in memory that does not grow with the text."""
        for _, samples in self.utterances(self.sentences(text, lexicon), speaker, style):
            yield samples

    def sentences(self, text: str, lexicon: Lexicon | None = None) -> list[list[str]]:
        """The symbols that this voice reads for every sentence of a text."""
        if self._spells:
            self._no_lexicon(lexicon)
            return spell_sentences(text, LONGEST_PIECE)
        return [self._own_symbols(phonemes) for phonemes in text_to_phonemes(text, lexicon)]

    def utterances(
        self, sentences: Sequence[Sequence[str]], speaker: str | None = None, style: Style | None = None
    ) -> Iterator[tuple[Prediction, np.ndarray]]:
        """As `stream`, of sentences that are phonemes already, with what was predicted for each."""
        style, number = style or Style(), self._speaker(speaker)
        for index, phonemes in enumerate(sentences):
            prediction = self._predict(phonemes, number, style)
            last = index + 1 == len(sentences)
            mel, f0, voiced = held_edges(prediction.mel, prediction.f0, prediction.voiced, last)
            samples = self._sound(mel, f0, voiced, number, style, style.seed + (index << 32))
            yield prediction, finished_sentence(samples, phonemes, last, style.speed, self.sample_rate)
            mx.clear_cache()  # every sentence has shapes of its own: buffers of old ones would pile up

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
        """What the acoustic model says of one utterance, which is never split."""
        given = self._one_of(text, phonemes, lexicon)
        return self._predict(given, self._speaker(speaker), Style(speed, pitch, energy))

    # -- inside ----------------------------------------------------------------------------------------------------

    def _speaker(self, name: str | None) -> int:
        if name is None:
            return 0
        if name not in self.speakers:
            raise BitjetsError(f"there is no speaker {name!r} in this voice: take {' or '.join(self.speakers)}.")
        return self.speakers.index(name)

    def _one_of(self, text: str | None, phonemes: Sequence[str] | None, lexicon: Lexicon | None) -> Sequence[str]:
        """What is spoken as one utterance."""
        if (text is None) == (phonemes is None):
            raise BitjetsError("give either a text or phonemes.")
        if phonemes is None and self._spells:
            self._no_lexicon(lexicon)
            return spell(text or "")
        if phonemes is None:
            return self._own_symbols(phonemize(text or "", lexicon))
        if isinstance(phonemes, str) or not len(phonemes):
            raise BitjetsError('phonemes must be a list that is not empty, such as ["HH", "AH0", "L", "OW1"].')
        return phonemes

    def _own_symbols(self, phonemes: list[str]) -> list[str]:
        """Without the gaps and punctuation that a converted voice has no symbol for."""
        return [phoneme for phoneme in phonemes if phoneme in self._index or phoneme not in (GAP, *PUNCTUATION)]

    def _no_lexicon(self, lexicon: Lexicon | None) -> None:
        if lexicon:
            raise BitjetsError("this voice reads characters and no phonemes: leave the lexicon out.")

    def _sound(
        self, mel: np.ndarray, f0: np.ndarray, voiced: np.ndarray, speaker: int, style: Style, seed: int
    ) -> np.ndarray:
        """Samples of what was predicted, in the vocoder's own mel convention."""
        if self._says_states:  # at the level that the recordings were brought to
            return self._vocoder(mel, seed=seed) * np.float32(style.energy / self._statistics.gain[speaker])
        if self.config.audio != self._vocoder.audio:
            mel = map_log_mel(mel, self.config.audio, self._vocoder.audio)
        return self._vocoder(mel, f0, voiced, seed)

    def _tokens(self, phonemes: Sequence[str]) -> mx.array:
        unknown = [phoneme for phoneme in phonemes if phoneme not in self._index]
        if unknown and self.config.symbols != SYMBOLS:
            raise BitjetsError(
                f"unknown symbol {unknown[0]!r}: this voice's symbols are {' '.join(self.config.symbols)[:300]}"
            )
        if unknown:
            raise BitjetsError(
                f"unknown symbol {unknown[0]!r}: use ARPAbet phonemes with stress on the vowels, such as HH AH0 L OW1."
            )
        return mx.array([[self._index[phoneme] for phoneme in phonemes]])  # (1, N)

    @one_blas_thread()
    def _predict(self, phonemes: Sequence[str], speaker: int, style: Style) -> Prediction:
        model, statistics = self._acoustic, self._statistics
        tokens = self._tokens(phonemes)
        mask = mx.ones((1, tokens.shape[1], 1))
        speakers = mx.array([speaker])
        states = model.encode(tokens, speakers, mask)  # (1, N, D)
        plain = model.predict_variance(tokens, speakers, states, mask)
        plain = plain._replace(pitch=plain.pitch * self._calibration.pitch[speaker])
        speed = style.speed / self._calibration.duration[speaker]
        durations = whole_durations(plain.log_durations, mask, speed, self._least_frames)  # (1, N)
        frames = float(np.array(durations).sum())
        if not frames <= MOST_FRAMES:  # NaN too
            raise BitjetsError(
                f"this voice asks for {frames:,.0f} frames for {len(phonemes)} symbols: its weights are damaged, or it "
                "needs more training; give it fewer words at a time."
            )
        frame_mask = mx.ones((1, int(frames), 1))

        def decoded(variance: Variance) -> Decoded:
            return self._decoded(model.decode(states, variance, durations, mask, frame_mask), speaker)

        if self._spells and style.pitch != 0.0:
            raise BitjetsError("this voice predicts no pitch, so that it cannot be changed: leave pitch out.")
        variance = plain
        if self._says_states and style.pitch != 0.0:  # a request, as far as the decoder follows it
            variance = _restyled(plain, replace(style, energy=1.0), statistics.log_f0_std[speaker], 1.0)
        mel, log_f0, voiced = decoded(variance)
        if not self._says_states and (style.pitch != 0.0 or style.energy != 1.0):
            variance = _restyled(plain, style, statistics.log_f0_std[speaker], statistics.energy_std[speaker])
            mel, log_f0, voiced = _corrected(decoded(variance), (mel, log_f0, voiced), style)
        f0 = interpolate_f0(np.exp(log_f0), voiced) if voiced.any() else np.exp(log_f0) * self._says_f0
        return Prediction(
            phonemes=tuple(phonemes),
            durations=np.array(durations[0]).astype(np.int64),
            log_durations=np.array(plain.log_durations[0]),
            pitch=np.array(variance.pitch[0]),
            energy=np.array(variance.energy[0]),
            mel=mel.astype(np.float32),
            f0=f0.astype(np.float32),
            voiced=voiced,
        )

    def _decoded(self, frames: Frames, speaker: int) -> Decoded:
        """Out of normalized units, at the recordings' level: log mel (T, 80), log F0 in log Hz (T,), voicing (T,)."""
        statistics = self._statistics
        mx.eval(frames)
        mel = np.array(frames.mel[0])
        if not self._says_states:
            mel = mel * np.array(statistics.mel_std) + np.array(statistics.mel_mean)
        if self._says_f0:  # not of a converted model, whose outputs stay as they are
            mel = np.maximum(mel - math.log(statistics.gain[speaker]), math.log(self.config.audio.log_floor))
        log_f0 = np.array(frames.log_f0[0], dtype=np.float64) * statistics.log_f0_std[speaker]
        return mel, log_f0 + statistics.log_f0_mean[speaker], np.array(frames.voicing[0]) > 0.0


def load_voice(folder: str | Path, vocoder: str | Path | None = None) -> Voice:
    """Load a voice folder, all of it checked; BitjetsError names what is wrong with it.

    `vocoder` is another vocoder or voice folder, to speak with its vocoder instead.
    """
    folder = Path(folder)
    config = read_config(folder)
    if config.acoustic is None:
        raise BitjetsError(f"{folder} holds a vocoder and no voice: give a folder that was packed with --acoustic.")
    acoustic = read_acoustic(folder, config)
    if vocoder is not None:
        return Voice(config, acoustic, load_vocoder(vocoder))
    if config.vocoder is not None:
        return Voice(config, acoustic, load_vocoder(folder))
    warnings.warn(f"{folder} has no vocoder: speaking with Griffin-Lim, which sounds metallic.", stacklevel=2)
    return Voice(config, acoustic, FrameVocoder(None))


def load_vocoder(folder: str | Path) -> FrameVocoder:
    """Load the vocoder of a vocoder folder or a voice folder, checked."""
    folder = Path(folder)
    config = read_config(folder)
    return FrameVocoder(read_vocoder(folder, config), config.vocoder_audio or config.audio)


def _check_fit(says_states: bool, says_f0: bool, audio: AudioConfig, channels: int, vocoder: FrameVocoder) -> None:
    """BitjetsError where an acoustic model and a vocoder cannot work together."""
    if says_states and vocoder.channels != channels:
        raise BitjetsError("this voice's own vocoder reads its decoder's states: leave --vocoder out.")
    if vocoder.channels != channels:
        raise BitjetsError("this vocoder belongs to one voice and reads no mels: give another one as --vocoder.")
    if not says_f0 and isinstance(vocoder.model, HarmonicVocoder):
        raise BitjetsError("the harmonic vocoder needs F0, which this voice does not predict: give a HiFi-GAN.")
    if not says_states:
        check_same_grid(audio, vocoder.audio)


def text_to_phonemes(text: str, lexicon: Lexicon | None = None) -> list[list[str]]:
    """The phonemes of every sentence of a text; one with nothing speakable is left out if another has something."""
    sentences, failure = [], None
    for sentence in split_sentences(text, LONGEST_PIECE):
        try:
            sentences.append(phonemize(sentence, lexicon))
        except BitjetsError as error:
            failure = failure or error
    if not sentences:
        raise failure or BitjetsError("there is no text to speak: give some words.")
    return sentences


def _restyled(variance: Variance, style: Style, log_f0_std: float, energy_std: float) -> Variance:
    """The request for another pitch and energy that the decoder gets, token by token."""
    pitch_step = style.pitch * SEMITONE / log_f0_std
    energy_step = math.log(style.energy) / energy_std
    return variance._replace(
        pitch=variance.pitch + max(-FURTHEST_SHIFT, min(FURTHEST_SHIFT, pitch_step)),
        energy=variance.energy + max(-FURTHEST_SHIFT, min(FURTHEST_SHIFT, energy_step)),
    )


def _corrected(said: Decoded, before: Decoded, style: Style) -> Decoded:
    """The decoder follows a request only in part: what it said `before` it tells what is missing, which is added."""
    mel, log_f0, voiced = said
    both = voiced & before[2]
    both = both if both.any() else np.ones_like(both)
    log_f0 = log_f0 + style.pitch * SEMITONE - np.mean(log_f0[both] - before[1][both])
    return mel + math.log(style.energy) - np.mean(mel - before[0]), log_f0, voiced


def _usable_f0(f0: np.ndarray, voiced: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Log F0 (T,) without holes, and the voicing gate (T,), both float32."""
    known = np.isfinite(f0) & (f0 > 0)
    if not known.all():
        if (voiced & ~known).any():
            raise BitjetsError("f0 must be a frequency in Hz in every voiced frame.")
        f0 = interpolate_f0(f0, known) if known.any() else np.full(len(f0), 200.0)
    return np.log(f0).astype(np.float32), voiced.astype(np.float32)
