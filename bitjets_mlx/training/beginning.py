"""Gives a new training the weights that it begins with."""

from pathlib import Path

from mlx.utils import tree_map_with_path

from bitjets_mlx.config import AcousticConfig
from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.training.acoustic_stage import AcousticStage
from bitjets_mlx.training.joint_stage import JointStage
from bitjets_mlx.training.optimize import Tree, leaves
from bitjets_mlx.training.runs import check_same_shapes
from bitjets_mlx.training.settings import JOINT, Model, Settings, read_initial, weights_for_speakers
from bitjets_mlx.training.vocoder_stage import VocoderStage

Stage = AcousticStage | VocoderStage | JointStage
FAINT = 1e-3  # of their usual size: the weights through which a new block speaks
SPEAKING = ("attention.out.weight", "contract.weight")


def begin(stage: Stage, settings: Settings, speakers: tuple[str, ...]) -> None:
    """Take up what --init, or --init-acoustic and --init-vocoder, name; nothing where they name nothing."""
    if isinstance(stage, JointStage):
        _begin_joint(stage, settings, speakers)
    elif settings.init:
        initial = read_initial(Path(settings.init), settings.stage)
        weights = weights_for_speakers(initial, speakers)
        if isinstance(stage, AcousticStage) and "aligner" not in weights:  # a converted voice has none: it begins anew
            weights = {**weights, "aligner": stage.parameters["aligner"]}
        own = stage.parts()["model"]
        if isinstance(initial.model, AcousticConfig):
            weights = _grown(weights, initial.model, own, settings.model, settings.init)
        check_same_shapes(own, weights, settings.init)
        stage.start_from(weights)
        if isinstance(stage, VocoderStage) and initial.judges is not None:
            stage.judges = initial.judges


def _begin_joint(stage: JointStage, settings: Settings, speakers: tuple[str, ...]) -> None:
    own: dict[str, Tree] = stage.parts()["model"]
    weights = dict(own)
    judges: Tree = None
    for half, source in (("acoustic", settings.init_acoustic), ("vocoder", settings.init_vocoder)):
        if not (settings.init or source):
            continue
        initial = read_initial(Path(settings.init or source), half)
        found = weights_for_speakers(initial, speakers)
        if isinstance(initial.model, AcousticConfig):
            found = _grown(found, initial.model, own[half], stage.model.acoustic, settings.init or source)
            if not stage.model.acoustic.mel:  # from mels to states: nothing is projected any more
                found.pop("projection", None)
        check_same_shapes(own[half], found, settings.init or source)
        weights[half], judges = found, initial.judges
    stage.start_from(weights)
    if settings.init:
        judges = read_initial(Path(settings.init), JOINT).judges
    if judges is not None and _shapes(judges) == _shapes(stage.judges):  # others, if --discriminators says so
        stage.judges = judges


def _grown(weights: Tree, was: AcousticConfig, own: Tree, model: Model, source: str) -> Tree:
    """Weights of a model `was`, for `model`: what that one has in other shapes begins anew, as in `own`."""
    assert isinstance(model, AcousticConfig)
    grown = {**weights, "decoder": _deepened(weights["decoder"], own["decoder"], source)}
    return grown if was.pitch_reads == model.pitch_reads else {**grown, "pitch": own["pitch"]}


def _deepened(blocks: list[Tree], fresh: list[Tree], source: str) -> list[Tree]:
    """`blocks` with as many `fresh` ones in their middle as the model has more, which begin by adding almost nothing.

    Net2Net (arXiv:1511.05641, section 2.2): a deeper model that begins by saying what the shallower one said.
    """
    if len(fresh) < len(blocks):
        raise BitjetsError(f"{source} has {len(blocks)} blocks in its decoder: give --decoder-layers as many or more.")
    first = (len(blocks) + 1) // 2
    beyond = first + len(fresh) - len(blocks)
    new = [
        tree_map_with_path(lambda name, leaf: leaf * FAINT if name.endswith(SPEAKING) else leaf, block)
        for block in fresh[first:beyond]
    ]
    return [*blocks[:first], *new, *blocks[first:]]


def _shapes(tree: Tree) -> dict[str, tuple[int, ...]]:
    return {name: leaf.shape for name, leaf in leaves(tree)}
