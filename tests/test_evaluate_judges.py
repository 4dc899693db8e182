"""Judges that know no reference: each hears the fault that is put in, and the table says what is missing."""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from bitjets_mlx.audio.files import read_audio
from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.evaluation import (
    distill_mos,
    dnsmos,
    intelligibility,
    judge_table,
    judges,
    packages,
    speaker_similarity,
)
from bitjets_mlx.evaluation.intelligibility import character_errors, recognize, word_errors
from bitjets_mlx.evaluation.intonation import final_slope, sentence_kind
from bitjets_mlx.evaluation.judges import COPIES, RECORDINGS, SYNTHESIS, Judged, interval, summarize
from bitjets_mlx.evaluation.speaker_similarity import similarities
from bitjets_mlx.evaluation.waveforms import at_16_khz, at_one_level

REPOSITORY = Path(__file__).resolve().parents[1]
SPOKEN, OTHER = (REPOSITORY / "docs" / f"sample_{name}.wav" for name in ("lj", "kathleen"))


def needs(modules: Sequence[str]) -> None:
    missing = packages.lacking(*modules)
    if missing:
        pytest.skip(f"needs {', '.join(missing)}: {packages.how_to_install(*modules)}")


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    """Three seconds of a voice, float32 (S,) at 22,050 Hz."""
    return read_audio(SPOKEN)[: 3 * 22050]


def noisy(waveform: np.ndarray) -> np.ndarray:
    """Hiss 12 dB below the speech."""
    level = 0.25 * float(np.sqrt(np.mean(waveform**2)))
    return waveform + np.random.default_rng(0).normal(0.0, level, len(waveform)).astype(np.float32)


# -- predicted opinion scores --------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("judge", [distill_mos, dnsmos])
def test_predicted_opinions_hear_noise_and_no_level(speech: np.ndarray, judge) -> None:  # type: ignore[no-untyped-def]
    needs(judge.NEEDS)
    clean, soft, hissing, nothing = judge.score([speech, 0.1 * speech, noisy(speech), speech[:0]], 22050)
    assert 1.0 < hissing < clean - 0.3 < 5.0
    assert soft == pytest.approx(clean, abs=1e-2)
    assert np.isnan(nothing)


@pytest.mark.slow
def test_distill_mos_needs_no_torchaudio_and_leaves_none_behind(speech: np.ndarray) -> None:
    needs(distill_mos.NEEDS)
    before = sys.modules.get("torchaudio")
    distill_mos.score([speech[:8000]], 22050)
    assert sys.modules.get("torchaudio") is before


@pytest.mark.parametrize("rate", [22050, 24000, 48000])
def test_a_tone_keeps_its_level_and_length_at_16_khz(rate: int) -> None:
    pytest.importorskip("soxr", reason="needs soxr, which comes with librosa")
    tone = 0.1 * np.sin(2.0 * np.pi * 1000.0 * np.arange(rate) / rate)
    found = at_16_khz(tone, rate)
    assert len(found) == 16000 and found.dtype == np.float32
    np.testing.assert_allclose(found[2000:-2000], 0.1 * np.sin(np.pi * np.arange(2000, 14000) / 8.0), atol=1e-3)
    assert np.abs(at_one_level(found)).max() == pytest.approx(0.7)
    assert not at_one_level(np.zeros(10, np.float32)).any()


# -- words ---------------------------------------------------------------------------------------------------------


def test_character_errors() -> None:
    assert character_errors("the cat", "the bat") == (1, 7)
    assert character_errors("the cat", "") == (7, 7)
    assert character_errors("3 cats", "three cats") == (0, 10)


