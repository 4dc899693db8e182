"""The C kernels of the vocoders against the plain MLX code, in every width of vector that this processor has."""

from itertools import pairwise
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from bitjets_mlx.config import HarmonicConfig, HifiganConfig
from bitjets_mlx.native import harmonic, hifigan, loader, vocoder
from bitjets_mlx.vocoder import build_vocoder
from bitjets_mlx.vocoder.harmonic import HarmonicVocoder, excitation_samples, synthesize_in_c
from bitjets_mlx.vocoder.hifigan import HifiganGenerator
from bitjets_mlx.vocoder.noise import white_noise, white_noise_numpy

pytestmark = pytest.mark.skipif(
    loader.here("vocoder") is None, reason="the kernels are for MLX's CPU backend, and want a C compiler"
)
V2 = HifiganConfig()
V3 = HifiganConfig(
    resblock="2",
    upsample_rates=(8, 8, 4),
    upsample_kernel_sizes=(16, 16, 8),
    upsample_initial_channel=64,
    resblock_kernel_sizes=(3, 5, 7),
    resblock_dilation_sizes=((1, 2), (2, 6), (3, 12)),
)
ODD = HifiganConfig(  # rates that are no powers of two, kernels that are no multiples of the rate, few channels
    upsample_rates=(16, 4, 4),
    upsample_kernel_sizes=(20, 6, 4),
    upsample_initial_channel=24,
    resblock_kernel_sizes=(3, 5),
    resblock_dilation_sizes=((1, 3), (2,)),
)


