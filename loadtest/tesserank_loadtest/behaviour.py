"""What users do, in order of time: the events that histories grow by. Real ones come from a log, these are drawn."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tesserank_loadtest.scenario import Sessions

BEGINNING = 1_700_000_000.0  # Unix seconds; fixed, or two runs would not send the same
BLOCK = 256  # sessions drawn at once


class Act(NamedTuple):
    """A user did something with an item, at Unix seconds."""

    user: str
    item: str
    timestamp: float | None
    kind: str | None


class Zipf:
    """Ranks from 0, the r-th drawn ∝ (r + 1)^-exponent."""

    def __init__(self, size: int, exponent: float) -> None:
        shares = np.arange(1, size + 1, dtype=np.float64) ** -exponent
        self._cumulative = np.cumsum(shares) / shares.sum()

    def draw(self, rng: np.random.Generator, count: int) -> npt.NDArray[np.intp]:
        """``count`` ranks."""
        ranks = np.searchsorted(self._cumulative, rng.random(count), side="right")
        # rounding may leave the last cumulative share below 1, and a draw above it
        return np.minimum(ranks, len(self._cumulative) - 1)


def synthetic_acts(sessions: Sessions, items: Sequence[str], seed: int) -> Iterator[Act]:
    """Endless acts of users in sessions, by time. Equal arguments give equal acts."""
    rng = np.random.default_rng([seed, 0x5E55])
    by_popularity = rng.permutation(len(items))
    drawn = _sessions(sessions, rng, Zipf(sessions.users, sessions.user_zipf), Zipf(len(items), sessions.item_zipf))
    pending: list[tuple[float, int, int, int, str | None]] = []  # time, a number that breaks ties, user, rank, kind
    numbers = itertools.count()
    for start, user, gaps, ranks, kinds in drawn:
        while pending and pending[0][0] < start:
            yield _act(heapq.heappop(pending), items, by_popularity)
        for time, rank, kind in zip((start + gaps).tolist(), ranks.tolist(), kinds, strict=True):
            heapq.heappush(pending, (time, next(numbers), user, rank, kind))


def _act(event: tuple[float, int, int, int, str | None], items: Sequence[str], rows: npt.NDArray[np.intp]) -> Act:
    time, _, user, rank, kind = event
    return Act(f"user-{user}", items[rows[rank]], time, kind)


def _sessions(
    sessions: Sessions, rng: np.random.Generator, users: Zipf, items: Zipf
) -> Iterator[tuple[float, int, npt.NDArray[np.float64], npt.NDArray[np.intp], list[str | None]]]:
    """Start, user, seconds of each event after the start, its item's rank and its kind."""
    kinds = _Kinds(sessions, rng)
    now = BEGINNING
    while True:
        starts = now + np.cumsum(rng.exponential(3600.0 / sessions.per_hour, BLOCK))
        now = float(starts[-1])
        counts = rng.geometric(1 / sessions.events, BLOCK)
        for start, user, count in zip(starts.tolist(), users.draw(rng, BLOCK).tolist(), counts.tolist(), strict=True):
            gaps = rng.lognormal(math.log(sessions.gap_s), sessions.gap_sigma, count)
            gaps[0] = 0.0
            yield start, user, np.cumsum(gaps), items.draw(rng, count), kinds.draw(count)


class _Kinds:
    def __init__(self, sessions: Sessions, rng: np.random.Generator) -> None:
        self._names = list(sessions.kinds)
        shares = np.array(list(sessions.kinds.values()), dtype=np.float64)
        self._shares = shares / shares.sum() if self._names else shares
        self._rng = rng

    def draw(self, count: int) -> list[str | None]:
        if not self._names:
            return [None] * count
        return [self._names[at] for at in self._rng.choice(len(self._names), count, p=self._shares).tolist()]
