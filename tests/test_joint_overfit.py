"""Joint training from scratch on a handful of clips overfits them: mels, and the sound itself.

Real speech where ../shared has it, otherwise gliding tones. About a minute and a half on two cores.
"""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_training import tiny_data

from bitjets_mlx import prepare
from bitjets_mlx.config import AcousticConfig, HarmonicConfig, HifiganConfig, JointConfig
from bitjets_mlx.data.prepared import PreparedData
from bitjets_mlx.text.symbols import SYMBOLS
from bitjets_mlx.training.config import DataConfig, with_settings
from bitjets_mlx.training.defaults import default_config
from bitjets_mlx.training.joint_stage import JointStage

SPEECH = Path(__file__).resolve().parents[2] / "shared" / "speech" / "kathleen"
SHORTEST = ("arctic_a0484", "arctic_a0329", "arctic_a0389", "arctic_b0166", "arctic_a0562", "arctic_b0228")
UPDATES = 240
ACOUSTIC = AcousticConfig(
    symbols=len(SYMBOLS),
    width=64,
    feed_forward=128,
    encoder_layers=2,
    decoder_layers=2,
    predictors=((32, 1, 3),) * 3,
    aligner_width=32,
    dropout=0.0,
    predictor_dropout=0.0,
)
HIFIGAN = HifiganConfig(
    resblock="2",
    upsample_rates=(8, 8, 4),
    upsample_kernel_sizes=(16, 16, 8),
    upsample_initial_channel=64,
    resblock_kernel_sizes=(3, 5),
    resblock_dilation_sizes=((1, 2), (2, 6)),
)
MODELS = {
    "states": JointConfig(replace(ACOUSTIC, mel=False), replace(HIFIGAN, n_mels=ACOUSTIC.width)),
    "mel": JointConfig(ACOUSTIC, HIFIGAN),
    "harmonic": JointConfig(ACOUSTIC, HarmonicConfig(width=64, hidden=128, layers=2)),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    folder = tmp_path_factory.mktemp("clips")
    if not SPEECH.is_dir():
        return tiny_data(folder, train=6, validation=0)
    (folder / "recordings" / "wavs").mkdir(parents=True)
    lines = (SPEECH / "metadata.csv").read_text().splitlines()
    chosen = [line for line in lines if line.split("|")[0] in SHORTEST]
    (folder / "recordings" / "metadata.csv").write_text("\n".join(chosen) + "\n")
    for name in SHORTEST:
        shutil.copy(SPEECH / "wavs" / f"{name}.flac", folder / "recordings" / "wavs")
    options = ("--validation", "0", "--workers", "1", "--no-plot", "--out", str(folder / "prepared"))
    prepare.main(["--speaker", f"kathleen={folder / 'recordings'}", *options])
    return PreparedData(folder / "prepared")


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(MODELS))
def test_a_tiny_set_is_overfitted(kind: str, data: PreparedData) -> None:
    """Ternary from a third of the run on, and against discriminators in its last tenth."""
    model = MODELS[kind]
    model = replace(model, acoustic=replace(model.acoustic, speakers=len(data.speakers)))
    config = with_settings(
        default_config("joint", model, DataConfig.of(data)),
        {
            "updates": UPDATES,
            "batch_size": 4,
            "accumulate": 1,
            "warm_up": 10,
            "learning_rate": 3e-3,
            "vocoder_learning_rate": 2e-3,
            "segment_frames": 24,
            "adversarial_from": 0.9,
        },
    )
    stage = JointStage(data, config)
    stage.validation.clips = data.split("train")
    before = stage.validate(0)
    lines = [stage.update(number) for number in range(UPDATES)]
    after = stage.validate(UPDATES)
    assert lines[-1]["quantization"] == 1.0 and "discriminator_loss" in lines[-1]
    assert not any(line["skipped"] for line in lines)
    assert after["mel_loss"] < 0.66 * before["mel_loss"], (before, after)
    assert after["duration"] < 0.1 * before["duration"] and after["forward_sum"] < 0.85 * before["forward_sum"]
    if model.acoustic.mel:
        assert after["frame_mel"] < 0.6 * before["frame_mel"], (before, after)
