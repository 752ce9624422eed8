"""The ranges of the command line's numbers: types for argparse, whose errors name the value and the range."""

from __future__ import annotations

import math
from argparse import ArgumentTypeError
from collections.abc import Callable

from tesserank.limits import Limits
from tesserank_loadtest.scenario import CATALOGUE

MAXIMUM_USERS = 10_000  # more greenlets than one process can keep busy
MAXIMUM_RATE = 100_000.0  # requests a second
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


_user_count = _integer(1, MAXIMUM_USERS)
processes = _integer(1, 64)
seconds = _integer(1, MAXIMUM_SECONDS)
port = _integer(1, 65_535)
positive = _integer(1, 2**31 - 1)
events = _integer(1, Limits().max_history_events)
seed = _integer(0, 2**63 - 1)
rate = _real(0.01, MAXIMUM_RATE)
timeout = _real(0.001, MAXIMUM_SECONDS)
ratio = _real(0.0, 10.0)
warmup = _real(0.0, MAXIMUM_SECONDS)
precision = _real(0.005, 1.0)


def users(text: str) -> tuple[int, ...]:
    """Numbers of users, one or several with commas: a sweep."""
    return tuple(_user_count(part) for part in text.split(","))


def candidates(text: str) -> int | str:
    """A number of candidates, or the word for all items."""
    return CATALOGUE if text == CATALOGUE else positive(text)
