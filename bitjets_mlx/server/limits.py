"""How much a server does for others."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Requests at a time, characters of one text, seconds from a request to the last of its sound."""

    requests: int = 64
    characters: int = 4096
    seconds: float = 600.0

    @property
    def body(self) -> int:
        """Bytes of a request: every character may be written as a pair of \\uXXXX."""
        return 12 * self.characters + 4096
