"""Prepared data of synthetic speech and models small enough to train in a test, made by the real writers."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import soundfile
from mlx.utils import tree_flatten

from bitjets_mlx.config import AcousticConfig, HarmonicConfig, HifiganConfig, JointConfig
from bitjets_mlx.data.features import Job, extract_to_file
from bitjets_mlx.data.prepared import Clip, PreparedData, measure_statistics, write_prepared
from bitjets_mlx.text.symbols import SYMBOLS
from bitjets_mlx.training.config import DataConfig, Model, TrainConfig, with_settings
from bitjets_mlx.training.defaults import default_config
from bitjets_mlx.training.runs import save_run_config
from bitjets_mlx.training.stages import build
from bitjets_mlx.training.trainer import Trainer

SPEAKERS = ("anna", "ben")
PHONEMES = ("HH", "AH0", "L", "OW1", "W", "ER1", "D", "IY1")
ROOT = Path(__file__).resolve().parents[1]

ACOUSTIC = AcousticConfig(
    symbols=len(SYMBOLS),
    speakers=len(SPEAKERS),
    width=16,
    heads=2,
    feed_forward=24,
    encoder_layers=1,
    decoder_layers=1,
    predictors=((16, 1, 3),) * 3,
    aligner_width=8,
)
HARMONIC = HarmonicConfig(width=16, hidden=24, layers=1)
HIFIGAN = HifiganConfig(
    resblock="2",
    upsample_rates=(16, 16),
    upsample_kernel_sizes=(32, 32),
    upsample_initial_channel=8,
    resblock_kernel_sizes=(3,),
    resblock_dilation_sizes=((1, 3),),
)
JOINT_MODELS = {  # the three kinds: as JETS was published, HiFi-GAN on mels, the harmonic vocoder
    "states": JointConfig(replace(ACOUSTIC, mel=False), replace(HIFIGAN, n_mels=ACOUSTIC.width)),
    "mel": JointConfig(ACOUSTIC, HIFIGAN),
    "harmonic": JointConfig(ACOUSTIC, HARMONIC),
}
STILL: dict[str, Any] = {"gain_decibels": 0.0, "mel_blur": 0.0}  # no augmentation
UNDROPPED: dict[str, Any] = {"dropout": 0.0, "decoder_dropout": 0.0, "predictor_dropout": 0.0}
QUANTIZED = {"quantize_from": 0.2, "quantize_until": 0.6, "binarize_from": 0.2}
SETTINGS: dict[str, dict[str, Any]] = {  # tiny trainings that meet all forms of quantization, and discriminators
    "acoustic": {"updates": 6, "batch_size": 4, "accumulate": 2, "warm_up": 2, **QUANTIZED},
    "vocoder": {
        "updates": 6,
        "batch_size": 2,
        "accumulate": 2,
        "warm_up": 2,
        "segment_frames": 16,
        "adversarial_from": 0.4,
        "adversarial_ramp": 3,
        "adversarial_frames": 8,
    },
    "joint": {
        "updates": 6,
        "batch_size": 2,
        "accumulate": 2,
        "warm_up": 2,
        "segment_frames": 12,
        "adversarial_from": 0.5,
        **QUANTIZED,
    },
}


def sound(seconds: float, hertz: float, random: np.random.Generator) -> np.ndarray:
    """A gliding tone with overtones, then noise, then silence."""
    time = np.arange(int(seconds * 22050)) / 22050
    phase = 2 * np.pi * np.cumsum(hertz * (1.0 + 0.2 * np.sin(3 * time))) / 22050
    tone = sum(np.sin(k * phase) / k for k in range(1, 9))
    noise = random.normal(size=len(time))
    where = time / seconds
    return 0.1 * np.where(where < 0.6, tone, np.where(where < 0.9, 0.5 * noise, 0.001 * noise))


def tiny_data(folder: Path, train: int = 12, validation: int = 2, seed: int = 0) -> PreparedData:
    """A prepared folder of clips of 0.4 to 0.8 seconds by two speakers."""
    random = np.random.default_rng(seed)
    jobs, split, phonemes = {}, {}, {}
    (folder / "wavs").mkdir(parents=True)
    for index in range(train + validation):
        speaker, name = SPEAKERS[index % 2], f"clip{index:02d}"
        wav = folder / "wavs" / f"{name}.wav"
        soundfile.write(wav, sound(random.uniform(0.4, 0.8), (220.0, 110.0)[index % 2], random), 22050)
        output = folder / "features" / speaker / f"{name}.npz"
        jobs[speaker, name] = Job(wav, f"sha{index}", 0, 22050, 1.0, output)
        split[name] = "train" if index < train else "validation"
        words = random.choice(PHONEMES, size=int(random.integers(3, 9)))
        phonemes[name] = (" ", *map(str, words), ".", " ")
        assert extract_to_file(jobs[speaker, name]) == ""
    features = {key: np.load(job.output) for key, job in jobs.items()}
    clips = [
        Clip(
            name,
            speaker,
            "text",
            phonemes[name],
            split[name],
            len(features[speaker, name]["mel"]),
            len(features[speaker, name]["audio"]),
            f"features/{speaker}/{name}.npz",
        )
        for speaker, name in jobs
    ]
    write_prepared(folder, SPEAKERS, SYMBOLS, _statistics(folder, clips), clips)
    return PreparedData(folder)


def _statistics(folder: Path, clips: list[Clip]) -> Any:
    from bitjets_mlx.data.features import load_features

    return measure_statistics(
        ((clip.speaker, load_features(folder / clip.features)) for clip in clips), SPEAKERS, (1.0,) * len(SPEAKERS)
    )


def tiny_config(stage: Any, data: PreparedData, model: Model | None = None, **settings: Any) -> TrainConfig:
    """A tiny training."""
    usual: dict[str, Model] = {"acoustic": ACOUSTIC, "vocoder": HARMONIC, "joint": JOINT_MODELS["harmonic"]}
    config = default_config(stage, model or usual[stage], DataConfig.of(data))
    return with_settings(config, SETTINGS[stage] | settings)


def tiny_trainer(stage: Any, data: PreparedData, model: Model | None = None, **settings: Any) -> Trainer:
    """The stage of `tiny_config`."""
    return build(data, tiny_config(stage, data, model, **settings), data.folder)


def begin_run(run: Path, data: PreparedData, stage: Any, model: Model | None = None, **settings: Any) -> None:
    """RUN/config.json of a tiny training, which `train --resume` then begins with update 0."""
    save_run_config(run, tiny_config(stage, data, model, **settings))


def train_command(data: PreparedData, run: Path, stage: str, *options: str) -> list[str]:
    """The command line of `bitjets_mlx.train`."""
    command = [sys.executable, "-m", "bitjets_mlx.train", "--stage", stage, "--data", str(data.folder)]
    return [*command, "--out", str(run), *options]


def run_train(data: PreparedData, run: Path, stage: str, *options: str) -> "subprocess.CompletedProcess[str]":
    """Run it to its end."""
    command = train_command(data, run, stage, *options)
    return subprocess.run(command, cwd=ROOT, env=quick_environment(), capture_output=True, text=True, timeout=300)


def quick_environment() -> dict[str, str]:
    """The environment of a test's process."""
    return {**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def assert_same_trees(first: Any, second: Any) -> None:
    """Bit for bit."""
    ours: Any = dict(tree_flatten(first))
    theirs: Any = dict(tree_flatten(second))
    assert ours.keys() == theirs.keys()
    different = [name for name in ours if not mx.array_equal(ours[name], theirs[name])]
    assert not different, f"{len(different)} of {len(ours)} differ: {different[:5]}"
