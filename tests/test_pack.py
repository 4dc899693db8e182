"""The pack command: what a voice folder holds, what is refused when one is read, and the trainable sister."""

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from tiny_voice import ACOUSTIC, HARMONIC, HIFIGAN, STATISTICS, acoustic_run, tiny_voice, vocoder_run

from bitjets_mlx import load_vocoder, load_voice
from bitjets_mlx.acoustic.model import BitJets
from bitjets_mlx.data.rare_symbols import substitutes
from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.pack import vocoder_part, write_parts
from bitjets_mlx.ternary.packing import packed_size, unpack_base3
from bitjets_mlx.ternary.quantize import ternary_weights
from bitjets_mlx.training.checkpoints import save_checkpoint
from bitjets_mlx.training.runs import check_same_shapes, run_weights
from bitjets_mlx.voice.arrays import named_arrays, ternary_layers
from bitjets_mlx.voice.folder import read_trainable
from bitjets_mlx.voice.voice_config import read_config
from bitjets_mlx.voice.weights_file import read_weights, write_weights


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    tiny_voice(folder)
    return folder


def pack(*arguments: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bitjets_mlx.pack", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def refused(*arguments: Any) -> str:
    """The one sentence that a failing pack ends with."""
    done = pack(*arguments)
    assert done.returncode != 0 and "Traceback" not in done.stderr
    return done.stderr.strip().splitlines()[-1]


# -- what is written -------------------------------------------------------------------------------------------------


def test_the_command_writes_a_voice_and_its_trainable_sister(runs: Path, tmp_path: Path) -> None:
    notes, measured = tmp_path / "notes.md", tmp_path / "measured.json"
    notes.write_text("Read by nobody. CC0.")
    measured.write_text(json.dumps({"speakers": {"anna": {"wer": 12.5}, "ben": {"wer": 14.0}}, "rtf": 0.03}))
    done = pack(
        *("--acoustic", runs / "acoustic", "--vocoder", runs / "vocoder", "--output", tmp_path / "v"),
        *("--trainable", "--notes", notes, "--measured", measured),
    )
    assert done.returncode == 0, done.stderr
    assert {file.name for file in (tmp_path / "v").iterdir()} == {
        "README.md",
        "acoustic.safetensors",
        "config.json",
        "vocoder.safetensors",
    }
    assert len(done.stdout.splitlines()) == 2 and "acoustic.safetensors" in done.stdout
    card = (tmp_path / "v" / "README.md").read_text()
    facts = ("`anna`, `ben`", "40 updates of 32 clips, 1 hours", "Read by nobody. CC0.", "| wer | 12.5 | 14 |")
    for fact in (*facts, " of them int8, the rest fp16"):
        assert fact in card
    sister = (tmp_path / "v_trainable" / "README.md").read_text()
    assert "--init weights/v_trainable" in sister and "CC0" in sister
    assert load_voice(tmp_path / "v").speak("Hello.").size > 1000


def test_a_card_invents_nothing(runs: Path) -> None:
    card = (runs / "tiny" / "README.md").read_text()
    assert "Not recorded." in card and "Not measured." in card


def test_the_acoustic_file_holds_base_3_and_half_precision(runs: Path) -> None:
    config = json.loads((runs / "tiny" / "config.json").read_text())
    arrays = read_weights(runs / "tiny" / "acoustic.safetensors")
    _, tree = run_weights(runs / "acoustic")
    latent = named_arrays(tree)
    layers = ternary_layers(BitJets(ACOUSTIC))
    assert len(layers) == 2 * 4 + 3 * 2  # an encoder and a decoder block of four, three predictors of two
    for name in layers:
        trits, beta = ternary_weights(latent[f"{name}.weight"])
        stored = arrays.pop(f"{name}.trits")
        assert stored.dtype == np.uint8 and stored.shape == (packed_size(trits.size),)
        assert np.array_equal(unpack_base3(stored, trits.shape), np.array(trits))
        kept = arrays.pop(f"{name}.beta")
        assert kept.dtype == np.float32 and kept == np.array(beta)
    assert all(array.dtype == np.float16 for array in arrays.values())
    assert not any(name.startswith("aligner") for name in arrays)
    assert config["acoustic"]["kind"] == "bitjets" and config["vocoder"]["kind"] == "harmonic"
    for name, digest in config["files"].items():
        assert hashlib.sha256((runs / "tiny" / name).read_bytes()).hexdigest() == digest


def test_every_linear_and_convolution_of_encoder_decoder_and_predictors_is_ternary() -> None:
    model = BitJets(ACOUSTIC)
    ternary = set(ternary_layers(model))
    for name, array in named_arrays(model.parameters()).items():
        layer = name.rpartition(".")[0]
        inside = name.startswith(("encoder.", "decoder.", "duration.", "pitch.", "energy."))
        if inside and array.ndim > 1 and not layer.endswith("head"):
            assert layer in ternary, name


def test_config_comes_back_as_it_was(runs: Path) -> None:
    config = read_config(runs / "tiny")
    assert config.acoustic == ACOUSTIC and config.vocoder == HARMONIC and config.statistics == STATISTICS
    assert config.origin["acoustic"]["updates"] == 40


def test_symbols_without_examples_are_spoken_as_others(runs: Path) -> None:
    config = read_config(runs / "tiny")
    assert config.substitutes["?"] == "." and config.substitutes["OY2"] in ("OY0", "OY1")
    assert len(config.substitutes) == 2
    voice = load_voice(runs / "tiny")
    asked = voice.predict(phonemes=["T", "OY2", "?"])
    assert asked.phonemes == ("T", "OY2", "?")
    said = voice.predict(phonemes=["T", config.substitutes["OY2"], "."])
    assert np.array_equal(asked.mel, said.mel)
    assert "`?` as `.`" in (runs / "tiny" / "README.md").read_text()


def test_substitutes_are_the_nearest_frequent_relatives() -> None:
    assert substitutes([["AH0", "AH1", "T", ".", ",", " "]] * 5 + [["AH1"]])["AH2"] == "AH1"
    assert substitutes([[".", ",", ";"]] * 5)[":"] == ";"
    assert substitutes([[".", ","]] * 5)[":"] == ","
    assert "ZH" not in substitutes([[".", ","]] * 5)  # nothing may stand for it


def test_data_that_is_gone_is_said(runs: Path, tmp_path: Path) -> None:
    run = acoustic_run(tmp_path / "run")
    shutil.rmtree(tmp_path / "run_data")
    done = pack("--acoustic", run, "--output", tmp_path / "v")
    assert done.returncode == 0 and "warning: " in done.stderr
    assert "run_data" in done.stderr
    assert read_config(tmp_path / "v").substitutes == {}


def test_a_vocoder_may_come_from_a_voice_and_stand_alone(runs: Path, tmp_path: Path) -> None:
    assert pack("--vocoder", runs / "tiny", "--output", tmp_path / "sound").returncode == 0
    assert (
        pack("--acoustic", runs / "acoustic", "--vocoder", tmp_path / "sound", "--output", tmp_path / "v").returncode
        == 0
    )
    for folder in ("sound", "v"):
        copied = (tmp_path / folder / "vocoder.safetensors").read_bytes()
        assert copied == (runs / "tiny" / "vocoder.safetensors").read_bytes()
    p = load_voice(runs / "tiny").predict("Hello.")
    same = load_vocoder(runs / "tiny")(p.mel, p.f0, p.voiced)
    assert np.array_equal(load_vocoder(tmp_path / "sound")(p.mel, p.f0, p.voiced), same)
    with pytest.raises(BitjetsError, match="is a vocoder folder"):
        load_voice(tmp_path / "sound")


def test_hifigan_runs_are_packed_too(runs: Path, tmp_path: Path) -> None:
    run = vocoder_run(tmp_path / "run", HIFIGAN)
    assert pack("--vocoder", run, "--output", tmp_path / "v").returncode == 0
    assert read_config(tmp_path / "v").vocoder == HIFIGAN


def test_trainable_weights_are_the_latent_ones(runs: Path, tmp_path: Path) -> None:
    pack("--acoustic", runs / "acoustic", "--output", tmp_path / "v", "--trainable")
    _, latent = run_weights(runs / "acoustic")
    given = read_trainable(tmp_path / "v_trainable")
    check_same_shapes(latent, given, "trainable")
    want = named_arrays(latent)
    for name, have in named_arrays(given).items():
        assert have.dtype == mx.float32 and mx.allclose(have, want[name], rtol=1e-3, atol=1e-6).item(), name
    with pytest.raises(BitjetsError, match="is not trainable"):
        read_trainable(tmp_path / "v")
    with pytest.raises(BitjetsError, match="does not list"):
        load_voice(tmp_path / "v_trainable")


def test_packing_again_replaces_a_voice_and_nothing_else(runs: Path, tmp_path: Path) -> None:
    given = ("--vocoder", runs / "vocoder", "--output", tmp_path / "v")
    assert pack(*given).returncode == 0 and pack(*given).returncode == 0
    assert [entry.name for entry in tmp_path.iterdir()] == ["v"]
    (tmp_path / "v" / "sub").mkdir()
    (tmp_path / "v" / "sub" / "thesis.txt").write_text("mine")
    assert "holds sub/thesis.txt" in refused(*given)
    assert (tmp_path / "v" / "sub" / "thesis.txt").read_text() == "mine"
    assert pack(*given, "--overwrite").returncode == 0 and not (tmp_path / "v" / "sub").exists()


def test_what_a_foreign_folder_says_of_itself_does_not_stop_a_card(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "tiny", tmp_path / "tiny")
    for origin in ({"training": 3, "updates": "many"}, {"training": {"batch_size": []}, "hours": None, "speakers": 5}):
        set_config(tmp_path / "tiny", "origin", value={"vocoder": origin})
        write_parts(tmp_path / "sound", None, vocoder_part(tmp_path / "tiny"), measured=[3])
        assert "- vocoder: 0 updates of 0 clips" in (tmp_path / "sound" / "README.md").read_text()


def test_a_run_is_never_packed_over(runs: Path, tmp_path: Path) -> None:
    run = vocoder_run(tmp_path / "run")
    for output in (run, tmp_path):
        assert "is read from" in refused("--vocoder", run, "--output", output, "--overwrite")
    other = vocoder_run(tmp_path / "other")
    assert "belongs to no voice folder" in refused("--vocoder", run, "--output", other)
    assert (other / "checkpoints").is_dir() and (run / "checkpoints").is_dir()


# -- what is refused -------------------------------------------------------------------------------------------------


def test_wrong_sources_are_refused(runs: Path, tmp_path: Path) -> None:
    out = ("--output", tmp_path / "v")
    assert "nothing to pack" in refused(*out)
    assert "not a training run" in refused("--acoustic", tmp_path / "none", *out)
    assert "--stage vocoder: give --acoustic" in refused("--acoustic", runs / "vocoder", *out)
    assert "--stage acoustic: give --vocoder" in refused("--vocoder", runs / "acoustic", *out)
    assert "give --acoustic RUN too" in refused("--vocoder", runs / "vocoder", "--trainable", *out)
    assert "cannot be read" in refused("--vocoder", runs / "vocoder", "--notes", tmp_path / "none", *out)
    (tmp_path / "not.json").write_text("{")
    assert "cannot be read as JSON" in refused("--vocoder", runs / "vocoder", "--measured", tmp_path / "not.json", *out)
    assert not (tmp_path / "v").exists()


def test_a_run_without_checkpoint_or_beyond_fp16_is_refused(runs: Path, tmp_path: Path) -> None:
    run = acoustic_run(tmp_path / "run")
    shutil.rmtree(run / "checkpoints")
    assert "no checkpoint yet" in refused("--acoustic", run, "--output", tmp_path / "v")
    _, tree = run_weights(runs / "acoustic")
    tree["projection"]["bias"] = mx.full(tree["projection"]["bias"].shape, 1e6)  # infinity as fp16
    save_checkpoint(run, 41, {"ema": tree})
    assert "projection.bias holds NaN" in refused("--acoustic", run, "--output", tmp_path / "v")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["run", "run_data"]


def edited(path: Path, change: Callable[[dict[str, np.ndarray]], Any]) -> None:
    """Change a folder's weight file and make its sha256 agree: what only the other checks can find."""
    arrays = read_weights(path)
    change(arrays)
    digest = write_weights(path, arrays)
    config = json.loads((path.parent / "config.json").read_text())
    config["files"][path.name] = digest
    (path.parent / "config.json").write_text(json.dumps(config))


def set_config(folder: Path, *keys: Any, value: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    place = config
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    (folder / "config.json").write_text(json.dumps(config))


TRITS = "encoder.0.expand.trits"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "acoustic.safetensors").unlink(), "acoustic.safetensors is missing"),
        (lambda f: (f / "vocoder.safetensors").write_bytes(b""), "damaged"),
        (lambda f: shutil.copy(f / "vocoder.safetensors", f / "acoustic.safetensors"), "sha256 differs"),
        (lambda f: (f / "config.json").unlink(), "has no config.json"),
        (lambda f: (f / "config.json").write_text("{"), "cannot be read"),
        (lambda f: (f / "config.json").write_text("[]"), "format None"),
        (lambda f: set_config(f, "format", value=99), "format 99"),
        (lambda f: set_config(f, "surprise", value=1), "unknown keys"),
        (lambda f: set_config(f, "files", value={}), "does not list"),
        (lambda f: set_config(f, "files", value=3), "must be an object"),
        (lambda f: set_config(f, "substitutes", value={"?": "full stop"}), "contradicts itself"),
        (lambda f: set_config(f, "speakers", value=["anna"]), "contradicts itself"),
        (lambda f: set_config(f, "statistics", "log_f0_std", 0, value=float("nan")), "must be a finite number"),
        (lambda f: set_config(f, "statistics", "log_f0_std", 0, value="1"), "must be a number"),
        (lambda f: set_config(f, "acoustic", "width", value=64), "does not belong to the model"),
        (lambda f: set_config(f, "acoustic", "width", value="wide"), "must be a whole number"),
        (lambda f: set_config(f, "acoustic", "kernel", value=4), "must be odd"),
        (lambda f: set_config(f, "vocoder", "kind", value="magic"), "must be of kind harmonic or hifigan"),
        (lambda f: set_config(f, "vocoder", value=7), "must be an object"),
        (lambda f: set_config(f, "vocoder", "layers", value=10**9), "must be from 0 to 100"),
        (lambda f: set_config(f, "acoustic", "decoder_layers", value=2**31), "must be from 0 to 100"),
        (lambda f: set_config(f, "acoustic", "heads", value=3), "multiple of 3 heads"),
        (lambda f: set_config(f, "origin", value={"acoustic": 3}), "must be an object"),
        (lambda f: (f / "config.json").write_text("[" * 10**6), "nested deeper than 50"),
        (lambda f: (f / "config.json").write_text("[" * 60 + "]" * 60), "nested deeper than 50"),
        (lambda f: (f / "config.json").write_text(" " * (17 << 20)), "larger than 16 MB"),
        (lambda f: set_config(f, "audio", "hop", value=200), "other audio conventions"),
        (lambda f: edited(f / "acoustic.safetensors", lambda a: a[TRITS].__setitem__(3, 250)), "not a base-3 packing"),
        (
            lambda f: edited(f / "acoustic.safetensors", lambda a: a.update({TRITS: a[TRITS].astype(np.int32)})),
            "not a base-3 packing",
        ),
        (
            lambda f: edited(f / "acoustic.safetensors", lambda a: a.update({TRITS: a[TRITS][:-1]})),
            "does not belong to the model",
        ),
        (lambda f: edited(f / "acoustic.safetensors", lambda a: a.pop("final_gain")), "final_gain is missing"),
        (lambda f: edited(f / "acoustic.safetensors", lambda a: a.update(extra=np.ones(2))), "extra is"),
        (
            lambda f: edited(
                f / "vocoder.safetensors", lambda a: a.update(input_bias=np.zeros(a["input_bias"].shape, np.int32))
            ),
            "not floating point",
        ),
    ],
)
def test_damaged_voices_are_refused(runs: Path, tmp_path: Path, damage: Callable[[Path], Any], message: str) -> None:
    folder = tmp_path / "voice"
    shutil.copytree(runs / "tiny", folder)
    damage(folder)
    with pytest.raises(BitjetsError, match=message) as caught:
        load_voice(folder)
    assert len(str(caught.value).splitlines()) == 1


def test_a_truncated_file_is_refused_wherever_it_ends(runs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "voice"
    shutil.copytree(runs / "tiny", folder)
    whole = (folder / "acoustic.safetensors").read_bytes()
    for length in range(0, len(whole), 997):
        (folder / "acoustic.safetensors").write_bytes(whole[:length])
        with pytest.raises(BitjetsError):
            load_voice(folder)
