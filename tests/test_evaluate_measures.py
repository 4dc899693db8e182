"""Words, pitch, quality, faults and the table, against values known beforehand."""

from dataclasses import replace
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from bitjets_mlx.audio.files import read_audio
from bitjets_mlx.audio.spectrogram import log_mel
from bitjets_mlx.data.features import Features, extract
from bitjets_mlx.evaluation import sentences, table
from bitjets_mlx.evaluation.intelligibility import (
    bootstrap_interval,
    error_rate,
    word_errors,
    words,
)
from bitjets_mlx.evaluation.judges import RECORDINGS, SYNTHESIS, Judged
from bitjets_mlx.evaluation.pitch import Contour, duration_error, log_f0_errors, root_mean_square, voicing_error
from bitjets_mlx.evaluation.quality import Quality, copy_quality, mel_l1, pesq_wideband
from bitjets_mlx.evaluation.quality import stoi as measure_stoi
from bitjets_mlx.evaluation.sentences import SpeakerStatistics, SpeechMeasures, TakeMeasures


def babble(seconds: float = 1.5, seed: int = 0) -> np.ndarray:
    """Syllables of harmonics, loud and soft like speech."""
    time = np.arange(int(seconds * 22050)) / 22050
    phase = 2 * np.pi * np.cumsum(180 + 30 * np.sin(2 * np.pi * 1.3 * time)) / 22050
    voice = sum(np.sin(k * phase) / k for k in range(1, 20)) * 0.2
    noise = np.random.default_rng(seed).normal(size=len(time))
    return (voice * np.maximum(0, np.sin(2 * np.pi * 3 * time)) + 0.001 * noise).astype(np.float32)


# -- words ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello, World!", ["hello", "world"]),
        ("It's 'quoted' -- really?", ["it's", "quoted", "really"]),
        ("Mr. Smith had 3 dogs.", ["mister", "smith", "had", "three", "dogs"]),
        ("", []),
        ("...", []),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    assert words(text) == expected


@pytest.mark.parametrize(
    ("reference", "hypothesis", "errors"),
    [
        ("the cat sat", "the cat sat", 0),
        ("the cat sat", "The CAT, sat.", 0),
        ("the cat sat", "the bat sat", 1),
        ("the cat sat", "the sat", 1),
        ("the cat sat", "the big cat sat", 1),
        ("the cat sat", "", 3),
        ("the cat sat", "a dog ran off", 4),
        ("one two three four", "two three four one", 2),
        ("she has 3 cats", "she has three cats", 0),
    ],
)
def test_word_errors(reference: str, hypothesis: str, errors: int) -> None:
    assert word_errors(reference, hypothesis) == (errors, len(words(reference)))


def test_interval_holds_the_rate_and_is_the_same_every_time() -> None:
    draw = np.random.default_rng(0)
    errors, lengths = draw.integers(0, 4, 50), draw.integers(5, 12, 50)
    low, high = bootstrap_interval(errors, lengths)
    assert 0 < low < error_rate(errors, lengths) < high < 1
    assert (low, high) == bootstrap_interval(errors, lengths)
    assert bootstrap_interval(np.zeros(5), np.full(5, 7)) == (0.0, 0.0)


# -- pitch ---------------------------------------------------------------------------------------------------------


def test_pitch_measures() -> None:
    on, off = True, False
    natural = Contour(np.array([100.0, 110.0, 120.0, 130.0]), np.array([on, on, off, on]))
    synthetic = Contour(np.array([110.0, 100.0, 120.0, 260.0]), np.array([on, off, off, on]))
    path = np.stack([np.arange(4)] * 2, axis=1)
    errors = log_f0_errors(natural, synthetic, path)
    np.testing.assert_allclose(errors, [np.log(1.1), np.log(2.0)])
    assert root_mean_square(errors) == pytest.approx(np.sqrt((np.log(1.1) ** 2 + np.log(2) ** 2) / 2))
    assert voicing_error(natural, synthetic, path) == 0.25
    np.testing.assert_allclose(natural.voiced_log_f0(), np.log([100.0, 110.0, 130.0]))
    assert duration_error(200, 150) == -0.25
    assert np.isnan(root_mean_square(np.zeros(0)))


# -- quality -------------------------------------------------------------------------------------------------------


def test_quality_of_the_same_samples_is_the_best_there_is() -> None:
    audio = babble()
    mel = np.array(log_mel(mx.array(audio)[None])[0])
    quality = copy_quality(audio, mel, audio)
    assert quality.pesq == pytest.approx(4.64, abs=0.01)
    assert quality.stoi == pytest.approx(1.0, abs=1e-4)
    assert quality.mel_l1 == pytest.approx(0.0, abs=1e-6)


def test_noise_lowers_quality() -> None:
    audio = babble()
    noisy = audio + np.random.default_rng(3).normal(size=len(audio)).astype(np.float32) * 0.05
    assert pesq_wideband(audio, noisy) < 3.0
    assert measure_stoi(audio, noisy) < 0.99
    mel = np.array(log_mel(mx.array(audio)[None])[0])
    assert mel_l1(mel, noisy) > 0.5
    assert mel_l1(mel + 0.25, audio) == pytest.approx(0.25, abs=1e-5)


def test_silence_gets_the_worst_pesq() -> None:
    audio = babble()
    assert pesq_wideband(audio, np.zeros_like(audio)) <= 1.1


def test_too_little_speech_has_no_stoi() -> None:
    assert np.isnan(measure_stoi(babble(0.3), babble(0.3)))


def test_quality_of_a_real_recording_played_softly_is_high(shared: Path) -> None:
    audio = read_audio(shared / "speech" / "lj" / "wavs" / "LJ001-0002.flac")
    assert pesq_wideband(audio, 0.5 * audio) > 4.5  # PESQ takes levels out


