"""config.json of a voice folder: everything needed to rebuild its models, and where they come from."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

from bitjets_mlx.checked import Checked, Length, from_json, to_json
from bitjets_mlx.config import (
    AcousticConfig,
    AudioConfig,
    Calibration,
    CharacterConfig,
    DiscriminatorConfig,
    FeatureStatistics,
    HarmonicConfig,
    HifiganConfig,
)
from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.files import read_json, write_json
from bitjets_mlx.folders import FolderKind, recover

FORMAT = 1
CONFIG_FILE = "config.json"
ACOUSTIC_FILE = "acoustic.safetensors"
VOCODER_FILE = "vocoder.safetensors"
TRAINABLE_FILE = "trainable.safetensors"
DISCRIMINATORS_FILE = "discriminators.safetensors"

Names = Annotated[tuple[Annotated[str, Length(1000)], ...], Length(1 << 16)]


@dataclass(frozen=True)
class VoiceConfig(Checked):
    """config.json of a voice, of a vocoder alone (`acoustic` None), or of a trainable folder.

    `calibration` corrects predicted prosody (none: as predicted). `files` maps each weight file to its sha256;
    `origin` says which trainings the weights come from; `substitutes` says which symbols are spoken as another one,
    for want of examples in the training data. `audio` is the convention of the acoustic model's mel, or of a lone
    vocoder's; `vocoder_audio` that of the vocoder where it is another one, to which mels are then mapped.
    """

    audio: AudioConfig
    acoustic: AcousticConfig | CharacterConfig | None = None
    vocoder: HarmonicConfig | HifiganConfig | None = None
    vocoder_audio: AudioConfig | None = None
    discriminators: DiscriminatorConfig | None = None
    statistics: FeatureStatistics | None = None
    calibration: Calibration | None = None
    speakers: Names = ()
    symbols: Names = ()
    substitutes: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    origin: dict[str, dict[str, Any]] = field(default_factory=dict)
    format: int = FORMAT

    def contradiction(self) -> str:
        """What the parts of a configuration must agree on."""
        grid = ("sample_rate", "n_fft", "hop", "n_mels")
        reads_mel = self.acoustic is None or self.acoustic.mel
        for audio in (self.audio, self.vocoder_audio or self.audio):
            if reads_mel and any(getattr(audio, name) != getattr(AudioConfig(), name) for name in grid):
                return f"it asks for other audio conventions than this version has ({AudioConfig()})"
        if self.acoustic is None:
            return ""
        if self.statistics is None:
            return "an acoustic model has statistics"
        tables = asdict(self.statistics) | (asdict(self.calibration) if self.calibration else {})
        sizes = {len(values) for name, values in tables.items() if not name.startswith("mel_")}
        bands = {len(self.statistics.mel_mean), len(self.statistics.mel_std)}
        known_bands = [{self.acoustic.outputs}]
        if not self.acoustic.mel:  # those of the aligner, which reads mels all the same
            known_bands.append({self.acoustic.n_mels})
        agree = (
            sizes == {self.acoustic.speakers}
            and len(self.speakers) == self.acoustic.speakers
            and len(self.symbols) == self.acoustic.symbols
            and bands in known_bands
            and {*self.substitutes, *self.substitutes.values()} <= {*self.symbols}
        )
        return "" if agree else "speakers, symbols, statistics and model sizes disagree"


def _is_voice(folder: Path) -> bool:
    try:
        values = read_json(folder / CONFIG_FILE)
    except (OSError, BitjetsError):
        return False
    return isinstance(values, dict) and {"format", "audio", "files"} <= values.keys() and "stage" not in values


FILES = (CONFIG_FILE, "README.md", ACOUSTIC_FILE, VOCODER_FILE, TRAINABLE_FILE, DISCRIMINATORS_FILE)
VOICE_FOLDER = FolderKind("voice folder", FILES, _is_voice)


def read_config(folder: Path) -> VoiceConfig:
    """Read and check FOLDER/config.json; BitjetsError where there is none or it is damaged."""
    path = folder / CONFIG_FILE
    recover(folder)
    try:
        values = read_json(path)
    except (FileNotFoundError, NotADirectoryError):
        raise BitjetsError(
            f"{folder} is not a voice folder (it has no config.json): give one that `python -m bitjets_mlx.pack` wrote."
        ) from None
    found = values.get("format") if isinstance(values, dict) else None
    if found != FORMAT:
        raise BitjetsError(
            f"{path} has format {found!r:.60}, this version reads {FORMAT}: is it a voice of another version?"
        )
    return from_json(VoiceConfig, values, str(path))


def write_config(folder: Path, config: VoiceConfig) -> None:
    """Write FOLDER/config.json."""
    write_json(folder / CONFIG_FILE, to_json(config))
