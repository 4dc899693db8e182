"""ESPnet's JETS: a transformer FastSpeech 2 and a HiFi-GAN that reads its decoder's states.

Becomes the same models as everything else here, in full precision: `AcousticConfig` with LayerNorm and without a mel
projection, and `HifiganConfig` with as many inputs as the decoder has states. Sizes come from config.yaml.
"""

import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from bitjets_mlx.acoustic.model import BitJets
from bitjets_mlx.config import AcousticConfig, AudioConfig, FeatureStatistics
from bitjets_mlx.torch_import.convolution import take_plain, take_weight
from bitjets_mlx.torch_import.jets_config import acoustic_config, read_jets_config, vocoder_config
from bitjets_mlx.torch_import.source import Shape, Source, origin_of
from bitjets_mlx.vocoder.hifigan import HifiganGenerator
from bitjets_mlx.voice.arrays import parameter_shapes
from bitjets_mlx.voice.voice_config import ACOUSTIC_FILE, VOCODER_FILE, VoiceConfig
from bitjets_mlx.voice.weights_file import Arrays

BLOCK = (  # of encoder.encoders.N: ours -> theirs
    (r"attention_norm\.", "norm1."),
    (r"feed_forward_norm\.", "norm2."),
    (r"attention\.out\.", "self_attn.linear_out."),
    (r"expand\.", "feed_forward.w_1."),
    (r"contract\.", "feed_forward.w_2."),
)


def convert_jets(
    source: Source, config_file: Path | None, ternary: bool
) -> tuple[VoiceConfig, dict[str, Arrays], list[str]]:
    """The voice, its files, and what to say about it. `ternary`: latent weights for fine-tuning on mels."""
    path = config_file or source.path.with_name("config.yaml")
    values, tokens = read_jets_config(path)
    prefix = "tts." if any(name.startswith("tts.") for name in source.tensors) else ""
    acoustic = acoustic_config(path, values, len(tokens))
    vocoder = vocoder_config(path, values, acoustic.width)
    shapes = parameter_shapes(BitJets(acoustic)), parameter_shapes(HifiganGenerator(vocoder))
    source.check_size([*shapes[0].values(), *shapes[1].values()])
    files = {
        ACOUSTIC_FILE: _map_acoustic(source, f"{prefix}generator.", shapes[0]),
        VOCODER_FILE: _map_vocoder(source, f"{prefix}generator.generator.", shapes[1]),
    }
    statistics = _statistics(source, acoustic)
    said = [f"symbols: {len(tokens)}, such as {' '.join(tokens[2:8])}"]
    if ternary:
        acoustic, statistics = replace(acoustic, ternary=True, mel=True), _mel_statistics(statistics)
        files[ACOUSTIC_FILE] |= _projection(acoustic)
        del files[VOCODER_FILE]
        said.append("ternary: with a new mel projection and no vocoder; it speaks when `train --init` has trained it")
    source.drop(f"{prefix}discriminator.", "not needed for speaking")
    source.drop(f"{prefix}generator.alignment_module.", "not needed for speaking")
    for name in ("feats_extract", "normalize", "pitch_extract", "energy_extract"):
        source.drop(f"{name}.", "for training")
    origin = origin_of(source.path)
    voice = VoiceConfig(
        audio=AudioConfig(sample_rate=values["sampling_rate"], hop=vocoder.hop_size),
        acoustic=acoustic,
        vocoder=None if ternary else vocoder,
        statistics=statistics,
        speakers=tuple(f"speaker{index}" for index in range(acoustic.speakers)) if values["spks"] else ("default",),
        symbols=tokens,
        origin={"acoustic": origin, "vocoder": origin},
    )
    return voice, files, said


# -- tensors -------------------------------------------------------------------------------------------------------


def _map_acoustic(source: Source, prefix: str, shapes: dict[str, Shape]) -> Arrays:
    arrays: Arrays = {}
    for name, shape in shapes.items():
        if name == "position_scale":
            both = [
                take_plain(source, f"{prefix}{part}", name, (1,))
                for part in ("encoder.embed.1.alpha", "decoder.embed.0.alpha")
            ]
            arrays[name] = np.concatenate(both)
        elif name == "speaker_embedding.weight" and f"{prefix}sid_emb.weight" not in source:
            arrays[name] = np.zeros(shape, np.float32)  # one speaker: nothing is added
        elif match := re.match(r"(encoder|decoder)\.(\d+)\.attention\.qkv\.(weight|bias)", name):
            theirs = f"{prefix}{match[1]}.encoders.{match[2]}.self_attn.linear_"
            arrays[name] = _joined(source, theirs, match[3], name, shape)
        else:
            arrays[name] = _take(source, prefix + _their_name(name), name, shape)
    return arrays


