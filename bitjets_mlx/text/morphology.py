"""Words that are in no dictionary but made of parts that are: plurals, "unconvicted", "windowsill", "goin'".

The network of `unknown.py` learned from names as much as from words and often garbles long derived words
("tablespoonful" ends in N IH0 NG), while their parts are known exactly. The parts must be real words, with other
forms in the dictionary, and well spelled: otherwise every surname would be a stem, and invented words would be
taken apart too.
"""

import functools
import re
from collections.abc import Callable, Iterator

from bitjets_mlx.text.dictionary import Phonemes, look_up
from bitjets_mlx.text.words import words

_HISSING = words("S Z SH ZH CH JH")
_VOICELESS = words("P T K F TH S SH CH")

# prefix: (its phonemes, the shortest word it goes with)
PREFIXES = {
    "un": ("AH0 N", 4), "non": ("N AA0 N", 5), "over": ("OW2 V ER0", 4), "under": ("AH2 N D ER0", 4),
    "mis": ("M IH0 S", 5), "out": ("AW2 T", 5), "anti": ("AE2 N T IY0", 5), "inter": ("IH2 N T ER0", 5),
    "super": ("S UW2 P ER0", 5), "semi": ("S EH2 M IY0", 5), "multi": ("M AH2 L T IY0", 5), "re": ("R IY0", 5),
    "counter": ("K AW2 N T ER0", 4), "cyber": ("S AY2 B ER0", 4), "micro": ("M AY2 K R OW0", 4), "dis": ("D IH0 S", 6),
    "crypto": ("K R IH2 P T OW0", 5), "mega": ("M EH2 G AH0", 4), "hyper": ("HH AY2 P ER0", 5),
    "ultra": ("AH2 L T R AH0", 4), "photo": ("F OW2 T OW0", 5), "electro": ("IH0 L EH2 K T R OW0", 5),
    "fore": ("F AO2 R", 4), "nano": ("N AE2 N OW0", 5), "neuro": ("N UH2 R OW0", 5), "post": ("P OW2 S T", 5),
    "self": ("S EH2 L F", 5), "deep": ("D IY2 P", 4), "live": ("L AY1 V", 6),
}  # fmt: skip

# ending: (its phonemes, how the stem changes before it: "y>i" cosy -> cosiness, "e>" use -> usable, "2" big -> bigger)
SUFFIXES = {
    "ically": ("IH0 K L IY0", ("ic",)), "ly": ("L IY0", ("", "le>", "y>i")), "ness": ("N AH0 S", ("", "y>i")),
    "nesses": ("N AH0 S IH0 Z", ("", "y>i")), "less": ("L AH0 S", ("", "y>i")), "ful": ("F AH0 L", ("", "y>i")),
    "fuls": ("F AH0 L Z", ("",)), "fully": ("F AH0 L IY0", ("", "y>i")), "lessly": ("L AH0 S L IY0", ("",)),
    "lessness": ("L AH0 S N AH0 S", ("",)), "fulness": ("F AH0 L N AH0 S", ("",)), "ment": ("M AH0 N T", ("",)),
    "ments": ("M AH0 N T S", ("",)), "like": ("L AY2 K", ("",)), "ship": ("SH IH0 P", ("",)),
    "hood": ("HH UH2 D", ("",)),
    "ward": ("W ER0 D", ("",)), "wards": ("W ER0 D Z", ("",)), "wise": ("W AY2 Z", ("",)), "man": ("M AH0 N", ("",)),
    "men": ("M EH0 N", ("",)), "woman": ("W UH2 M AH0 N", ("",)), "women": ("W IH2 M AH0 N", ("",)),
    "able": ("AH0 B AH0 L", ("", "e>", "y>i")), "ably": ("AH0 B L IY0", ("", "e>", "y>i")),
    "er": ("ER0", ("", "e>", "y>i", "2")), "ers": ("ER0 Z", ("", "e>", "y>i", "2")),
    "est": ("AH0 S T", ("", "e>", "y>i", "2")), "ish": ("IH0 SH", ("",)), "ism": ("IH2 Z AH0 M", ("",)),
    "ist": ("IH0 S T", ("",)), "ists": ("IH0 S T S", ("",)), "ings": ("IH0 NG Z", ("", "e>", "2")),
}  # fmt: skip

