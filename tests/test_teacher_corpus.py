"""`scripts/teacher_corpus.py`: the same corpus every time, resumed or not, of sentences that both pronounce alike."""

import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from bitjets_mlx.benchmarking.teachers import SAMPLE_RATE, Teacher, load_teacher
from bitjets_mlx.data.corpus import read_corpus
from bitjets_mlx.errors import BitjetsError

REPOSITORY = Path(__file__).resolve().parents[1]
soxr = pytest.importorskip("soxr", reason="needs soxr: pip install soxr")
sys.path.insert(0, str(REPOSITORY / "scripts"))

import teacher_corpus  # noqa: E402
from teacher_corpus import Sentence, agreed, find_fault, read_sentences, shuffle  # noqa: E402
from teacher_corpus import skeleton_of_student as student  # noqa: E402
from teacher_corpus import skeleton_of_teacher as teacher  # noqa: E402

READ = {"Hello.": "həlˈO.", "My pleasure.": "mˌI plˈɛʒəɹ.", "A bird.": "ɐ bˈɜɹd.", "Go on.": "kˈæt ˈɪn hˈæt."}
TABLE = "".join(f"c{number}\tbook\t{sentence}\n" for number, sentence in enumerate([*READ, "a|b"]))


def speak(phonemes: str) -> np.ndarray:
    """A tenth of a second for each symbol; louder than full scale."""
    time = np.arange(len(phonemes) * SAMPLE_RATE // 10) / SAMPLE_RATE
    return (1.5 * np.sin(2.0 * np.pi * 200.0 * time)).astype(np.float32)


@pytest.fixture
def texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Five sentences, of which one cannot be written and one is pronounced otherwise; a teacher of sines."""
    monkeypatch.setattr(teacher_corpus, "load_phonemizer", lambda: READ.__getitem__)
    monkeypatch.setattr(teacher_corpus, "load_teacher", lambda *_: Teacher(READ.__getitem__, speak))
    teacher_corpus.phonemizer.cache_clear()
    teacher_corpus.own_teacher.cache_clear()
    file = tmp_path / "sentences.tsv"
    file.write_text(TABLE)
    return file


def test_both_alphabets_agree_on_what_sounds_alike() -> None:
    assert teacher("bˈɜɹd") == student(["B", "ER1", "D"]) == ["B", "ə", "R", "T"]
    assert teacher("wˈɔɾəɹ") == student(["W", "AO1", "T", "ER0"])
    assert teacher("ðə") == student(["DH", "IH0"])
    assert teacher("kˈæt") != student(["K", "AH1", "T"])
    assert teacher_corpus.distance("abcd", "abd") == 1


def test_the_order_is_that_of_the_seed_and_disagreements_are_left_out(texts: Path) -> None:
    shuffled = shuffle(read_sentences(texts))
    assert [one.id for one in shuffled] == ["c2", "c1", "c0", "c4", "c3"]
    assert [one.id for one in agreed(shuffled, 0, 9, 1)] == ["c2", "c1", "c0"]
    assert agreed(shuffled, 1, 2, 1) == [Sentence("c1", "My pleasure.", READ["My pleasure."])]
    with pytest.raises(BitjetsError, match="there are no sentences 3 to 4"):
        agreed(shuffled, 3, 4, 1)


def test_a_corpus_grows_where_it_stopped(texts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = texts.parent / "corpus"
    given = ["--texts", str(texts), "--out", str(out), "--jobs", "1", "--check", "0", "--sentences"]
    teacher_corpus.main([*given, "0:1"])
    first = (out / "wavs" / "c2.flac").stat().st_mtime_ns
    teacher_corpus.main([*given, "0:9"])
    assert (out / "wavs" / "c2.flac").stat().st_mtime_ns == first  # not read again
    assert "3 clips" in capsys.readouterr().out and "Apache License 2.0" in (out / "NOTICE").read_text()
    utterances = read_corpus("heart", out)
    assert [(one.id, one.text) for one in utterances] == [("c2", "A bird."), ("c1", "My pleasure."), ("c0", "Hello.")]
    waveform, rate = soundfile.read(utterances[0].path)
    assert rate == 22050 and len(waveform) == pytest.approx(0.1 * len(READ["A bird."]) * rate, abs=2)
    assert np.abs(waveform).max() == pytest.approx(0.98, abs=1e-3)
    again = texts.parent / "again"
    teacher_corpus.main([*given[:3], str(again), *given[4:], "0:9"])
    for path in out.rglob("*.*"):
        assert path.read_bytes() == (again / path.relative_to(out)).read_bytes()


def test_faulty_clips_are_named_and_left_out(
    texts: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    silent = Teacher(READ.__getitem__, lambda phonemes: speak(phonemes) * ("b" not in phonemes))
    monkeypatch.setattr(teacher_corpus, "load_teacher", lambda *_: silent)
    out = texts.parent / "corpus"
    teacher_corpus.main(["--texts", str(texts), "--out", str(out), "--jobs", "1", "--check", "0"])
    assert "left out c2: silent" in capsys.readouterr().out
    assert [one.id for one in read_corpus("heart", out)] == ["c1", "c0"]


@pytest.mark.parametrize(
    ("samples", "fault"),
    [(speak("həlO")[:1500], "each phoneme"), (np.full(9000, np.nan, np.float32), "finite"), (speak("həlO"), "")],
)
def test_faults(samples: np.ndarray, fault: str) -> None:
    assert fault in find_fault(samples, "həlO") and bool(fault) == bool(find_fault(samples, "həlO"))


def test_plain_text_is_split_into_sentences(tmp_path: Path) -> None:
    file = tmp_path / "book.txt"
    file.write_text("One sentence. Another\none!\n")
    assert [one.id for one in read_sentences(file)] == ["s00001", "s00002"]
    file.write_text("a\tOne.\na\tTwo.\n")
    with pytest.raises(BitjetsError, match="an id of its own"):
        read_sentences(file)


def test_a_voice_without_style_vectors_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BitjetsError, match="npm pack kokoro-js"):
        load_teacher("am_adam", tmp_path)


@pytest.mark.slow
def test_hibari_reads_the_same_every_time() -> None:
    pytest.importorskip("hibari", reason="needs hibari: pip install hibari-tts==0.2.1")
    voice = load_teacher("heart")
    phonemes = voice.phonemize("Hello there.")
    samples = voice.speak(phonemes)
    assert not find_fault(samples, phonemes)
    np.testing.assert_array_equal(samples, voice.speak(phonemes))
