"""The PyTorch twin that speed is compared with does what our model does: same outputs, gradients and optimizer."""

from dataclasses import replace
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten, tree_map, tree_unflatten
from tiny_training import ACOUSTIC, UNDROPPED, tiny_config, tiny_data

from bitjets_mlx.acoustic.model import length_mask, whole_durations
from bitjets_mlx.training.acoustic_data import collate, read_clip
from bitjets_mlx.training.acoustic_losses import AcousticLossWeights
from bitjets_mlx.training.acoustic_stage import AcousticStage
from bitjets_mlx.training.batches import MicroBatch, padded_shape
from bitjets_mlx.training.optimize import Optimizer

torch = pytest.importorskip("torch", reason="the PyTorch twin needs torch: pip install -r requirements-bench.txt")

from bitjets_mlx.benchmarking.torch_training import TorchTraining, TrainedBitJets, losses  # noqa: E402
from bitjets_mlx.benchmarking.torch_training import collate as torch_collate  # noqa: E402

STILL = replace(ACOUSTIC, width=32, feed_forward=48, encoder_layers=2)


@pytest.fixture(scope="module", params=["states", "phonemes"])
def stage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AcousticStage:
    """A stage that quantizes fully from the start, of a model whose pitch predictor reads the one or the other."""
    data = tiny_data(tmp_path_factory.mktemp("prepared"))
    model = replace(STILL, pitch_reads=request.param)
    return AcousticStage(data, tiny_config("acoustic", data, model, quantize_from=0.0, quantize_until=0.0, **UNDROPPED))


def clips(stage: AcousticStage) -> tuple[list[Any], MicroBatch]:
    """A batch of clips of different lengths and its padded shape."""
    items = [read_clip(stage.reader.data, clip) for clip in stage.reader.clips[:4]]
    return items, padded_shape((), max(len(item["mel"]) for item in items), max(len(item["tokens"]) for item in items))


def twin(stage: AcousticStage) -> TrainedBitJets:
    model = TrainedBitJets(stage.config.model)  # type: ignore[arg-type]
    model.load(stage.networks["acoustic"].parameters)
    return model


def test_losses_and_gradients_are_ours(stage: AcousticStage) -> None:
    items, shape = clips(stage)
    cut = len(items) // stage.pool.count
    shards = [collate(items[i : i + cut], shape) for i in range(0, len(items), cut)]
    gradients, ours = stage.gradients(5, [shards])
    model = twin(stage)
    theirs = losses(model, torch_collate(items, shape), 1.0, AcousticLossWeights())
    assert set(ours) <= set(theirs)
    for name in ours:
        assert ours[name] == pytest.approx(theirs[name].item(), rel=1e-4), name
    theirs["total"].backward()
    expected = {name: leaf.grad.numpy() for name, leaf in model.named_parameters()}
    flat: Any = dict(tree_flatten(gradients))
    assert flat.keys() == expected.keys()
    for name, leaf in expected.items():
        assert np.abs(leaf).max() > 0.0, name
        np.testing.assert_allclose(np.array(flat[name]), leaf, rtol=0, atol=1e-4 * np.abs(leaf).max(), err_msg=name)


def test_speaking_is_ours(stage: AcousticStage) -> None:
    """From tokens to mel, with predicted durations, through our inference path of exact integer sums."""
    model = stage.validation.acoustic
    model.update(stage.networks["acoustic"].parameters)
    model.eval()
    tokens, speakers = mx.array([[3, 9, 27, 40, 12, 5, 61]]), mx.array([1])
    mask = mx.ones((1, tokens.shape[1], 1))
    states = model.encode(tokens, speakers, mask)
    variance = model.predict_variance(tokens, speakers, states, mask)
    durations = whole_durations(variance.log_durations, mask)
    frame_mask = length_mask(durations.sum(axis=1), int(durations.sum()))
    ours = model.decode(states, variance, durations, mask, frame_mask)
    with torch.inference_mode():
        found, out = twin(stage).eval()(torch.from_numpy(np.array(tokens[0])), 1)
    np.testing.assert_array_equal(found.numpy(), np.array(durations[0]))
    for expected, row in ((ours.mel, out[..., :-2]), (ours.log_f0, out[..., -2]), (ours.voicing, out[..., -1])):
        np.testing.assert_allclose(row.numpy(), np.array(expected[0]), atol=1e-4)


def test_the_optimizer_is_ours(stage: AcousticStage) -> None:
    """Clipping, AdamW with weight decay, and the moving average, over three updates with given gradients."""
    training = stage.networks["acoustic"].config
    model = twin(stage)
    theirs = TorchTraining(model, training)
    ours = Optimizer(stage.networks["acoustic"].parameters, training.betas, training.gradient_clip, training.ema)
    parameters = stage.networks["acoustic"].parameters
    random = np.random.default_rng(0)
    for update in range(3):
        named = {name: random.normal(size=leaf.shape).astype(np.float32) for name, leaf in model.named_parameters()}
        for name, leaf in model.named_parameters():
            leaf.grad = torch.from_numpy(named[name].copy())
        norm = theirs.step(update, 1e-2)
        gradients = tree_unflatten([(name, mx.array(leaf)) for name, leaf in named.items()])
        gradients = tree_map(lambda _, leaf: leaf, parameters, gradients)
        parameters, expected = ours.step(parameters, gradients, update + 1, 1e-2, training.weight_decay)
        assert norm == pytest.approx(expected, rel=1e-5)
    averages = dict(zip(named, theirs.ema, strict=True))
    for name, leaf in tree_flatten(parameters):
        np.testing.assert_allclose(model.get_parameter(name).detach().numpy(), np.array(leaf), atol=1e-6)
    for name, leaf in tree_flatten(ours.ema):
        np.testing.assert_allclose(averages[name].numpy(), np.array(leaf), atol=1e-6)
