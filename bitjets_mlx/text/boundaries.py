"""Whether the period of an abbreviation also ends the sentence."""

import re
from re import Match

from bitjets_mlx.text.words import words

# Words that, capitalized after a period, begin a sentence rather than continue a name.
STARTERS = words(
    """
    A An The This That These Those I He She It We They You My His Her Its Our Their Your There Here What When Where
    Who Why How Which While If In On At By For From With After Before As But And Or So Then Yet Not No Yes Now Once
    Since Although Though Because However Some Many Most All Each Every Both Few One Two Three Another Other Such To
    Under Until Upon Was Were Is Are Did Do Does Can Could Will Would Should May Might Must Let Please Perhaps Maybe
    Meanwhile Moreover Nevertheless Nobody Nothing Someone Everyone Everything Today Tomorrow Yesterday Later Soon
    Still Thus Therefore Next Never Just Even Only Also Again Finally First Second Several Have Has Had Thanks Don't
    Didn't It's He's She's They're We're I'm I've I'd I'll That's There's What's You're Nor Whether Within Without
    During Despite Between Above Below Like Unlike Instead Indeed Hence Otherwise Suddenly Sometimes Usually Often
    Always Mr Mrs Ms Dr
    """
)
_NEXT_WORD = re.compile(r"""[)\]}"']*\s+["'(\[]*([A-Za-z]+(?:'[a-z]+)?)""")


def ends_sentence(rest: str) -> bool:
    """Whether a sentence ends before `rest`, the text after an abbreviation's period."""
    if not rest.strip(" \n\"')]}"):
        return True
    following = _NEXT_WORD.match(rest)
    return following is not None and following[1] in STARTERS


def period_after(match: Match[str]) -> str:
    """What is left of the period at the end of a matched abbreviation: "." where it ends the sentence, else ""."""
    return "." if ends_sentence(match.string[match.end() :]) else ""