# -- sentences -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("level", "length", "fault"), [(0.1, 1.0, ""), (1e-5, 1.0, "silent"), (0.1, 0.3, "cut"), (0.1, 2.5, "endless")]
)
def test_faults(level: float, length: float, fault: str) -> None:
    assert sentences.find_fault(np.full(4096, level, np.float32), length) == fault


def test_speech_equal_to_the_recording_has_no_errors() -> None:
    natural = extract(babble(3.0))
    measured = sentences.measure_speech(natural, natural.audio)
    assert measured.mcd < 1e-5
    assert measured.log_f0_rmse == 0.0
    assert measured.voicing_error == 0.0
    assert measured.duration_error == 0.0
    assert measured.fault == ""
    np.testing.assert_allclose(measured.statistics.mel, natural.mel.mean(axis=0), atol=1e-4)


def test_higher_longer_speech_is_measured_as_such() -> None:
    natural = extract(babble(3.0))
    voiced = natural.voiced
    raised = Features(natural.mel, natural.log_f0 - 0.1, voiced, natural.energy, natural.audio)  # 0.1 below the truth
    spoken = np.concatenate([natural.audio, np.zeros(30 * 256, np.float32)])
    measured = sentences.measure_speech(raised, spoken)
    assert measured.log_f0_rmse == pytest.approx(0.1, abs=0.02)
    assert measured.duration_error == pytest.approx(30 / len(natural.mel))
    assert measured.mcd > 0.3


def test_recordings_of_one_sentence_are_compared_with_each_other() -> None:
    first = extract(babble(3.0))
    raised = Features(first.mel, first.log_f0 + 0.1, first.voiced, first.energy, first.audio)
    assert sentences.measure_rereadings([first]) == [None]
    one, same, other = sentences.measure_rereadings([first, first, raised])
    assert one == same and one.log_f0_rmse == pytest.approx(0.05)  # of one take of the same pitch, and one 0.1 higher
    assert other.log_f0_rmse == pytest.approx(0.1) and other.mcd == pytest.approx(2.0 * one.mcd)


# -- the table -----------------------------------------------------------------------------------------------------


def take(name: str, text: str, share: float, mcd: float, mel: float = 0.0) -> TakeMeasures:
    own = SpeakerStatistics(np.full(80, mel), np.log([200.0, 220.0]))
    speech = SpeechMeasures(
        mcd,
        np.array([0.1, -0.1]),
        0.1,
        0.2,
        -0.1,
        "",
        -60.0 + mcd,
        -60.0,
        -40.0 if mcd < 8.0 else -20.0,
        -45.0,
        SpeakerStatistics(np.full(80, mel + 0.1), np.log([190.0, 230.0])),
    )
    rereading = sentences.Rereading(mcd + 1.0, 0.3) if share < 1.0 else None
    natural = Judged(text, 4.0, None, None, None, 0.0)
    judged = {RECORDINGS: natural, SYNTHESIS: replace(natural, distill_mos=4.0 - share)}
    return TakeMeasures(name, name[0], text, share, judged, own, Quality(3.0, 0.9, 0.2), speech, rereading)


def test_takes_of_a_sentence_count_once() -> None:
    rows = table.summarize([take("a1", "x", 0.5, 4.0), take("a2", "x", 0.5, 6.0), take("a3", "y", 1.0, 8.0)])
    row = rows["a"]
    assert (row["clips"], row["sentences"]) == (3, 2)
    assert row["mcd_db"] == pytest.approx(6.5)
    assert row["mcd_rereading_db"] == pytest.approx(6.0)  # of the sentence with two takes
    assert row["log_f0_rmse_rereading"] == pytest.approx(0.3)
    assert row["log_f0_rmse"] == row["log_f0_rmse_pooled"] == pytest.approx(0.1)
    assert row["log_f0_deviation_ratio"] == pytest.approx(np.log(230 / 190) / np.log(220 / 200))
    assert row["duration_error_percent"] == pytest.approx(10.0)
    assert row["longer_percent"] == pytest.approx(-10.0)
    assert row["copy_pesq_wb"] == pytest.approx(3.0)
    assert row["noise_floor_difference_db"] == pytest.approx(6.5)
    assert (row["cut_endings"], row["ending_synthesis_db"]) == (1, pytest.approx(-30.0))


def test_judges_are_summarized_by_speaker_and_kind() -> None:
    found = table.judge_summaries([take("a1", "x", 0.5, 4.0), take("b1", "x", 1.0, 6.0)])
    assert {name: list(columns) for name, columns in found.items()} == {
        "a": [RECORDINGS, SYNTHESIS],
        "b": [RECORDINGS, SYNTHESIS],
    }
    assert (found["a"][SYNTHESIS]["distill_mos"], found["b"][SYNTHESIS]["distill_mos"]) == (3.5, 3.0)


def test_nearest_speaker_and_every_row_is_printed() -> None:
    measured = [take("a1", "x", 1.0, 4.0), take("b1", "x", 1.0, 6.0, mel=1.0)]
    rows = table.summarize(measured)
    assert (rows["a"]["nearest_by_mel"], rows["b"]["nearest_by_mel"]) == ("a", "b")
    rows = table.summarize(measured, {"a": [-10.0, 8.0], "b": []})
    assert (rows["a"]["joins"], rows["a"]["worst_join_db"], rows["a"]["clicks_at_joins"]) == (2, 8.0, 1)
    assert set(rows["a"]) == set(table.LABELS) - {"mcd_rereading_db", "log_f0_rmse_rereading"}  # no second takes
    printed = table.formatted(rows)
    assert len(printed.splitlines()) == 1 + len(rows["a"])
    assert "6.000" in printed
