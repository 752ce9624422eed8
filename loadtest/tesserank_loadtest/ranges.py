"""The ranges of the command line's numbers: types for argparse, whose errors name the value and the range."""

from __future__ import annotations

import math
from argparse import ArgumentTypeError
from collections.abc import Callable
from typing import Literal

from tesserank.limits import Limits

CATALOGUE: Literal["catalogue"] = "catalogue"

MAXIMUM_USERS = 10_000  # more greenlets than one process can keep busy
MAXIMUM_SECONDS = 86_400


def _integer(lowest: int, highest: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise ArgumentTypeError(f"{text!r} is not a whole number") from None
        if not lowest <= value <= highest:
            raise ArgumentTypeError(f"{value:,} is not from {lowest:,} to {highest:,}")
        return value

    return parse


def _real(lowest: float, highest: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise ArgumentTypeError(f"{text!r} is not a number") from None
        if not (math.isfinite(value) and lowest <= value <= highest):
            raise ArgumentTypeError(f"{value:g} is not from {lowest:g} to {highest:g}")
        return value

    return parse


users = _integer(1, MAXIMUM_USERS)
seconds = _integer(1, MAXIMUM_SECONDS)
port = _integer(1, 65_535)
positive = _integer(1, 2**31 - 1)
events = _integer(1, Limits().max_history_events)
seed = _integer(0, 2**63 - 1)
rate = _real(0.01, MAXIMUM_USERS)
timeout = _real(0.001, MAXIMUM_SECONDS)
ratio = _real(0.0, 1.0)


def candidates(text: str) -> int | Literal["catalogue"]:
    """A number of candidates, or the word for all items."""
    return CATALOGUE if text == CATALOGUE else positive(text)
