"""F0 and voicing: known pitches, hostile input, and agreement with librosa's pyin on both voices."""

import sys
from pathlib import Path

import numpy as np
import pytest

from bitjets_mlx.audio.files import read_audio
from bitjets_mlx.audio.pitch import PitchConfig, extract_pitch, interpolate_f0

SECONDS = np.arange(2 * 22050) / 22050
CONTOURS = {
    "low": np.full(len(SECONDS), 80.0),
    "steady": np.full(len(SECONDS), 210.0),
    "high": np.full(len(SECONDS), 520.0),
    "rising": np.geomspace(100, 400, len(SECONDS)),
    "falling": np.geomspace(500, 80, len(SECONDS)),
    "vibrato": 220 * 2 ** (0.04 * np.sin(2 * np.pi * 5 * SECONDS)),
    "steep": 200 * 2 ** (0.5 * np.sin(2 * np.pi * 2 * SECONDS)),  # up to 6 octaves a second
}


def voice(f0: np.ndarray, noise: float = 0.003) -> np.ndarray:
    """A vowel with three formants that follows `f0` (S,)."""
    phase = 2 * np.pi * np.cumsum(f0) / 22050
    sound = np.zeros(len(f0))
    for harmonic in range(1, 60):
        hertz = f0 * harmonic
        level = sum(np.exp(-(((hertz - c) / w) ** 2)) for c, w in ((500, 200), (1500, 300), (2500, 400)))
        sound += np.where(hertz < 11000, (level + 0.02) / harmonic, 0) * np.cos(harmonic * phase + harmonic**2)
    sound = 0.5 * sound / np.abs(sound).max()
    return (sound + noise * np.random.default_rng(0).normal(size=len(f0))).astype(np.float32)


@pytest.mark.parametrize("name", CONTOURS)
def test_known_contours_are_followed_within_a_percent(name: str) -> None:
    f0, voiced = extract_pitch(voice(CONTOURS[name]))
    assert f0.dtype == np.float32 and len(f0) == len(voiced) == len(SECONDS) // 256
    assert voiced.mean() > 0.99
    truth = CONTOURS[name][256 * np.arange(len(f0)) + 128]  # frame i is centred on sample 256 i + 128
    error = np.abs(f0 / truth - 1)[2:-2]
    assert np.median(error) < 0.002
    assert error.max() < 0.01


def test_voicing_follows_the_sound_and_f0_bridges_the_gap() -> None:
    sound = voice(np.geomspace(150, 300, 44100), noise=0)
    noise = np.random.default_rng(1).normal(size=44100).astype(np.float32)
    sound[16000:28000] = 0.01 * noise[16000:28000]
    f0, voiced = extract_pitch(sound)
    centre = 256 * np.arange(len(f0)) + 128
    assert voiced[(centre < 15000) | (centre > 29000)].all()
    assert not voiced[(centre > 18000) & (centre < 26000)].any()
    gap = np.flatnonzero(~voiced)
    expected = np.interp(gap, [gap[0] - 1, gap[-1] + 1], np.log(f0[[gap[0] - 1, gap[-1] + 1]]))
    np.testing.assert_allclose(np.log(f0[gap]), expected, rtol=1e-5)


def test_interpolation_is_log_linear_and_holds_the_ends() -> None:
    f0 = np.array([0, 0, 100, 0, 400, 0.0])
    np.testing.assert_allclose(interpolate_f0(f0, f0 > 0), [100, 100, 100, 200, 400, 400])
    assert not interpolate_f0(f0, np.zeros(6, bool)).any()


@pytest.mark.parametrize("samples", [0, 1, 255, 256, 511, 512, 2000])
def test_short_and_silent_sound(samples: int) -> None:
    for sound in (np.zeros(samples), np.full(samples, 0.5), np.random.default_rng(0).normal(size=samples)):
        f0, voiced = extract_pitch(sound.astype(np.float32))
        assert len(f0) == len(voiced) == samples // 256
        assert np.isfinite(f0).all()
    assert not extract_pitch(np.zeros(samples, np.float32))[1].any()


def test_loudness_does_not_matter() -> None:
    sound = voice(CONTOURS["vibrato"])
    f0, voiced = extract_pitch(sound)
    for gain in (0.001, 10.0):
        other_f0, other_voiced = extract_pitch(sound * gain)
        assert (voiced == other_voiced).all()
        np.testing.assert_allclose(f0, other_f0, rtol=1e-4)


def test_hum_does_not_matter() -> None:
    sound = voice(CONTOURS["steady"]) + 0.05 * np.sin(2 * np.pi * 20 * SECONDS).astype(np.float32) + 0.1
    f0, voiced = extract_pitch(sound)
    assert voiced.mean() > 0.99
    assert np.abs(f0[2:-2] / 210 - 1).max() < 0.01


def test_pitch_range_is_kept() -> None:
    f0, _ = extract_pitch(voice(np.geomspace(60, 700, 44100)), PitchConfig(f_min=100, f_max=300))
    assert f0.min() >= 99 and f0.max() <= 310


def test_needs_numpy_only() -> None:
    import subprocess

    code = "import sys; import bitjets_mlx.audio.pitch; print({'librosa', 'scipy', 'numba'} & set(sys.modules))"
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[1]
        ).stdout.strip()
        == "set()"
    )


@pytest.mark.slow
@pytest.mark.parametrize("speaker", ["kathleen", "lj"])
def test_agrees_with_pyin(shared: Path, speaker: str) -> None:
    librosa = pytest.importorskip("librosa")
    paths = sorted((shared / "speech" / speaker / "wavs").glob("*.flac"))
    agreed = frames = both = gross = 0
    for path in paths[7 :: len(paths) // (20 if speaker == "kathleen" else 12)]:
        audio = read_audio(path)
        padded = np.pad(audio, (2048 - 256) // 2, mode="reflect")  # the same frame centres
        theirs, their_voiced, _ = librosa.pyin(
            padded, fmin=65, fmax=600, sr=22050, frame_length=2048, hop_length=256, center=False
        )
        ours, our_voiced = extract_pitch(audio)
        count = min(len(ours), len(theirs))
        ours, theirs, our_voiced, their_voiced = (x[:count] for x in (ours, theirs, our_voiced, their_voiced))
        agreed, frames = agreed + (our_voiced == their_voiced).sum(), frames + count
        compared = our_voiced & their_voiced
        ratio = ours[compared] / theirs[compared]
        both, gross = both + compared.sum(), gross + ((ratio > 1.2) | (ratio < 1 / 1.2)).sum()
    assert agreed / frames >= 0.85
    assert gross / both < 0.05