def _joined(source: Source, theirs: str, part: str, name: str, shape: Shape) -> np.ndarray:
    """Query, key and value projections, side by side."""
    third = (shape[0] // 3, *shape[1:])
    return np.concatenate([_take(source, f"{theirs}{which}.{part}", name, third) for which in "qkv"])


def _take(source: Source, theirs: str, ours: str, shape: Shape, transposed: bool = False) -> np.ndarray:
    """A weight in MLX's layout, anything else as it is; an embedding's rows are no layer's weight."""
    if theirs.endswith(".weight") and len(shape) > 1 and ".embed.0." not in theirs:
        return take_weight(source, theirs.removesuffix(".weight"), ours, shape, transposed)
    return take_plain(source, theirs, ours, shape)


def _their_name(name: str) -> str:
    """Of a parameter of the acoustic model, without prefix."""
    end = name.rsplit(".", 1)[-1]
    if name == "embedding.weight":
        return "encoder.embed.0.weight"
    if name == "speaker_embedding.weight":
        return "sid_emb.weight"
    if match := re.match(r"(encoder|decoder)_norm\.", name):
        return f"{match[1]}.after_norm.{end}"
    if match := re.match(r"(pitch|energy)_embedding\.", name):
        return f"{match[1]}_embed.0.{end}"
    if match := re.match(r"(duration|pitch|energy)\.(?:(layers|norms)\.(\d+)|head)\.", name):
        place = "linear" if match[2] is None else f"conv.{match[3]}.{0 if match[2] == 'layers' else 2}"
        return f"{match[1]}_predictor.{place}.{end}"
    if match := re.match(r"(encoder|decoder)\.(\d+)\.", name):
        rest = name[match.end() :]
        for pattern, theirs in BLOCK:
            if re.match(pattern, rest):
                return f"{match[1]}.encoders.{match[2]}.{re.sub('^' + pattern, theirs, rest)}"
    raise ValueError(name)


def _map_vocoder(source: Source, prefix: str, shapes: dict[str, Shape]) -> Arrays:
    arrays: Arrays = {}
    for name, shape in shapes.items():
        theirs = re.sub(r"^conv_pre\.", "input_conv.", name)
        theirs = re.sub(r"^conv_post\.", "output_conv.1.", theirs)
        theirs = re.sub(r"^ups\.(\d+)\.", r"upsamples.\1.1.", theirs)
        theirs = re.sub(r"^resblocks\.(\d+)\.convs(1|2)?\.(\d+)\.", _their_block, theirs)
        arrays[name] = _take(source, prefix + theirs, name, shape, transposed=name.startswith("ups."))
    return arrays


def _their_block(match: "re.Match[str]") -> str:
    return f"blocks.{match[1]}.convs{match[2] or 1}.{match[3]}.1."


def _statistics(source: Source, acoustic: AcousticConfig) -> FeatureStatistics:
    """Mean and deviation of pitch (log F0) and energy where the checkpoint has them; the states are as they are."""
    values = {}
    for what in ("pitch", "energy"):
        for number, default in (("mean", 0.0), ("std", 1.0)):
            name = f"{what}_normalize.{number}"
            found = float(source.read(name).reshape(-1)[0]) if name in source else default
            if name in source:
                source.note("mapped", (name,), f"statistics: {what} {number}", np.zeros(()))
            values[what, number] = (found,) * acoustic.speakers
    return FeatureStatistics(
        mel_mean=(0.0,) * acoustic.width,
        mel_std=(1.0,) * acoustic.width,
        log_f0_mean=values["pitch", "mean"],
        log_f0_std=values["pitch", "std"],
        energy_mean=values["energy", "mean"],
        energy_std=values["energy", "std"],
        gain=(1.0,) * acoustic.speakers,
    )


def _projection(acoustic: AcousticConfig) -> Arrays:
    """Of states to mel, F0 and voicing, which JETS does not have: it begins small, near the mean."""
    random = np.random.default_rng(0)
    weight = random.normal(0.0, 0.3 / math.sqrt(acoustic.width), (acoustic.n_mels + 2, acoustic.width))
    return {
        "projection.weight": weight.astype(np.float32),
        "projection.bias": np.zeros(acoustic.n_mels + 2, np.float32),
    }


def _mel_statistics(statistics: FeatureStatistics) -> FeatureStatistics:
    """What the new projection's mel is normalized by: about what speech has."""
    bands = AcousticConfig.n_mels
    return replace(statistics, mel_mean=(-5.5,) * bands, mel_std=(2.0,) * bands)
