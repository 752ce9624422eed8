"""MaxSim as tesserank computes it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from tesserank.maxsim import cpu
from tesserank.maxsim.vectors import quantise
from tesserank_bench.kernels.contestants.base import Arrays, Scorer
from tesserank_bench.kernels.task import Task

CHECKED_ITEMS = 1_000  # in float64, which takes about 0.1 ms an item


class Tesserank(Scorer):
    """``maxsim.cpu.unit_scores`` over item vectors of a ``kind`` of the index; ``coarse``: ``coarse_unit_scores``.

    ``candidates``: only so many items, picked out anew in every call; 0 is all of them.
    """

    def __init__(
        self, task: Path, threads: int, rank: bool, kind: str, candidates: int = 0, coarse: bool = False
    ) -> None:
        super().__init__(task, threads, rank)
        self._items = cpu.prepared(quantise(kind, self.task.items))
        self._scores = cpu.coarse_unit_scores if coarse else cpu.unit_scores
        self._pool = ThreadPoolExecutor(threads) if threads > 1 else None
        count = len(self.task.items)
        self._rows = np.random.default_rng(0).permutation(count)[:candidates] if candidates else None
        with self.threads():
            self.score(0)  # compiles, as the server's models do when they are loaded

    def score(self, user: int) -> NDArray[np.floating[Any]]:
        return self._scores(*self.task.flat(user), self._items, self._rows, self._pool)

    def threads(self) -> AbstractContextManager[Any]:
        # As in the server: the pool's threads share the items.
        limits: AbstractContextManager[Any] = threadpool_limits(1, "blas")
        return limits

    def answer(self) -> Arrays:
        """As ``Scorer``'s, with the ``rows`` that were scored and what the kernel should have given for some of them.

        ``decoded`` [U, c, K]: float64 scores of the very same vectors, at the positions ``checked`` [c] of ``rows``.
        """
        rows = np.arange(len(self.task.items)) if self._rows is None else self._rows
        checked = np.random.default_rng(0).permutation(len(rows))[:CHECKED_ITEMS]
        same = Task(self.task.queries, self._items.decode(rows[checked]))
        decoded = np.stack([same.reference(user) for user in range(same.users)])
        return {**super().answer(), "rows": rows, "checked": checked, "decoded": decoded}
