"""The families of acoustic models as a voice uses them: text to their symbols, symbols to mel, Hz and frames.

A model works in normalized units and knows neither text nor vocoders. What is particular to one kind of it is here:
BitJETS reads phonemes and predicts mel and F0; a JETS whose vocoder reads its decoder's states predicts no mel; the
character-level BitJETS reads letters and predicts no pitch.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import mlx.core as mx
import numpy as np

from bitjets_mlx.acoustic import AcousticModel
from bitjets_mlx.acoustic.model import Frames, Variance, whole_durations
from bitjets_mlx.audio.mel_conventions import check_same_grid, map_log_mel
from bitjets_mlx.audio.pitch import interpolate_f0
from bitjets_mlx.config import Calibration, CharacterConfig, FeatureStatistics
from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.native.blas import one_blas_thread
from bitjets_mlx.text import phonemize_words
from bitjets_mlx.text.spelled import spell
from bitjets_mlx.text.spoken import Manner, Phonemes
from bitjets_mlx.text.symbols import GAP, PUNCTUATION, SYMBOLS
from bitjets_mlx.vocoder.harmonic import HarmonicVocoder
from bitjets_mlx.voice.frame_vocoder import FrameVocoder
from bitjets_mlx.voice.prediction import Prediction, Style
from bitjets_mlx.voice.streaming import Utterances, sentences_of
from bitjets_mlx.voice.voice_config import VoiceConfig

Lexicon = Mapping[str, Sequence[str]]
Decoded = tuple[np.ndarray, np.ndarray, np.ndarray]  # log mel (T, 80), log F0 in log Hz (T,), voicing (T,)
Decode = Callable[[Variance], Decoded]

MOST_FRAMES = 20_000  # of one utterance, four minutes: attention would need gigabytes
LONGEST_PIECE = 180  # characters, some 10 s: no training clip was longer, and attention grows with the square
SEMITONE = math.log(2.0) / 12.0  # of log F0
FURTHEST_SHIFT = 1.5  # deviations of pitch and energy that the model is asked for; the rest is done to its output


def family_of(config: VoiceConfig, model: AcousticModel) -> "PhonemeFamily":
    """The family that a voice's acoustic model belongs to."""
    if isinstance(model.config, CharacterConfig):
        return CharacterFamily(config, model)
    return PhonemeFamily(config, model) if model.config.mel else StatesFamily(config, model)


