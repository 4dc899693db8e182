"""The learned aligner ("One TTS alignment to rule them all", arXiv:2108.10447; JETS, arXiv:2203.16852, 2.2).

For training only: it scores how well each mel frame fits each token. Full precision, with its own embedding, since
states of an untrained ternary encoder align late or never.
"""

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from bitjets_mlx.acoustic.blocks import Embedding
from bitjets_mlx.ops.attention import MASKED

TEMPERATURE = 0.01
BLANK_SCORE = -1.0


class Aligner(nn.Module):
    """Text conv k3 -> ReLU -> k1; mel conv k3 -> ReLU -> k3 -> ReLU -> k1; score = -0.01 x squared distance."""

    def __init__(self, symbols: int, n_mels: int, embedding: int, width: int) -> None:
        super().__init__()
        self.embedding = Embedding(symbols, embedding)
        self.text1 = nn.Conv1d(embedding, 2 * width, 3, padding=1)
        self.text2 = nn.Conv1d(2 * width, width, 1)
        self.mel1 = nn.Conv1d(n_mels, width, 3, padding=1)
        self.mel2 = nn.Conv1d(width, width, 3, padding=1)
        self.mel3 = nn.Conv1d(width, width, 1)

    def __call__(
        self, tokens: mx.array, mel: mx.array, token_mask: mx.array, frame_mask: mx.array, prior: mx.array
    ) -> mx.array:
        """tokens (B, N), normalized mel (B, T, 80), masks (B, N, 1) and (B, T, 1), log prior (B, T, N).

        Returns log p(token | frame) + log prior, (B, T, N).
        """
        text = self.text1(self.embedding(tokens) * token_mask)
        text = self.text2(mx.maximum(text, 0.0))  # (B, N, C)
        frames = mx.maximum(self.mel1(mel * frame_mask), 0.0) * frame_mask
        frames = self.mel3(mx.maximum(self.mel2(frames), 0.0))  # (B, T, C)
        distance = (
            mx.sum(mx.square(frames), axis=-1, keepdims=True)
            + mx.sum(mx.square(text), axis=-1)[:, None, :]
            - 2.0 * frames @ text.swapaxes(1, 2)
        )  # (B, T, N)
        scores = -TEMPERATURE * distance + ((token_mask - 1.0) * -MASKED).transpose(0, 2, 1)
        return scores - mx.logsumexp(scores, axis=-1, keepdims=True) + prior


def with_blank(log_probabilities: mx.array) -> mx.array:
    """(B, T, N) -> (B, T, N + 1): a blank of constant score in front, normalized again (arXiv:2108.10447, 2.1)."""
    scores = mx.pad(log_probabilities, [(0, 0), (0, 0), (1, 0)], constant_values=BLANK_SCORE)
    return scores - mx.logsumexp(scores, axis=-1, keepdims=True)


def beta_binomial_prior(tokens: int, frames: int) -> np.ndarray:
    """Log of the beta-binomial prior, (frames, tokens): near the diagonal (arXiv:2108.10447, 2.2).

    log pmf(k = 0..N-1; n = N, a = t, b = T - t + 1), t = 1..T. All arguments of the gamma functions are whole, so a
    table of log factorials gives it; what depends on t + k or t - k is that table, a row further on in every row.
    """
    table = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1.0, tokens + frames + 2)))])
    n, k, t = tokens, np.arange(tokens), np.arange(1, frames + 1)[:, None]
    rising = sliding_window_view(table[: frames + n - 1], n)  # (T, N): log (t + k - 1)!
    falling = sliding_window_view(table[1 : frames + n], n)[::-1, ::-1]  # log (n - k + T - t)!
    choose = table[n] - table[k] - table[n - k]
    of_frame = table[frames] - table[t - 1] - table[frames - t]  # -log B(a, b)
    return (rising + falling - table[n + frames] + choose + of_frame).astype(np.float32)
