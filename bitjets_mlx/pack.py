"""python -m bitjets_mlx.pack --acoustic RUN --vocoder RUN --output weights/NAME [--trainable]
python -m bitjets_mlx.pack --joint RUN --output weights/NAME [--trainable]

Makes a voice folder of training runs: ternary weights as base 3, the vocoder's as int8 (in 4 bits where it was trained
with so few), the rest as fp16. The vocoder may also come from a voice or vocoder folder, and a run of --stage joint may
stand for either half. Without --vocoder the voice speaks by Griffin-Lim; without --acoustic a vocoder folder is made.
"""

import argparse
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from bitjets_mlx.acoustic import build_acoustic
from bitjets_mlx.config import (
    AcousticConfig,
    AudioConfig,
    Calibration,
    CharacterConfig,
)
from bitjets_mlx.data.prepared import PreparedData
from bitjets_mlx.data.rare_symbols import substitutes
from bitjets_mlx.errors import BitjetsError, run_command
from bitjets_mlx.files import read_json
from bitjets_mlx.folders import check_folder
from bitjets_mlx.text.symbols import SYMBOLS
from bitjets_mlx.training.calibrate import calibrate
from bitjets_mlx.training.config import TrainConfig
from bitjets_mlx.training.runs import hours, load_run_config, run_weights, summary
from bitjets_mlx.vocoder.quantized import quantized
from bitjets_mlx.vocoder.storage import pack_integers
from bitjets_mlx.voice.arrays import Tree, half, named_arrays, pack_acoustic
from bitjets_mlx.voice.folder import read_vocoder, write_voice
from bitjets_mlx.voice.voice_config import (
    ACOUSTIC_FILE,
    CONFIG_FILE,
    TRAINABLE_FILE,
    VOCODER_FILE,
    VOICE_FOLDER,
    VoiceConfig,
    read_config,
)
from bitjets_mlx.voice.weights_file import Arrays, read_weights


def main() -> None:
    """Parse, write the folders, say how large they are."""
    arguments = _parser().parse_args()
    output = Path(arguments.output)
    if arguments.joint:
        if arguments.acoustic or arguments.vocoder:
            raise BitjetsError("--joint RUN gives both halves: leave --acoustic and --vocoder out.")
        if load_run_config(Path(arguments.joint)).stage != "joint":
            raise BitjetsError(f"{arguments.joint} is not a run of --stage joint: give it as --acoustic or --vocoder.")
        arguments.acoustic = arguments.vocoder = arguments.joint
    if arguments.acoustic is None and arguments.vocoder is None:
        raise BitjetsError("there is nothing to pack: give --acoustic RUN, --vocoder RUN, or both, or --joint RUN.")
    if arguments.trainable and arguments.acoustic is None:
        raise BitjetsError("--trainable keeps the acoustic model's latent weights: give --acoustic RUN too.")
    inputs = [
        Path(path) for path in (arguments.acoustic, arguments.vocoder, arguments.notes, arguments.measured) if path
    ]
    sister = output.with_name(f"{output.name}_trainable")
    for folder in (output, sister) if arguments.trainable else (output,):
        check_folder(folder, VOICE_FOLDER, arguments.overwrite, inputs)
    notes = _read_text(arguments.notes) if arguments.notes else ""
    measured = read_json(Path(arguments.measured)) if arguments.measured else None
    acoustic = acoustic_part(Path(arguments.acoustic)) if arguments.acoustic else None
    vocoder = vocoder_part(Path(arguments.vocoder)) if arguments.vocoder else None
    write_parts(output, acoustic, vocoder, notes, measured, arguments.overwrite, inputs)
    _say_sizes(output)
    if arguments.trainable and acoustic is not None:
        latent = {TRAINABLE_FILE: half(named_arrays(acoustic.tree))}
        write_voice(sister, acoustic.config, latent, notes, overwrite=arguments.overwrite, inputs=inputs)
        _say_sizes(sister)


@dataclass(frozen=True)
class Part:
    """One half of a voice before it is written: `config` without files, and the weights as a tree or as arrays."""

    config: VoiceConfig
    tree: Tree = None
    arrays: Arrays = field(default_factory=dict)


def write_parts(
    folder: Path,
    acoustic: Part | None,
    vocoder: Part | None,
    notes: str = "",
    measured: Any = None,
    overwrite: bool = False,
    inputs: Sequence[Path] = (),
) -> None:
    """Write a voice folder of an acoustic part, a vocoder part, or both."""
    _check_fit(acoustic, vocoder)
    parts = [part.config for part in (acoustic, vocoder) if part]
    config = replace(parts[0], vocoder=parts[-1].vocoder, origin=parts[0].origin | parts[-1].origin)
    if parts[-1].audio != config.audio:
        config = replace(config, vocoder_audio=parts[-1].audio)
    files = {}
    if acoustic is not None and config.acoustic is not None:
        files[ACOUSTIC_FILE] = pack_acoustic(config.acoustic, acoustic.tree)
    if vocoder is not None:
        files[VOCODER_FILE] = vocoder.arrays
    write_voice(folder, config, files, notes, measured, overwrite=overwrite, inputs=inputs)


