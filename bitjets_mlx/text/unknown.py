"""Pronounces words that are in no dictionary, with the GRU encoder-decoder of g2p_en and its weights."""

import functools
from typing import NamedTuple

import numpy as np

from bitjets_mlx.text.package_data import package_file
from bitjets_mlx.text.words import listed

_GRAPHEMES = ("<pad>", "<unk>", "</s>", *"abcdefghijklmnopqrstuvwxyz")
_PHONEMES = listed(
    """
    <pad> <unk> <s> </s> AA0 AA1 AA2 AE0 AE1 AE2 AH0 AH1 AH2 AO0 AO1 AO2 AW0 AW1 AW2 AY0 AY1 AY2 B CH D DH EH0 EH1
    EH2 ER0 ER1 ER2 EY0 EY1 EY2 F G HH IH0 IH1 IH2 IY0 IY1 IY2 JH K L M N NG OW0 OW1 OW2 OY0 OY1 OY2 P R S SH T TH
    UH0 UH1 UH2 UW UW0 UW1 UW2 V W Y Z ZH
    """
)
_UNKNOWN, _END = _GRAPHEMES.index("<unk>"), _GRAPHEMES.index("</s>")
_START, _STOP = _PHONEMES.index("<s>"), _PHONEMES.index("</s>")
LONGEST = 20  # phonemes, g2p_en's own limit


class _Cell(NamedTuple):
    """One GRU cell, gates in PyTorch's order r, z, n."""

    embedding: np.ndarray  # (symbols, 256)
    input_weight: np.ndarray  # (768, 256)
    hidden_weight: np.ndarray  # (768, 256)
    input_bias: np.ndarray  # (768,)
    hidden_bias: np.ndarray  # (768,)

    def step(self, symbol: int, hidden: np.ndarray) -> np.ndarray:
        """The hidden state (256,) after reading one symbol."""
        from_input = self.input_weight @ self.embedding[symbol] + self.input_bias  # (768,)
        from_hidden = self.hidden_weight @ hidden + self.hidden_bias  # (768,)
        size = hidden.shape[0]
        gates = 1 / (1 + np.exp(-(from_input[: 2 * size] + from_hidden[: 2 * size])))  # (512,)
        reset, update = gates[:size], gates[size:]
        candidate = np.tanh(from_input[2 * size :] + reset * from_hidden[2 * size :])
        return (1 - update) * candidate + update * hidden


class _Network(NamedTuple):
    encoder: _Cell
    decoder: _Cell
    output_weight: np.ndarray  # (74, 256)
    output_bias: np.ndarray  # (74,)


@functools.cache
def _network() -> _Network:
    with np.load(package_file("g2p_en", "checkpoint20.npz"), allow_pickle=False) as arrays:
        encoder, decoder = (
            _Cell(*(arrays[f"{part}_{name}"] for name in ("emb", "w_ih", "w_hh", "b_ih", "b_hh")))
            for part in ("enc", "dec")
        )
        return _Network(encoder, decoder, arrays["fc_w"], arrays["fc_b"])


@functools.lru_cache(maxsize=10_000)
def predict(word: str) -> tuple[str, ...]:
    """The phonemes of a lower-case word, exactly as g2p_en's network gives them (greedy, at most 20).

    Like g2p_en's own, the answer may hold `UW` without stress; `pronounce` mends that.
    """
    network = _network()
    hidden = np.zeros(network.encoder.hidden_weight.shape[1], np.float32)
    for letter in word:
        hidden = network.encoder.step(_GRAPHEMES.index(letter) if letter in _GRAPHEMES else _UNKNOWN, hidden)
    hidden = network.encoder.step(_END, hidden)

    phonemes: list[str] = []
    symbol = _START
    while len(phonemes) < LONGEST:
        hidden = network.decoder.step(symbol, hidden)
        symbol = int(np.argmax(network.output_weight @ hidden + network.output_bias))
        if symbol == _STOP:
            break
        phonemes.append(_PHONEMES[symbol])
    return tuple(phonemes)
