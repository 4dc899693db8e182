"""A report of a run: its log and the output of its newest checkpoint, as PNGs."""

from pathlib import Path

from bitjets_mlx.data.prepared import PreparedData
from bitjets_mlx.data.respelled import as_read
from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.training.config import TrainConfig
from bitjets_mlx.training.drawing import draw_example, draw_losses, save_picture
from bitjets_mlx.training.runs import load_run_config, read_log, run_weights
from bitjets_mlx.training.validation import AcousticValidation, Example, JointValidation, VocoderValidation

VALIDATIONS = {"acoustic": AcousticValidation, "vocoder": VocoderValidation, "joint": JointValidation}


def write_report(run: Path, output: Path, data: Path | None, clips: int) -> list[Path]:
    """Draw loss curves and `clips` validation clips of a run into a folder; returns the files."""
    config, lines = load_run_config(run), read_log(run)
    if not lines:
        raise BitjetsError(f"{run} has logged nothing yet: let it train until its first line.")
    examples = run_examples(run, config, data or Path(config.data.folder), clips)
    output.mkdir(parents=True, exist_ok=True)
    written = [output / "losses.png"]
    save_picture(draw_losses(lines), written[0])
    for number, example in enumerate(examples, 1):
        written.append(output / f"clip_{number}.png")
        save_picture(draw_example(example), written[-1])
    return written


def run_examples(run: Path, config: TrainConfig, data: Path, clips: int) -> list[Example]:
    """The output of the averaged weights of the newest checkpoint for validation clips."""
    own = config.data
    prepared = as_read(PreparedData(data), own.symbols, own.audio).with_statistics(own.statistics)
    return VALIDATIONS[config.stage](prepared, config, clips).examples(run_weights(run)[1], clips)
