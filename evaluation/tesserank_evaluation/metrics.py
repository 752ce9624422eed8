"""From ranks to figures: Recall, NDCG and MRR of one relevant item, ties in expectation, and coverage.

With one relevant item at rank r, counted from 1: Recall@k is [r ≤ k], NDCG@k is [r ≤ k] / log₂(r + 1), MRR@k is
[r ≤ k] / r. Where t items tie with it, each metric is its mean over the t ranks that the target may have.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from tesserank_export.heldout import mrr_at_k, ndcg_at_k, recall_at_k

KS = (5, 10, 20, 50)
DEPTH = max(KS)
Gain: TypeAlias = "Callable[[NDArray[np.int64], NDArray[np.int64], int], NDArray[np.float64]]"
GAINS: Mapping[str, Gain] = {"recall": recall_at_k, "ndcg": ndcg_at_k, "mrr": mrr_at_k}
_DIGITS = 5


def gains(better: NDArray[np.int64], tied: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
    """Every metric of every user, as ``ndcg@10``: [N], [N] → [N] each."""
    return {f"{name}@{k}": gain(better, tied, k) for name, gain in GAINS.items() for k in KS}


def mean_and_error(values: NDArray[np.float64]) -> dict[str, float | None]:
    """The mean over users and its standard error, s / √N; None where one user leaves it unknown."""
    error = float(values.std(ddof=1)) / len(values) ** 0.5 if len(values) > 1 else None
    return {"mean": round(float(values.mean()), _DIGITS), "se": None if error is None else round(error, _DIGITS)}


def coverage(lists: NDArray[np.int32], n_items: int) -> dict[str, float]:
    """The share of the catalogue in somebody's best k, as ``coverage@10``. ``lists`` [N, DEPTH]; negative: no item."""
    found = {}
    for k in KS:
        items = np.unique(lists[:, :k])
        found[f"coverage@{k}"] = round(int((items >= 0).sum()) / n_items, _DIGITS)
    return found
