"""Words that are spelled alike and spoken differently: read, lead, wind, record, use...

Three tables, asked in this order: `CUES` (particular neighbors), `_SPECIAL` (words with a grammar of their own), then
verb or not for the 371 words of g2p_en's `homographs.en`, with the corrections and additions of `homographs.txt`.
"""

import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.text import tense
from bitjets_mlx.text.cues import CUES
from bitjets_mlx.text.dictionary import Phonemes
from bitjets_mlx.text.grammar import (
    AUXILIARIES,
    BE,
    DETERMINERS,
    HAVE,
    OPENS_OBJECT,
    PREPOSITIONS,
    SUBJECTS,
    Context,
    is_plural,
    is_verb,
)
from bitjets_mlx.text.package_data import package_file
from bitjets_mlx.text.words import words


class Homograph(NamedTuple):
    """A row of the table: `first` where the word is of `kind` (V verb, N noun, ADJ, VBD, VBN), else `second`."""

    first: Phonemes
    second: Phonemes
    kind: str
    usual: bool  # whether `first` is meant where the neighbors do not tell


def _parse(text: str) -> dict[str, Homograph]:
    table = {}
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            try:
                word, first, second, kind = line.strip().split("|")
            except ValueError:
                raise BitjetsError(f"homograph table: four fields wanted in {line!r}; install g2p_en again") from None
            row = Homograph(tuple(first.split()), tuple(second.split()), kind.rstrip("*"), kind.endswith("*"))
            table[word.lower()] = row
    return table


@functools.cache
def table() -> dict[str, Homograph]:
    """All homographs that the verb test decides, g2p_en's own and ours."""
    rows = _parse(package_file("g2p_en", "homographs.en").read_text(encoding="utf-8"))
    return rows | _parse(Path(__file__).with_name("homographs.txt").read_text(encoding="utf-8"))


def is_homograph(word: str) -> bool:
    return word in CUES or word in _SPECIAL or word in table()


def pronounce_homograph(context: Context) -> Phonemes | None:
    """The phonemes of the homograph at `context`; None where the word is none, or the dictionary's will do."""
    word = context.tokens[context.place]
    for cue in CUES.get(word, ()):
        if cue.matches(context.before, context.after, context.sentence):
            return tuple(cue.phonemes.split())
    if word in _SPECIAL:
        phonemes_as_text = _SPECIAL[word](context)
        return tuple(phonemes_as_text.split()) if phonemes_as_text else None
    row = table().get(word)
    if row is None:
        return None
    if row.kind == "N":
        return row.first if _stands_alone(context) else row.second
    verb = is_verb(context)
    if verb is None:  # verbs in this table want an object
        verb = row.usual and context.at(1) not in {"", "and", "or"} | BE | PREPOSITIONS
    return row.first if verb else row.second


def _stands_alone(context: Context) -> bool:
    """Whether a determiner stands before the word and no noun after it: "an upset.", not "an upset stomach"."""
    previous, following = context.at(-1), context.at(1)
    ends = following == "" or following in PREPOSITIONS | BE | OPENS_OBJECT | words("and or who which had has to")
    return (previous in DETERMINERS or previous.endswith("'s")) and ends


_HABITS = words(
    """
    be have live love like think know believe come go say work hear want hate spend feel look belong
    visit stand sit wonder laugh sing dream
    """
)


def _used(context: Context) -> str:
    """ "used to go" and "am used to it" with S T; "was used to make", "the rifle used to kill" with Z D."""
    following, previous, verb = context.at(1), context.at(context.skipping_adverbs()), context.at(2)
    if following != "to":
        return "Y UW1 Z D"
    if previous in BE:
        return "Y UW1 S T" if verb.endswith("ing") or verb in OPENS_OBJECT | {"", "being", "having"} else "Y UW1 Z D"
    if previous in HAVE:
        return "Y UW1 Z D"
    person = previous in SUBJECTS | words(
        "you it that which what there this people men women children everyone someone nobody"
    )
    changed = previous in words("get gets got getting become became grow grew grown seem feel")
    named = context.capitals[context.place - 1] and context.place > 1
    if person or changed or named or previous == "":
        return "Y UW1 S T"
    return "Y UW1 S T" if verb in _HABITS else "Y UW1 Z D"


