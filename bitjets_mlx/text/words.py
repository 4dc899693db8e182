"""Word lists written as running text, so that the tables stay readable, and as patterns."""

import re
from collections.abc import Iterable


def listed(text: str) -> tuple[str, ...]:
    """The words of `text`, in order."""
    return tuple(text.split())


def words(text: str) -> frozenset[str]:
    """The set of the words of `text`."""
    return frozenset(text.split())


def any_of(symbols: Iterable[str]) -> str:
    """A pattern for any of `symbols`, the longest first."""
    return "|".join(sorted((re.escape(symbol) for symbol in symbols), key=len, reverse=True))
