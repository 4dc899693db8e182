"""The PyTorch twin of a whole voice says what ours says, from the weights that the benchmark exports."""

from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from tiny_voice import HIFIGAN, tiny_voice

from bitjets_mlx import load_vocoder, load_voice
from bitjets_mlx.benchmarking.torch_export import export_for_torch
from bitjets_mlx.config import HifiganConfig
from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.vocoder.harmonic import HarmonicVocoder, excitation_samples
from bitjets_mlx.vocoder.noise import white_noise_table

TEXT = "Good morning to you."


def test_the_export_expands_the_trits(tmp_path: Path) -> None:
    voice = tiny_voice(tmp_path)
    export_for_torch(voice, voice, tmp_path)
    arrays = np.load(tmp_path / "weights.npz")
    weight = arrays["acoustic.decoder.0.expand.weight"]
    assert len(np.unique(weight)) == 3 and weight.ndim == 3
    assert {"vocoder.input_weight", "envelope", "noise", "mel_mean"} <= set(arrays.files)


def test_a_vocoder_without_a_voice_is_refused(tmp_path: Path) -> None:
    from tiny_voice import vocoder_run

    from bitjets_mlx.pack import vocoder_part, write_parts

    write_parts(tmp_path / "vocoder", None, vocoder_part(vocoder_run(tmp_path / "run", HIFIGAN)))
    with pytest.raises(BitjetsError, match="BitJETS of ours"):
        export_for_torch(tmp_path / "vocoder", tmp_path / "vocoder", tmp_path)


def twin(folder: Path, voice: Path):  # type: ignore[no-untyped-def]
    pytest.importorskip("torch", reason="the PyTorch twin needs torch: pip install -r requirements-bench.txt")
    from bitjets_mlx.benchmarking.torch_twin import TorchVoice

    export_for_torch(voice, voice, folder)
    return TorchVoice(folder)


def test_the_acoustic_model_is_ours(tmp_path: Path) -> None:
    folder = tiny_voice(tmp_path)
    model, voice = twin(tmp_path, folder), load_voice(folder)
    symbols = voice.sentences(TEXT)[0]
    tokens = [voice.config.symbols.index(symbol) for symbol in symbols]
    for number, speaker in enumerate(voice.speakers):
        expected = voice.predict(phonemes=symbols, speaker=speaker)
        mel, log_f0, voiced = (part.numpy() for part in model.predict(tokens, number))
        np.testing.assert_allclose(mel, expected.mel, atol=2e-3)  # but for a rounding tie
        np.testing.assert_array_equal(voiced.astype(bool), expected.voiced)
        where = expected.voiced
        np.testing.assert_allclose(np.exp(log_f0)[where], expected.f0[where], rtol=1e-3)


def test_the_harmonic_vocoder_is_ours(tmp_path: Path) -> None:
    folder = tiny_voice(tmp_path)
    model, ours = twin(tmp_path, folder), load_vocoder(folder).model
    assert isinstance(ours, HarmonicVocoder)
    rng = np.random.default_rng(0)
    frames = 40
    mel = rng.normal(-4.0, 1.0, (frames, 80)).astype(np.float32)
    log_f0 = np.log(180.0 + 40.0 * np.sin(np.arange(frames) / 9.0)).astype(np.float32)
    voiced = (np.arange(frames) % 20 < 14).astype(np.float32)
    noise = white_noise_table()[5 : 5 + excitation_samples(frames)][None]
    inputs = (mx.array(array)[None] for array in (mel, log_f0, voiced))
    expected = np.array(ours.synthesize(*inputs, mx.array([0.25]), noise)[0][0])
    import torch

    with torch.inference_mode():
        found = model.harmonic(*map(torch.from_numpy, (mel, log_f0, voiced)), 0.25, 5).numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-3 * np.abs(expected).max())  # its phase is finer


def test_hifigan_is_ours(tmp_path: Path) -> None:
    folder = tiny_voice(tmp_path, HifiganConfig(upsample_initial_channel=64))
    model = twin(tmp_path, folder)
    mel = np.random.default_rng(0).normal(-4.0, 1.0, (20, 80)).astype(np.float32)
    import torch

    found = model.vocode(torch.from_numpy(mel), torch.zeros(20), torch.zeros(20))
    np.testing.assert_allclose(found, load_vocoder(folder)(mel), atol=1e-5)