# Second parts of compounds: "housemaid", "windowsill".
_HEADS = words(
    """
    back backed bag bags ball balls band bands bed beds bell bells berry bird birds blade blades block blocks board
    boards boat boats body book books boot boots bottle bound bowl box boxes boy boys brain branch breaker breakers
    brush builder building built burner cake cakes card cards care case cases chain chains chair chairs cloth
    clothes clothing coat coats colored country course court cover craft cup cups cutter cutters cuts dealer dealers
    dog door doors dress driver drivers face faced fall field fields fighter finger fire fish flake flower flowers
    flow fold folds folk foot footed fork frame front fruit funding garden gate girl glass glasses goer goers ground
    guard guards hairs hall hammer handed handle hat head headed heads hearted hold holder holders hook horse house
    houses hunter jack jacket keeper keepers keeping kind knife knives lace ladies lady lamp land lands lane leaf
    leather light lights lime line lined lines load lock log looking made maid maids maker makers making man men
    mark marks market mast master masters mate mates meal meat meats mill mind minded mine money monger mother mouth
    nail neck needle night nose note paper parts path phone piece pieces pin pipe pit place places plane plate play
    player point poll pole port posts pot powder power print printing prints proof rail rack reader road robe rock
    roll roof room rooms root rope route sack safe sail sand saw school screen screens seat seed seller shaped sheet
    sheets shelf shell shine ship ships shirt shoe shop shore side sided sides sight sill sized skin skirt smith
    snake song space spike spikes spoon spot stairs stand star stead steads step stick sticks stock stone stones
    store story strap stream streaming string stroke stuff suit table tail tails tale taker tank tap teller thread
    throat tie time timer toe tool top tower town track trap tube verse wagon walk wall walls ware watch watches
    water way wheel wheels wide wife wind window wing wings wire wood work worker workers working works worm worn
    worth worthy wreck wrecks writer yard yards
    """
)

# Forms that words have and mere names do not (any name has its plural).
_VOWEL_FORMS = ("ed", "ing", "er", "ers", "able", "ion")
_FORMS = ("ed", "d", "ing", "er", "ers", "ly", "ment", "ness", "ful", "less", "able", "ion", "ally")
_TELLING = re.compile(r"(?:ed|ing|ly|ness|ment|tion|ful|less|able|ity|ists|ers|ings)$")


def add_s(stem: Phonemes) -> Phonemes:
    """The plural, possessive or third person: dogs, cats, houses."""
    if stem[-1] in _HISSING:
        return (*stem, "IH0", "Z")
    return (*stem, "S" if stem[-1] in _VOICELESS else "Z")


def _add_ed(stem: Phonemes) -> Phonemes:
    if stem[-1] in {"T", "D"}:
        return (*stem, "IH0", "D")
    return (*stem, "T" if stem[-1] in _VOICELESS else "D")


def _add_ing(stem: Phonemes) -> Phonemes:
    return (*stem, "IH0", "NG")


@functools.lru_cache(maxsize=20_000)
def derive(word: str) -> Phonemes | None:
    """The phonemes of a lower-case word that is a regular form or compound of known words, else None."""
    if word.endswith("in'"):
        whole = look_up(word[:-1] + "g") or derive(word[:-1] + "g")
        return (*whole[:-1], "N") if whole and whole[-1] == "NG" else None
    if not word.isalpha() or len(word) < 5:
        return None
    return _prefixed(word, look_up) or _inflected(word) or _suffixed(word) or _compound(word) or _prefixed(word, derive)


def _real(word: str, sure: int = 7) -> Phonemes | None:
    """A real word: in the dictionary, with forms of its own or at least `sure` letters, or derived from such a one."""
    if len(word) < 4:
        return None
    known = look_up(word)
    if known is not None:
        return known if len(word) >= sure or has_forms(word) else None
    return derive(word) if len(word) > 6 else None


@functools.lru_cache(maxsize=20_000)
def has_forms(word: str) -> bool:
    """Whether the dictionary has `word` and forms of it that names do not have."""
    if look_up(word) is None:
        return False
    if _TELLING.search(word) and len(word) > 6:
        return True
    if word.endswith("s") and not word.endswith("ss"):
        return has_forms(word[:-1])
    stems = {"e": (word[:-1], word), "y": (word[:-1] + "i", word)}.get(word[-1], (word + word[-1], word))
    found = [stem + form for stem in stems for form in (_FORMS if stem is word else _VOWEL_FORMS)]
    return sum(look_up(form) is not None for form in found if form != word) > 1


