"""Values of foreign configuration files, checked before a model is built of them, and short in a message."""

import reprlib
from typing import Any

MOST_ITEMS = 64  # of one list


def whole_numbers(value: Any, most: int, depth: int = 0) -> bool:
    """Whether it is a whole number from 1 to `most`, or lists of lists of them, `depth` deep and none empty."""
    if depth == 0:
        return type(value) is int and 1 <= value <= most
    return (
        isinstance(value, list)
        and 0 < len(value) <= MOST_ITEMS
        and all(whole_numbers(item, most, depth - 1) for item in value)
    )


def depth_of(value: Any) -> int:
    """How deep its lists are nested: 0 for a number."""
    return 1 + depth_of(value[0]) if isinstance(value, list | tuple) else 0


def shortened(value: Any) -> str:
    """For a message. A few lines of YAML can stand for a value whose full text fills the memory."""
    return reprlib.repr(value)[:100]