def _live(context: Context) -> str:
    previous = context.at(context.skipping_adverbs())
    if previous in DETERMINERS - words("all both many few several most") or previous.endswith("'s"):
        return "L AY1 V"
    return "L IH1 V"


def _lives(context: Context) -> str:
    previous, following = context.at(context.skipping_adverbs()), context.at(1)
    if (
        previous in words("he she it who which that nobody everyone someone everybody anyone")
        or context.at(-1) == "still"
    ):
        return "L IH1 V Z"
    if previous in DETERMINERS | PREPOSITIONS or previous.endswith(("'s", "s'")) or following == "of" or not previous:
        return "L AY1 V Z"
    staying = PREPOSITIONS | words("alone here there next up down far together happily abroad upstairs nearby")
    modifier = previous in words("an former better longer other inner save saves saving lost lose cost") or re.search(
        r"(?:ed|ing|ous|al|ful|ly|ive|y)$", previous
    )
    subject = not modifier or previous in words("family") or context.capitals[context.place - 1]
    return "L IH1 V Z" if following in staying and subject else "L AY1 V Z"


_NUMBERS = words(
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen twenty thirty forty"
)
_ALONG = words("through along around up down across between past into over upward toward towards round among")


def _house(context: Context) -> str:
    """The verb after a helper or a pronoun ("can house forty"), or between a plural and an object."""
    offset = context.skipping_adverbs()
    previous, following = context.at(offset), context.at(1)
    if previous == "to":
        many = words("up over more about hundreds thousands people") | _NUMBERS
        object_of = following in OPENS_OBJECT | many or (is_plural(following) and following != "prices")
        return "HH AW1 Z" if object_of and context.at(offset - 1) != "house" else "HH AW1 S"
    subject = previous in AUXILIARIES - {"please"} or previous in words("i we they you who cannot")
    if subject and following not in BE | HAVE | words("of and or"):
        return "HH AW1 Z"
    object_follows = following in OPENS_OBJECT | words("students people refugees families many hundreds thousands")
    plural = is_plural(previous) and context.at(offset - 1) not in words("of in at on")
    keeps = previous in words(
        "archives museums barracks hotels shelters buildings prisons stables sheds hangars vaults"
    )
    return "HH AW1 Z" if keeps or (plural and object_follows) else "HH AW1 S"


def _wind(context: Context) -> str:
    path = is_plural(context.at(-1)) or context.at(-1) in words("road path river trail track stream lane staircase")
    if path and context.at(1) in _ALONG:  # "Roads wind through the hills"
        return "W AY1 N D"
    start = context.at(-1) == "" and context.at(1) in {"up", "down", "around", "through"}
    return "W AY1 N D" if start or (is_verb(context) and context.at(1) != "and") else "W IH1 N D"


def _close(context: Context) -> str:
    """The verb and the end ("the close of day") with Z, near with S."""
    previous, following = context.at(context.skipping_adverbs()), context.at(1)
    if previous in words("a the its their this his her") and (following in {"of", "", "and"} or following in BE):
        return "K L OW1 Z"
    near = words("to by together behind beside enough upon proximity quarters")
    if following in near and previous not in {"to", "will", "please"}:
        return "K L OW1 S"
    if following == "" and {"keep", "keeps", "kept", "keeping", "hold", "held", "stay"} & set(context.before.split()):
        return "K L OW1 S"
    return "K L OW1 Z" if is_verb(context) else "K L OW1 S"


def _minute(context: Context) -> str:
    before = context.at(-1)
    if (
        before in words("so very extremely too incredibly infinitely relatively almost most exceedingly")
        and context.at(1) != ""
    ):
        return "M AY0 N UW1 T"
    return "M AY0 N UW1 T" if before in BE | {"so", "very", "extremely", "too"} else "M IH1 N AH0 T"


