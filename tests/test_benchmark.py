"""`python -m bitjets_mlx.benchmark kernels` on whatever backend is here."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bitjets_mlx.benchmark import main
from bitjets_mlx.benchmarking import cost, kernels
from bitjets_mlx.config import AcousticConfig
from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.ternary import cpu, matmul

CASES = (kernels.Case("linear", 3, 40, 24), kernels.Case("convolution", 7, 32, 20, 3))


def test_kernels_are_checked_timed_and_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(kernels, "CASES", CASES)
    main(["kernels", "--seconds", "0.001", "--json", str(tmp_path / "kernels.json")])
    report = json.loads((tmp_path / "kernels.json").read_text())
    assert [row["what"] for row in report["rows"]] == ["linear", "convolution"]
    assert {"ternary", "fp16", "fp32", "2-bit"} <= report["rows"][1]["milliseconds"].keys()
    printed = capsys.readouterr().out
    assert report["backend"] == matmul.backend() and f"backend {report['backend']}" in printed
    assert "convolution" in printed


@pytest.mark.parametrize("backend", ["cpu", "blas"])
def test_a_wrong_sum_ends_the_benchmark(monkeypatch: pytest.MonkeyPatch, backend: str) -> None:
    if backend == "cpu" and not cpu.available():
        pytest.skip("needs x86-64 with AVX2 and a C compiler")
    monkeypatch.setattr(matmul, "backend", lambda: backend)
    monkeypatch.setattr(kernels, "CASES", CASES)
    blocked, packed = cpu.blocked, kernels.pack_codes

    def bent(trits: np.ndarray) -> np.ndarray:
        trits = trits.copy()
        trits[0, 0, 0] = 1 if trits[0, 0, 0] != 1 else -1
        return trits

    monkeypatch.setattr(cpu, "blocked", lambda trits: blocked(bent(trits)))
    monkeypatch.setattr(kernels, "pack_codes", lambda trits: packed(bent(trits)))
    with pytest.raises(BitjetsError, match="wrong"):
        kernels.benchmark_kernels(0.001, 4096)


def test_costs_are_those_of_the_voice(capsys: pytest.CaptureFixture[str]) -> None:
    """Layers, operations and launches, counted by hand for one sentence."""
    main(["cost", "--tokens", "80", "--frames", "400"])
    printed = capsys.readouterr().out
    assert "| decoder: expand | 3 | tiled 32 x 32 | 400 x 192 x 384, 3 | 176.9 | 441 | 903 |" in printed
    assert "| attention in | 3 | gemv | 1 x 192 x 576 |" in printed
    assert "60 after" in printed  # 30 layers, two launches each
    config = AcousticConfig(symbols=5, speakers=1, width=4, feed_forward=6, kernel=3, contract_kernel=1, n_mels=3)
    count = cost.operations(replace(config, encoder_layers=1, decoder_layers=2, predictor_layers=0), 10, 20)
    block = 2 * (4 * 12 + 4 * 4 + 4 * 6 * 3 + 6 * 4)
    assert count.ternary == block * (10 + 2 * 20)
    assert count.attention == 2 * 2 * 4 * (10**2 + 2 * 20**2)
    assert count.projection == 2 * 20 * 4 * 5


def test_costs_need_a_ternary_voice(tmp_path: Path) -> None:
    with pytest.raises(BitjetsError, match="at least 1"):
        main(["cost", "--frames", "0"])
    with pytest.raises(BitjetsError, match="is no voice"):
        main(["cost", "--voice", str(tmp_path)])


def test_a_folder_that_is_not_there_is_named_before_anything_is_measured(tmp_path: Path) -> None:
    with pytest.raises(BitjetsError, match="make it first"):
        main(["kernels", "--json", str(tmp_path / "none" / "kernels.json")])
