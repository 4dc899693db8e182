"""The convert command: BitJETS against what PyTorch made of the same checkpoints, and the command's errors.

`data/torch` was written by PyTorch (`tests/torch_reference/make_fixtures.py`).
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from torch_reference.known_numbers import known_bitjets

from bitjets_mlx import load_vocoder, load_voice
from bitjets_mlx.config import TORCHAUDIO_MEL, AudioConfig
from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.torch_import.conversion import Options, convert, write_converted
from bitjets_mlx.voice.voice_config import read_config
from bitjets_mlx.voice.weights_file import read_weights, write_weights

DATA = Path(__file__).parent / "data" / "torch"
TEXTS = ("Generative AI on the edge is the future.", "What, burgers?  No! 3 please.")


def converted(checkpoint: Path, output: Path, **options: object) -> list[str]:
    """Convert as the command does; returns what it says at the end."""
    return list(write_converted(output, convert(checkpoint, output, Options(**options))))  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("pack", [False, True])
@pytest.mark.parametrize("form", ["", "_training", "_packed"])
@pytest.mark.parametrize("generation", ["early", "late"])
def test_bitjets_equals_the_original(generation: str, form: str, pack: bool, tmp_path: Path) -> None:
    converted(DATA / f"bitjets_{generation}{form}.pth", tmp_path / "v", generation=generation, pack=pack)
    voice = load_voice(tmp_path / "v")
    assert voice.config.audio == TORCHAUDIO_MEL
    expected = np.load(DATA / f"bitjets_{generation}_expected.npz")
    for number, text in enumerate(TEXTS):
        p = voice.predict(text)
        assert p.durations.tolist() == expected[f"d{number}"].tolist()
        np.testing.assert_allclose(p.log_durations, expected[f"l{number}"], atol=1e-4)
        off = np.abs(p.mel - expected[f"m{number}"])
        assert (off < 1e-4).mean() >= 0.8 and off.max() < 0.05
    arrays = read_weights(tmp_path / "v" / "acoustic.safetensors")
    assert {array.dtype for array in arrays.values()} <= {np.dtype(np.float32), np.dtype(np.uint8)}
    assert any(name.endswith(".trits") for name in arrays) == (pack or form == "_packed")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("generation", ["early", "late"])
def test_bitjets_of_whole_size_equals_the_original(generation: str, tmp_path: Path) -> None:
    """Not one int8 activation falls to the other side: the order of PyTorch's sums is kept."""
    expected = np.load(DATA / f"bitjets_{generation}_whole.npz")
    state = known_bitjets({name: tuple(shape) for name, shape in json.loads(str(expected["shapes"])).items()})
    assert sum(array.size for array in state.values()) == 2_519_953
    write_weights(tmp_path / "x.safetensors", state)
    for pack in (False, True):
        converted(tmp_path / "x.safetensors", tmp_path / "v", generation=generation, pack=pack)
        p = load_voice(tmp_path / "v").predict("The ship sailed at dawn.")
        assert p.durations.tolist() == expected["d"].tolist()
        np.testing.assert_allclose(p.log_durations, expected["l"], atol=2e-6)
        np.testing.assert_allclose(p.mel, expected["m"], atol=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_generations_differ_and_the_name_decides(tmp_path: Path) -> None:
    for name, generation in (("bitjets_ckpt_200.pth", "early"), ("bitjets_ckpt_2000.pth", "late"), ("x.pth", "late")):
        (tmp_path / name).write_bytes((DATA / "bitjets_early.pth").read_bytes())
        said = converted(tmp_path / name, tmp_path / "v")
        assert said[0].startswith(f"generation: {generation} (by the file's name")
        assert load_voice(tmp_path / "v").config.acoustic.generation == generation  # type: ignore[union-attr]


@pytest.mark.filterwarnings("ignore")
def test_characters_are_kept_as_there(tmp_path: Path) -> None:
    converted(DATA / "bitjets_late.pth", tmp_path / "v")
    voice = load_voice(tmp_path / "v")
    assert voice.predict("A-B, c").phonemes == ("a", "b", ",", " ", "c")
    with pytest.warns(UserWarning, match="no symbol for 3 ß"):
        assert voice.predict("3 ß a").phonemes == (" ", " ", "a")
    with pytest.raises(BitjetsError, match="reads the letters a to z"):
        voice.predict("123")
    with pytest.raises(BitjetsError, match="predicts no pitch"):
        voice.predict("hello", pitch=2.0)
    slow, fast = (voice.predict("hello there", speed=speed).durations.sum() for speed in (0.5, 2.0))
    assert slow > 1.5 * fast


def test_a_voice_with_hifigan_maps_its_mel(shared: Path, tmp_path: Path) -> None:
    vocoder = shared / "checkpoints" / "hifigan_lj_v2" / "generator_v2"
    converted(DATA / "bitjets_early.pth", tmp_path / "v", vocoder=vocoder, generation="early")
    config = read_config(tmp_path / "v")
    assert (config.audio, config.vocoder_audio) == (TORCHAUDIO_MEL, AudioConfig())
    voice = load_voice(tmp_path / "v")
    samples = voice.speak("hello there")
    assert len(samples) == 0 or np.isfinite(samples).all()
    p = voice.predict("hello there")
    plain = load_vocoder(tmp_path / "v")(p.mel)
    spoken = voice.speak(phonemes=list(p.phonemes))
    assert len(plain) == len(spoken) and not np.allclose(plain, spoken)  # its mel was mapped first


# -- the report and errors -----------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")
def test_key_map(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from bitjets_mlx.torch_import.reader import named_tensors, read_checkpoint

    arrays = {n: t.read() for n, t in named_tensors(read_checkpoint(DATA / "bitjets_late.pth")).items()}
    arrays["decoder.out.weight"] = arrays.pop("decoder.output_proj.weight")
    arrays["decoder.out.bias"] = arrays.pop("decoder.output_proj.bias")
    arrays["extra.thing"] = np.zeros((2, 3), np.float32)
    path, table = tmp_path / "renamed.safetensors", tmp_path / "map.json"
    write_weights(path, arrays)
    with pytest.raises(BitjetsError, match=r"has no tensor decoder.output_proj.weight.*--key-map"):
        converted(path, tmp_path / "v")
    table.write_text(json.dumps({"decoder.out.": "decoder.output_proj."}))
    with pytest.raises(BitjetsError, match=r"unknown are extra.thing \(2x3\).*--key-map"):
        converted(path, tmp_path / "v", key_map=table)
    assert "unknown  extra.thing" in capsys.readouterr().out
    assert not (tmp_path / "v").exists()
    table.write_text(json.dumps({"decoder.out.": "decoder.output_proj.", "extra.thing": None}))
    converted(path, tmp_path / "v", key_map=table)
    assert load_voice(tmp_path / "v").predict("hello").mel.shape[1] == 80
    table.write_text(json.dumps({"nothing": "x"}))
    with pytest.raises(BitjetsError, match="'nothing', which is not in the checkpoint"):
        converted(path, tmp_path / "v", key_map=table)


def test_the_report_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    converted(DATA / "bitjets_late_training.pth", tmp_path / "v")
    text = capsys.readouterr().out
    assert "dropped  optimizer_state_dict.* (" in text
    assert "mapped   encoder.layer.0.bit_conv.weight" in text and "32x32x5" in text and "32x5x32" in text
    assert ", 0 unknown, 0 missing" in text


def test_missing_tensors_are_listed(tmp_path: Path) -> None:
    path = tmp_path / "few.safetensors"
    arrays = {"encoder.embedding.weight": np.zeros((32, 8), np.float32)}
    arrays["decoder.output_proj.weight"] = np.zeros((80, 8), np.float32)
    arrays["decoder.input_proj.weight"] = np.zeros((8, 8), np.float32)
    arrays["encoder.layer.0.bit_conv.weight"] = np.zeros((8, 8, 5), np.float32)
    arrays["variance_adaptor.duration_predictor.0.bit_conv.weight"] = np.zeros((8, 8, 3), np.float32)
    write_weights(path, arrays)
    with pytest.raises(BitjetsError, match=r"missing are .*encoder.layer.0.layer_norm.weight \(8\)"):
        converted(path, tmp_path / "v")


def test_flags_without_meaning_are_refused(tmp_path: Path) -> None:
    for options, named in (({"pack": True}, "--pack"), ({"generation": "late"}, "--generation")):
        with pytest.raises(BitjetsError, match=f"{named} has no meaning"):
            converted(DATA / "hifigan_v3_old.pt", tmp_path / "v", **options)
    with pytest.raises(BitjetsError, match="--ternary has no meaning"):
        converted(DATA / "bitjets_late.pth", tmp_path / "v", ternary=True)


def test_nothing_else_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / "thesis.txt").write_text("mine")
    with pytest.raises(BitjetsError, match=r"holds thesis\.txt, which belongs to no voice folder"):
        converted(DATA / "bitjets_late.pth", tmp_path / "v")
    assert (tmp_path / "v" / "thesis.txt").read_text() == "mine"


def test_nan_is_refused(tmp_path: Path) -> None:
    from bitjets_mlx.torch_import.reader import named_tensors, read_checkpoint

    arrays = {n: t.read() for n, t in named_tensors(read_checkpoint(DATA / "bitjets_late.pth")).items()}
    arrays["decoder.output_proj.bias"] = np.full(80, 1e30, np.float32)  # finite, and nothing that sounds
    write_weights(tmp_path / "x.safetensors", arrays)
    with pytest.raises((BitjetsError, FloatingPointError)):
        converted(tmp_path / "x.safetensors", tmp_path / "v")
    assert not (tmp_path / "v").exists()


def test_the_command_and_generate(shared: Path, tmp_path: Path) -> None:
    def run(*arguments: object) -> "subprocess.CompletedProcess[str]":
        return subprocess.run([sys.executable, "-m", *map(str, arguments)], capture_output=True, text=True)

    official = shared / "checkpoints" / "hifigan_lj_v2" / "generator_v2"
    assert run("bitjets_mlx.convert", official, "--output", tmp_path / "hg").returncode == 0
    made = run("bitjets_mlx.convert", DATA / "bitjets_late.pth", "--output", tmp_path / "v")
    assert made.returncode == 0 and "no NaN" in made.stdout, made.stderr
    spoken = run(
        *("bitjets_mlx.generate", "--voice", tmp_path / "v", "--vocoder", tmp_path / "hg"),
        *("--text", "Hello there.", "--output", tmp_path / "x.wav"),
    )
    assert spoken.returncode == 0 and (tmp_path / "x.wav").stat().st_size > 1000, spoken.stderr
    assert not spoken.stderr
    failed = run("bitjets_mlx.convert", tmp_path / "x.wav", "--output", tmp_path / "w")
    assert failed.returncode == 1 and failed.stderr.startswith("error: ") and failed.stderr.count("\n") == 1
    assert not (tmp_path / "w").exists()
