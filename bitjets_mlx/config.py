"""Every model's configuration: frozen dataclasses that go to JSON and back, saved beside the weights."""

import dataclasses
from dataclasses import dataclass
from typing import Any, TypeVar

from bitjets_mlx.errors import BitjetsError

T = TypeVar("T")


@dataclass(frozen=True)
class AudioConfig:
    """STFT and mel conventions; the defaults are the official HiFi-GAN ones.

    `mel_scale`: slaney or htk. `mel_norm`: slaney (triangles of unit area) or none (of unit height). `normalized`: the
    spectrum is divided by the norm of the window. `centred`: frame i is centred on sample hop i, not hop (i + 1/2).
    """

    sample_rate: int = 22050
    n_fft: int = 1024
    hop: int = 256
    n_mels: int = 80
    f_min: float = 0.0
    f_max: float = 8000.0
    log_floor: float = 1e-5
    mel_scale: str = "slaney"
    mel_norm: str = "slaney"
    normalized: bool = False
    centred: bool = False


TORCHAUDIO_MEL = AudioConfig(f_max=11025.0, mel_scale="htk", mel_norm="none", normalized=True, centred=True)


@dataclass(frozen=True)
class FeatureStatistics:
    """What training features are normalized by. All but those of the mel have one entry a speaker."""

    mel_mean: tuple[float, ...]
    mel_std: tuple[float, ...]
    log_f0_mean: tuple[float, ...]
    log_f0_std: tuple[float, ...]
    energy_mean: tuple[float, ...]
    energy_std: tuple[float, ...]
    gain: tuple[float, ...]


@dataclass(frozen=True)
class Calibration:
    """Factors on what the acoustic model predicts, one a speaker; see `training.calibrate`."""

    duration: tuple[float, ...]
    pitch: tuple[float, ...]


PITCH_OF_PHONEMES = (64, 4, 9)  # sees 16 phonemes to either side: what stands for stress, words and phrases


@dataclass(frozen=True)
class AcousticConfig:
    """BitJETS: ternary FFT-block encoder and decoder, variance adaptor, learned aligner.

    `weight_bits` counts where `ternary` is off: 8 or 4 for integer weights, 0 for full precision.
    The fields behind `ternary` make it the JETS of ESPnet: `norm` "layer" has LayerNorm before every sub-layer and
    behind the predictors' convolutions in place of RMSNorm inside ternary layers; `contract_kernel` is that of the
    feed-forward layer's way back; `decoder_feed_forward` its width in the decoder (0: as in the encoder); `predictors`
    (width, layers, kernel) of duration, pitch and energy (none: `predictor_shapes`); `variance_kernel` that of the
    pitch and energy embeddings; `frame_centre` the place in a frame where upsampling looks; `least_frames` of a token;
    `mel` False: no projection, the vocoder reads the decoder's states.
    `pitch_reads`: what the pitch predictor reads, the encoder's "states" or the "phonemes" themselves.
    """

    symbols: int = 80
    speakers: int = 1
    n_mels: int = 80
    width: int = 192
    heads: int = 2
    feed_forward: int = 384
    kernel: int = 3
    encoder_layers: int = 3
    decoder_layers: int = 3
    predictor_width: int = 192
    predictor_layers: int = 2
    predictor_kernel: int = 3
    dropout: float = 0.1
    decoder_dropout: float = 0.0
    predictor_dropout: float = 0.2
    aligner_width: int = 128
    ternary: bool = True
    weight_bits: int = 0
    norm: str = "rms"
    contract_kernel: int = 1
    decoder_feed_forward: int = 0
    predictors: tuple[tuple[int, int, int], ...] = ()
    variance_kernel: int = 1
    frame_centre: float = 0.5
    least_frames: int = 1
    mel: bool = True
    pitch_reads: str = "states"

    @property
    def outputs(self) -> int:
        """Channels of what the vocoder reads."""
        return self.n_mels if self.mel else self.width

    @property
    def predictor_shapes(self) -> tuple[tuple[int, int, int], ...]:
        """(width, layers, kernel) of the duration, pitch and energy predictor."""
        common = (self.predictor_width, self.predictor_layers, self.predictor_kernel)
        return self.predictors or (common, PITCH_OF_PHONEMES if self.pitch_reads == "phonemes" else common, common)


