"""Init checkpoints: the weights that `--init`, `--init-acoustic` and `--init-vocoder` name, and what follows from them.

A run, a voice's `_trainable` folder, or for a vocoder a voice or vocoder folder.
"""

from dataclasses import dataclass
from pathlib import Path

import mlx.core as mx
from mlx.utils import tree_map_with_path

from bitjets_mlx.config import (
    AcousticConfig,
    AudioConfig,
    FeatureStatistics,
    HifiganConfig,
    JointConfig,
)
from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.text.symbols import SYMBOLS
from bitjets_mlx.training.config import Model, TrainConfig
from bitjets_mlx.training.optimize import Tree, leaves
from bitjets_mlx.training.runs import check_same_shapes, is_run, load_run_config, run_weights
from bitjets_mlx.training.trainer import Trainer
from bitjets_mlx.voice.folder import read_discriminators, read_trainable, read_vocoder
from bitjets_mlx.voice.voice_config import read_config

STANDARD = AudioConfig()
FAINT = 1e-3  # of their usual size: the output weights of a new block
OUTPUTS = ("attention.out.weight", "contract.weight")


@dataclass(frozen=True)
class InitCheckpoint:
    """Weights to start from, and what they were trained for; a vocoder has no speakers."""

    model: Model
    weights: Tree
    speakers: tuple[str, ...] = ()
    statistics: FeatureStatistics | None = None
    symbols: tuple[str, ...] = SYMBOLS
    audio: AudioConfig = STANDARD
    discriminators: Tree = None
    training: TrainConfig | None = None


def read_init(source: Path, stage: str) -> InitCheckpoint:
    """What `--init` names; a run of the joint stage gives either half, or with `stage` "joint" both, in one tree."""
    if is_run(source):
        return _init_of_run(source, stage)
    if stage == "joint":
        raise BitjetsError(
            f"{source} is not a run of --stage joint: give --init-acoustic and --init-vocoder where the halves lie "
            "apart."
        )
    config = read_config(source)
    if stage == "acoustic":
        weights = read_trainable(source)
        assert config.acoustic is not None  # or it would not have been trainable
        return InitCheckpoint(
            config.acoustic, weights, config.speakers, config.statistics, config.symbols, config.audio
        )
    generator, discriminators = read_vocoder(source, config), read_discriminators(source, config)
    if (config.vocoder_audio or config.audio) != STANDARD:
        raise BitjetsError(f"{source} was trained on mels of another convention than prepared data has.")
    own = discriminators.parameters() if discriminators else None
    return InitCheckpoint(generator.config, generator.parameters(), discriminators=own)


def _init_of_run(source: Path, stage: str) -> InitCheckpoint:
    saved = load_run_config(source)
    if saved.stage not in (stage, "joint"):
        raise BitjetsError(f"{source} is a run of --stage {saved.stage}: give one of --stage {stage}.")
    model, data, discriminators = saved.model, saved.data, None
    weights = run_weights(source)[1]
    if stage == "joint":
        discriminators = run_weights(source, "discriminators")[1]
    elif isinstance(model, JointConfig):
        model, weights = getattr(model, stage), weights[stage]
    return InitCheckpoint(
        model, weights, data.speakers, data.statistics, data.symbols, data.audio, discriminators, saved
    )


def check_mels(source: str | Path, init: InitCheckpoint, n_mels: int) -> None:
    """BitjetsError where these weights give or read a decoder's states: alone, a half can only be trained on mels."""
    model = init.model
    if isinstance(model, AcousticConfig) and not model.mel:
        raise BitjetsError(
            f"{source} gives its vocoder no mels, and those are trained on: train it with --stage joint, or convert "
            "with --ternary."
        )
    if isinstance(model, HifiganConfig) and model.n_mels != n_mels:
        raise BitjetsError(f"{source} reads a decoder's states and no mels: train it with --stage joint.")


# -- the weights ---------------------------------------------------------------------------------------------------


def start(trainer: Trainer) -> None:
    """Give a new training the weights of its init checkpoints; nothing where it has none."""
    config = trainer.config
    for half, source in (("acoustic", config.init_acoustic), ("vocoder", config.init_vocoder)):
        network = trainer.networks.get(half)
        source = config.init or source
        if network is None or not source:
            continue
        init = read_init(Path(source), half)
        weights = weights_for_speakers(init, config.data.speakers)
        if half == "acoustic":
            weights = _fitted(weights, init.model, network.parameters, config, source)
        check_same_shapes(network.parameters, weights, source)
        network.start_from(weights)
        _start_discriminators(trainer, init.discriminators)
    if config.init and config.stage == "joint":
        _start_discriminators(trainer, read_init(Path(config.init), "joint").discriminators)


def _start_discriminators(trainer: Trainer, weights: Tree) -> None:
    """Discriminators of an init checkpoint; where others are asked for (`--discriminators`), they start anew."""
    own = trainer.networks.get("discriminators")
    if own is not None and weights is not None and _shapes(weights) == _shapes(own.parameters):
        own.start_from(weights)


def _fitted(weights: Tree, was: Model, own: Tree, config: TrainConfig, source: str) -> Tree:
    """An acoustic model's weights for the model that is trained: what that one has in other shapes starts anew."""
    model = config.acoustic_model
    if "aligner" not in weights:  # a converted voice has none
        weights = {**weights, "aligner": own["aligner"]}
    if isinstance(was, AcousticConfig) and isinstance(model, AcousticConfig):
        weights = {**weights, "decoder": deepened(weights["decoder"], own["decoder"], source)}
        if was.pitch_reads != model.pitch_reads:
            weights["pitch"] = own["pitch"]
        if not model.mel:  # from mels to states: nothing is projected any more
            weights.pop("projection", None)
    return weights


def deepened(blocks: list[Tree], fresh: list[Tree], source: str) -> list[Tree]:
    """`blocks` with as many `fresh` ones in their middle as the model has more, which at first add almost nothing.

    Net2Net (arXiv:1511.05641, section 2.2): a deeper model that starts by computing what the shallower one did.
    """
    if len(fresh) < len(blocks):
        raise BitjetsError(f"{source} has {len(blocks)} blocks in its decoder: give --decoder-layers as many or more.")
    first = (len(blocks) + 1) // 2
    beyond = first + len(fresh) - len(blocks)
    new = [
        tree_map_with_path(lambda name, leaf: leaf * FAINT if name.endswith(OUTPUTS) else leaf, block)
        for block in fresh[first:beyond]
    ]
    return [*blocks[:first], *new, *blocks[first:]]


def weights_for_speakers(init: InitCheckpoint, speakers: tuple[str, ...]) -> Tree:
    """The weights with a speaker embedding for `speakers`: known ones keep theirs, new ones start with the mean."""
    if not init.speakers or init.speakers == speakers or "speaker_embedding" not in init.weights:
        return init.weights
    table = init.weights["speaker_embedding"]["weight"]  # (speakers then, D)
    mean = mx.mean(table, axis=0)
    rows = [table[init.speakers.index(name)] if name in init.speakers else mean for name in speakers]
    return init.weights | {"speaker_embedding": {"weight": mx.stack(rows)}}  # (speakers now, D)


def _shapes(tree: Tree) -> dict[str, tuple[int, ...]]:
    return {name: leaf.shape for name, leaf in leaves(tree)}
