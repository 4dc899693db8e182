"""A voice's weights as plain float32 arrays, for the PyTorch twin, which reads no MLX."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from mlx.utils import tree_flatten

from bitjets_mlx.acoustic import build_acoustic
from bitjets_mlx.config import AcousticConfig, Calibration, HarmonicConfig, to_json
from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.ternary.packing import unpack_base3
from bitjets_mlx.vocoder.harmonic import envelope_matrix
from bitjets_mlx.vocoder.noise import white_noise_table
from bitjets_mlx.voice.arrays import parameter_shapes, ternary_layers
from bitjets_mlx.voice.folder import read_vocoder
from bitjets_mlx.voice.voice_config import ACOUSTIC_FILE, VoiceConfig, read_config
from bitjets_mlx.voice.weights_file import read_weights

Arrays = dict[str, np.ndarray]


def export_for_torch(voice: Path, vocoder: Path, output: Path) -> None:
    """Write OUTPUT/config.json and weights.npz: trits times beta, everything in float32.

    `vocoder` is a voice or vocoder folder. BitjetsError for a voice whose acoustic model the twin does not have.
    """
    config, vocoder_config = read_config(voice), read_config(vocoder)
    if not isinstance(config.acoustic, AcousticConfig) or not config.acoustic.mel or config.acoustic.norm != "rms":
        raise BitjetsError(f"{voice}: the PyTorch twin speaks with a BitJETS of ours only: give such a voice.")
    assert vocoder_config.vocoder is not None and config.statistics is not None
    arrays = {f"acoustic.{name}": array for name, array in _acoustic_arrays(voice, config.acoustic).items()}
    weights: Any = tree_flatten(read_vocoder(vocoder, vocoder_config).parameters())
    arrays |= {f"vocoder.{name}": np.array(leaf) for name, leaf in weights}
    arrays |= {"mel_mean": np.array(config.statistics.mel_mean), "mel_std": np.array(config.statistics.mel_std)}
    if isinstance(vocoder_config.vocoder, HarmonicConfig):
        arrays |= {"envelope": envelope_matrix(vocoder_config.vocoder.n_mels), "noise": np.array(white_noise_table())}
    described = {
        "acoustic": to_json(config.acoustic),
        "vocoder": to_json(vocoder_config.vocoder),
        "lowest_mel": math.log(config.audio.log_floor),
        "speakers": _speakers(config),
        "symbols": list(config.symbols),
    }
    np.savez(output / "weights.npz", **{name: array.astype(np.float32) for name, array in arrays.items()})  # type: ignore[arg-type]
    (output / "config.json").write_text(json.dumps(described))


def _acoustic_arrays(folder: Path, config: AcousticConfig) -> Arrays:
    """Every weight of the acoustic model by name, ternary ones expanded."""
    arrays = read_weights(folder / ACOUSTIC_FILE)
    model = build_acoustic(config)
    shapes = parameter_shapes(model)
    for name in ternary_layers(model):
        if f"{name}.trits" in arrays:
            trits = unpack_base3(arrays.pop(f"{name}.trits"), shapes[f"{name}.weight"])
            arrays[f"{name}.weight"] = trits.astype(np.float32) * arrays.pop(f"{name}.beta").astype(np.float32)
    return arrays


def _speakers(config: VoiceConfig) -> list[dict[str, Any]]:
    statistics = config.statistics
    assert statistics is not None
    ones = (1.0,) * len(config.speakers)
    calibration = config.calibration or Calibration(duration=ones, pitch=ones)
    return [
        {
            "name": name,
            "log_f0_mean": statistics.log_f0_mean[i],
            "log_f0_std": statistics.log_f0_std[i],
            "gain": statistics.gain[i],
            "duration": calibration.duration[i],
            "pitch": calibration.pitch[i],
        }
        for i, name in enumerate(config.speakers)
    ]
