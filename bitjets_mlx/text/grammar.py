"""Whether a word is used as a verb, told from the few words around it: a tagger of rules, offline and quick."""

import re
from typing import NamedTuple

from bitjets_mlx.text.words import words

MARKS = frozenset(',.?!;:-"')
DETERMINERS = words(
    """
    a an the this these those my your his her its our their whose each every either neither some any no another such
    much many few several both all most more less enough other own same first second third last next new old good
    bad great big small long short high low little large certain different various main public special single only
    whole one two three four five six seven eight nine ten eleven twelve twenty thirty forty fifty hundred thousand
    million
    """
)
PREPOSITIONS = words(
    """
    of in on at by for with from into onto upon about against between among amongst under over through during
    without within toward towards after before behind beyond despite except like near per since until via across
    along around beneath beside besides inside outside off than as
    """
)
# The base form of a verb follows these.
AUXILIARIES = words(
    """
    will would can could shall should may might must cannot do does did won't wouldn't can't couldn't shan't
    shouldn't mightn't mustn't don't doesn't didn't let's please i'll you'll he'll she'll it'll we'll they'll
    that'll i'd you'd he'd she'd we'd they'd needn't
    """
)
BE = words(
    """
    am is are was were be been being isn't aren't wasn't weren't i'm you're he's she's it's we're they're that's
    there's here's what's who's ain't
    """
)
HAVE = words("have has had having haven't hasn't hadn't i've you've we've they've who've")
SUBJECTS = words("i we they he she who")
CAUSATIVES = words("let lets make makes made making help helps helped see saw hear heard watch watched have had")
CONJUNCTIONS = words("and or but nor")
# What begins the object of a verb, and seldom follows a noun.
OPENS_OBJECT = words(
    """
    a an the this these those my your his her its our their some any all each every no another both many several one
    two three four five six seven eight nine ten me him them us it you himself herself itself themselves myself
    yourself everyone everything what whatever that
    """
)
_ADVERBS = words(
    """
    not never only always often usually also still just ever really then now soon once again sometimes rarely seldom
    hardly scarcely probably perhaps maybe already finally actually simply merely rather quite better thus therefore
    both
    """
)
_NOT_ADVERBS = words(
    """
    family early daily supply reply apply assembly july italy fly rely ally bully belly jelly lily holy ugly
    lonely friendly likely elderly deadly lovely costly monthly weekly yearly hourly quarterly curly silly orderly
    worldly butterfly anomaly monopoly
    """
)
_CLAUSE_OPENERS = words("when whenever if because while unless where although though")
_INTRANSITIVE = words(
    """
    increase decrease object contract rebel protest progress converse conflict graduate combine transfer contrast combat
    desert project separate rebound estimate live close refuse compete consort affect impact permit sow
    """
)
_ADJECTIVES = words(
    """
    present separate perfect appropriate approximate content close live absent moderate elaborate deliberate intimate
    legitimate alternate subordinate upset complex compact abstract frequent inverse degenerate desolate invalid minute
    """
)
_NOT_ADJECTIVES = words(
    """
    animal hospital signal metal material arrival general journal canal criminal rival trial official individual mammal
    professional proposal denial approval music public traffic topic fabric clinic critic mechanic republic university
    memory history story army factory country industry library secretary century
    """
)
_ADJECTIVE = re.compile(r"(?:ous|ful|ive|able|ible|al|ic|less|ish|ary|ory|ern|est|ese|ian|ean)$")
_NOT_PLURAL = words(
    """
    this is was his its us as has does yes always perhaps thus less plus besides across news series sports arms sales
    goods makes
    """
)


class Context(NamedTuple):
    """The words and marks of a text, in lower case, and the place of one of them."""

    tokens: tuple[str, ...]
    place: int
    capitals: tuple[bool, ...]  # which of them were written with a capital

    def at(self, offset: int) -> str:
        """The neighbor at `offset`, "" beyond the ends and across a mark."""
        position = self.place + offset
        step = 1 if offset > 0 else -1
        between = self.tokens[self.place + step : position + step : step] if position >= 0 else ("",)
        if not 0 <= position < len(self.tokens) or MARKS & set(between):
            return ""
        return self.tokens[position]

    @property
    def before(self) -> str:
        """The words of the same clause before it."""
        start = max((i + 1 for i in range(self.place) if self.tokens[i] in MARKS), default=0)
        return " ".join(self.tokens[start : self.place])

    @property
    def after(self) -> str:
        """The words of the same clause after it."""
        later = range(self.place + 1, len(self.tokens))
        end = next((i for i in later if self.tokens[i] in MARKS), len(self.tokens))
        return " ".join(self.tokens[self.place + 1 : end])

    @property
    def sentence(self) -> str:
        """All words of its sentence but itself."""
        ends = [i for i, token in enumerate(self.tokens) if token in {".", "?", "!"}]
        start = max((i + 1 for i in ends if i < self.place), default=0)
        end = min((i for i in ends if i > self.place), default=len(self.tokens))
        return " ".join(t for i, t in enumerate(self.tokens[start:end], start) if i != self.place and t not in MARKS)

    def skipping_adverbs(self) -> int:
        """The offset of the nearest word on the left that is not an adverb."""
        offset = -1
        while is_adverb(self.at(offset)):
            offset -= 1
        return offset