def _content(context: Context) -> str:
    previous, following = context.at(context.skipping_adverbs()), context.at(1)
    feeling = BE | words(
        "feel feels felt seem seems seemed look looks looked sound sounds appear appears appeared grew became lay"
        " sat remain remained rest perfectly not him her them me us"
    )
    if previous in feeling and following not in words("is was are providers provider creator creators management"):
        return "K AH0 N T EH1 N T"
    if following in words("himself herself itself themselves myself yourself ourselves") or is_verb(context):
        return "K AH0 N T EH1 N T"
    if (
        following == ""
        and previous == "and"
        and context.at(-2) in words("warm happy calm safe quiet peaceful well fed full rested")
    ):
        return "K AH0 N T EH1 N T"
    if following in {"to", "with"} and previous not in DETERMINERS | PREPOSITIONS:
        return "K AH0 N T EH1 N T"
    return "K AA1 N T EH0 N T"


def _complex(context: Context) -> str:
    """The noun ("an apartment complex") with the stress in front, the adjective ("a complex plan") behind."""
    previous, following = context.at(-1), context.at(1)
    predicate = previous in BE | words("more most less very so too how as quite highly") or previous in {
        "",
        "and",
        "or",
    }
    noun = not predicate and following in {"", "of", "in", "on", "at", "with", "that", "was", "is", "has"}
    return "K AA1 M P L EH0 K S" if noun else "K AH0 M P L EH1 K S"


def _invalid(context: Context) -> str:
    return "IH1 N V AH0 L AH0 D" if _stands_alone(context) else "IH2 N V AE1 L AH0 D"


def _excess(context: Context) -> str:
    following = context.at(1)
    return "IH0 K S EH1 S" if following in {"", "of", "and", "in"} | BE else "EH1 K S EH2 S"


_INTO = words("in to from near at of outside around through via into leaving reach reached visit visited")
_GOES_ON = words("and on for is was has had with by last next this every where when but or station airport") | {""}


def _is_place(context: Context, near: frozenset[str]) -> bool:
    """Whether a capitalized word is the town: "a week in Nice", or its country stands in the sentence."""
    if not context.capitals[context.place]:
        return False
    named = context.at(-1) in _INTO and context.at(1) in _GOES_ON
    return named or bool(near & set(context.sentence.split()))


def _reading(context: Context) -> str:
    town = _is_place(context, words("berkshire pennsylvania gaol railroad")) or context.at(1) in words("gaol jail")
    return "R EH1 D IH0 NG" if town else "R IY1 D IH0 NG"


def _nice(context: Context) -> str:
    return "N IY1 S" if _is_place(context, words("france riviera cannes monaco")) and context.place else "N AY1 S"


def _mobile(context: Context) -> str:
    town = _is_place(context, words("alabama")) or context.at(1) == "bay"
    return "M OW0 B IY1 L" if town else "M OW1 B AH0 L"


def _job(context: Context) -> str:
    """The man in the Bible: capitalized, beside God or a verse, or as the one who speaks and suffers."""
    phrase = " ".join((context.at(-2), context.at(-1)))
    if phrase in {"book of", "patience of", "story of", "trials of", "sufferings of"}:
        return "JH OW1 B"
    verse = context.at(1) in _NUMBERS and context.at(2) in _NUMBERS
    near = words("god lord satan bible testament yahweh elihu eliphaz") & set(context.sentence.split())
    speaks = context.at(1) in words("said answered cried prayed suffered replied lamented cursed")
    return "JH OW1 B" if context.capitals[context.place] and (verse or near or speaks) else "JH AA1 B"


def _polish(context: Context) -> str:
    start = context.at(-1) == ""
    following = context.at(1)
    from_poland = context.capitals[context.place] and (not start or following not in OPENS_OBJECT)
    return "P OW1 L IH0 SH" if from_poland else "P AA1 L IH0 SH"


def _august(context: Context) -> str:
    return "AA1 G AH0 S T" if context.capitals[context.place] else "AO0 G AH1 S T"


_SPECIAL: dict[str, Callable[[Context], str]] = {
    "read": tense.read,
    "used": _used,
    "unused": lambda context: "AH0 N Y UW1 S T" if context.at(1) == "to" else "AH0 N Y UW1 Z D",
    "live": _live,
    "lives": _lives,
    "house": _house,
    "wind": _wind,
    "close": _close,
    "minute": _minute,
    "content": _content,
    "complex": _complex,
    "invalid": _invalid,
    "excess": _excess,
    "reading": _reading,
    "nice": _nice,
    "mobile": _mobile,
    "job": _job,
    "polish": _polish,
    "august": _august,
}
