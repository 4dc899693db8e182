"""Command lines whose mistakes are answered by one sentence."""

import argparse
from typing import NoReturn


class Parser(argparse.ArgumentParser):
    """An argument parser that answers a mistake with one sentence and not with its usage."""

    def error(self, message: str) -> NoReturn:
        """End with 2, as argparse does."""
        self.exit(2, f"error: {message} (--help lists the options)\n")


def positive(text: str) -> int:
    """A whole number of at least 1, as an argument's type."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value