@pytest.mark.slow
@pytest.mark.parametrize("missing", ["", "moonshine_voice"])
def test_the_recognizer_understands_a_voice_whatever_came_before(
    speech: np.ndarray, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    lacking = packages.lacking
    monkeypatch.setattr(intelligibility, "lacking", lambda *names: [*lacking(*names), *({missing} & set(names))])
    if not intelligibility.recognizer():
        pytest.skip(f"needs a recognizer: {packages.INSTALL}")
    transcript = recognize(speech)
    few = 0 if intelligibility.recognizer() == intelligibility.MOONSHINE else 4
    assert word_errors("Generative AI on the edge is the future.", transcript).errors <= few
    recognize(read_audio(OTHER))
    assert recognize(speech) == transcript
    assert recognize(speech[:0]) == ""


# -- whose voice ---------------------------------------------------------------------------------------------------


def test_a_recording_is_not_compared_with_itself() -> None:
    x, y, unknown = np.array([1.0, 0.0]), np.array([0.0, 1.0]), np.full(2, np.nan)
    found = similarities([x, x, y], ["a", "b", "b"], [x, y, unknown], ["a", "b", "c"])
    np.testing.assert_allclose(found, [0.0, 1.0, 0.0], atol=1e-9)
    assert np.isnan(similarities([x], ["a"], [x], ["a"])).all()


@pytest.mark.slow
def test_a_voice_is_nearer_to_itself_than_to_another(speech: np.ndarray) -> None:
    needs(speaker_similarity.NEEDS)
    first, again = speaker_similarity.embed(speech, 22050), speaker_similarity.embed(speech[22050:], 22050)
    other = speaker_similarity.embed(read_audio(OTHER)[: 3 * 22050], 22050)
    assert np.linalg.norm(first) == pytest.approx(1.0, abs=1e-5)
    assert first @ again > first @ other + 0.05
    assert np.isnan(speaker_similarity.embed(np.zeros(22050, np.float32), 22050)).all()


# -- ends of sentences ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Is it late?", "yes/no question"),
        ("“Don’t you know?”", "yes/no question"),
        ("Where is it?", "other question"),
        ("It is.", "statement"),
        ("'It is.'", "statement"),
        ("Go!", "other"),
        ("If so,", "other"),
    ],
)
def test_kinds_of_sentences(text: str, kind: str) -> None:
    assert sentence_kind(text) == kind


