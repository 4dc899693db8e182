"""BitJETS in MLX: text to speech with ternary weights. See README.md."""

from bitjets_mlx import platform  # first: it must load a fast BLAS before mlx.core is imported  # noqa: F401
