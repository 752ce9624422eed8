"""How good a ranking is: where the hidden item comes out, and how many of the best items are to the user's taste."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tesserank_bench.case_study.plan import TOP_K
from tesserank_export.heldout import HeldOut, ndcg_at_k, recall_at_k, target_ranks

Result = dict[str, Any]


@dataclass
class Quality:
    """Adds up what rankings of batches of users are worth; users in the order of ``held``."""

    held: HeldOut
    taste_of: NDArray[np.int64]  # [items]
    tastes: Sequence[frozenset[int]]  # of the users of ``held``
    ndcg: list[float] = field(default_factory=list)
    recall: list[float] = field(default_factory=list)
    to_taste: list[float] = field(default_factory=list)

    def add(self, scores: NDArray[np.float32], first: int) -> None:
        """Scores [n, items] of the users from position ``first`` on; their histories take no part."""
        users = range(first, first + len(scores))
        histories = tuple(self.held.histories[user] for user in users)
        ranks = target_ranks(scores, self.held.targets[first : first + len(scores)], histories)
        self.ndcg += ndcg_at_k(*ranks, k=TOP_K).tolist()
        self.recall += recall_at_k(*ranks, k=TOP_K).tolist()
        for user, row, history in zip(users, scores, histories, strict=True):
            own = row.copy()
            own[history] = -np.inf
            best = np.argpartition(own, -TOP_K)[-TOP_K:]
            self.to_taste.append(float(np.mean([self.taste_of[item] in self.tastes[user] for item in best])))

    def result(self, users: int | None = None) -> Result:
        """Means of the first so many users (None: of all), with the standard error of NDCG."""
        ndcg = self.ndcg[:users]
        return {
            "users": len(ndcg),
            "ndcg_at_10": round(float(np.mean(ndcg)), 4),
            "ndcg_standard_error": round(float(np.std(ndcg, ddof=1) / len(ndcg) ** 0.5), 4),
            "recall_at_10": round(float(np.mean(self.recall[:users])), 4),
            "to_taste_at_10": round(float(np.mean(self.to_taste[:users])), 4),
        }
