"""Runs and voices of random weights, small enough to make in a test, by the same functions as real ones."""

from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from bitjets_mlx.acoustic.model import BitJets
from bitjets_mlx.config import AcousticConfig, FeatureStatistics, HarmonicConfig, HifiganConfig
from bitjets_mlx.data.prepared import Clip, PreparedData, write_prepared
from bitjets_mlx.pack import acoustic_part, vocoder_part, write_parts
from bitjets_mlx.text.symbols import SYMBOLS
from bitjets_mlx.training.checkpoints import save_checkpoint
from bitjets_mlx.training.config import DataConfig, Model
from bitjets_mlx.training.defaults import default_config
from bitjets_mlx.training.runs import save_run_config
from bitjets_mlx.vocoder import build_vocoder

SPEAKERS = ("anna", "ben")
ACOUSTIC = AcousticConfig(
    symbols=len(SYMBOLS),
    speakers=len(SPEAKERS),
    width=32,
    heads=2,
    feed_forward=48,
    encoder_layers=1,
    decoder_layers=1,
    predictors=((24, 2, 3),) * 3,
    pitch_reads="phonemes",
    aligner_width=16,
)
HARMONIC = HarmonicConfig(width=16, hidden=24, layers=1)
HIFIGAN = HifiganConfig(upsample_initial_channel=16)
STATISTICS = FeatureStatistics(
    mel_mean=tuple(np.linspace(-4.0, -7.0, 80).tolist()),
    mel_std=(1.5,) * 80,
    log_f0_mean=(5.3, 4.8),
    log_f0_std=(0.25, 0.2),
    energy_mean=(2.5, 2.0),
    energy_std=(1.2, 1.4),
    gain=(1.0, 1.5),
)


def write_data(folder: Path) -> Path:
    """Prepared data of noise: six sentences per speaker, none of which has a question mark or OY2 for training."""
    common = tuple(symbol for symbol in SYMBOLS[1:] if symbol not in ("?", "OY2"))
    clips = []
    for speaker in SPEAKERS:
        for number in range(6):
            held_out = number == 0
            phonemes = ("?", "OY2") * 9 if held_out else common
            clip = Clip(
                f"{speaker}{number}",
                speaker,
                "",
                phonemes,
                "validation" if held_out else "train",
                frames=4 * len(phonemes),
                samples=4 * len(phonemes) * 256,
                features=f"{speaker}{number}.npz",
            )
            folder.mkdir(parents=True, exist_ok=True)
            write_features(folder / clip.features, clip.frames, number)
            clips.append(clip)
    write_prepared(folder, SPEAKERS, SYMBOLS, STATISTICS, clips)
    return folder


def write_features(path: Path, frames: int, seed: int) -> None:
    """Features of one clip, random."""
    random = np.random.default_rng(seed)
    np.savez(
        path,
        mel=random.normal(-5.0, 1.5, (frames, 80)).astype(np.float32),
        log_f0=random.normal(5.0, 0.3, frames).astype(np.float32),
        voiced=random.random(frames) < 0.6,
        energy=random.normal(2.0, 1.0, frames).astype(np.float32),
        audio=random.integers(-3000, 3000, 256 * frames).astype(np.int16),
    )


def write_run(folder: Path, stage: Any, model: Model, parts: dict[str, Any]) -> Path:
    """A training run of one checkpoint."""
    data = PreparedData(write_data(folder.with_name(f"{folder.name}_data")))
    save_run_config(folder, default_config(stage, model, DataConfig.of(data)))
    save_checkpoint(folder, 40, parts)
    log = [f'{{"update": {update}, "seconds_per_update": 90.0}}\n' for update in (20, 40)]
    (folder / "log.jsonl").write_text("".join(log))
    return folder


def acoustic_run(folder: Path, seed: int = 0) -> Path:
    """A run of --stage acoustic. Its random model says about 3 to 9 frames per token, half of them voiced."""
    mx.random.seed(seed)
    model = BitJets(ACOUSTIC, with_aligner=True)
    model.duration.head.bias = mx.array([1.9])
    model.eval()
    tokens, mask = mx.arange(len(SYMBOLS))[None], mx.ones((1, len(SYMBOLS), 1))
    states = model.encode(tokens, mx.array([0]), mask)
    variance, durations = model.predict_variance(tokens, mx.array([0]), states, mask), mx.full((1, len(SYMBOLS)), 4)
    frames = model.decode(states, variance, durations, mask, mx.ones((1, 4 * len(SYMBOLS), 1)))
    model.projection.bias = mx.zeros(ACOUSTIC.n_mels + 2).at[-1].add(-mx.mean(frames.voicing))
    parts = {"ema": model.parameters()}
    return write_run(folder, "acoustic", ACOUSTIC, parts)


def vocoder_run(folder: Path, config: HarmonicConfig | HifiganConfig = HARMONIC, seed: int = 1) -> Path:
    """A run of --stage vocoder."""
    mx.random.seed(seed)
    parts = {"ema": build_vocoder(config).parameters()}
    return write_run(folder, "vocoder", config, parts)


def tiny_voice(folder: Path, vocoder: HarmonicConfig | HifiganConfig | None = HARMONIC) -> Path:
    """A packed voice in FOLDER/tiny, and the runs it comes from in FOLDER/acoustic and FOLDER/vocoder."""
    acoustic = acoustic_part(acoustic_run(folder / "acoustic"))
    sounding = vocoder_part(vocoder_run(folder / "vocoder", vocoder)) if vocoder else None
    write_parts(folder / "tiny", acoustic, sounding)
    return folder / "tiny"
