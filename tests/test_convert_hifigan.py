"""HiFi-GAN, converted, against PyTorch: generators of every version, on recorded speech too, and discriminators.

`data/torch` was written by PyTorch (`tests/torch_reference/make_fixtures.py`). What is of whole size has known numbers
for weights (`torch_reference/known_numbers.py`), so that only what PyTorch made of them is kept.
"""

import json
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from torch_reference.known_numbers import known_discriminators, known_hifigan, known_numbers, real_mel

from bitjets_mlx import load_vocoder
from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.torch_import.conversion import Options, convert, write_converted
from bitjets_mlx.voice.folder import read_discriminators
from bitjets_mlx.voice.voice_config import read_config
from bitjets_mlx.voice.weights_file import Arrays, write_weights

DATA = Path(__file__).parent / "data" / "torch"


def converted(checkpoint: Path, output: Path, **options: object) -> list[str]:
    """Convert as the command does; returns what it says at the end."""
    return list(write_converted(output, convert(checkpoint, output, Options(**options))))  # type: ignore[arg-type]


def shapes(file: str, name: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a model in PyTorch."""
    return {key: tuple(shape) for key, shape in json.loads(str(np.load(DATA / file)[name])).items()}


def generator_file(path: Path, version: str, new: bool = False) -> Path:
    """g_*: a generator of known numbers under the official names."""
    state = known_hifigan(shapes("hifigan_whole.npz", f"shapes_{version}"), new)
    write_weights(path, {f"generator.{name}": array for name, array in state.items()})
    return path


def discriminators_file(path: Path) -> Path:
    """do_*: the discriminators, and something that stands for their optimizers."""
    state: Arrays = known_discriminators(shapes("discriminators_whole.npz", "shapes"))
    write_weights(path, state | {"optim_g.state.0.exp_avg": np.zeros(3, np.float32)})
    return path


@pytest.mark.parametrize("file", ["hifigan_v3_old.pt", "hifigan_v3_new.pt"])
def test_hifigan_equals_the_original(file: str, tmp_path: Path) -> None:
    converted(DATA / file, tmp_path / "v", config=DATA / "hifigan_v3.json")
    expected = np.load(DATA / "hifigan_v3_expected.npz")
    np.testing.assert_allclose(load_vocoder(tmp_path / "v")(expected["mel"]), expected["wav"], atol=1e-4)


def test_the_official_checkpoint(shared: Path, tmp_path: Path) -> None:
    folder = shared / "checkpoints" / "hifigan_lj_v2"
    said = converted(folder / "generator_v2", tmp_path / "v")
    assert "0.50 s" in said[-1] and "no NaN" in said[-1]
    reference = np.load(Path(__file__).parent / "data" / "hifigan_torch.npz")
    np.testing.assert_allclose(load_vocoder(tmp_path / "v")(reference["mel"]), reference["lj_v2"], atol=1e-4)
    # Without a config.json it is known by its shapes.
    (tmp_path / "alone").mkdir()
    (tmp_path / "alone" / "g_1").write_bytes((folder / "generator_v2").read_bytes())
    said = converted(tmp_path / "alone" / "g_1", tmp_path / "w")
    assert "HiFi-GAN V2 by its shapes" in said[0]
    same = load_vocoder(tmp_path / "w")(reference["mel"])
    assert np.array_equal(same, load_vocoder(tmp_path / "v")(reference["mel"]))


@pytest.mark.parametrize("new", [False, True])
@pytest.mark.parametrize("version", [pytest.param("V1", marks=pytest.mark.slow), "V3"])
def test_recorded_speech(version: str, new: bool, shared: Path, tmp_path: Path) -> None:
    said = converted(generator_file(tmp_path / "g_02500000", version, new), tmp_path / "v")
    assert f"HiFi-GAN {version} by its shapes" in said[0]
    samples = load_vocoder(tmp_path / "v")(real_mel(shared))
    np.testing.assert_allclose(samples, np.load(DATA / "hifigan_whole.npz")[version], atol=1e-5)


def test_recorded_speech_by_the_official_checkpoint(shared: Path, tmp_path: Path) -> None:
    converted(shared / "checkpoints" / "hifigan_lj_v2" / "generator_v2", tmp_path / "v")
    samples = load_vocoder(tmp_path / "v")(real_mel(shared))
    np.testing.assert_allclose(samples, np.load(DATA / "hifigan_whole.npz")["lj_v2"], atol=1e-5)


@pytest.mark.slow
def test_discriminators_equal_the_original(tmp_path: Path) -> None:
    """In either order of the two files; the first scale discriminator has spectral normalization."""
    do = discriminators_file(tmp_path / "do_02500000")
    g = generator_file(tmp_path / "g_02500000", "V3")
    said = converted(do, tmp_path / "v")
    assert "convert the generator" in said[0]
    assert any("discriminators.safetensors was in" in sentence for sentence in converted(g, tmp_path / "v"))
    config = read_config(tmp_path / "v")
    assert config.vocoder is not None and config.origin.keys() == {"vocoder", "discriminators"}
    judges = read_discriminators(tmp_path / "v", config)
    assert judges is not None
    scores, _ = judges(mx.array(known_numbers("sound", (1, 8192)) * np.float32(0.1)))
    expected = np.load(DATA / "discriminators_whole.npz")
    for number, score in enumerate(scores):
        wanted = expected[f"score{number}"]  # of a period: rows beside each other
        found = np.array(score)[..., 0]
        found = found.T.reshape(-1) if number < 5 else found[0]
        np.testing.assert_allclose(found, wanted, atol=1e-4 * np.abs(wanted).max())
    with pytest.raises(BitjetsError, match="--config has no meaning for a do_"):
        convert(do, tmp_path / "v", Options(config=DATA / "hifigan_v3.json"))