def is_adverb(word: str) -> bool:
    return word in _ADVERBS or (word.endswith("ly") and len(word) > 4 and word not in _NOT_ADVERBS)


def is_plural(word: str) -> bool:
    """Whether a word looks like a plural noun."""
    if word in {"people", "men", "women", "children", "police"}:
        return True
    return len(word) > 3 and re.search(r"[^su]s$", word) is not None and word not in _NOT_PLURAL | BE


def is_verb(context: Context) -> bool | None:
    """Whether the word is a verb here; None where its neighbors do not tell."""
    word = context.tokens[context.place]
    offset = context.skipping_adverbs()
    previous, following = context.at(offset), context.at(1)
    third_person = word.endswith("s") and not word.endswith("ss")
    if previous == "to":
        return not third_person and not _is_preposition_to(context, offset, following)
    if previous in AUXILIARIES or previous in SUBJECTS:
        return not (third_person and previous in AUXILIARIES)
    if previous in {"you", "it", "me", "him", "them", "us", "her"}:
        return _after_pronoun(context, offset, previous, following, third_person)
    if previous in {"which", "that"}:
        return third_person or following in OPENS_OBJECT or previous == "which"
    if previous in {word, word + "s", word + "d", word + "ed"}:
        return False
    if previous in DETERMINERS or previous in PREPOSITIONS or previous in BE or previous in HAVE:
        return False
    if previous.endswith("'s") or previous.endswith("s'"):
        return False
    if previous in CONJUNCTIONS:
        return _after_conjunction(context, offset, following, third_person)
    if following == "of" or following in BE or following in HAVE:
        return False
    if not previous:
        return True if following in OPENS_OBJECT and not third_person else False if third_person else None
    if _ADJECTIVE.search(previous) and previous not in _NOT_ADJECTIVES:
        return False
    if following in OPENS_OBJECT:
        return third_person != is_plural(previous) or None
    return _after_plural(word, following) if is_plural(previous) and not third_person else None


def _after_plural(word: str, following: str) -> bool | None:
    """A plural noun before the base form is most likely its subject: "trucks transport goods", "critics object"."""
    alone = following in {
        "",
        "to",
        "that",
        "early",
        "late",
        "today",
        "again",
        "more",
        "less",
        "fast",
    } | PREPOSITIONS | _CLAUSE_OPENERS or is_adverb(following)
    if word in _INTRANSITIVE and alone:
        return True
    ends = {""} | BE | HAVE | AUXILIARIES | PREPOSITIONS | CONJUNCTIONS
    return None if word in _ADJECTIVES or following in ends or following.endswith(("ed", "s'")) else True


def _is_preposition_to(context: Context, offset: int, following: str) -> bool:
    """Whether "to" before the word does not mark an infinitive: "from object to object", "according to use"."""
    if following in OPENS_OBJECT:
        return False
    before = context.at(offset - 1)
    if before == context.tokens[context.place]:
        return context.at(offset - 2) == "from"
    return before in words(
        "according due subject access exposed addicted contrary similar committed opposed barrier obstacle key thanks"
    )


def _after_pronoun(context: Context, offset: int, previous: str, following: str, third_person: bool) -> bool | None:
    if previous in {"you", "it"} and third_person:
        return previous == "it"
    if previous == "you":
        return True
    if context.at(offset - 1) in CAUSATIVES:
        return following in OPENS_OBJECT or previous not in {"her", "it"} or None
    return previous == "it" and following in OPENS_OBJECT


def _after_conjunction(context: Context, offset: int, following: str, third_person: bool) -> bool | None:
    """After "and": a verb if what it is joined to is one ("to edit and record"), a noun beside a noun."""
    joined = context.at(offset - 1)
    before = context._replace(place=context.place + offset - 1)
    if joined and (before.at(-1) == "to" or before.at(-1) in AUXILIARIES | {"i", "we", "they", "you"}):
        return not third_person
    if following in OPENS_OBJECT and not is_plural(joined):
        return True
    if before.at(-1) in DETERMINERS or before.at(-1) in PREPOSITIONS:
        return False
    return None
