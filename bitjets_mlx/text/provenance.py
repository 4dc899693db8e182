"""Text under rewriting that remembers, for every character, the place in the original that it came from."""

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable
from re import Match, Pattern
from typing import NamedTuple

Place = tuple[int, int]  # start and end in the original
Rule = tuple[str, Callable[[Match[str]], str]]  # a pattern, and what is written for a match of it

_TOKEN = re.compile(r"\w+|[\ue000-\uf8ff]")


class Span(NamedTuple):
    """A spoken word and the place [start, end) in the original text that it was read from."""

    word: str
    start: int
    end: int


class Traced:
    """A text and the places of its characters; `sub` rewrites both."""

    def __init__(self, text: str, places: list[Place] | None = None) -> None:
        self.text = text
        self.places = [(i, i + 1) for i in range(len(text))] if places is None else places

    def sub(self, pattern: Pattern[str], replace: Callable[[Match[str]], str], markup: bool = False) -> None:
        """`pattern.sub(replace, text)`, with the places carried along: `carried` says how.

        Where the rule takes `markup` away, what it leaves out is not spoken, and no word answers for it.
        """
        pieces: list[str] = []
        places: list[Place] = []
        end = 0
        for match in pattern.finditer(self.text):
            new = replace(match)
            if new == match[0]:
                continue
            start = match.start()
            pieces += [self.text[end:start], new]
            places += self.places[end:start]
            old_places = self.places[start : match.end()]
            if not old_places and new:  # put in between two characters: it belongs to the one before
                old_places = self.places[max(start - 1, 0) : max(start, 1)]
            places += carried(match[0], old_places, new, markup)
            end = match.end()
        if end or pieces:
            self.text = "".join([*pieces, self.text[end:]])
            self.places = places + self.places[end:]

    def apply(self, rules: "Rules", markup: bool = False) -> None:
        """All `rules`, one after another, if the text has anything for them."""
        if rules.needs is None or rules.needs.search(self.text):
            for pattern, replace in rules.compiled():
                self.sub(pattern, replace, markup)


class Rules:
    """A table of rules, for texts in which the pattern `needs` is found; compiled with the first such text."""

    def __init__(self, rules: Iterable[Rule], needs: str | None = None, flags: int = 0) -> None:
        self.needs = None if needs is None else re.compile(needs, flags)
        self._rules, self._flags = tuple(rules), flags
        self._compiled: list[tuple[Pattern[str], Callable[[Match[str]], str]]] | None = None

    def compiled(self) -> list[tuple[Pattern[str], Callable[[Match[str]], str]]]:
        if self._compiled is None:
            self._compiled = [(re.compile(pattern, self._flags), replace) for pattern, replace in self._rules]
        return self._compiled


def carried(old: str, places: list[Place], new: str, markup: bool = False) -> list[Place]:
    """The places of the characters of `new`, which replaces `old`.

    A word that both have keeps its place, the words between two such get all that stood between them. Where nothing
    stood there, they get the place of the word before; where nothing new stands, the word before gets the place of
    what was there, so that no spoken letter is without a word, unless it was markup.
    """
    if not places:
        return [(0, 0)] * len(new)
    olds, news = list(_TOKEN.finditer(old)), list(_TOKEN.finditer(new))
    inside = _union(places, len(old) - len(old.lstrip()), len(old.rstrip())) if old.strip() else _union(places, 0, None)
    if not olds or not news:
        return [inside] * len(new)
    kept = _common(olds, news)
    whole: list[Place | None] = [None] * len(news)
    for i, j in kept:
        whole[j] = _union(places, olds[i].start(), olds[i].end())
    for (i, j), (next_i, next_j) in zip([(-1, -1), *kept], [*kept, (len(olds), len(news))], strict=True):
        start = olds[i].end() if i >= 0 else 0
        end = olds[next_i].start() if next_i < len(olds) else len(old)
        between = old[start:end]
        inner = list(_TOKEN.finditer(between))
        if next_j > j + 1:
            if between.strip():
                start += len(between) - len(between.lstrip())
                end -= len(between) - len(between.rstrip())
                whole[j + 1 : next_j] = [_union(places, start, end)] * (next_j - j - 1)
            else:
                neighbor = whole[j] if j >= 0 else whole[next_j]
                whole[j + 1 : next_j] = [neighbor] * (next_j - j - 1)
        elif inner and not markup:  # letters that are spoken within a neighbor
            owner = j if j >= 0 else next_j
            gap = _union(places, start + inner[0].start(), start + inner[-1].end())
            owned = whole[owner] or gap
            whole[owner] = (min(owned[0], gap[0]), max(owned[1], gap[1]))
    result: list[Place] = [whole[0] or inside] * len(new)
    for token, place in zip(news, whole, strict=True):  # marks behind a word share its place: places never go back
        result[token.start() :] = [place or inside] * (len(new) - token.start())
    return result


def _common(olds: list[Match[str]], news: list[Match[str]]) -> list[tuple[int, int]]:
    """Pairs of equal words, old and new, in the order of both: the nearest ahead each."""
    where: dict[str, list[int]] = {}
    for k, token in enumerate(olds):
        where.setdefault(token[0].lower(), []).append(k)
    kept, i = [], 0
    for j, token in enumerate(news):
        places = where.get(token[0].lower(), ())
        k = bisect_left(places, i)
        if k < len(places):
            kept.append((places[k], j))
            i = places[k] + 1
    return kept


def _union(places: list[Place], start: int, end: int | None) -> Place:
    return min(p[0] for p in places[start:end]), max(p[1] for p in places[start:end])