@pytest.mark.parametrize("slope", [-20.0, 0.0, 15.0])
def test_the_slope_is_that_of_the_end(slope: float) -> None:
    """A second of another glide, then the slope in semitones per second, and a pause behind."""
    time = np.arange(22050) / 22050
    semitones = np.concatenate([-6.0 * (1.0 - time[: 22050 // 2]), slope * time[: 22050 // 2]])
    phase = 2.0 * np.pi * np.cumsum(180.0 * 2.0 ** (semitones / 12.0)) / 22050
    voice = 0.1 * sum(np.sin(k * phase) / k for k in range(1, 15))
    waveform = np.concatenate([voice, np.zeros(6000)]).astype(np.float32)
    assert final_slope(waveform) == pytest.approx(slope, abs=1.0)
    assert np.isnan(final_slope(np.zeros(22050, np.float32))) and np.isnan(final_slope(waveform[:0]))


# -- together ------------------------------------------------------------------------------------------------------


def judged(text: str, mos: float, transcript: str, slope: float, angle: float = 0.0) -> Judged:
    return Judged(text, mos, mos - 1.0, transcript, np.array([np.cos(angle), np.sin(angle)]), slope)


NATURAL = [
    judged("Is it so?", 4.0, "is it so", 5.0),
    judged("Is it so?", 5.0, "is it", 7.0),  # a second take
    judged("It is.", 4.0, "it is", -8.0),
    judged("Why?", 3.5, "why", -2.0),
]
SPOKEN_AGAIN = [
    judged("Is it so?", 3.0, "is it so", -1.0, 0.5),
    judged("It is.", 3.5, "it was", -4.0, 0.5),
    judged("Why?", 3.1, "why", 1.0, 0.5),
]


def test_takes_of_a_sentence_count_once_and_pairs_are_compared() -> None:
    recordings, synthesis = summarize(NATURAL, NATURAL), summarize(SPOKEN_AGAIN, NATURAL)
    assert recordings["sentences"] == 3
    assert recordings["distill_mos"] == pytest.approx((4.5 + 4.0 + 3.5) / 3)
    assert recordings["distill_mos_interval"] == pytest.approx(1.96 * 0.5 / np.sqrt(3))
    assert recordings["p808"] == pytest.approx(recordings["distill_mos"] - 1.0)
    assert recordings["word_errors_percent"] == pytest.approx(100 * 0.5 / 6)
    assert "added_points" not in recordings and "yes_no_asked" not in recordings
    assert synthesis["word_errors_percent"] == pytest.approx(100 / 6)
    assert synthesis["added_points"] == pytest.approx(100 * 0.5 / 6)
    assert synthesis["added_points_low"] <= synthesis["added_points"] <= synthesis["added_points_high"]
    assert (recordings["similarity"], synthesis["similarity"]) == (pytest.approx(1.0), pytest.approx(np.cos(0.5)))
    assert (synthesis["yes_no_asked"], synthesis["yes_no_followed"]) == (1, 0)
    assert (recordings["yes_no_slope"], recordings["yes_no_rising"]) == (6.0, 1)
    assert (synthesis["statement_slope"], synthesis["statement_rising"], synthesis["statement_ends"]) == (-4.0, 0, 1)
    assert (synthesis["other_question_slope"], synthesis["other_question_rising"]) == (1.0, 1)
    assert np.isnan(interval(np.array([4.0])))


def test_what_cannot_be_judged_is_left_out_of_the_means() -> None:
    row = summarize([judged("A.", np.nan, "", np.nan), judged("B.", 4.0, "b", np.nan)])
    assert row["distill_mos"] == 4.0 and "statement_slope" not in row and "similarity" not in row


def test_every_measure_is_printed() -> None:
    columns = {RECORDINGS: summarize(NATURAL, NATURAL), SYNTHESIS: summarize(SPOKEN_AGAIN, NATURAL)}
    printed = judge_table.formatted("anna", columns).splitlines()
    assert printed[0].split() == ["anna", RECORDINGS, SYNTHESIS]
    assert len(printed) == 1 + len(judge_table.measures())
    assert len({len(line) for line in printed}) == 1  # aligned: the last column is full but for one row
    assert COPIES not in printed[0]


def test_systems_are_rows_of_markdown() -> None:
    printed = judge_table.by_system({"ours": summarize(SPOKEN_AGAIN), "theirs": summarize(NATURAL)}).splitlines()[:4]
    assert [line.split(" | ")[0] for line in printed] == ["| ", "| ---", "| ours", "| theirs"]
    assert "| Distill-MOS, 1 to 5 |" in printed[0] and len({line.count("|") for line in printed}) == 1


def test_a_judge_that_is_not_installed_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "find_spec", lambda name: None)
    row = summarize([judges.judge(np.zeros(2000, np.float32), "Yes.")])
    assert row == {"sentences": 1}
    printed = judge_table.formatted("anna", {SYNTHESIS: row})
    assert printed.count("not installed") == 5
    assert "pip install --no-deps distillmos==0.9.1" in printed and "pip install -r requirements-quality.txt" in printed


def test_requirements_name_what_the_judges_need() -> None:
    written = (REPOSITORY / "requirements-quality.txt").read_text()
    assert packages.INSTALL in written and packages.ALONE["distillmos"] in written
    developers = (REPOSITORY / "requirements-dev.txt").read_text()
    for package in ("pocketsphinx", "pesq", "pystoi"):
        lines = [line.split("#")[0].strip() for text in (written, developers) for line in text.splitlines()]
        assert sum(line.startswith(f"{package}>=") for line in lines) == 2
        assert len({line for line in lines if line.startswith(f"{package}>=")}) == 1


def test_a_missing_package_is_named_with_what_to_do() -> None:
    with pytest.raises(BitjetsError, match=r"no_such_package.*pip install -r requirements-quality\.txt"):
        packages.optional("no_such_package")