@dataclass(frozen=True)
class CharacterConfig:
    """The convolutional BitJETS that reads characters; see `torch_import.characters`. `generation`: early or late."""

    symbols: int = 32
    speakers: int = 1
    n_mels: int = 80
    width: int = 256
    decoder_width: int = 192
    kernel: int = 5
    encoder_layers: int = 4
    decoder_layers: int = 4
    predictor_layers: int = 2
    predictor_kernel: int = 3
    aligner_width: int = 128
    generation: str = "late"

    @property
    def mel(self) -> bool:
        """Whether the vocoder reads mels."""
        return True

    @property
    def outputs(self) -> int:
        """Channels of what the vocoder reads."""
        return self.n_mels


@dataclass(frozen=True)
class HarmonicConfig:
    """Harmonic vocoder: a ConvNeXt stack that filters a pulse train and noise, at frame rate."""

    width: int = 256
    hidden: int = 512
    layers: int = 5
    kernel: int = 7
    n_mels: int = 80


@dataclass(frozen=True)
class HifiganConfig:
    """HiFi-GAN generator; the defaults are V2. Field names follow the official config.json.

    `n_mels` are the input's channels: mel bands, or in a voice of ESPnet's JETS the decoder's states.
    """

    resblock: str = "1"
    upsample_rates: tuple[int, ...] = (8, 8, 2, 2)
    upsample_kernel_sizes: tuple[int, ...] = (16, 16, 4, 4)
    upsample_initial_channel: int = 128
    resblock_kernel_sizes: tuple[int, ...] = (3, 7, 11)
    resblock_dilation_sizes: tuple[tuple[int, ...], ...] = ((1, 3, 5), (1, 3, 5), (1, 3, 5))
    n_mels: int = 80
    hop_size: int = 256


@dataclass(frozen=True)
class JointConfig:
    """An acoustic model and the vocoder that reads its mels or, where `acoustic.mel` is False, its decoder's states."""

    acoustic: AcousticConfig
    vocoder: HarmonicConfig | HifiganConfig


@dataclass(frozen=True)
class DiscriminatorConfig:
    """The vocoder's discriminators; the defaults are small enough to train on a CPU (2.0 M parameters)."""

    band_sizes: tuple[int, ...] = (512, 1024, 2048)
    bands: int = 8
    band_channels: int = 64
    spectrogram_sizes: tuple[int, ...] = ()
    spectrogram_channels: int = 16
    periods: tuple[int, ...] = (2, 3, 5, 7, 11)
    period_channels: tuple[int, ...] = (8, 32, 64, 128)
    scales: int = 0


def hifigan_discriminators() -> DiscriminatorConfig:
    """HiFi-GAN's own: five period and three scale discriminators, 70 M parameters."""
    return DiscriminatorConfig(band_sizes=(), period_channels=(32, 128, 512, 1024), scales=3)


def discriminator_config(size: str) -> DiscriminatorConfig:
    """Of `--discriminators`: small or full."""
    return hifigan_discriminators() if size == "full" else DiscriminatorConfig()


HIFIGAN_VERSIONS = {
    "V1": HifiganConfig(upsample_initial_channel=512),
    "V2": HifiganConfig(),
    "V3": HifiganConfig(
        resblock="2",
        upsample_rates=(8, 8, 4),
        upsample_kernel_sizes=(16, 16, 8),
        upsample_initial_channel=256,
        resblock_kernel_sizes=(3, 5, 7),
        resblock_dilation_sizes=((1, 2), (2, 6), (3, 12)),
    ),
}


def identity_statistics(channels: int, speakers: int) -> FeatureStatistics:
    """Of a model whose outputs are in real units as they are."""
    nothing, one = (0.0,) * speakers, (1.0,) * speakers
    return FeatureStatistics((0.0,) * channels, (1.0,) * channels, nothing, one, nothing, one, one)


def to_json(config: Any) -> dict[str, Any]:
    """A configuration as plain JSON types."""
    return dataclasses.asdict(config)


def from_json(kind: type[T], values: Any) -> T:
    """The configuration `kind` from JSON; BitjetsError where a key is missing, unknown or of the wrong type."""
    if not isinstance(values, dict):
        raise BitjetsError(f"{kind.__name__} in config.json must be an object: the file is damaged, fetch it again.")
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(values) - set(fields))
    missing = sorted(
        name for name, field in fields.items() if field.default is dataclasses.MISSING and name not in values
    )
    if unknown or missing:
        raise BitjetsError(
            f"{kind.__name__} in config.json has unknown keys {unknown} and lacks {missing}: "
            "it is from another version of bitjets_mlx, or damaged."
        )
    return kind(**{name: _tuples(value) for name, value in values.items()})


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
