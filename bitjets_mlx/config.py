"""Every model's configuration: frozen dataclasses that go to JSON and back, saved beside the weights.

Their annotations say which values there may be; `bitjets_mlx.checked` holds every one of them to it.
"""

import math
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from bitjets_mlx.checked import Checked, Length, Range, from_json, to_json

__all__ = ["from_json", "to_json"]

SAMPLE_RATE = 22050  # Hz; with the two below, the conventions of the official HiFi-GAN
HOP = 256  # samples per frame
N_FFT = 1024

Size = Annotated[int, Range(1, 1 << 16)]  # channels, symbols, speakers
Layers = Annotated[int, Range(0, 100)]
Kernel = Annotated[int, Range(1, 1025)]
Share = Annotated[float, Range(0.0, 1.0)]
PredictorShape = tuple[Size, Layers, Kernel]
Sizes = Annotated[tuple[Size, ...], Length(16)]
Numbers = Annotated[tuple[Annotated[float, Range(-1e6, 1e6)], ...], Length(1 << 16)]
Factors = Annotated[tuple[Annotated[float, Range(1e-9, 1e9)], ...], Length(1 << 16)]


@dataclass(frozen=True)
class AudioConfig(Checked):
    """STFT and mel conventions; the defaults are the official HiFi-GAN ones.

    `mel_norm`: slaney (triangles of unit area) or none (of unit height). `normalized`: the
    spectrum is divided by the norm of the window. `centred`: frame i is centred on sample hop i, not hop (i + 1/2).
    """

    sample_rate: Annotated[int, Range(1, 1 << 20)] = SAMPLE_RATE
    n_fft: Size = N_FFT
    hop: Size = HOP
    n_mels: Size = 80
    f_min: Annotated[float, Range(0.0, 1e6)] = 0.0
    f_max: Annotated[float, Range(0.0, 1e6)] = 8000.0
    log_floor: Annotated[float, Range(1e-30, 1.0)] = 1e-5
    mel_scale: Literal["slaney", "htk"] = "slaney"
    mel_norm: Literal["slaney", "none"] = "slaney"
    normalized: bool = False
    centred: bool = False


TORCHAUDIO_MEL = AudioConfig(f_max=11025.0, mel_scale="htk", mel_norm="none", normalized=True, centred=True)


@dataclass(frozen=True)
class FeatureStatistics(Checked):
    """What training features are normalized by. All but those of the mel have one entry per speaker."""

    mel_mean: Numbers
    mel_std: Factors
    log_f0_mean: Numbers
    log_f0_std: Factors
    energy_mean: Numbers
    energy_std: Factors
    gain: Factors


@dataclass(frozen=True)
class Calibration(Checked):
    """Factors on what the acoustic model predicts, one per speaker; see `training.calibrate`."""

    duration: Factors
    pitch: Numbers


