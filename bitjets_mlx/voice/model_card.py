"""The README.md of a voice folder. It says what the runs recorded and what the packer was told, and nothing else."""

from pathlib import Path
from typing import Any

import numpy as np

from bitjets_mlx.acoustic import build_acoustic
from bitjets_mlx.config import AcousticConfig, CharacterConfig
from bitjets_mlx.ternary.packing import TRITS_A_BYTE
from bitjets_mlx.vocoder import build_vocoder
from bitjets_mlx.vocoder.storage import STEP
from bitjets_mlx.voice.arrays import parameter_shapes, ternary_layers
from bitjets_mlx.voice.voice_config import ACOUSTIC_FILE, VoiceConfig
from bitjets_mlx.voice.weights_file import read_weights

NOT_SAID = "Not recorded. Whoever packs the voice says it with `--notes FILE`."
NOT_MEASURED = "Not measured. `python -m bitjets_mlx.evaluate --json FILE`, then pack again with `--measured FILE`."


def voice_card(name: str, folder: Path, config: VoiceConfig, notes: str, measured: Any) -> str:
    """Model card of a voice or vocoder folder whose weight files are in `folder` already."""
    lines = [f"# {name}", ""]
    if config.acoustic is not None:
        lines += [
            f"A voice for bitjets_mlx: {_listed(config.speakers)}, {config.audio.sample_rate:,} Hz.",
            "",
            "```",
            f'python -m bitjets_mlx.generate --voice weights/{name} --text "Hello there." --output out.wav',
            "```",
        ]
    else:
        lines += [f"A vocoder for bitjets_mlx, {config.audio.sample_rate:,} Hz."]
    lines += ["", "## Files", "", "| file | bytes | what |", "|---|---|---|"]
    for file in sorted(config.files):
        lines.append(f"| `{file}` | {(folder / file).stat().st_size:,} | {_contents(file, folder, config)} |")
    if config.substitutes:
        spoken = ", ".join(f"`{symbol}` as `{other}`" for symbol, other in config.substitutes.items())
        lines += ["", f"For want of examples in the training data, these symbols are spoken as others: {spoken}."]
    lines += ["", "## Data, license, machine", "", notes.strip() or NOT_SAID]
    lines += ["", "## Training", "", *_training(config)]
    lines += ["", "## Measured", "", *(_table(measured) if measured else [NOT_MEASURED]), ""]
    return "\n".join(lines)


def trainable_card(name: str, config: VoiceConfig, notes: str) -> str:
    """Model card of a `_trainable` folder."""
    voice = name.removesuffix("_trainable")
    lines = [
        f"# {name}",
        "",
        f"The acoustic model of the voice `{voice}` before packing: latent weights and aligner, fp16. Train on with",
        "",
        "```",
        *_commands(name, voice, config),
        "```",
        "",
        "## Data, license, machine",
        "",
        notes.strip() or NOT_SAID,
        "",
        "## Training",
        "",
        *_training(config),
        "",
    ]
    return "\n".join(lines)


def _commands(name: str, voice: str, config: VoiceConfig) -> list[str]:
    train = "python -m bitjets_mlx.train --data PREPARED --out RUN"
    joint = f"{train} --stage joint --init-acoustic weights/{name} --init-vocoder weights/{voice}"
    if config.acoustic is not None and not config.acoustic.mel:  # neither half can be trained alone
        return [joint]
    return [
        f"{train} --stage acoustic --init weights/{name}",
        f"{train} --stage vocoder --init weights/{voice}",
        joint,
    ]


