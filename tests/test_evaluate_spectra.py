"""Mel-cepstra against WORLD's, dynamic time warping against exhaustive search, the distortion's formula."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from bitjets_mlx.evaluation.spectra import ALPHA, HOP, align, mel_cepstral_distortion, mel_cepstrum
from bitjets_mlx.evaluation.spectra import _warping as warping


def vowel_and_hiss() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Half a second of harmonics under three formants, then noise: samples, F0 in Hz and voicing by frame."""
    frames, voiced_frames = 42, 28
    time = np.arange(frames * HOP) / 22050
    f0 = 150.0 + 100.0 * time
    phase = 2 * np.pi * np.cumsum(f0) / 22050
    audio = np.zeros_like(time)
    for k in range(1, 50):
        formants = sum(np.exp(-(((k * f0 - centre) / 300.0) ** 2)) for centre in (700.0, 1200.0, 2600.0))
        audio += (formants + 0.01) * np.sin(k * phase) / 10
    noise = np.random.default_rng(0).normal(size=len(time))
    voiced = np.arange(frames) < voiced_frames
    audio = np.where(np.repeat(voiced, HOP), audio, 0.05 * noise) + 1e-4 * noise
    return audio.astype(np.float32), f0[HOP // 2 :: HOP].astype(np.float32), voiced


def test_mel_cepstra_equal_those_of_world() -> None:
    # Made by pyworld 0.3.5: cheaptrick(audio, f0 or 0, frame centres / 22050, 22050), then SPTK's freqt of the
    # cepstrum of its logarithm, with c0 halved; alpha 0.45, order 34.
    reference = json.loads((Path(__file__).parent / "data" / "world_mel_cepstra.json").read_text())
    audio, f0, voiced = vowel_and_hiss()
    own = mel_cepstrum(audio, f0, voiced)
    assert own.shape == (len(audio) // HOP, 35)
    for frame, expected in zip(reference["frames"], reference["mel_cepstra"], strict=True):
        np.testing.assert_allclose(own[frame], expected, atol=2e-3)


def test_warping_moves_a_cosine_to_the_warped_frequency() -> None:
    # cos(w) of the plain axis, written as a series in cosines of Oppenheim's warped axis.
    frequency = np.linspace(0, np.pi, 200)
    warped = frequency + 2 * np.arctan(ALPHA * np.sin(frequency) / (1 - ALPHA * np.cos(frequency)))
    series = warping()[1] @ np.cos(np.arange(35)[:, None] * warped)
    np.testing.assert_allclose(series, np.cos(frequency), atol=1e-9)


def test_silence_has_a_finite_cepstrum() -> None:
    cepstra = mel_cepstrum(np.zeros(10 * HOP, np.float32), np.zeros(10), np.zeros(10, bool))
    assert np.isfinite(cepstra).all()


def cost_of(path: list[tuple[int, int]] | np.ndarray, cost: np.ndarray) -> float:
    return float(sum(cost[i, j] for i, j in path))


def all_paths(rows: int, columns: int) -> list[list[tuple[int, int]]]:
    """Every warping path from (0, 0) to the far corner."""
    found = []
    for length in range(max(rows, columns) - 1, rows + columns - 1):
        for steps in itertools.product(((1, 1), (1, 0), (0, 1)), repeat=length):
            cells = np.concatenate([[[0, 0]], np.cumsum(steps, axis=0)]) if steps else np.zeros((1, 2), int)
            if tuple(cells[-1]) == (rows - 1, columns - 1):
                found.append([tuple(cell) for cell in cells])
    return found


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1, 4), (4, 1), (3, 5), (4, 4)])
def test_align_finds_the_cheapest_path(rows: int, columns: int) -> None:
    draw = np.random.default_rng(rows * 10 + columns)
    first, second = draw.normal(size=(rows, 3)), draw.normal(size=(columns, 3))
    cost = np.linalg.norm(first[:, None] - second[None], axis=-1)
    path = align(first, second)
    assert tuple(path[0]) == (0, 0)
    assert tuple(path[-1]) == (rows - 1, columns - 1)
    assert {tuple(step) for step in np.diff(path, axis=0)} <= {(1, 1), (1, 0), (0, 1)}
    best = min(cost_of(other, cost) for other in all_paths(rows, columns))
    assert cost_of(path, cost) == pytest.approx(best)


def test_align_undoes_a_stretch() -> None:
    first = np.random.default_rng(1).normal(size=(60, 34))
    stretched = np.repeat(first, np.arange(60) % 3 + 1, axis=0)
    path = align(first, stretched)
    np.testing.assert_array_equal(path[:, 0], np.repeat(np.arange(60), np.arange(60) % 3 + 1))


def test_distortion_of_equal_and_of_known_cepstra() -> None:
    cepstra = np.random.default_rng(2).normal(size=(20, 35))
    path = np.stack([np.arange(20)] * 2, axis=1)
    assert mel_cepstral_distortion(cepstra, cepstra, path) == 0.0
    other = cepstra + 0.1
    assert mel_cepstral_distortion(cepstra, other, path) == pytest.approx(10 / np.log(10) * np.sqrt(2 * 34 * 0.01))
    other[:, 1:] = cepstra[:, 1:]  # only the loudness differs
    assert mel_cepstral_distortion(cepstra, other, path) == 0.0


def test_distortion_does_not_depend_on_the_level() -> None:
    audio, f0, voiced = vowel_and_hiss()
    first, second = mel_cepstrum(audio, f0, voiced), mel_cepstrum(0.5 * audio, f0, voiced)
    assert mel_cepstral_distortion(first, second, align(first[:, 1:], second[:, 1:])) < 1e-3
