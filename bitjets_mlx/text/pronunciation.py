"""One word to phonemes: the user's lexicon, the dictionary, inflections of known words, the network."""

from collections.abc import Mapping, Sequence

from bitjets_mlx.text.dictionary import cmudict
from bitjets_mlx.text.unknown import predict


def pronounce(word: str, lexicon: Mapping[str, Sequence[str]] | None = None) -> list[str]:
    """The phonemes of one word of letters and apostrophes."""
    key = word.lower()
    if lexicon and key in lexicon:
        return list(lexicon[key])
    known = cmudict().get(key)
    if known is None and key.endswith("'s"):
        return _possessive(pronounce(key[:-2], lexicon))
    if known is None:
        known = predict(key.replace("'", ""))
    return ["UW1" if phoneme == "UW" else phoneme for phoneme in known]


def _possessive(stem: list[str]) -> list[str]:
    if stem[-1] in {"S", "Z", "SH", "ZH", "CH", "JH"}:
        return [*stem, "IH0", "Z"]
    return [*stem, "S" if stem[-1] in {"P", "T", "K", "F", "TH"} else "Z"]
