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
from tesserank_export.fit.cases import Cases
from tesserank_export.fit.parts import Parts
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
        self._moments = _moments_of(space, cases)
        self._says = None if cases.by_item else _token_weights(space)
        self._parts_of: dict[int, list[Parts]] = {}
        rows = self._asked_rows(max_events)
        self._distinct = rows[self._known[rows]].astype(np.int64)
        self._is_linear = space.items.offsets[-1] == len(space.items)
        if self._is_linear:
            self._queries, self._items = queries.decode().vectors, space.items.decode().vectors
        else:
            self._units = _all_units(space, self._distinct, threads)

    def _asked_rows(self, max_events: int) -> NDArray[np.int32]:
        """Rows of all that any case asks with."""
        if self._moments is not None:
            return np.unique(np.array(self._moments, dtype=np.int32))
        blocks = self._cases.blocks(max_events)
        asked = [history[own[0][0] :] for history, own in zip(self._cases.histories, blocks, strict=True)]
        return np.unique(np.concatenate(asked))

    def of(self, cases: Cases) -> SpaceScores:
        """The same for cases that differ in what kinds of events weigh."""
        other = copy.copy(self)
        other._cases, other._parts_of = cases, {}
        return other

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
            cases = self._cases
            blocks = cases.blocks(max_events)
            if self._moments is not None:
                own = zip(blocks, self._moments, cases.weights, strict=True)
                self._parts_of[max_events] = [Parts.of_moment(*case, self._known) for case in own]
            else:
                histories = zip(blocks, cases.histories, cases.weights, strict=True)
                self._parts_of[max_events] = [Parts.of_items(*case, self._known, self._says) for case in histories]
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
            units = self._units[np.searchsorted(self._distinct, rows)].astype(np.float32)
        for parts, row in zip(batch, out, strict=True):
            weights = parts.aged(way.recency)
            heard = weights > 0
            if heard.any():
                own = parts.scores(units[np.searchsorted(rows, parts.rows)])[heard]
                row[:] = cpu.aggregate(own.T, weights[heard], way.method, way.temperature / self.space.scale)


def _moments_of(space: Space, cases: Cases) -> list[int] | None:
    """Of each case, the row of its moment in a space that has moments."""
    if space.moments is None:
        return None
    asked_at: Sequence[int | None] = [None] * len(cases) if cases.timestamps is None else cases.timestamps.tolist()
    return [space.moment(at) for at in asked_at]


def _token_weights(space: Space) -> NDArray[np.float32]:
    """What all tokens of each item weigh together, [N]."""
    found: NDArray[np.float32] = np.add.reduceat(space.weights, space.items.offsets[:-1])
    return found


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