@dataclass(frozen=True)
class AcousticConfig(Checked):
    """BitJETS: ternary FFT-block encoder and decoder, variance adaptor, learned aligner.

    `predictors`: (width, layers, kernel) of duration, pitch and energy. `pitch_reads`: what the pitch predictor reads,
    the encoder's "states" or the "phonemes" themselves. `weight_bits` counts where `ternary` is off: 8 or 4 for integer
    weights, 0 for full precision.
    The fields behind `ternary` make it the JETS of ESPnet: `norm` "layer" has LayerNorm before every sub-layer and
    behind the predictors' convolutions in place of RMSNorm inside ternary layers; `contract_kernel` is that of the
    feed-forward layer's way back; `decoder_feed_forward` its width in the decoder (0: as in the encoder);
    `variance_kernel` that of the pitch and energy embeddings; `frame_centre` the place in a frame where upsampling
    looks; `least_frames` of a token; `mel` False: no projection, the vocoder reads the decoder's states.
    """

    KIND: ClassVar[str] = "bitjets"

    symbols: Size = 80
    speakers: Size = 1
    n_mels: Size = 80
    width: Size = 192
    heads: Size = 2
    feed_forward: Size = 384
    kernel: Kernel = 3
    encoder_layers: Layers = 3
    decoder_layers: Layers = 3
    predictors: tuple[PredictorShape, PredictorShape, PredictorShape] = ((192, 2, 3),) * 3
    dropout: Share = 0.1
    decoder_dropout: Share = 0.0
    predictor_dropout: Share = 0.2
    aligner_width: Size = 128
    ternary: bool = True
    weight_bits: Literal[0, 4, 8] = 0
    norm: Literal["rms", "layer"] = "rms"
    contract_kernel: Kernel = 1
    decoder_feed_forward: Annotated[int, Range(0, 1 << 16)] = 0
    variance_kernel: Kernel = 1
    frame_centre: Share = 0.5
    least_frames: Annotated[int, Range(0, 100)] = 1
    mel: bool = True
    pitch_reads: Literal["states", "phonemes"] = "states"

    @property
    def outputs(self) -> int:
        """Channels of what the vocoder reads."""
        return self.n_mels if self.mel else self.width

    def contradiction(self) -> str:
        """Attention splits the width into heads, positions into sines and cosines, and kernels have a middle."""
        kernels = (self.kernel, self.contract_kernel, self.variance_kernel, *(shape[2] for shape in self.predictors))
        if self.width % self.heads or self.width % 2:
            return f"width {self.width} must be even and a multiple of {self.heads} heads"
        return "" if all(kernel % 2 for kernel in kernels) else f"kernels {kernels} must be odd"

    @classmethod
    def upgraded(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Older versions stored one shape for all predictors; a pitch predictor that read phonemes had its own."""
        parts = [f"predictor_{part}" for part in ("width", "layers", "kernel")]
        common = [values.get(name, usual) for name, usual in zip(parts, (192, 2, 3), strict=True)]
        pitch = [64, 4, 9] if values.get("pitch_reads") == "phonemes" else common
        values = {name: value for name, value in values.items() if name not in parts}
        return values if values.get("predictors") else values | {"predictors": [common, pitch, common]}


@dataclass(frozen=True)
class CharacterConfig(Checked):
    """The convolutional BitJETS that reads characters; see `torch_import.characters`."""

    KIND: ClassVar[str] = "bitjets-characters"

    symbols: Size = 32
    speakers: Size = 1
    n_mels: Size = 80
    width: Size = 256
    decoder_width: Size = 192
    kernel: Kernel = 5
    encoder_layers: Layers = 4
    decoder_layers: Layers = 4
    predictor_layers: Layers = 2
    predictor_kernel: Kernel = 3
    aligner_width: Size = 128
    generation: Literal["early", "late"] = "late"

    @property
    def mel(self) -> bool:
        """Whether the vocoder reads mels."""
        return True

    @property
    def least_frames(self) -> int:
        """Of a token."""
        return 1

    @property
    def outputs(self) -> int:
        """Channels of what the vocoder reads."""
        return self.n_mels

    def contradiction(self) -> str:
        """Kernels have a middle."""
        odd = self.kernel % 2 and self.predictor_kernel % 2
        return "" if odd else f"kernels {self.kernel} and {self.predictor_kernel} must be odd"


@dataclass(frozen=True)
class HarmonicConfig(Checked):
    """Harmonic vocoder: a ConvNeXt stack that filters a pulse train and noise, at frame rate."""

    KIND: ClassVar[str] = "harmonic"

    width: Size = 256
    hidden: Size = 512
    layers: Layers = 5
    kernel: Kernel = 7
    n_mels: Size = 80

    def contradiction(self) -> str:
        """Kernels have a middle."""
        return "" if self.kernel % 2 else f"kernel {self.kernel} must be odd"


@dataclass(frozen=True)
class HifiganConfig(Checked):
    """HiFi-GAN generator; the defaults are V2. Field names follow the official config.json.

    `n_mels` are the input's channels: mel bands, or in a voice of ESPnet's JETS the decoder's states.
    """

    KIND: ClassVar[str] = "hifigan"

    resblock: Literal["1", "2"] = "1"
    upsample_rates: Sizes = (8, 8, 2, 2)
    upsample_kernel_sizes: Sizes = (16, 16, 4, 4)
    upsample_initial_channel: Size = 128
    resblock_kernel_sizes: Sizes = (3, 7, 11)
    resblock_dilation_sizes: Annotated[tuple[Sizes, ...], Length(16)] = ((1, 3, 5), (1, 3, 5), (1, 3, 5))
    n_mels: Size = 80
    hop_size: Size = HOP

    def contradiction(self) -> str:
        """Each upsampling has a kernel and halves the channels; together they make a hop of samples per frame."""
        rates, kernels = self.upsample_rates, self.upsample_kernel_sizes
        if math.prod(rates) != self.hop_size:
            return f"upsample_rates {rates} must multiply to the hop of {self.hop_size}"
        if len(rates) != len(kernels) or any(k < u or (k - u) % 2 for u, k in zip(rates, kernels, strict=True)):
            return f"upsample_kernel_sizes {kernels} must each exceed its rate of {rates} by an even number"
        if self.upsample_initial_channel < 1 << len(rates):
            return f"upsample_initial_channel {self.upsample_initial_channel} cannot be halved {len(rates)} times"
        if not self.resblock_kernel_sizes or not all(kernel % 2 for kernel in self.resblock_kernel_sizes):
            return f"resblock_kernel_sizes {self.resblock_kernel_sizes} must be odd"
        if len(self.resblock_dilation_sizes) != len(self.resblock_kernel_sizes):
            return "resblock_dilation_sizes must have one list for each of resblock_kernel_sizes"
        return ""


@dataclass(frozen=True)
class JointConfig(Checked):
    """An acoustic model and the vocoder that reads its mels or, where `acoustic.mel` is False, its decoder's states."""

    KIND: ClassVar[str] = "joint"

    acoustic: AcousticConfig
    vocoder: HarmonicConfig | HifiganConfig


@dataclass(frozen=True)
class DiscriminatorConfig(Checked):
    """The vocoder's discriminators; the defaults are small enough to train on a CPU (2.0 M parameters)."""

    band_sizes: Sizes = (512, 1024, 2048)
    bands: Size = 8
    band_channels: Size = 64
    periods: Sizes = (2, 3, 5, 7, 11)
    period_channels: Sizes = (8, 32, 64, 128)
    scales: Layers = 0

    @classmethod
    def upgraded(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Older versions stored that there were no discriminators of another kind."""
        old = {"spectrogram_sizes", "spectrogram_channels"} if not values.get("spectrogram_sizes") else set()
        return {name: value for name, value in values.items() if name not in old}


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
