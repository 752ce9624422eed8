"""What one space says of all items for every case, as a server would score it."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tesserank.index import Space
from tesserank.maxsim import cpu
from tesserank_export.fit.cases import Cases
from tesserank_export.heldout import ndcg_at_k, target_ranks
from tesserank_export.spaces import as_units, known_rows

TOP_K = 10
_CASES_AT_ONCE = 64
_ITEMS_AT_ONCE = 256

Scores = NDArray[np.float32]  # [C, n]


@dataclass(frozen=True)
class Way:
    """How a history's segment scores become one score: see ``tesserank.segments.config.HistorySpace``."""

    method: str
    temperature: float
    recency: float
    max_events: int  # so many newest items are segments


class SpaceScores:
    """Scores of the items of a space for every case, in any way; ``max_events``: the most that a way will have."""

    def __init__(self, space: Space, cases: Cases, max_events: int, threads: int = 1) -> None:
        self.space = space
        self._cases = cases
        queries = space.items if space.queries is None else space.queries
        self._known = np.zeros(len(queries), dtype=bool)
        self._known[known_rows(queries)] = True
        self._rows = _rows_of(space, cases)
        rows = np.unique(np.concatenate([own[-max_events:] for own in self._rows]))
        self._distinct = rows[self._known[rows]].astype(np.int64)
        self._is_linear = space.items.offsets[-1] == len(space.items)
        if self._is_linear:
            self._queries, self._items = queries.decode().vectors, space.items.decode().vectors
        else:
            self._units = _all_units(space, self._distinct, threads)

    @property
    def is_empty(self) -> bool:
        """Whether the space knows nothing of any history."""
        return not len(self._distinct)

    @property
    def is_linear(self) -> bool:
        """Whether every item has one vector, so that more segments cost little."""
        return bool(self._is_linear)

    def scores(self, way: Way) -> Scores:
        """Scores in standard deviations of the space's segment scores, as a channel of weight 1 adds them: [C, n]."""
        scores = np.zeros((len(self._cases), len(self.space.items)), dtype=np.float32)
        for first in range(0, len(scores), _CASES_AT_ONCE):
            batch = self._segments(first, way.max_events)
            out = scores[first : first + _CASES_AT_ONCE]
            if self._is_linear and way.method == "sum":
                self._add_up(batch, way, out)
            else:
                self._aggregate(batch, way, out)
        scores *= np.float32(self.space.scale)
        return scores

    def _segments(self, first: int, max_events: int) -> list[_Segments]:
        """Of the cases of a batch."""
        batch = slice(first, first + _CASES_AT_ONCE)
        return [
            _Segments.of(rows[-max_events:], weights[-max_events:], self._known)
            for rows, weights in zip(self._rows[batch], self._cases.weights[batch], strict=True)
        ]

    def _add_up(self, batch: Sequence[_Segments], way: Way, out: Scores) -> None:
        """Of one vector an item, a sum of scores is the score of a sum."""
        users = [segments.aged(way.recency) @ self._queries[segments.rows] for segments in batch]
        np.matmul(np.stack(users), self._items.T, out=out)

    def _aggregate(self, batch: Sequence[_Segments], way: Way, out: Scores) -> None:
        rows = np.unique(np.concatenate([segments.rows for segments in batch]))
        if not len(rows):
            return
        if self._is_linear:
            units = self._queries[rows] @ self._items.T
        else:
            units = self._units[np.searchsorted(self._distinct, rows)].astype(np.float32)
        for segments, row in zip(batch, out, strict=True):
            weights = segments.aged(way.recency)
            heard = weights > 0
            if heard.any():
                own = units[np.searchsorted(rows, segments.rows[heard])]
                row[:] = cpu.aggregate(own.T, weights[heard], way.method, way.temperature / self.space.scale)


def _rows_of(space: Space, cases: Cases) -> Sequence[NDArray[np.int32]]:
    """Of each case, rows of the space's segments, oldest first: its history, or its moment as often as that is long."""
    if space.moments is None:
        return cases.histories
    asked_at: Sequence[int | None] = [None] * len(cases) if cases.timestamps is None else cases.timestamps.tolist()
    moments = map(space.moment, asked_at)
    return [np.full(len(own), row, dtype=np.int32) for own, row in zip(cases.histories, moments, strict=True)]


@dataclass(frozen=True)
class _Segments:
    rows: NDArray[np.int64]  # [s] items, or a moment
    weights: NDArray[np.float32]  # [s]
    ages: NDArray[np.int64]  # [s]

    @classmethod
    def of(cls, rows: NDArray[np.int32], weights: NDArray[np.float32], known: NDArray[np.bool_]) -> _Segments:
        """An item that a space knows nothing of is no segment, but those before it are older for it."""
        ages = np.arange(len(rows))[::-1]
        kept = known[rows]
        return cls(rows[kept].astype(np.int64), weights[kept], ages[kept])

    def aged(self, recency: float) -> NDArray[np.float32]:
        return (self.weights * recency**self.ages).astype(np.float32)


def _all_units(space: Space, rows: NDArray[np.int64], threads: int) -> NDArray[np.float16]:
    """MaxSim of the items of ``rows`` as segments with all items: float16 [rows, n], as they are many."""
    units = np.empty((len(rows), len(space.items)), dtype=np.float16)
    with ThreadPoolExecutor(threads) as pool:
        for first in range(0, len(rows), _ITEMS_AT_ONCE):
            segments = as_units(space.items, space.weights, rows[first : first + _ITEMS_AT_ONCE])
            units[first : first + _ITEMS_AT_ONCE] = cpu.unit_scores(*segments, space.items, pool=pool).T
    return units


def gains(scores: Scores, cases: Cases) -> NDArray[np.float64]:
    """NDCG@10 of every case [C]."""
    return ndcg_at_k(*target_ranks(scores, cases.targets, cases.histories), k=TOP_K)
