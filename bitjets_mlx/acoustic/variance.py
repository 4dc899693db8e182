"""The variance adaptor: duration, pitch and energy predictors (FastSpeech 2, arXiv:2006.04558, section 2.3) and
Gaussian upsampling as in JETS (arXiv:2203.16852, section 2.1; Non-Attentive Tacotron, arXiv:2010.04301, 3.2)."""

import mlx.core as mx
import mlx.nn as nn

from bitjets_mlx.acoustic.blocks import dropout, layer_norm, precision, split_key
from bitjets_mlx.acoustic.cpu_attention import MASKED
from bitjets_mlx.config import AcousticConfig
from bitjets_mlx.ternary import cpu
from bitjets_mlx.ternary.layers import Amount, BitConv1d

UPSAMPLING_DELTA = 0.1


class VariancePredictor(nn.Module):
    """Ternary convolutions with ReLU, then a full-precision head: one number a token.

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


def gaussian_upsampling(
    tokens: mx.array, durations: mx.array, mask: mx.array, frames: int, centre: float = 0.5, compiled: bool = False
) -> mx.array:
    """Frame t is a mixture of tokens weighted by exp(-delta (t - c_n)^2), c_n being the centre of token n.

    tokens (B, N, D); durations (B, N) in frames, zero beyond the end; mask (B, N, 1) -> (B, frames, D). `centre` is
    where in a frame t is counted: ESPnet takes its beginning, 0. `compiled` takes the C kernel, which has no gradient.
    """
    centres = mx.cumsum(durations, axis=1) - durations / 2  # (B, N)
    if compiled:
        return cpu.gaussian_upsampling(tokens, centres, mask, frames, UPSAMPLING_DELTA, centre)
    times = mx.arange(frames, dtype=mx.float32)[None, :, None] + centre
    scores = -UPSAMPLING_DELTA * mx.square(times - centres[:, None, :])  # (B, T, N)
    scores = scores + ((mask - 1.0) * -MASKED).transpose(0, 2, 1)
    return mx.softmax(scores, axis=-1).astype(tokens.dtype) @ tokens


def token_means(values: mx.array, weights: mx.array, path: mx.array) -> mx.array:
    """Mean of frame `values` (B, T) over each token's frames, weighted by `weights` (B, T); path (B, T, N) is one-hot.

    Returns (B, N); a token whose weights are all zero (an unvoiced one, for pitch) gets 0.
    """
    sums = (values * weights)[:, None, :] @ path  # (B, 1, N)
    totals = weights[:, None, :] @ path
    return (sums / mx.maximum(totals, 1.0))[:, 0]
