"""Where the targets come out: a recommender asked for every case, in batches that bound the memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tesserank_evaluation.metrics import DEPTH
from tesserank_evaluation.recommender import Recommender, Scores
from tesserank_evaluation.split import Cases, item_arrays
from tesserank_export.heldout import target_ranks

_SCORES_AT_ONCE = 2**23  # 32 MiB of float32
NO_ITEM = -1

Advance = Callable[[int], None]  # called with the number of users ranked since the last call


@dataclass(frozen=True)
class Ranked:
    """N cases ranked. The target is equally likely at each of the ranks better + 1 … better + tied."""

    better: NDArray[np.int64]  # [N] items scored above the target
    tied: NDArray[np.int64]  # [N] items scored as the target is, itself among them
    lists: NDArray[np.int32]  # [N, DEPTH] the best items, ties in catalogue order; NO_ITEM where there are fewer
    seconds: float

    @classmethod
    def of(
        cls, parts: Iterable[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]], started: float
    ) -> Ranked:
        """Batches put together; ``started`` is a ``time.perf_counter()``."""
        better, tied, lists = zip(*parts, strict=True)
        columns = np.concatenate(better), np.concatenate(tied), np.concatenate(lists)
        return cls(*columns, time.perf_counter() - started)


def rank(recommender: Recommender, cases: Cases, n_items: int, advance: Advance) -> Ranked:
    """Score the catalogue for every case. Raises ValueError if a score is not finite."""
    started = time.perf_counter()
    at_once = max(1, _SCORES_AT_ONCE // n_items)
    parts = []
    for first in range(0, len(cases), at_once):
        batch = slice(first, first + at_once)
        histories = cases.histories[batch]
        scores = recommender.scores(histories)
        items = item_arrays(histories)
        parts.append((*target_ranks(scores, cases.targets[batch], items), best_lists(scores, items)))
        advance(len(histories))
    return Ranked.of(parts, started)


def best_lists(scores: Scores, histories: Sequence[NDArray[np.int32]], depth: int = DEPTH) -> NDArray[np.int32]:
    """Each row's best ``depth`` items that are not in its history → [B, depth]; equal scores in catalogue order."""
    lists = np.full((len(scores), depth), NO_ITEM, dtype=np.int32)
    for row, history in enumerate(histories):
        own = scores[row].copy()
        own[history] = -np.inf
        count = min(depth, len(own) - len(history))
        lists[row, :count] = _best(own, count)
    return lists


def _best(scores: Scores, count: int) -> NDArray[np.int64]:
    if not count:
        return np.zeros(0, dtype=np.int64)
    least = np.partition(scores, len(scores) - count)[len(scores) - count]
    above = np.flatnonzero(scores > least)
    level = np.flatnonzero(scores == least)[: count - len(above)]
    rows = np.sort(np.concatenate([above, level]))
    return rows[np.argsort(-scores[rows], kind="stable")]
