"""How much of the exact answer a pruned search finds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tesserank.serving.request import RankingOptions
from tesserank.serving.scorer import SegmentScorer
from tesserank.serving.segments import UserSegments

DEPTHS = (10, 100)  # of an answer, at which recall is measured


@dataclass(frozen=True)
class Recall:
    """Mean over ``queries`` of: exact best k items that are among the pruned search's best k, divided by k."""

    queries: int
    at_10: float
    at_100: float

    @property
    def lowest(self) -> float:
        return min(self.at_10, self.at_100)


def measure_recall(
    exhaustive: SegmentScorer, pruned: SegmentScorer, users: Sequence[UserSegments], options: Sequence[RankingOptions]
) -> Recall:
    """Ask both for every user's best items, as many as ``options`` say (DEPTHS at the most).

    An answer that has fewer than k items counts with those that it has. At least one user is needed.
    """
    shares: list[list[float]] = [[] for _ in DEPTHS]
    for user, option in zip(users, options, strict=True):
        [exact], [found] = exhaustive.rank([user], [option]), pruned.rank([user], [option])
        for depth, own in zip(DEPTHS, shares, strict=True):
            best = exact.rows[:depth]
            own.append(len(np.intersect1d(best, found.rows[:depth])) / max(len(best), 1))
    return Recall(len(users), *(float(np.mean(own)) for own in shares))
