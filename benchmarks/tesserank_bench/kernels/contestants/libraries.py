"""MaxSim as one would have it from libraries that the project depends on anyway: torch and faiss."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tesserank_bench.kernels.contestants.base import Scorer, Searcher
from tesserank_bench.kernels.plan import TOP
from tesserank_bench.kernels.task import Task

BLOCK_ITEMS = 256  # whose similarities with 160 tokens, 3 MB in float32, stay in a cache


class Blocks:
    """A task's items padded in blocks of about the same length: the best that padding can do for a static catalogue.

    ``vectors`` [b, M, d] and ``mask`` [b, M] of each block, and the ``order`` [N] of the items in them.
    """

    def __init__(self, task: Task, dtype: Any) -> None:
        self.order = np.argsort(task.items.lengths, kind="stable")
        self.vectors: list[Any] = []
        self.masks: list[Any] = []
        for start in range(0, len(self.order), BLOCK_ITEMS):
            rows = [torch.from_numpy(task.items.item(row)) for row in self.order[start : start + BLOCK_ITEMS]]
            lengths = torch.tensor([len(row) for row in rows])
            self.vectors.append(torch.nn.utils.rnn.pad_sequence(rows, batch_first=True).to(dtype))
            self.masks.append(torch.arange(int(lengths.max()))[None, :] < lengths[:, None])

    def in_order(self, scores: Any) -> NDArray[np.float32]:
        """Scores [N, K] of the blocks' items, as the task has them."""
        ordered = np.empty(scores.shape, dtype=np.float32)
        ordered[self.order] = scores.float().numpy()
        return ordered


class TorchBlocks(Scorer):
    """A matrix product a block, -inf at padding, the maximum over an item's tokens, the mean over a segment's."""

    def __init__(self, task: Path, threads: int, rank: bool, dtype: str) -> None:
        super().__init__(task, threads, rank)
        self._blocks = Blocks(self.task, getattr(torch, dtype))
        self._queries = torch.from_numpy(self.task.queries).to(getattr(torch, dtype))
        zero, infinite = torch.tensor(0.0), torch.tensor(float("-inf"))
        self._padding = [torch.where(mask, zero, infinite).to(self._queries.dtype) for mask in self._blocks.masks]

    def score(self, user: int) -> NDArray[np.floating[Any]]:
        segments, tokens, dim = self._queries[user].shape
        columns = self._queries[user].reshape(-1, dim).T
        parts = []
        for vectors, padding in zip(self._blocks.vectors, self._padding, strict=True):
            similarities = torch.mm(vectors.view(-1, dim), columns).view(*vectors.shape[:2], -1)
            similarities += padding[:, :, None]
            parts.append(similarities.amax(1).view(-1, segments, tokens).mean(-1))
        return self._blocks.in_order(torch.cat(parts))

    def threads(self) -> AbstractContextManager[Any]:
        torch.set_num_threads(self.thread_count)
        return super().threads()


class FaissPooled(Searcher):
    """One vector an item and a segment, the mean of its tokens': exact search of an approximation."""

    def __init__(self, task: Path, threads: int) -> None:
        import faiss

        super().__init__(task, threads)
        self._faiss = faiss
        items = self.task.items
        pooled = np.add.reduceat(items.vectors, items.offsets[:-1], axis=0)
        self._index = faiss.IndexFlatIP(pooled.shape[1])
        self._index.add(_unit(pooled))

    def search(self, user: int) -> NDArray[np.int64]:
        _, rows = self._index.search(_unit(self.task.queries[user].sum(axis=1)), TOP)
        return np.asarray(rows, dtype=np.int64)

    def threads(self) -> AbstractContextManager[Any]:
        self._faiss.omp_set_num_threads(self.thread_count)
        return super().threads()


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.ascontiguousarray(vectors / np.maximum(length, 1e-12), dtype=np.float32)