class PhonemeFamily:
    """BitJETS: reads phonemes, predicts mel, F0 and voicing."""

    def __init__(self, config: VoiceConfig, model: AcousticModel) -> None:
        assert config.statistics is not None  # as every acoustic model's config.json has
        self.config, self.model = config, model
        self.statistics: FeatureStatistics = config.statistics
        ones = (1.0,) * len(config.speakers)
        self.calibration = config.calibration or Calibration(duration=ones, pitch=ones)
        places = {symbol: place for place, symbol in reversed([*enumerate(config.symbols)])}
        self.index = {symbol: places[config.substitutes.get(symbol, symbol)] for symbol in config.symbols}

    # -- text ------------------------------------------------------------------------------------------------------

    def symbols(self, text: str, lexicon: Lexicon | None = None) -> Phonemes:
        """What this model reads for a text that is spoken as one utterance."""
        # Gaps and punctuation that a converted voice has no symbol for are left out.
        phonemes = Phonemes.joined(phonemize_words(text, lexicon))
        return phonemes.only(lambda symbol: symbol in self.index or symbol not in (GAP, *PUNCTUATION))

    def sentences(self, text: str, lexicon: Lexicon | None = None) -> list[Phonemes]:
        """`symbols` of every sentence, whose words know their place in `text`.

        One with nothing speakable is left out if another has something.
        """
        pieces = sentences_of(text, LONGEST_PIECE)
        return [phonemes for phonemes, _ in self.utterances(lexicon).of(pieces, ended=True)]

    def utterances(self, lexicon: Lexicon | None = None) -> Utterances:
        """The same for sentences that come one by one."""
        return Utterances(lambda sentence: self.symbols(sentence, lexicon))

    def tokens(self, symbols: Sequence[str]) -> mx.array:
        """Their numbers (1, N); BitjetsError naming one that this voice does not have."""
        unknown = next((symbol for symbol in symbols if symbol not in self.index), None)
        if unknown is None:
            return mx.array([[self.index[symbol] for symbol in symbols]])  # (1, N)
        if self.config.symbols == SYMBOLS:
            fix = "use ARPAbet phonemes with stress on the vowels, such as HH AH0 L OW1"
        else:
            fix = f"this voice's symbols are {' '.join(self.config.symbols)[:300]}"
        raise BitjetsError(f"unknown symbol {unknown!r:.60}: {fix}.")

    def in_manner(self, style: Style, manner: Manner, speaker: int) -> Style:
        """A style as SSML changes it; `Style`'s own limits hold."""
        pitch = style.pitch + manner.pitch
        if manner.hertz is not None:
            mean = math.exp(self.statistics.log_f0_mean[speaker])
            wanted = mean + manner.hertz if manner.hertz_is_shift else manner.hertz
            if wanted <= 0.0:
                raise BitjetsError(f"a pitch of {wanted:g} Hz was asked for: give more than 0 Hz.")
            pitch += math.log(wanted / mean) / SEMITONE
        energy = style.energy * manner.energy if manner.energy else style.energy
        return replace(style, speed=style.speed * manner.speed, pitch=pitch, energy=energy)

    # -- prediction ------------------------------------------------------------------------------------------------

    @one_blas_thread()
    def predict(self, symbols: Sequence[str], speaker: int, style: Style) -> Prediction:
        """One utterance, in real units."""
        tokens = self.tokens(symbols)
        mask = mx.ones((1, tokens.shape[1], 1))
        speakers = mx.array([speaker])
        states = self.model.encode(tokens, speakers, mask)  # (1, N, D)
        plain = self.model.predict_variance(tokens, speakers, states, mask)
        plain = plain._replace(pitch=plain.pitch * self.calibration.pitch[speaker])
        speed = float(style.speed) / self.calibration.duration[speaker]
        durations = whole_durations(plain.log_durations, mask, speed, self.model.config.least_frames)  # (1, N)
        frames = float(np.array(durations).sum())
        if not frames <= MOST_FRAMES:  # NaN too
            raise BitjetsError(
                f"this voice asks for {frames:,.0f} frames for {len(symbols)} symbols: its weights are damaged, or it "
                "needs more training; give it fewer words at a time."
            )
        frame_mask = mx.ones((1, int(frames), 1))

        def decode(variance: Variance) -> Decoded:
            return self.real_units(self.model.decode(states, variance, durations, mask, frame_mask), speaker)

        variance, (mel, log_f0, voiced) = self.styled(plain, decode, speaker, style)
        return Prediction(
            phonemes=tuple(symbols),
            durations=np.array(durations[0]).astype(np.int64),
            log_durations=np.array(plain.log_durations[0]),
            pitch=np.array(variance.pitch[0]),
            energy=np.array(variance.energy[0]),
            mel=mel.astype(np.float32),
            f0=self.f0(log_f0, voiced).astype(np.float32),
            voiced=voiced,
        )

    def styled(self, plain: Variance, decode: Decode, speaker: int, style: Style) -> tuple[Variance, Decoded]:
        """What the decoder makes of the predicted pitch and energy, and of other ones where the style asks for them."""
        decoded = decode(plain)
        if style.pitch == 0.0 and style.energy == 1.0:
            return plain, decoded
        variance = self.requested(plain, style, speaker)
        return variance, _corrected(decode(variance), decoded, style)

    def requested(self, variance: Variance, style: Style, speaker: int) -> Variance:
        """The request for another pitch and energy that the decoder gets, token by token."""
        pitch_step = style.pitch * SEMITONE / self.statistics.log_f0_std[speaker]
        energy_step = math.log(style.energy) / self.statistics.energy_std[speaker]
        return variance._replace(
            pitch=variance.pitch + max(-FURTHEST_SHIFT, min(FURTHEST_SHIFT, pitch_step)),
            energy=variance.energy + max(-FURTHEST_SHIFT, min(FURTHEST_SHIFT, energy_step)),
        )

    def real_units(self, frames: Frames, speaker: int) -> Decoded:
        """Log mel (T, 80) at the recordings' level, log F0 in log Hz (T,), voicing (T,)."""
        mel, log_f0, voiced = self._denormalized(frames, speaker)
        mel = mel * np.array(self.statistics.mel_std) + np.array(self.statistics.mel_mean)
        return self.at_level(mel, speaker), log_f0, voiced

    def at_level(self, mel: np.ndarray, speaker: int) -> np.ndarray:
        """The mel without the gain that the speaker's recordings were given for training."""
        return np.maximum(mel - math.log(self.statistics.gain[speaker]), math.log(self.config.audio.log_floor))

    def f0(self, log_f0: np.ndarray, voiced: np.ndarray) -> np.ndarray:
        """F0 in Hz (T,), interpolated through unvoiced frames."""
        return interpolate_f0(np.exp(log_f0), voiced) if voiced.any() else np.exp(log_f0)

    def _denormalized(self, frames: Frames, speaker: int) -> Decoded:
        mx.eval(frames)
        log_f0 = np.array(frames.log_f0[0], dtype=np.float64) * self.statistics.log_f0_std[speaker]
        return (
            np.array(frames.mel[0]),
            log_f0 + self.statistics.log_f0_mean[speaker],
            np.array(frames.voicing[0]) > 0.0,
        )

    # -- sound -----------------------------------------------------------------------------------------------------

    def check_vocoder(self, vocoder: FrameVocoder) -> None:
        """BitjetsError where the vocoder cannot speak what this model predicts."""
        if vocoder.channels != self.model.config.outputs:
            raise BitjetsError("this vocoder belongs to one voice and reads no mels: give another one as --vocoder.")
        check_same_grid(self.config.audio, vocoder.audio)

    def sound(
        self,
        vocoder: FrameVocoder,
        mel: np.ndarray,
        f0: np.ndarray,
        voiced: np.ndarray,
        speaker: int,
        style: Style,
        seed: int,
    ) -> np.ndarray:
        """Samples of what was predicted, in the vocoder's own mel convention."""
        if self.config.audio != vocoder.audio:
            mel = map_log_mel(mel, self.config.audio, vocoder.audio)
        return vocoder(mel, f0, voiced, seed)


