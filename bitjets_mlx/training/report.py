"""A report of a run: what its log and its newest checkpoint say, as PNGs."""

import json
from pathlib import Path

from bitjets_mlx.config import AcousticConfig, CharacterConfig, JointConfig
from bitjets_mlx.data.prepared import PreparedData
from bitjets_mlx.data.respelled import as_read
from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.training.acoustic_validation import AcousticValidation
from bitjets_mlx.training.drawing import draw_example, draw_losses, save_picture
from bitjets_mlx.training.examples import Example
from bitjets_mlx.training.joint_validation import JointValidation
from bitjets_mlx.training.runs import RunConfig, load_run_config, run_weights
from bitjets_mlx.training.settings import model_of
from bitjets_mlx.training.vocoder_validation import VocoderValidation


def write_report(run: Path, output: Path, data: Path | None, clips: int) -> list[Path]:
    """Draw loss curves and `clips` validation clips of a run into a folder; returns the files."""
    config, lines = load_run_config(run), read_log(run)
    if not lines:
        raise BitjetsError(f"{run} has logged nothing yet: let it train until its first line.")
    examples = run_examples(run, config, data or Path(config.data), clips)
    output.mkdir(parents=True, exist_ok=True)
    written = [output / "losses.png"]
    save_picture(draw_losses(lines), written[0])
    for number, example in enumerate(examples, 1):
        written.append(output / f"clip_{number}.png")
        save_picture(draw_example(example), written[-1])
    return written


def read_log(run: Path) -> list[dict[str, float]]:
    """The lines of RUN/log.jsonl; a half-written one is passed over."""
    path = run / "log.jsonl"
    if not path.exists():
        return []
    lines = []
    for text in path.read_text().splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict) and "update" in line:
            lines.append(line)
    return lines


def run_examples(run: Path, config: RunConfig, data: Path, clips: int) -> list[Example]:
    """What the averaged weights of the newest checkpoint make of validation clips."""
    weights, model = run_weights(run)[1], model_of(config)
    prepared = as_read(PreparedData(data), config.symbols, config.audio)
    prepared.statistics = config.statistics
    if isinstance(model, AcousticConfig | CharacterConfig):
        return AcousticValidation(prepared, model, clips).examples(weights, clips)
    if isinstance(model, JointConfig):
        return JointValidation(prepared, model, clips).examples(weights, clips)
    return VocoderValidation(prepared, model, clips).examples(weights, clips)
