"""Whether "read" is the past tense, told from its helpers and from the tense of the words around it."""

from bitjets_mlx.text.grammar import (
    AUXILIARIES,
    BE,
    CAUSATIVES,
    CONJUNCTIONS,
    DETERMINERS,
    HAVE,
    OPENS_OBJECT,
    PREPOSITIONS,
    Context,
    is_plural,
)
from bitjets_mlx.text.words import words

PAST = words(
    """
    yesterday ago last earlier previously formerly once was were had did didn't went came saw took made said told
    gave got found knew thought left felt kept held stood sat ran wrote spoke began brought bought taught caught
    lost met sent heard fell rose drew drove rode won grew flew threw woke chose broke wore slept spent lay led wept
    understood became
    """
)
PRESENT = words(
    """
    reads every always often usually never sometimes now today tomorrow tonight daily weekly nowadays generally rarely
    seldom regularly will can is are do does don't doesn't want wants like likes love loves enjoy can't tend when
    whenever if please must should
    """
)
_GENERIC = words("most many some all few young older few modern") | {""}
_PRESENT, _PAST = "R IY1 D", "R EH1 D"
_ED_BUT_NO_PAST = words(
    "need indeed speed seed feed breed weed bleed red bed led hundred sacred naked wicked bleed exceed"
)


def _is_past(word: str) -> bool:
    return word in PAST or (len(word) > 4 and word.endswith("ed") and word not in _ED_BUT_NO_PAST)


def read(context: Context) -> str:
    """R IY1 D or R EH1 D for the "read" at `context`."""
    offset = context.skipping_adverbs()
    previous = context.at(offset)
    if previous == "to" and context.at(-1) != "well":
        return _PRESENT
    if previous in HAVE | BE or context.at(-1) in words("well widely been being having already"):
        return _PAST
    if previous.endswith(("'d", "'ve")) and previous not in AUXILIARIES:
        return _PAST
    if previous in AUXILIARIES:
        return _PAST if previous.endswith("'d") and context.at(offset + 1) in {"already", "just"} else _PRESENT
    if _causative(context, offset):
        return _PRESENT
    if previous in DETERMINERS and previous not in words("both all many most few several some"):
        return _PRESENT  # "a good read"
    if previous in {"he", "she", "it", "who", "which", "that"}:
        return _question(context, offset) or _PAST
    if previous in {"i", "we", "they", "you"} or is_plural(previous):
        generic = is_plural(previous) and context.at(offset - 1) in _GENERIC  # "Most children read"
        if context.at(1) in {"well", "badly", "fluently"} and generic:
            return _PRESENT
        unsure = previous == "i" or (is_plural(previous) and not generic)
        return _question(context, offset) or _by_the_sentence(context, offset, unsure)
    if previous in CONJUNCTIONS:
        return _joined(context, offset)
    if previous == "":
        return _PRESENT if context.place == 0 else _by_the_sentence(context, offset, False)
    if previous in PREPOSITIONS:
        return _PAST if previous in {"as", "when"} else _PRESENT
    return _after_singular(context, offset)


def _after_singular(context: Context, offset: int) -> str:
    """After a singular noun the past, unless a helper stands first or "read" is a noun itself."""
    if context.before.split()[:1] and context.before.split()[0] in AUXILIARIES:  # "Will the teacher read it?"
        return _PRESENT
    a_read = context.at(offset - 1) in {"a", "an"} and context.at(1) in {"", "for", "and", "but"}  # "an easy read"
    return _PRESENT if a_read else _PAST


def _causative(context: Context, offset: int) -> bool:
    """ "let me read", "heard him read", "made the boy read"."""
    return context.at(offset - 1) in CAUSATIVES - HAVE and context.at(offset) in OPENS_OBJECT


def _question(context: Context, offset: int) -> str | None:
    """ "Did you read", "Can he read", but "Have you read": the helper stands before the subject."""
    helper = context.at(offset - 1)
    if helper in HAVE:
        return _PAST
    return _PRESENT if helper in AUXILIARIES else None


def _joined(context: Context, offset: int) -> str:
    """After "and", the tense of the verb before it: "sat and read" past, "to sit and read" present."""
    joined = context.at(offset - 1)
    if _is_past(joined):
        return _PAST
    earlier = context.before.split()[:-1]
    for position in range(len(earlier) - 1, -1, -1):
        if earlier[position] in AUXILIARIES | {"to"}:
            return _PRESENT
        if _is_past(earlier[position]) or earlier[position] in HAVE:
            return _PAST
    return _PRESENT if joined in words("write listen sit learn play stop look speak go come think watch") else _PAST


def _by_the_sentence(context: Context, offset: int, past_if_unsure: bool) -> str:
    sentence = context.sentence.split()
    before = set(context.before.split())
    helpers = BE - {"was", "were", "wasn't", "weren't"} | {"get", "gets", "have", "has", "be"}
    if any(_is_past(word) and not (i and sentence[i - 1] in helpers) for i, word in enumerate(sentence)):
        return _PAST
    if PRESENT & set(sentence) or before & {"when", "if", "can"}:
        return _PRESENT
    return _PAST if past_if_unsure else _PRESENT
