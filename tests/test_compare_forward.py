"""`scripts/compare_forward.py`: ours and PyTorch's outputs are equal but for ties, and a wrong weight is noticed."""

import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from bitjets_mlx.native.loader import library

torch = pytest.importorskip("torch", reason="needs torch: pip install -r requirements-bench.txt")
if library("speaking") is None:
    pytest.skip("needs x86-64 with AVX2 and a C compiler", allow_module_level=True)
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

import compare_forward as compare  # noqa: E402
import torch_exact  # noqa: E402
from torch_exact import exact  # noqa: E402


@pytest.fixture(scope="module")
def sides() -> tuple[Any, Any, Any, Any]:
    """The shipped voice, its tokens for a short sentence, its twin, and the same tokens."""
    voice = compare.held_for("cpu", compare.VOICE)
    tokens = voice._tokens(voice.sentences(compare.SENTENCES["1 s"])[0])
    return voice, tokens, compare.torch_twin(compare.VOICE), torch.tensor(tokens[0].tolist())


def test_outputs_are_equal_but_for_ties(sides: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert compare.says_the_same(*sides)
    printed = capsys.readouterr().out
    assert "each of 40 layers" in printed and "0 differ and are no ties" in printed
    assert "fp64 between the ternary layers: 100.00 %" in printed


def test_the_same_integers_where_nothing_depends_on_an_order(sides: Any) -> None:
    voice, tokens, twin, theirs = sides
    with exact():
        ran, (durations, frames) = compare.recorded(voice, tokens)
        watcher = compare.Ties(ran, follow=False)
        layer = torch_exact.quantized

        def watched(bit_conv: Any, x: Any) -> Any:
            whole, inverse = layer(bit_conv, x)
            watcher.round(bit_conv, whole)
            return whole, inverse

        with patch.object(torch_exact, "quantized", watched):
            found = compare.twin_speaks(twin, theirs)
    assert len(watcher.layers) == 40 and watcher.count == 0
    assert compare.difference(durations, frames, found)[0] < 1e-5


def test_one_wrong_weight_is_noticed(sides: Any, capsys: pytest.CaptureFixture[str]) -> None:
    weight = sides[2].decoder[1].expand.weight
    right = weight[0, 0].item()
    weight[0, 0] = right + 0.05
    try:
        assert not compare.says_the_same(*sides)
    finally:
        weight[0, 0] = right


def test_the_report_has_speeds_shares_and_parts(sides: Any, capsys: pytest.CaptureFixture[str]) -> None:
    voice, tokens, twin, theirs = sides
    contenders: dict[str, Any] = {
        "packed": lambda: compare.speak(voice, tokens),
        "fp32": lambda: compare.speak(voice, tokens),
        "PyTorch": lambda: compare.twin_speaks(twin, theirs),
    }
    times = compare.in_turns(contenders, 2)
    compare.report(voice, tokens.shape[1], 100, times, compare.parts(contenders["packed"]))
    printed = capsys.readouterr().out
    for word in (
        "x as fast as PyTorch",
        "of what sgemm reaches",
        "ternary layers",
        "attention",
        "upsampling",
        "the rest",
    ):
        assert word in printed
