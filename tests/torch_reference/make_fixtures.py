"""PYTHONPATH=. python tests/torch_reference/make_fixtures.py: writes tests/data/torch.

Needs torch, and for the JETS of ESPnet the package `espnet` with what its import asks for. The tests need neither.
"""

from pathlib import Path

from tests.torch_reference import reader_samples

FOLDER = Path(__file__).resolve().parents[1] / "data" / "torch"


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    reader_samples.write(FOLDER)


if __name__ == "__main__":
    main()
