"""Kinds of text that people paste, each with a table of cases: "written<TAB>spoken | spoken too"."""

import re
import warnings
from itertools import pairwise
from pathlib import Path

import pytest

from bitjets_mlx.text import normalize, phonemize
from bitjets_mlx.text.symbols import encode

_TABLE = Path(__file__).parent / "data" / "text_kinds.tsv"


def _cases() -> list[tuple[str, str, str]]:
    cases, kind = [], ""
    for line in _TABLE.read_text(encoding="utf-8").splitlines():
        if line.startswith("# kind: "):
            kind = line.removeprefix("# kind: ")
        elif "\t" in line:
            written, expected = line.split("\t")
            written = re.sub(r"\\u([0-9a-f]{4})", lambda m: chr(int(m[1], 16)), written).replace("\\n", "\n")
            cases.append((kind, written, expected))
    return cases


CASES = _cases()


def plain(words: str) -> str:
    """Words without marks, capitals and hyphens."""
    words = re.sub(r"[,.?!;:\"]", " ", words.lower()).replace("-", " ")
    return " ".join(re.sub(r"(?<![a-z])'|'(?![a-z])", " ", words).split())


@pytest.mark.parametrize(("kind", "written", "expected"), CASES)
def test_kinds(kind: str, written: str, expected: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        said = normalize(written)
        encode(phonemize(written))
    assert plain(said) in [plain(reading) for reading in expected.split(" | ")], kind
    spans = said.spans
    assert [span.word for span in spans] == [
        w.rstrip('.,;:!?"') for w in re.findall(r"\{[^}]*\}|[^\s\"]*[A-Za-z][^\s]*", said)
    ]
    assert all(one.start <= two.start and one.end <= two.end for one, two in pairwise(spans))


def test_every_kind_has_ten_cases() -> None:
    kinds = [kind for kind, _, _ in CASES]
    assert all(kinds.count(kind) >= 10 for kind in kinds), sorted((kinds.count(k), k) for k in set(kinds))[:5]
    assert len(CASES) > 450
