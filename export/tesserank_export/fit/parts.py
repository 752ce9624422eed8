"""One history in one space, as the parts whose scores are aggregated: what a server makes of its segments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tesserank.segments.cut import Block


@dataclass(frozen=True)
class Parts:
    """P parts of U units, oldest first: a part's score is the mean of its units' scores, weighted by ``shares``.

    Items that are scored one by one are parts of their own, each with the weight and the age of its segment. To
    aggregate items within segments, with weights of 1, and then segments comes to the same, as a sum and as a soft
    maximum: ``Σ_k w_k Σ_i y_i`` and ``τ·log Σ_k w_k·exp(log Σ_i exp(y_i / τ))`` are over all items at once.
    """

    rows: NDArray[np.int64]  # [U] of the space's queries: items, or moments
    shares: NDArray[np.float32]  # [U] those of a part add up to 1
    starts: NDArray[np.int64]  # [P] first unit of each
    weights: NDArray[np.float32]  # [P]
    ages: NDArray[np.int64]  # [P] in segments

    @classmethod
    def of_items(
        cls,
        blocks: Sequence[Block],
        rows: NDArray[np.int32],
        weights: NDArray[np.float32],
        known: NDArray[np.bool_],
        by_item: bool,
    ) -> Parts:
        """Of the segments ``blocks`` of a history: ``rows`` [n] with event ``weights`` [n], a vector each.

        An item that a space knows nothing of (``known`` [N]) has no unit, and a segment of such items is none, but
        those before it are older for it. ``by_item``: items are scored one by one; else a segment is scored as a whole,
        in which its items count alike.
        """
        means, ages, lengths = _segments(blocks, weights)
        of = np.repeat(np.arange(len(blocks)), lengths)
        own = rows[blocks[0][0] :].astype(np.int64)
        kept = known[own]
        own, of = own[kept], of[kept]
        if by_item:
            return cls(own, np.ones(len(own), dtype=np.float32), np.arange(len(own)), means[of], ages[of])
        segments, starts, counts = np.unique(of, return_index=True, return_counts=True)
        shares = np.repeat(1.0 / counts, counts).astype(np.float32)
        return cls(own, shares, starts, means[segments], ages[segments])

    @classmethod
    def of_moment(
        cls, blocks: Sequence[Block], row: int, weights: NDArray[np.float32], known: NDArray[np.bool_]
    ) -> Parts:
        """Of the moment ``row``, which weighs as much as the segments ``blocks`` of the history would: it as often."""
        means, ages, _ = _segments(blocks, weights)
        count = len(blocks) if known[row] else 0
        ones = np.ones(count, dtype=np.float32)
        return cls(np.full(count, row), ones, np.arange(count), means[:count], ages[:count])

    @classmethod
    def of_units(
        cls, blocks: Sequence[Block], units: Sequence[NDArray[np.int64]], weights: NDArray[np.float32]
    ) -> Parts:
        """Of the segments ``blocks``, the ``units`` of each, which are parts of their own."""
        means, ages, _ = _segments(blocks, weights)
        of = np.repeat(np.arange(len(blocks)), [len(own) for own in units])
        rows = np.concatenate(units).astype(np.int64)
        return cls(rows, np.ones(len(rows), dtype=np.float32), np.arange(len(rows)), means[of], ages[of])

    def aged(self, recency: float) -> NDArray[np.float32]:
        """Their weights [P], less the older they are."""
        return (self.weights * recency**self.ages).astype(np.float32)

    def unit_weights(self, recency: float) -> NDArray[np.float32]:
        """What each unit's score counts in a sum over the parts [U]."""
        return np.repeat(self.aged(recency), self._lengths) * self.shares

    def scores(self, units: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scores of the parts with n items, [P, n], of those of the units, [U, n]."""
        if len(self.starts) == len(self.rows):
            return units
        found: NDArray[np.float32] = np.add.reduceat(units * self.shares[:, None], self.starts, axis=0)
        return found

    @property
    def _lengths(self) -> NDArray[np.int64]:
        return np.diff(self.starts, append=len(self.rows))


def _segments(
    blocks: Sequence[Block], weights: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
    """Mean weight of the events, age, and number of events of each, [s].

    Blocks follow one another, to the newest event.
    """
    starts = np.array([start for start, _ in blocks])
    lengths = np.diff(starts, append=len(weights))
    means = np.add.reduceat(weights[starts[0] :], starts - starts[0]) / lengths
    return means.astype(np.float32), np.arange(len(blocks))[::-1], lengths
