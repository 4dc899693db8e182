"""python scripts/quantization_tables.py WORK: the tables of docs/quantization.md, of what scripts/quantization.sh left.

Sizes are those at which the weights would be stored: ternary five to a byte, integers at their bits, the rest in 16.
"""

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from bitjets_mlx.acoustic import build_acoustic
from bitjets_mlx.ternary.layers import BitConv1d
from bitjets_mlx.vocoder import build_vocoder
from bitjets_mlx.vocoder.quantized import LAST_LAYERS
from bitjets_mlx.voice.arrays import named_arrays
from bitjets_mlx.voice.voice_config import read_config

ACOUSTIC = {"full-precision": ("full precision", 16.0), "4": ("4 bit", 4.0), "ternary": ("ternary", 1.6)}
VOCODER = {
    "full": ("full precision", 16.0),
    "8": ("8 bit", 8.0),
    "4": ("4 bit", 4.0),
    "1.58": ("ternary, at once", 1.6),
    "staged": ("ternary, over 8 and 4 bit", 1.6),
}
ACOUSTIC_MEASURES = ("added_points", "mcd_db", "log_f0_rmse", "voicing_error_percent", "duration_error_percent")
VOCODER_MEASURES = ("copy_pesq_wb", "copy_stoi", "copy_mel_l1")


def main() -> None:
    """Print both tables as Markdown."""
    work = Path(sys.argv[1])
    _print(work, "acoustic_{}", ACOUSTIC, ACOUSTIC_MEASURES, _acoustic_weights)
    _print(work, "vocoder_{}", VOCODER, VOCODER_MEASURES, _vocoder_weights)


def _print(work: Path, name: str, rows: dict[str, tuple[str, float]], measures: tuple[str, ...], count: Any) -> None:
    print("| weights | kB | " + " | ".join(measure.replace("_", " ") for measure in measures) + " |")
    print("|---" * (len(measures) + 2) + "|")
    for key, (label, bits) in rows.items():
        path = work / f"{name.format(key)}.json"
        if not path.exists():
            print(f"| {label} | | not measured |")
            continue
        quantized, rest = count(path.with_suffix(".voice"))
        table = json.loads(path.read_text())
        speakers = [values | table["judges"][name].get("synthesis", {}) for name, values in table["speakers"].items()]
        cells = [" / ".join(f"{values[measure]:.3g}" for values in speakers) for measure in measures]
        print(f"| {label} | {(quantized * bits + rest * 16) / 8000:,.0f} | {' | '.join(cells)} |")
    print()


def _acoustic_weights(folder: Path) -> tuple[int, int]:
    """(weights of the layers that can be quantized, all other parameters)."""
    acoustic = read_config(folder).acoustic
    assert acoustic is not None
    model = build_acoustic(acoustic)
    quantized = sum(layer.weight.size for layer in model.modules() if isinstance(layer, BitConv1d))
    return quantized, sum(array.size for array in named_arrays(model.parameters()).values()) - quantized


def _vocoder_weights(folder: Path) -> tuple[int, int]:
    vocoder = read_config(folder).vocoder
    assert vocoder is not None
    arrays = named_arrays(build_vocoder(vocoder).parameters())
    quantized = sum(array.size for name, array in arrays.items() if array.ndim > 1 and name not in LAST_LAYERS)
    return quantized, sum(array.size for array in arrays.values()) - quantized


if __name__ == "__main__":
    main()
