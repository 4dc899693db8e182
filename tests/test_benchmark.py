"""`python -m bitjets_mlx.benchmark` on whatever backend is here."""

import json
import os
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_voice import tiny_voice

from bitjets_mlx.benchmark import VOICE, main
from bitjets_mlx.benchmarking import contenders, cost, kernels, training, voice
from bitjets_mlx.benchmarking.contenders import Contender
from bitjets_mlx.benchmarking.cost import vocoder_operations
from bitjets_mlx.catalog import find_voice
from bitjets_mlx.config import AcousticConfig, HarmonicConfig, HifiganConfig
from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.evaluation.memory import peak_memory
from bitjets_mlx.native.loader import library
from bitjets_mlx.ternary import cpu, matmul
from bitjets_mlx.voice.voice_config import read_config

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
    if backend == "cpu" and library("speaking") is None:
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
    """Layers, operations and launches of the shipped voice, and operations counted by hand for one sentence."""
    shipped = read_config(find_voice(VOICE)).acoustic
    assert isinstance(shipped, AcousticConfig)
    main(["cost", "--tokens", "80", "--frames", "400"])
    printed = capsys.readouterr().out
    width, hidden, layers = shipped.width, shipped.feed_forward, shipped.decoder_layers
    megaflop = 2 * 400 * width * hidden * shipped.kernel / 1e6
    shape = f"400 x {width} x {hidden}, {shipped.kernel}"
    assert f"| decoder: expand | {layers} | tiled 32 x 32 | {shape} | {megaflop:.1f} |" in printed
    assert f"gemv | 1 x {width} x {3 * width} |" in printed
    products = 4 * (shipped.encoder_layers + layers) + sum(count for _, count, _ in shipped.predictors)
    assert f"{products} layers" in printed and f"{2 * products} after" in printed
    config = AcousticConfig(symbols=5, speakers=1, width=4, feed_forward=6, kernel=3, contract_kernel=1, n_mels=3)
    count = cost.operations(replace(config, encoder_layers=1, decoder_layers=2, predictors=((4, 0, 3),) * 3), 10, 20)
    block = 2 * (4 * 12 + 4 * 4 + 4 * 6 * 3 + 6 * 4)
    assert count.ternary == block * (10 + 2 * 20)
    assert count.attention == 2 * 2 * 4 * (10**2 + 2 * 20**2)
    assert count.projection == 2 * 20 * 4 * 5


def test_costs_need_a_ternary_voice(tmp_path: Path) -> None:
    with pytest.raises(BitjetsError, match="at least 1"):
        main(["cost", "--frames", "0"])
    with pytest.raises(BitjetsError, match="is not a voice folder"):
        main(["cost", "--voice", str(tmp_path)])


def test_a_folder_that_is_not_there_is_named_before_anything_is_measured(tmp_path: Path) -> None:
    with pytest.raises(BitjetsError, match="make it first"):
        main(["kernels", "--json", str(tmp_path / "none" / "kernels.json")])


# -- voice and train: real processes --------------------------------------------------------------------------------

TEXTS = ("Hi.", "Hello there.", "Well. Go on.")


@pytest.mark.slow
def test_a_voice_is_measured_beside_what_is_here_and_what_is_missing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(voice, "TEXTS", TEXTS)
    monkeypatch.setattr(voice, "peak_gflops", lambda: 100.0)
    monkeypatch.setattr(voice, "lacking", lambda *names: list(names))  # torch and espnet take too long to start
    monkeypatch.setenv("PATH", str(tmp_path))  # no program is installed there
    folder = tiny_voice(tmp_path)
    files = ["--json", str(tmp_path / "voice.json"), "--plot", str(tmp_path / "voice.png")]
    main(["voice", "--voice", str(folder), "--rounds", "2", "--repeat", "1", *files])
    report = json.loads((tmp_path / "voice.json").read_text())
    ours = report["rows"][0]
    assert ours["name"] == "bitjets_mlx, its vocoder"
    assert {"warm_seconds", "cold_seconds", "memory_mb"} <= ours.keys() and len(ours["rtf"]) == len(TEXTS)
    assert ours["disk_mb"] == pytest.approx(sum(file.stat().st_size for file in folder.iterdir()) / 1e6)
    assert set(ours["parts"]) == {"acoustic", "vocoder"}
    missing = {row["name"]: row["missing"] for row in report["rows"] if "missing" in row}
    assert {"espeak-ng", "flite", "Piper", "ESPnet JETS, random weights", "PyTorch twin, its vocoder"} <= set(missing)
    printed = capsys.readouterr().out
    assert all(name in printed and why in printed for name, why in missing.items())
    assert [part["part"] for part in report["operations"]] == ["acoustic model", "harmonic vocoder"]
    assert (tmp_path / "voice.png").read_bytes()[:4] == b"\x89PNG"