class CharacterFamily(PhonemeFamily):
    """The character-level BitJETS: reads letters; its mel is as the checkpoint has it, and there is no F0."""

    def symbols(self, text: str, lexicon: Lexicon | None = None) -> Phonemes:
        """The characters of a text."""
        if lexicon:
            raise BitjetsError("this voice reads characters and no phonemes: leave the lexicon out.")
        return spell(text)

    def styled(self, plain: Variance, decode: Decode, speaker: int, style: Style) -> tuple[Variance, Decoded]:
        """Energy alone can be changed."""
        if style.pitch != 0.0:
            raise BitjetsError("this voice predicts no pitch, so that it cannot be changed: leave pitch out.")
        return super().styled(plain, decode, speaker, style)

    def at_level(self, mel: np.ndarray, speaker: int) -> np.ndarray:
        """A converted model's outputs stay as they are."""
        return mel

    def f0(self, log_f0: np.ndarray, voiced: np.ndarray) -> np.ndarray:
        """None: zeros."""
        return np.zeros_like(log_f0)

    def check_vocoder(self, vocoder: FrameVocoder) -> None:
        """As for every voice, and it must do without F0."""
        super().check_vocoder(vocoder)
        _check_needs_no_f0(vocoder)


class StatesFamily(PhonemeFamily):
    """JETS whose vocoder reads the decoder's states (T, D), which stand in the place of the mel; there is no F0."""

    def styled(self, plain: Variance, decode: Decode, speaker: int, style: Style) -> tuple[Variance, Decoded]:
        """Another pitch is a request, as far as the decoder follows it; energy is a gain on the samples."""
        variance = plain if style.pitch == 0.0 else self.requested(plain, replace(style, energy=1.0), speaker)
        return variance, decode(variance)

    def real_units(self, frames: Frames, speaker: int) -> Decoded:
        """The states as they are."""
        return self._denormalized(frames, speaker)

    def f0(self, log_f0: np.ndarray, voiced: np.ndarray) -> np.ndarray:
        """None: zeros."""
        return np.zeros_like(log_f0)

    def check_vocoder(self, vocoder: FrameVocoder) -> None:
        """Only the vocoder that was trained with the model knows its states."""
        if vocoder.channels != self.model.config.outputs:
            raise BitjetsError("this voice's own vocoder reads its decoder's states: leave --vocoder out.")
        _check_needs_no_f0(vocoder)

    def sound(
        self,
        vocoder: FrameVocoder,
        mel: np.ndarray,
        f0: np.ndarray,
        voiced: np.ndarray,
        speaker: int,
        style: Style,
        seed: int,
    ) -> np.ndarray:
        """Samples at the level that the recordings were brought to."""
        return vocoder(mel, seed=seed) * np.float32(style.energy / self.statistics.gain[speaker])


def _check_needs_no_f0(vocoder: FrameVocoder) -> None:
    if isinstance(vocoder.model, HarmonicVocoder):
        raise BitjetsError("the harmonic vocoder needs F0, which this voice does not predict: give a HiFi-GAN.")


def _corrected(decoded: Decoded, before: Decoded, style: Style) -> Decoded:
    """The decoder follows a request only in part: what is missing, beside what it decoded `before`, is added."""
    mel, log_f0, voiced = decoded
    both = voiced & before[2]
    both = both if both.any() else np.ones_like(both)
    log_f0 = log_f0 + style.pitch * SEMITONE - np.mean(log_f0[both] - before[1][both])
    return mel + math.log(style.energy) - np.mean(mel - before[0]), log_f0, voiced
