"""What one space says of all items for every case, as a server would score it."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tesserank.index import Space
from tesserank.maxsim import cpu
from tesserank_export.fit.asked import Asked, AskedItems, AskedMoments
from tesserank_export.fit.cases import Cases
from tesserank_export.fit.parts import Parts
from tesserank_export.heldout import ndcg_at_k, target_ranks

TOP_K = 10
_CASES_AT_ONCE = 64
_UNITS_AT_ONCE = 256

Scores = NDArray[np.float32]  # [C, n]


@dataclass(frozen=True)
class Way:
    """How a history's segment scores become one score: see ``tesserank.segments.config.HistorySpace``."""

    method: str
    temperature: float
    recency: float
    max_events: int  # of the newest segments, which hold at most so many together


class SpaceScores:
    """Scores of the items of a space for every case, in any way that looks at no more events than ``asked`` does."""

    def __init__(self, space: Space, cases: Cases, asked: Asked, threads: int = 1) -> None:
        self.space = space
        self._cases = cases
        self._asked = asked
        self._parts_of: dict[int, list[Parts]] = {}
        self._is_linear = asked.are_rows and bool(space.items.offsets[-1] == len(space.items))
        if self._is_linear:
            self._queries, self._items = space.segment_vectors.decode().vectors, space.items.decode().vectors
        else:
            self._units = _all_units(space, asked, threads)

    @classmethod
    def of_items(cls, space: Space, cases: Cases, max_events: int, threads: int = 1) -> SpaceScores:
        """Asked with the items of histories, or with moments where the space has them."""
        has_moments = space.moments is not None
        asked = AskedMoments(space, cases) if has_moments else AskedItems(space, cases, max_events)
        return cls(space, cases, asked, threads)

    def of(self, cases: Cases) -> SpaceScores:
        """The same for cases that differ in what kinds of events weigh."""
        other = copy.copy(self)
        other._cases, other._parts_of = cases, {}
        return other

    @property
    def is_empty(self) -> bool:
        """Whether the space knows nothing of any history."""
        return not len(self._asked.units)

    @property
    def is_linear(self) -> bool:
        """Whether items and segments have one vector each, so that more segments cost little."""
        return self._is_linear

    def scores(self, way: Way) -> Scores:
        """Scores in standard deviations of the space's segment scores, as a channel of weight 1 adds them: [C, n]."""
        scores = np.zeros((len(self._cases), len(self.space.items)), dtype=np.float32)
        parts = self._parts(way.max_events)
        for first in range(0, len(scores), _CASES_AT_ONCE):
            batch = parts[first : first + _CASES_AT_ONCE]
            out = scores[first : first + _CASES_AT_ONCE]
            if self._is_linear and way.method == "sum":
                self._add_up(batch, way, out)
            else:
                self._aggregate(batch, way, out)
        scores *= np.float32(self.space.scale)
        return scores

    def _parts(self, max_events: int) -> list[Parts]:
        """Of all cases; most ways differ in what comes after."""
        if max_events not in self._parts_of:
            self._parts_of[max_events] = self._asked.parts(self._cases, max_events)
        return self._parts_of[max_events]

    def _add_up(self, batch: Sequence[Parts], way: Way, out: Scores) -> None:
        """Of one vector an item, a sum of scores is the score of a sum."""
        users = [parts.unit_weights(way.recency) @ self._queries[parts.rows] for parts in batch]
        np.matmul(np.stack(users), self._items.T, out=out)

    def _aggregate(self, batch: Sequence[Parts], way: Way, out: Scores) -> None:
        rows = np.unique(np.concatenate([parts.rows for parts in batch]))
        if not len(rows):
            return
        if self._is_linear:
            units = self._queries[rows] @ self._items.T
        else:
            units = self._units[np.searchsorted(self._asked.units, rows)].astype(np.float32)
        for parts, row in zip(batch, out, strict=True):
            weights = parts.aged(way.recency)
            heard = weights > 0
            if heard.any():
                own = parts.scores(units[np.searchsorted(rows, parts.rows)])[heard]
                row[:] = cpu.aggregate(own.T, weights[heard], way.method, way.temperature / self.space.scale)


def _all_units(space: Space, asked: Asked, threads: int) -> NDArray[np.float16]:
    """MaxSim of all units with all items: float16 [U, n], as they are many."""
    units = np.empty((len(asked.units), len(space.items)), dtype=np.float16)
    with ThreadPoolExecutor(threads) as pool:
        for first in range(0, len(units), _UNITS_AT_ONCE):
            tokens = asked.tokens(asked.units[first : first + _UNITS_AT_ONCE])
            units[first : first + _UNITS_AT_ONCE] = cpu.unit_scores(*tokens, space.items, pool=pool).T
    return units


def gains(scores: Scores, cases: Cases) -> NDArray[np.float64]:
    """NDCG@10 of every case [C]."""
    return ndcg_at_k(*target_ranks(scores, cases.targets, cases.histories), k=TOP_K)
