"""A converted model trains on: its own symbols and mels, its latent weights, and a voice packed of the run speaks."""

from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten
from test_convert_hifigan import discriminators_file, generator_file
from tiny_training import run_train, tiny_data

from bitjets_mlx import load_voice
from bitjets_mlx.audio.mel_conventions import log_mel_as, map_log_mel
from bitjets_mlx.audio.spectrogram import log_mel
from bitjets_mlx.config import TORCHAUDIO_MEL, AudioConfig
from bitjets_mlx.data.prepared import PreparedData
from bitjets_mlx.data.respelled import as_read
from bitjets_mlx.pack import acoustic_part, write_parts
from bitjets_mlx.text.spelled import CHARACTERS
from bitjets_mlx.torch_import.conversion import Options, convert, write_converted
from bitjets_mlx.torch_import.convolution import take_weight
from bitjets_mlx.torch_import.source import Source
from bitjets_mlx.training.runs import load_run_config, run_weights
from bitjets_mlx.voice.folder import read_discriminators, read_trainable, read_vocoder
from bitjets_mlx.voice.voice_config import read_config
from bitjets_mlx.voice.weights_file import write_weights

DATA = Path(__file__).parent / "data" / "torch"


def one_speaker(folder: Path) -> PreparedData:
    """Tiny data, said to be of one speaker who says long words."""
    import json

    data = tiny_data(folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    for name in ("log_f0_mean", "log_f0_std", "energy_mean", "energy_std", "gain"):
        manifest["statistics"][name] = manifest["statistics"][name][:1]
    manifest["speakers"] = ["anna"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    lines = [json.loads(line) for line in (folder / "clips.jsonl").read_text().splitlines()]
    for line in lines:
        line["speaker"] = "anna"
    (folder / "clips.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    del data
    return PreparedData(folder)


def converted(checkpoint: str, output: Path, **options: object) -> Path:
    list(write_converted(output, convert(DATA / checkpoint, output, Options(**options))))  # type: ignore[arg-type]
    return output


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_bitjets_trains_on(tmp_path: Path) -> None:
    voice, data = converted("bitjets_late.pth", tmp_path / "v"), one_speaker(tmp_path / "data")
    options = ("--init", str(voice), "--updates", "12", "--batch-size", "2", "--accumulate", "1", "--save-every", "6")
    result = run_train(data, tmp_path / "run", "acoustic", *options)
    assert result.returncode == 0, result.stderr
    config = load_run_config(tmp_path / "run")
    assert (config.data.symbols, config.data.audio) == (CHARACTERS, TORCHAUDIO_MEL)
    before = dict(tree_flatten(read_trainable(voice)))
    after = dict(tree_flatten(run_weights(tmp_path / "run", "model")[1]))
    assert not mx.array_equal(before["encoder.0.conv.weight"], after["encoder.0.conv.weight"])
    assert any(name.startswith("aligner.") for name in after)
    write_parts(tmp_path / "packed", acoustic_part(tmp_path / "run"), None)
    assert load_voice(tmp_path / "packed").predict("hello there").mel.shape[1] == 80
    resumed = run_train(data, tmp_path / "run", "acoustic", *options, "--resume")
    assert resumed.returncode == 0, resumed.stderr


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_refusals(tmp_path: Path) -> None:
    packed, data = converted("bitjets_late.pth", tmp_path / "p", pack=True), one_speaker(tmp_path / "data")
    result = run_train(data, tmp_path / "run", "acoustic", "--init", str(packed))
    assert result.returncode == 1 and "convert again without --pack" in result.stderr
    jets = converted("jets.pth", tmp_path / "j", config=DATA / "jets.yaml")
    result = run_train(data, tmp_path / "run", "acoustic", "--init", str(jets))
    assert result.returncode == 1 and "convert with --ternary" in result.stderr
    two = tiny_data(tmp_path / "two")
    latent = converted("bitjets_late.pth", tmp_path / "l")
    result = run_train(two, tmp_path / "run", "acoustic", "--init", str(latent))
    assert result.returncode == 1 and "prepare the recordings of one speaker" in result.stderr


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_ternary_jets_trains_on(tmp_path: Path) -> None:
    jets = converted("jets.pth", tmp_path / "j", config=DATA / "jets.yaml", ternary=True)
    data = tiny_data(tmp_path / "data")
    options = ("--init", str(jets), "--updates", "10", "--batch-size", "2", "--accumulate", "1", "--save-every", "5")
    result = run_train(data, tmp_path / "run", "acoustic", *options)
    assert result.returncode == 1 and "has no symbol IY1" in result.stderr  # which the data has and the model not
    clips = data.folder / "clips.jsonl"
    clips.write_text(clips.read_text().replace("IY1", "OW1"))
    result = run_train(data, tmp_path / "run", "acoustic", *options)
    assert result.returncode == 0, result.stderr
    before = dict(tree_flatten(read_trainable(jets)))
    after = dict(tree_flatten(run_weights(tmp_path / "run", "model")[1]))
    for name in ("encoder.0.expand.weight", "decoder.1.attention.qkv.weight", "projection.weight"):
        moved = float(mx.max(mx.abs(before[name] - after[name])))
        assert 0.0 < moved < 0.2, name  # trained on, and not begun anew
    write_parts(tmp_path / "packed", acoustic_part(tmp_path / "run"), None)
    voice = load_voice(tmp_path / "packed")
    assert voice.config.acoustic.ternary and voice.speakers == ("anna", "ben")  # type: ignore[union-attr]
    assert len(voice.speak(phonemes=["HH", "AH0", "L", "OW1"], speaker="ben")) > 0


@pytest.mark.slow
def test_hifigan_trains_on_against_its_own_discriminators(tmp_path: Path) -> None:
    """One update with the 70 M parameters of the official discriminators."""
    for write in (lambda path: generator_file(path, "V3"), discriminators_file):
        file = write(tmp_path / "checkpoint")
        list(write_converted(tmp_path / "v", convert(file, tmp_path / "v", Options())))
    options = ("--init", str(tmp_path / "v"), "--updates", "1", "--batch-size", "1", "--accumulate", "1")
    data = tiny_data(tmp_path / "data")
    result = run_train(data, tmp_path / "run", "vocoder", *options, "--segment-frames", "16", "--log-every", "1")
    assert result.returncode == 0, result.stderr
    assert "feature_matching_loss" in result.stderr and "discriminator_loss" in result.stderr
    training = load_run_config(tmp_path / "run").vocoder_training
    assert training.discriminators == "full"
    assert training.optimizer.learning_rate == training.discriminator_learning_rate == 2e-4
    before = read_config(tmp_path / "v")
    for part, module in (("model", read_vocoder), ("discriminators", read_discriminators)):
        was = dict(tree_flatten(module(tmp_path / "v", before).parameters()))  # type: ignore[union-attr]
        now = dict(tree_flatten(run_weights(tmp_path / "run", part)[1]))
        assert was.keys() == now.keys()
        largest = max(float(mx.max(mx.abs(was[name] - now[name]))) for name in was)
        assert 0.0 < largest < 1e-3, part  # one step of Adam, at its full rate


def test_the_aligner_learns_alone_at_first(tmp_path: Path) -> None:
    from bitjets_mlx.training.configure import new_config

    voice = converted("bitjets_late.pth", tmp_path / "v")
    jets = converted("jets.pth", tmp_path / "j", config=DATA / "jets.yaml", ternary=True)
    data = one_speaker(tmp_path / "data")
    training = new_config("acoustic", data, {}, init=str(voice)).acoustic_training
    assert training.align_until == training.binarize_from == 0.1 and training.quantize_until == 0.0
    warmed = new_config("acoustic", data, {}, init=str(jets)).acoustic_training  # JETS was in full precision
    assert (warmed.quantize_from, warmed.quantize_until) == (0.1, 0.3)


def test_respelled_data(tmp_path: Path) -> None:
    data = one_speaker(tmp_path / "data")
    own = as_read(data, CHARACTERS, TORCHAUDIO_MEL)
    clip = own.clips[0]
    assert clip.phonemes == tuple("text") and own.encode(clip.phonemes) == [20, 5, 24, 20]
    mel = own.load(clip).mel
    assert mel.shape == (clip.frames, 80) and not np.allclose(mel, data.load(clip).mel)
    assert as_read(data, data.symbols, data.audio) is data


# -- mel conventions -----------------------------------------------------------------------------------------------


def test_torchaudio_mel_against_librosa(shared: Path) -> None:
    import librosa

    from bitjets_mlx.audio.files import read_audio

    sound = read_audio(next(iter(sorted((shared / "speech").rglob("*.flac")))))[:40000]
    bank = librosa.filters.mel(sr=22050, n_fft=1024, n_mels=80, fmin=0, fmax=11025, htk=True, norm=None)
    window = np.hanning(1025)[:-1]
    magnitudes = np.abs(librosa.stft(sound, n_fft=1024, hop_length=256, center=True, pad_mode="reflect"))
    wanted = np.log(np.maximum(bank @ (magnitudes / np.sqrt((window**2).sum())), 1e-5)).T
    found = np.array(log_mel_as(mx.array(sound)[None], TORCHAUDIO_MEL)[0])
    assert len(found) in (len(wanted), len(wanted) - 1)
    inner = slice(2, len(found) - 2)
    np.testing.assert_allclose(found[inner], wanted[inner], atol=5e-3)  # the 1e-9 under the root here


def test_mapping_comes_near_the_real_mel(shared: Path) -> None:
    from bitjets_mlx.audio.files import read_audio

    sound = mx.array(read_audio(next(iter(sorted((shared / "speech").rglob("*.flac")))))[None, :60000])
    real = np.array(log_mel(sound)[0])
    same_frames = AudioConfig(f_max=11025.0, mel_scale="htk", mel_norm="none", normalized=True)
    given = np.array(log_mel_as(sound, same_frames)[0])
    mapped = map_log_mel(given, same_frames, AudioConfig())
    loud = real > -9.0
    assert np.abs(mapped - real)[loud].mean() < 0.15  # unmapped it is ten times as far
    assert np.abs(given - real)[loud].mean() > 1.0


# -- folding -------------------------------------------------------------------------------------------------------


def test_weight_and_spectral_normalization_are_folded(tmp_path: Path) -> None:
    from bitjets_mlx.torch_import.reader import named_tensors, read_checkpoint

    random = np.random.default_rng(0)
    v, g = random.normal(size=(4, 3, 5)).astype(np.float32), random.random((4, 1, 1)).astype(np.float32)
    w, u = random.normal(size=(4, 3, 5)).astype(np.float32), random.normal(size=4).astype(np.float32)
    right = random.normal(size=15).astype(np.float32)
    arrays = {"a.weight_v": v, "a.weight_g": g, "b.weight_orig": w, "b.weight_u": u, "b.weight_v": right}
    arrays |= {"c.parametrizations.weight.original0": g, "c.parametrizations.weight.original1": v}
    write_weights(tmp_path / "x.safetensors", arrays)
    source = Source(tmp_path, named_tensors(read_checkpoint(tmp_path / "x.safetensors")))
    normed = (v / np.sqrt((v**2).sum(axis=(1, 2), keepdims=True)) * g).transpose(0, 2, 1)
    for name in ("a", "c"):
        np.testing.assert_allclose(take_weight(source, name, "t", (4, 5, 3)), normed, rtol=1e-5)
    spectral = (w / (u @ w.reshape(4, 15) @ right)).transpose(0, 2, 1)
    np.testing.assert_allclose(take_weight(source, "b", "t", (4, 5, 3)), spectral, rtol=1e-4)
    assert source.unknown() == [] and {row.what for row in source.rows} == {"folded"}
