"""Sound files: every format read the same, every damage refused in one sentence, nothing half-written."""

import struct
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from bitjets_mlx.audio.files import read_audio, read_audio_as_recorded, resample, write_wav
from bitjets_mlx.errors import BitjetsError


def tone(hertz: float, rate: int, seconds: float = 0.5) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate)).astype(np.float32)


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "PCM_U8", "FLOAT", "DOUBLE"])
def test_wav_subtypes(tmp_path: Path, subtype: str) -> None:
    soundfile.write(tmp_path / "a.wav", tone(440, 22050), 22050, subtype=subtype)
    audio = read_audio(tmp_path / "a.wav")
    assert audio.dtype == np.float32 and audio.ndim == 1
    np.testing.assert_allclose(audio, tone(440, 22050), atol=0.01 if subtype == "PCM_U8" else 1e-4)


def test_flac_and_stereo(tmp_path: Path) -> None:
    left, right = tone(440, 22050), tone(660, 22050)
    soundfile.write(tmp_path / "a.flac", np.stack([left, right], axis=1), 22050)
    audio, rate, channels = read_audio_as_recorded(tmp_path / "a.flac")
    assert (rate, channels) == (22050, 2)
    np.testing.assert_allclose(audio, (left + right) / 2, atol=1e-4)


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 24000, 32000, 44100, 48000])
def test_other_rates_are_resampled(tmp_path: Path, rate: int) -> None:
    soundfile.write(tmp_path / "a.wav", tone(1000, rate), rate, subtype="FLOAT")
    audio = read_audio(tmp_path / "a.wav")
    assert abs(len(audio) - 11025) <= 2
    np.testing.assert_allclose(audio[500:-600], tone(1000, 22050)[500 : len(audio) - 600], atol=1e-4)


def test_resampling_agrees_with_soxr() -> None:
    soxr = pytest.importorskip("soxr")
    random = np.random.default_rng(0)
    spectrum = np.fft.rfft(random.normal(size=48000))
    spectrum[9000:] = 0  # inside both pass bands
    noise = (np.fft.irfft(spectrum) * 0.2).astype(np.float32)
    np.testing.assert_allclose(
        resample(noise, 48000, 22050)[500:-500], soxr.resample(noise, 48000, 22050, "VHQ")[500:-500], atol=2e-4
    )


def test_resampling_leaves_no_aliases() -> None:
    for hertz in (12000, 15000, 20000):
        assert np.abs(resample(tone(hertz, 48000), 48000, 22050)[500:-500]).max() < 1e-3


@given(st.integers(4000, 50000), st.integers(1, 3000))
@settings(max_examples=25, deadline=None)
def test_resampling_keeps_duration_and_constants(rate: int, samples: int) -> None:
    output = resample(np.ones(samples, np.float32), rate, 22050)
    assert len(output) == -(-samples * 22050 // rate)
    edge = 60 * 22050 // min(rate, 22050)
    np.testing.assert_allclose(output[edge : len(output) - edge], 1.0, atol=1e-5)


def refused(path: Path, words: str) -> None:
    with pytest.raises(BitjetsError, match=words) as caught:
        read_audio(path)
    assert path.name in str(caught.value) and "\n" not in str(caught.value)


def test_missing_empty_and_foreign_files(tmp_path: Path) -> None:
    refused(tmp_path / "none.wav", "no file")
    refused_folder = tmp_path / "folder.wav"
    refused_folder.mkdir()
    refused(refused_folder, "no file")
    for name, content, words in [
        ("empty.wav", b"", "empty"),
        ("text.wav", b"hello, this is no sound at all " * 20, "cannot be read"),
        ("text.flac", b"fLaC" + bytes(range(256)), "cannot be read|truncated|no samples"),
        ("header.wav", b"RIFF\x24\0\0\0WAVE", "truncated"),
    ]:
        (tmp_path / name).write_bytes(content)
        refused(tmp_path / name, words)


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_every_truncation_is_refused(tmp_path: Path, suffix: str) -> None:
    whole = tmp_path / f"whole.{suffix}"
    soundfile.write(whole, tone(440, 22050) + 0.1 * np.random.default_rng(0).normal(size=11025), 22050)
    data = whole.read_bytes()
    cut = tmp_path / f"cut.{suffix}"
    for length in [1, 3, 11, 20, 40, 43, 44, 60, 100, 1000, len(data) // 2, len(data) - 3000, len(data) - 2]:
        cut.write_bytes(data[:length])
        refused(cut, ".")


def test_no_samples(tmp_path: Path) -> None:
    for suffix in ("wav", "flac"):
        soundfile.write(tmp_path / f"none.{suffix}", np.zeros(0, np.float32), 22050)
        refused(tmp_path / f"none.{suffix}", "no samples|cannot be read|empty")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_finite(tmp_path: Path, value: float) -> None:
    audio = tone(440, 22050)
    audio[100] = value
    soundfile.write(tmp_path / "a.wav", audio, 22050, subtype="FLOAT")
    refused(tmp_path / "a.wav", "NaN or infinity")


def test_length_and_channels_are_bounded_before_anything_is_decoded(tmp_path: Path) -> None:
    """Silence compresses well: kilobytes can stand for gigabytes."""
    soundfile.write(tmp_path / "long.flac", np.zeros(601 * 8000, np.int16), 8000)
    assert (tmp_path / "long.flac").stat().st_size < 300_000
    tracemalloc.start()
    try:
        with pytest.raises(BitjetsError, match="longer than 10 minutes"):
            read_audio(tmp_path / "long.flac")
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    soundfile.write(tmp_path / "wide.wav", np.zeros((10, 100), np.int16), 22050)
    with pytest.raises(BitjetsError, match="has 100 channels, and at most 32"):
        read_audio(tmp_path / "wide.wav")


def test_odd_rate_is_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(100, 1000), 1000)
    refused(tmp_path / "a.wav", "1000 Hz")


def test_wav_written_to_a_pipe_is_read(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", tone(440, 22050))
    data = bytearray((tmp_path / "a.wav").read_bytes())
    data[4:8] = data[40:44] = struct.pack("<I", 0xFFFFFFFF)  # the writer did not know the length
    (tmp_path / "a.wav").write_bytes(data)
    assert len(read_audio(tmp_path / "a.wav")) == 11025


def test_write_and_read_back(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", tone(440, 22050), 22050)
    info = soundfile.info(tmp_path / "a.wav")
    assert (info.samplerate, info.channels, info.subtype, info.format) == (22050, 1, "PCM_16", "WAV")
    np.testing.assert_allclose(read_audio(tmp_path / "a.wav"), tone(440, 22050), atol=1e-4)
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]


def test_too_loud_is_turned_down_and_said(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="turned down by 6.0 dB"):
        write_wav(tmp_path / "a.wav", 4 * tone(440, 22050))
    audio = read_audio(tmp_path / "a.wav")
    np.testing.assert_allclose(audio, 2 * tone(440, 22050), atol=1e-3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_wav(tmp_path / "b.wav", np.array([1.0, -1.0, 0.0], np.float32))


@pytest.mark.parametrize("audio", [np.zeros(0), np.zeros((2, 100)), np.array([0.0, np.nan])])
def test_nothing_to_write(tmp_path: Path, audio: np.ndarray) -> None:
    with pytest.raises(BitjetsError):
        write_wav(tmp_path / "a.wav", audio)
    assert not list(tmp_path.iterdir())


def test_no_folder_to_write_to(tmp_path: Path) -> None:
    with pytest.raises(BitjetsError, match="no folder"):
        write_wav(tmp_path / "none" / "a.wav", tone(440, 22050))
