"""Noise floor, endings and joins: each measure finds the fault that is put in, and finds none where there is none."""

from pathlib import Path

import numpy as np
import pytest
from tiny_voice import tiny_voice

from bitjets_mlx.evaluation.artefacts import CLICK, CUT, ending_level, frame_levels, join_click, noise_floor
from bitjets_mlx.evaluation.sentences import Sentence
from bitjets_mlx.evaluation.speaking import clicks_at_joins
from bitjets_mlx.voice import load_voice

RATE = 22050


def phrase(seconds: float = 1.5, hiss: float = 1e-4, seed: int = 0) -> np.ndarray:
    """Two words with a pause between them, and room tone all over, softly ended."""
    time = np.arange(int(seconds * RATE)) / RATE
    voice = sum(np.sin(2 * np.pi * 150 * k * time) / k for k in range(1, 15)) * 0.1
    loud = ((time > 0.2) & (time < 0.6)) | ((time > 0.9) & (time < seconds - 0.1))
    envelope = np.convolve(loud, np.hanning(441) / np.hanning(441).sum(), mode="same")
    return (voice * envelope + hiss * np.random.default_rng(seed).normal(size=len(time))).astype(np.float32)


def test_levels() -> None:
    time = np.arange(RATE) / RATE
    np.testing.assert_allclose(frame_levels(np.sin(2 * np.pi * 1000 * time)), -3.01, atol=0.1)
    assert frame_levels(np.zeros(5000)).max() == frame_levels(np.zeros(3)).max() == -100.0


def test_the_floor_is_that_of_the_pauses() -> None:
    assert noise_floor(phrase(hiss=1e-3)) == pytest.approx(-60.0, abs=1.0)
    assert noise_floor(phrase(hiss=1e-4)) == pytest.approx(-80.0, abs=1.0)


def test_a_raised_floor_is_found_and_a_fade_at_the_ends_is_not_taken_for_a_pause() -> None:
    recording, hissing = phrase(hiss=1e-3), phrase(hiss=4e-3, seed=1)
    assert noise_floor(hissing) - noise_floor(recording) == pytest.approx(12.0, abs=1.0)
    hissing[:1000] *= np.linspace(0, 1, 1000)
    hissing[-1000:] *= np.linspace(1, 0, 1000)
    assert noise_floor(hissing) - noise_floor(recording) == pytest.approx(12.0, abs=1.0)


def test_a_cut_ending_is_found() -> None:
    whole = phrase()
    assert ending_level(whole) < CUT
    assert ending_level(whole[: round(1.2 * RATE)]) > CUT  # in the middle of a word
    assert ending_level(np.zeros(2000)) == 0.0 and np.isfinite(ending_level(np.ones(10)))


def joined(step: float) -> tuple[np.ndarray, int]:
    """Two phrases with a pause between, and a step of the waveform where they meet."""
    first = np.concatenate([phrase(), np.zeros(4000, np.float32)])
    second = phrase(seed=2) * np.minimum(1.0, np.arange(round(1.5 * RATE)) / 256.0)
    second[:2000] += step * np.linspace(1, 0, 2000)
    return np.concatenate([first, second]), len(first)


@pytest.mark.parametrize("step", [0.003, 0.05, 0.5])
def test_a_click_at_a_join_is_found(step: float) -> None:
    clean, position = joined(0.0)
    clicking, _ = joined(step)
    assert join_click(clean, position) < CLICK < join_click(clicking, position)
    assert join_click(clicking, position - 3000) < CLICK  # it clicks there and nowhere else


def test_speech_across_a_join_is_no_click() -> None:
    assert join_click(phrase(), round(0.4 * RATE)) < CLICK
    assert join_click(np.zeros(2), 1) == float("-inf")


def test_joins_of_a_voice_are_found_and_do_not_click(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    voice = load_voice(tiny_voice(tmp_path))
    sentences = [Sentence("anna", text, 0, 1.0, ()) for text in ("Hello there.", "How are you?", "Well.")]
    clicks = clicks_at_joins(voice, sentences)
    assert list(clicks) == ["anna"] and len(clicks["anna"]) == 2
    assert max(clicks["anna"]) < CLICK
    pieces = [piece + 0.2 for piece in voice.stream("Hello there. How are you?", "anna")]
    pieces[0] -= 0.4
    monkeypatch.setattr(voice, "stream", lambda *_: iter(pieces))
    assert max(clicks_at_joins(voice, sentences)["anna"]) > CLICK