def _takes_vowel(stem: str) -> bool:
    """Whether an ending with a vowel may follow unchanged: not in "spoting" or "makeing"."""
    if stem.endswith(("a", "e", "i", "u")) and not stem.endswith(("ee", "ye", "oe")):
        return False
    if stem.endswith("s") and not stem.endswith(("ss", "us", "as")):
        return False
    return not re.fullmatch(r"[^aeiou]*[aeiou][bdfgklmnprtvz]", stem)


def _drops_e(stem: str) -> bool:
    return re.search(r"[^aeiou]$|[aeiou]u$", stem) is not None


def _doubled(stem: str) -> str:
    return stem[:-1] if re.search(r"[^aeiou][aeiou]([bdfgklmnprtvz])\1$", stem) else ""


def _inflected(word: str) -> Phonemes | None:
    return next((add(known) for stem, add in _stems(word) if (known := _real(stem)) is not None), None)


def _stems(word: str) -> Iterator[tuple[str, Callable[[Phonemes], Phonemes]]]:
    """What `word` may be an inflection of, likeliest first."""
    if re.search(r"[^aeiou]ies$", word):
        yield word[:-3] + "y", add_s
    elif word.endswith(("ches", "shes", "sses", "xes", "zzes")):
        yield word[:-2], add_s
    elif word.endswith("s") and not word.endswith(("ss", "us", "is")):
        yield word[:-1], add_s
    elif re.search(r"[^aeiou]ied$", word):
        yield word[:-3] + "y", _add_ed
    for ending, add in (("ed", _add_ed), ("ing", _add_ing)):
        stem = word.removesuffix(ending)
        if stem != word:
            if _takes_vowel(stem):
                yield stem, add
            if _drops_e(stem):
                yield stem + "e", add
            yield _doubled(stem), add


def _suffixed(word: str) -> Phonemes | None:
    for length in range(8, 1, -1):
        if word[-length:] not in SUFFIXES:
            continue
        sound, changes = SUFFIXES[word[-length:]]
        ending = tuple(sound.split())
        for change in changes:
            stem = _unchanged(word[:-length], change, ending[0][-1].isdigit())
            known = _real(stem, 5 if len(ending) > 2 else 7) if stem else None
            if known is not None:
                if change == "ic" or (change == "le>" and known[-2:] == ("AH0", "L")):
                    known = known[:-2]
                elif known[-1] == ending[0] == "L":
                    known = known[:-1]
                return (*known, *ending)
    return None


def _unchanged(stem: str, change: str, vowel: bool) -> str:
    """The stem's own spelling before `change`, or "" where it cannot have changed so."""
    if change == "ic":
        return stem + "ic"
    if change == "2":
        return _doubled(stem)
    if change == "e>":
        return stem + "e" if _drops_e(stem) else ""
    if change == "le>":
        return stem + "le" if stem[-1:] in set("bpdtgkf") else ""
    if change == "y>i":
        return stem[:-1] + "y" if re.search(r"[^aeiou]i$", stem) else ""
    return stem if not vowel or _takes_vowel(stem) else ""


def _prefixed(word: str, known: Callable[[str], Phonemes | None]) -> Phonemes | None:
    for length in range(7, 1, -1):
        sound, shortest = PREFIXES.get(word[:length], ("", 0))
        stem = word[length:]
        if sound and len(stem) >= shortest and (known is derive or has_forms(stem)):
            if word[:length] in {"re", "dis"} and (known is derive or not re.search(r"(?:ed|ing|e|s|t|d|n)$", stem)):
                continue
            phonemes = known(stem)
            if phonemes is not None:
                return (*sound.split(), *phonemes)
    return None


def _compound(word: str) -> Phonemes | None:
    """Two real words, the second one of `_HEADS`, whose stress becomes secondary."""
    for split in range(3, len(word) - 2):
        head = word[split:]
        first = look_up(word[:split]) if head in _HEADS else None
        if first is None or not (has_forms(word[:split]) or (split > 3 and look_up(word[:split] + "s"))):
            continue
        second = SUFFIXES[head][0].split() if head in SUFFIXES else look_up(head) or ()
        return (*first, *(phoneme.replace("1", "2") for phoneme in second))
    return None