def _contents(file: str, folder: Path, config: VoiceConfig) -> str:
    arrays = read_weights(folder / file)
    narrow = {name for name, array in arrays.items() if array.dtype == np.uint8 and name + STEP in arrays}
    count = sum(array.size for name, array in arrays.items() if not name.endswith(STEP) and name not in narrow)
    width = max((array.dtype.itemsize for array in arrays.values() if array.dtype.kind == "f"), default=4)
    ternary = count_ternary(config.acoustic) if file == ACOUSTIC_FILE and config.acoustic else 0
    packed = sum(array.size for name, array in arrays.items() if name.endswith(".trits"))
    integers = sum(array.size for array in arrays.values() if array.dtype == np.int8)
    if narrow:
        assert config.vocoder is not None
        shapes = parameter_shapes(build_vocoder(config.vocoder))
        of_4 = sum(int(np.prod(shapes[name])) for name in narrow)
        return f"{count + of_4:,} parameters, {of_4:,} of them 4 bit, {integers:,} int8, the rest fp{8 * width}"
    if integers:
        return f"{count:,} parameters, {integers:,} of them int8, the rest fp{8 * width}"
    if not ternary:
        return f"{count:,} parameters, fp{8 * width}"
    if not packed:
        return f"{count:,} parameters, fp{8 * width}; {ternary:,} of them are made ternary when the voice is loaded"
    full = count - packed
    return (
        f"{ternary:,} ternary weights, {TRITS_A_BYTE} a byte, and {full:,} other parameters: "
        f"{100 * ternary / (ternary + full):.1f} % ternary"
    )


def count_ternary(config: AcousticConfig | CharacterConfig) -> int:
    """Ternary weights of an acoustic model."""
    return sum(layer.weight.size for layer in ternary_layers(build_acoustic(config)).values())


def _training(config: VoiceConfig) -> list[str]:
    """One line a stage, of what its run recorded."""
    lines = []
    for stage, origin in sorted(config.origin.items()):
        if "converted_from" in origin:
            lines.append(f"- {stage}: converted from the PyTorch checkpoint `{origin['converted_from']}`.")
            continue
        training = _object(origin.get("training"))
        training = _object(training.get("acoustic")) or training  # of a joint training's two halves
        batch = _count(training.get("batch_size")) * _count(training.get("accumulate"))
        hours = f", {_count(origin['hours']):g} hours" if "hours" in origin else ""
        speakers = origin.get("speakers")
        lines.append(
            f"- {stage}: {_count(origin.get('updates')):,} updates of {batch} clips{hours}; "
            f"speakers {_listed(speakers if isinstance(speakers, list) else [])}; averaged weights (EMA)."
        )
    return lines or ["Not recorded."]


def _object(value: Any) -> dict[str, Any]:
    """What a file of somebody else may hold, where an object should be."""
    return value if isinstance(value, dict) else {}


def _count(value: Any) -> float:
    """Likewise of numbers."""
    return value if isinstance(value, int | float) else 0


def _table(measured: Any) -> list[str]:
    """evaluate's JSON as Markdown: one row per measure, one column per speaker."""
    measured = _object(measured)
    speakers = {name: _judged(values) for name, values in _object(measured.get("judges")).items()}
    for name, values in _object(measured.get("speakers")).items():
        speakers[name] = speakers.get(name, {}) | _object(values)
    measures = list(dict.fromkeys(key for values in speakers.values() for key in values))
    lines = [f"| | {' | '.join(speakers)} |", "|---|" + "---|" * len(speakers)]
    for measure in measures:
        row = [_number(values.get(measure, "")) for values in speakers.values()]
        lines.append(f"| {measure.replace('_', ' ')} | {' | '.join(row)} |")
    single = [(key, value) for key, value in measured.items() if isinstance(value, int | float)]
    return [*lines, "", *(f"- {key.replace('_', ' ')}: {_number(value)}" for key, value in single)]


def _judged(sounds: Any) -> dict[str, Any]:
    """What each judge says of recordings, copies and synthesis, in one dictionary."""
    return {
        f"{sound}: {key}": value for sound, values in _object(sounds).items() for key, value in _object(values).items()
    }


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _listed(names: Any) -> str:
    return ", ".join(f"`{name}`" for name in names) or "none"