@pytest.fixture(params=[(), ("-mno-avx512f",), ("-mno-avx512f", "-mno-avx")], ids=["native", "no-avx512", "no-avx"])
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernels with narrower vectors than the processor has."""
    library = loader.library("vocoder", *request.param)
    if library is None:
        pytest.skip("the compiler does not know these flags: no x86-64")
    monkeypatch.setattr(loader, "here", lambda name: library)


def lively(model: HifiganGenerator | HarmonicVocoder) -> None:
    """Weights that bring every layer to life, and zero no bias."""
    rng = np.random.default_rng(0)
    model.apply(lambda x: mx.array((rng.standard_normal(x.shape) / np.sqrt(max(1, x[0].size))).astype(np.float32)))
    model.eval()


def mels(frames: int, batch: int = 1) -> mx.array:
    return mx.random.normal((batch, frames, 80), key=mx.random.key(1))


@pytest.mark.parametrize("frames", [1, 2, 37])
@pytest.mark.parametrize("config", [V2, V3, ODD], ids=["v2", "v3", "odd"])
def test_hifigan_is_the_plain_one(kernel: None, config: HifiganConfig, frames: int) -> None:
    model = HifiganGenerator(config)
    lively(model)
    mel = mels(frames, batch=2)
    expected, found = np.array(model.plain(mel)), np.array(model(mel))
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(found, expected, atol=1e-5)


def harmonic_inputs(frames: int) -> tuple[mx.array, mx.array, mx.array]:
    time = np.arange(frames)
    log_f0 = np.log(180.0 + 60.0 * np.sin(time / 9.0)).astype(np.float32)
    voiced = (time % 20 < 14).astype(np.float32)
    return mels(frames, 2) - 4.0, mx.array(np.stack([log_f0, log_f0 + 0.3])), mx.array(np.stack([voiced, 1.0 - voiced]))


@pytest.mark.parametrize("frames", [1, 2, 3, 37, 150])
@pytest.mark.parametrize(
    "config",
    [HarmonicConfig(width=20, hidden=27, layers=2), HarmonicConfig(width=16, hidden=24, layers=3, kernel=5)],
    ids=["kernel 7", "kernel 5"],
)
def test_harmonic_is_the_plain_one(kernel: None, config: HarmonicConfig, frames: int) -> None:
    mx.random.seed(0)
    model = HarmonicVocoder(config)
    lively(model)
    inputs, phase = harmonic_inputs(frames), mx.array([0.25, 0.9])
    noise = white_noise(mx.random.key(3), 2, excitation_samples(frames))
    expected = np.array(model.synthesize(*inputs, phase, noise)[0])
    found = np.array(synthesize_in_c(model._in_c.of(model), *inputs, phase, np.array(noise)))
    assert np.abs(expected).max() > 1e-3
    # Phases are rounded differently: by 1e-7 cycles, times up to a hundred harmonics.
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("longest", [8, 40])
def test_pieces_join_without_a_trace(monkeypatch: pytest.MonkeyPatch, longest: int) -> None:
    """Cut into short pieces, on three cores, a voice says the same samples."""
    mx.random.seed(0)
    hifigan_model, harmonic_model = HifiganGenerator(V2), HarmonicVocoder(HarmonicConfig(width=16, hidden=24, layers=2))
    lively(hifigan_model)
    lively(harmonic_model)
    inputs = harmonic_inputs(90)
    uncut = np.array(hifigan_model(inputs[0])), np.array(harmonic_model(*inputs))
    monkeypatch.setattr(vocoder, "cpu_cores", lambda: 3)
    for name, value in (("SHORTEST", longest), ("PIECE", longest), ("FRAMES", longest)):
        monkeypatch.setattr(hifigan, name, value)
    monkeypatch.setattr(harmonic, "PIECE", longest)
    pieces = np.array(hifigan_model(inputs[0])), np.array(harmonic_model(*inputs))
    for cut, expected in zip(pieces, uncut, strict=True):
        np.testing.assert_allclose(cut, expected, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize(("total", "longest", "multiple"), [(1, 9, 1), (100, 9, 1), (4096, 512, 8), (96, 512, 8)])
def test_pieces_cover_everything_once(total: int, longest: int, multiple: int) -> None:
    cut = vocoder.pieces(total, longest, multiple)
    assert cut[0][0] == 0 and cut[-1][1] == total
    assert all(end == begin for (_, end), (begin, _) in pairwise(cut))
    assert all(begin < end <= begin + longest + multiple and begin % multiple == 0 for begin, end in cut)


def test_other_weights_are_packed_again() -> None:
    model = HifiganGenerator(V3)
    lively(model)
    mel = mels(5)
    before = np.array(model(mel))
    model.conv_post.bias = model.conv_post.bias + 0.5
    after = np.array(model(mel))
    assert np.abs(after - before).max() > 0.1
    np.testing.assert_allclose(after, np.array(model.plain(mel)), atol=1e-5)


def test_training_takes_the_plain_form() -> None:
    model = HifiganGenerator(V3)
    packed = vocoder.Packed(lambda kernels, weights: "packed")
    assert packed.of(model.eval()) == "packed" and packed.of(model.train()) is None


def test_without_a_compiler_the_plain_form_speaks(monkeypatch: pytest.MonkeyPatch) -> None:
    model = HifiganGenerator(V3)
    lively(model)
    expected = np.array(model(mels(3)))
    monkeypatch.setattr(loader, "library", lambda *_: None)
    np.testing.assert_allclose(np.array(model(mels(3))), expected, atol=1e-5)


def test_noise_for_the_kernel_is_the_same_noise() -> None:
    key = mx.random.key(4)
    np.testing.assert_array_equal(white_noise_numpy(key, 3, 70_000), np.array(white_noise(key, 3, 70_000)))


def test_a_finished_voice_speaks_through_the_kernel(shared: Path) -> None:
    """The official V2 checkpoint's samples, which torch made."""
    from test_vocoder_hifigan import CONFIGS, official_weights

    file = shared / "checkpoints" / "hifigan_lj_v2" / "generator_v2"
    if not file.exists():
        pytest.skip("needs the official HiFi-GAN V2 checkpoint in ../shared/checkpoints")
    reference = np.load(Path(__file__).parent / "data" / "hifigan_torch.npz")
    model = build_vocoder(CONFIGS["v2"])
    model.load_weights(official_weights(file), strict=True)
    model.eval()
    np.testing.assert_allclose(np.array(model(mx.array(reference["mel"])[None])[0]), reference["lj_v2"], atol=1e-4)
