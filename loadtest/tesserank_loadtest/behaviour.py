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
BLOCK = 64  # sessions drawn at once


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
    by_popularity: list[int] = rng.permutation(len(items)).tolist()
    pending: list[tuple[float, int, int, int, str | None]] = []  # time, a number that breaks ties, user, rank, kind
    numbers = itertools.count()
    for session in _sessions(sessions, rng, len(items)):
        while pending and pending[0][0] < session.start:
            time, _, user, rank, kind = heapq.heappop(pending)
            yield Act(f"user-{user}", items[by_popularity[rank]], time, kind)
        times = itertools.accumulate(session.gaps, initial=session.start)
        for time, rank, kind in zip(times, session.ranks, session.kinds, strict=True):
            heapq.heappush(pending, (time, next(numbers), session.user, rank, kind))


class _Session(NamedTuple):
    """Of n events: n - 1 gaps in seconds, n ranks of items, n kinds."""

    start: float
    user: int
    gaps: list[float]
    ranks: list[int]
    kinds: list[str | None]


def _sessions(sessions: Sessions, rng: np.random.Generator, items: int) -> Iterator[_Session]:
    users, popularity = Zipf(sessions.users, sessions.user_zipf), Zipf(items, sessions.item_zipf)
    now = BEGINNING
    while True:
        starts = now + np.cumsum(rng.exponential(3600.0 / sessions.per_hour, BLOCK))
        now = float(starts[-1])
        ends = np.cumsum(rng.geometric(1 / sessions.events, BLOCK)).tolist()  # of the sessions' events among all
        gaps = rng.lognormal(math.log(sessions.gap_s), sessions.gap_sigma, ends[-1]).tolist()
        ranks = popularity.draw(rng, ends[-1]).tolist()
        kinds = _kinds(sessions, rng, ends[-1])
        active = users.draw(rng, BLOCK).tolist()
        for start, user, first, end in zip(starts.tolist(), active, [0, *ends[:-1]], ends, strict=True):
            yield _Session(start, user, gaps[first + 1 : end], ranks[first:end], kinds[first:end])


def _kinds(sessions: Sessions, rng: np.random.Generator, count: int) -> list[str | None]:
    names = list(sessions.kinds)
    if not names:
        return [None] * count
    shares = np.array(list(sessions.kinds.values()), dtype=np.float64)
    return [names[at] for at in rng.choice(len(names), count, p=shares / shares.sum()).tolist()]