def _check_fit(acoustic: Part | None, vocoder: Part | None) -> None:
    """BitjetsError where a half was trained on a decoder's states, and not together with the other one."""
    n_mels = AudioConfig().n_mels
    given = acoustic.config.acoustic.outputs if acoustic and acoustic.config.acoustic else n_mels
    read = vocoder.config.vocoder.n_mels if vocoder and vocoder.config.vocoder else n_mels
    if given != read:
        raise BitjetsError(
            f"the vocoder reads {read} channels and is given {given}: one of the two knows only a decoder's states. "
            "Give --joint RUN, the run that both come from."
        )


def acoustic_part(run: Path) -> Part:
    """The averaged weights of an acoustic run."""
    config = load_run_config(run)
    if config.stage not in ("acoustic", "joint"):
        raise BitjetsError(f"{run} is a run of --stage {config.stage}: give --acoustic a run of --stage acoustic.")
    updates, tree = _half(run, config, "acoustic")
    model = config.acoustic_model
    missing, calibration = _learned_from(config, model, tree) if config.data.symbols == SYMBOLS else ({}, None)
    voice = VoiceConfig(
        audio=config.data.audio,
        acoustic=model,
        statistics=config.data.statistics,
        speakers=config.data.speakers,
        symbols=config.data.symbols,
        substitutes=missing,
        calibration=calibration,
        origin={"acoustic": _origin(run, config, updates, "acoustic")},
    )
    return Part(voice, tree=tree)


def _half(run: Path, config: TrainConfig, half: str) -> tuple[int, Tree]:
    """Updates done, and the averaged weights of one half."""
    updates, tree = run_weights(run)
    return updates, tree[half] if config.stage == "joint" else tree


def _learned_from(
    run: TrainConfig, config: AcousticConfig | CharacterConfig, tree: Tree
) -> tuple[dict[str, str], Calibration | None]:
    """What to say for symbols that the training data hardly had, and the calibration of the model's prosody on it."""
    try:
        prepared = PreparedData(run.data.folder).with_statistics(run.data.statistics)
    except BitjetsError as error:
        warnings.warn(f"neither rare symbols nor the prosody's calibration can be measured: {error}", stacklevel=2)
        return {}, None
    model = build_acoustic(config, with_aligner=True)
    model.update(tree)
    return substitutes(clip.phonemes for clip in prepared.split("train")), calibrate(model, prepared)


def vocoder_part(source: Path) -> Part:
    """The averaged generator of a vocoder run, or the vocoder of a voice or vocoder folder as it is."""
    if not (source / VOCODER_FILE).exists():
        config = load_run_config(source)
        if config.stage not in ("vocoder", "joint"):
            raise BitjetsError(f"{source} is a run of --stage {config.stage}: give --vocoder one of --stage vocoder.")
        updates, tree = _half(source, config, "vocoder")
        voice = VoiceConfig(
            audio=config.data.audio,
            vocoder=config.vocoder_model,
            origin={"vocoder": _origin(source, config, updates, "vocoder")},
        )
        bits = config.vocoder_training.weight_bits if config.stage == "vocoder" else 0
        weights = {name: np.array(value) for name, value in named_arrays(quantized(tree, bits)).items()}
        return Part(voice, arrays=pack_integers(weights, bits or 8))
    voice = read_config(source)
    read_vocoder(source, voice)  # all the checks
    origin = {name: value for name, value in voice.origin.items() if name == "vocoder"}
    config_of_vocoder = VoiceConfig(audio=voice.vocoder_audio or voice.audio, vocoder=voice.vocoder, origin=origin)
    return Part(config_of_vocoder, arrays=read_weights(source / VOCODER_FILE))


def _origin(run: Path, config: TrainConfig, updates: int, half: str) -> dict[str, Any]:
    """What the run itself recorded of its training."""
    origin = {"updates": updates, "training": summary(config, half), "speakers": list(config.data.speakers)}
    taken = hours(run, updates)
    return origin if taken is None else origin | {"hours": round(taken, 2)}


def _read_text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BitjetsError(f"{path} cannot be read ({error}).") from None


def _say_sizes(folder: Path) -> None:
    sizes = {file.name: file.stat().st_size for file in sorted(folder.iterdir())}
    listed = ", ".join(f"{name} {size:,}" for name, size in sizes.items() if name != CONFIG_FILE)
    print(f"{folder}: {sum(sizes.values()):,} bytes ({listed})")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bitjets_mlx.pack", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--acoustic", metavar="RUN", help="run of --stage acoustic or joint")
    parser.add_argument(
        "--vocoder", metavar="RUN", help="run of --stage vocoder or joint, or a voice or vocoder folder"
    )
    parser.add_argument("--joint", metavar="RUN", help="run of --stage joint, for both halves")
    parser.add_argument("--output", metavar="FOLDER", required=True, help="voice folder to write")
    parser.add_argument(
        "--trainable", action="store_true", help="also write FOLDER_trainable, which `train --init` reads"
    )
    parser.add_argument("--notes", metavar="FILE", help="Markdown for the model card: data, license, machine")
    parser.add_argument("--measured", metavar="FILE", help="JSON of `bitjets_mlx.evaluate --json` for the card")
    parser.add_argument("--overwrite", action="store_true", help="replace FOLDER whatever it holds")
    return parser


if __name__ == "__main__":
    sys.exit(run_command(main))