def fake_speech(path: Path, body: str) -> Contender:
    code = path.with_suffix(".py")
    code.write_text(f"import sys, wave\n{body}\n")
    start = f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {shlex.quote(str(code))} "$@"\n'  # "#!" knows no spaces
    path.write_text(start)
    path.chmod(0o755)
    return contenders.program(path.name, "apt install it", (path.name, "--stdout"))


def test_a_program_that_speaks_is_timed_by_its_own_sound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    body = (
        "assert sys.argv[1] == '--stdout'\nwith wave.open(sys.stdout.buffer, 'wb') as file:\n"
        "    file.setparams((1, 2, 8000, 0, 'NONE', ''))\n    file.writeframes(bytes(160) * len(sys.argv[2]))"
    )
    speaker = fake_speech(tmp_path / "speaker", body)
    assert speaker.bytes >= (tmp_path / "speaker").stat().st_size
    found = contenders.run(speaker, ["abcd", "abcdefgh"], 1, 1)
    assert [row["audio_seconds"] for row in found["texts"]] == [0.04, 0.08]
    assert {"cold", "memory"} <= found.keys()


def test_a_program_that_is_not_there_or_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "apt install" in contenders.program("espeak-ng", "apt install espeak-ng", ("espeak-ng",)).missing
    with pytest.raises(BitjetsError, match="gave no WAV file"):
        contenders.run(fake_speech(tmp_path / "mute", "pass"), ["a", "b"], 1, 1)


def test_a_contender_that_fails_is_named_with_its_last_words() -> None:
    with pytest.raises(BitjetsError, match=r"ours failed: .*not a voice folder"):
        contenders.run(Contender("ours", "bitjets", job={"voice": "/none", "vocoder": "/none"}), ["a"], 0, 1)


def test_memory_is_that_of_the_command_alone() -> None:
    """More by what the command holds, and not what this process holds: 320 MB."""
    held = np.ones(40_000_000)
    small = peak_memory([sys.executable, "-c", "print('hello')"])
    large = peak_memory([sys.executable, "-c", "held = b'x' * 200_000_000"])
    assert small < 200_000_000 <= large < held.nbytes
    with pytest.raises(BitjetsError, match="no good"):
        peak_memory([sys.executable, "-c", "raise SystemExit('no good')"])


def test_operations_are_those_of_the_products() -> None:
    """HiFi-GAN V2 by hand, a frame: conv_pre, four upsamplings, 126 taps of residual blocks a stage, conv_post."""
    channels, rates = [128, 64, 32, 16, 8], [1, 8, 64, 128, 256]
    frame = 7 * 80 * 128 + 7 * 8 * 256
    for i, size in enumerate((16, 16, 4, 4)):
        frame += rates[i] * size * channels[i] * channels[i + 1] + rates[i + 1] * 126 * channels[i + 1] ** 2
    assert vocoder_operations(HifiganConfig()) == pytest.approx(2 * frame * 22050 / 256)
    frame = 82 * 7 * 256 + 5 * (7 * 256 + 2 * 256 * 512) + 256 * 4 * 513
    assert vocoder_operations(HarmonicConfig()) == pytest.approx(2 * frame * 22050 / 256)


@pytest.mark.slow
def test_training_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(training, "lacking", lambda *names: list(names))
    files = ["--json", str(tmp_path / "train.json"), "--plot", str(tmp_path / "train.png")]
    main(["train", "--batch-size", "2", "--updates", "1", "--rounds", "1", *files])
    rows = {row["kind"]: row for row in json.loads((tmp_path / "train.json").read_text())["rows"]}
    for kind in ("acoustic", "harmonic", "hifigan", "joint"):
        assert rows[kind]["examples_a_second"] == pytest.approx(rows[kind]["batch_size"] / rows[kind]["seconds"])
        assert rows[kind]["memory_mb"] > 0
    assert "requirements-bench" in rows["torch acoustic"]["missing"] and "espnet" in rows["jets"]["missing"]
    assert rows["torch hifigan"]["missing"] in capsys.readouterr().out
    assert (tmp_path / "train.png").stat().st_size > 1000
