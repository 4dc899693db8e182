"""The variance adaptor's duration, pitch and energy predictors (FastSpeech 2, arXiv:2006.04558, section 2.3)."""

import mlx.core as mx
import mlx.nn as nn

from bitjets_mlx.acoustic.blocks import dropout, layer_norm, precision, split_key
from bitjets_mlx.config import AcousticConfig
from bitjets_mlx.ternary.layers import Amount, BitConv1d


class VariancePredictor(nn.Module):
    """Ternary convolutions with ReLU, then a full-precision head: one number per token.

    RMSNorm sits inside every convolution; with `config.norm` "layer" (JETS of ESPnet) LayerNorm behind the ReLU.
    """

    def __init__(self, config: AcousticConfig, shape: tuple[int, int, int], dropout: float) -> None:
        super().__init__()
        width, layers, kernel = shape
        self.layers = [
            BitConv1d(config.width if i == 0 else width, width, kernel, *precision(config)) for i in range(layers)
        ]
        if config.norm != "rms":
            self.norms = [layer_norm(width) for _ in range(layers)]
        self.head = nn.Linear(width, 1)
        self.dropout = dropout

    def __call__(self, x: mx.array, mask: mx.array, amount: Amount = None, key: mx.array | None = None) -> mx.array:
        """x (B, N, D), mask (B, N, 1) -> (B, N)."""
        dropped = 0.0
        for index, layer_key in enumerate(split_key(key, len(self.layers))):
            x = self.layers[index](x, mask, amount, "relu", dropped=dropped)
            if "norms" in self:
                x = self.norms[index](x)
            x = dropout(x, self.dropout, layer_key)
            dropped = 0.0 if layer_key is None else self.dropout
        return self.head(x.astype(mx.float32))[..., 0] * mask[..., 0]


def token_means(values: mx.array, weights: mx.array, path: mx.array) -> mx.array:
    """Mean of frame `values` (B, T) over each token's frames, weighted by `weights` (B, T); path (B, T, N) is one-hot.

    Returns (B, N); a token whose weights are all zero (an unvoiced one, for pitch) gets 0.
    """
    sums = (values * weights)[:, None, :] @ path  # (B, 1, N)
    totals = weights[:, None, :] @ path
    return (sums / mx.maximum(totals, 1.0))[:, 0]
