"""Exact search at the price of a coarse one: what cannot be among the best k is not scored exactly.

Items are scored with queries in 8 bits first (``maxsim.cpu.coarse_unit_scores``), which is off by at most an error that
is known: by the Cauchy-Schwarz inequality, at most the length of what rounding took from a query token times the
longest item vector. So an item whose coarse score is more than twice that error below the k-th best one is not among
the best k. Those that are left, a few more than k, are scored exactly: the answer is what it would be without this.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tesserank.maxsim import cpu
from tesserank.maxsim.aggregate import ROUNDING
from tesserank.serving.aggregation import sensitivity
from tesserank.serving.interaction import LateInteraction, Rows
from tesserank.serving.segments import UserSegments

# With fewer items, or more of them wanted, scoring all of them exactly is as fast. Measured, two threads.
_LEAST_ITEMS = 1_000
_ITEMS_PER_WANTED = 10


class Screen:
    """``coarse`` scores with ``cpu.coarse_unit_scores``."""

    def __init__(self, coarse: LateInteraction) -> None:
        self._coarse = coarse

    @classmethod
    def of(cls, coarse: LateInteraction) -> Screen | None:
        """None where coarse scores of no space are faster than exact ones."""
        return cls(coarse) if any(map(cpu.has_coarse, coarse.items.values())) else None

    def survivors(
        self, user: UserSegments, rows: Rows | None, allowed: NDArray[np.bool_] | None, k: int
    ) -> Rows | None:
        """Rows, ascending, with the user's best k items of ``rows`` (None: of all, less those not ``allowed``) among
        them, whatever their order; None if all should be scored."""
        count = len(next(iter(self._coarse.items.values()))) if rows is None else len(rows)
        if count < max(_LEAST_ITEMS, _ITEMS_PER_WANTED * k):
            return None
        scores = self._coarse.scores(user, rows)
        if rows is None and allowed is not None:
            scores[~allowed] = -np.inf
        lowest = np.partition(scores, count - k)[count - k] - 2 * self._error(user, scores)
        if np.isnan(lowest):  # no score, or no bound, to go by
            return None
        left = np.flatnonzero((scores >= lowest) & (scores > -np.inf))
        return left if rows is None else rows[left]

    def _error(self, user: UserSegments, scores: NDArray[np.float32]) -> float:
        """The most that a score is off by."""
        error = ROUNDING * float(np.abs(scores[scores > -np.inf]).max(initial=0))
        for name, change in sensitivity(user, self._coarse.channels(user)).items():
            space = user.spaces[name]
            error += change * cpu.coarse_error(
                space.tokens, space.token_weights, space.starts, self._coarse.items[name]
            )
        return error
