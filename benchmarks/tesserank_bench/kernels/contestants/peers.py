"""Late interaction and encoding as other libraries offer it (``make bench-peers``); each class imports its own."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tesserank_bench.kernels.contestants.base import Arrays, Contestant, Scorer, Searcher
from tesserank_bench.kernels.plan import TOP

INDEX_SEED = 42


class PyLate(Scorer):
    """``pylate.scores.colbert_scores``, a block of items of about the same length at a time."""

    def __init__(self, task: Path, threads: int, rank: bool) -> None:
        import torch
        from pylate.scores import colbert_scores

        from tesserank_bench.kernels.contestants.libraries import Blocks

        super().__init__(task, threads, rank)
        self._torch = torch
        self._scores = colbert_scores
        self._blocks = Blocks(self.task, torch.float32)
        self._queries = torch.from_numpy(self.task.queries)

    def score(self, user: int) -> NDArray[np.floating[Any]]:
        query = self._queries[user]
        parts = [
            self._scores(query, vectors, documents_mask=mask)
            for vectors, mask in zip(self._blocks.vectors, self._blocks.masks, strict=True)
        ]
        return self._blocks.in_order(self._torch.cat(parts, dim=1).T / query.shape[1])

    def threads(self) -> AbstractContextManager[Any]:
        self._torch.set_num_threads(self.thread_count)
        return super().threads()


class FastPlaid(Searcher):
    """A PLAID index on the CPU, with the settings it has by itself."""

    def __init__(self, task: Path, threads: int, scratch: Path) -> None:
        import torch
        from fast_plaid import search

        super().__init__(task, threads)
        torch.set_num_threads(threads)
        self._torch = torch
        items = self.task.items
        documents = [torch.from_numpy(items.item(row)) for row in range(len(items))]
        self._index = search.FastPlaid(index=str(scratch / "fast-plaid"), device="cpu")
        self._index.create(documents_embeddings=documents, seed=INDEX_SEED)

    def search(self, user: int) -> NDArray[np.int64]:
        queries = self._torch.from_numpy(self.task.queries[user])
        found = self._index.search(queries_embeddings=queries, top_k=TOP, show_progress=False)
        return padded([[row for row, _ in best] for best in found])

    def threads(self) -> AbstractContextManager[Any]:
        self._torch.set_num_threads(self.thread_count)
        return super().threads()


class LanceDB(Searcher):
    """A table with a multivector column; ``indexed``: with an IVF_PQ index of its default settings, else exact."""

    def __init__(self, task: Path, threads: int, scratch: Path, indexed: bool) -> None:
        import lancedb
        import pyarrow as pa
        from lancedb.index import IvfPq

        super().__init__(task, threads)
        items = self.task.items
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(items.vectors.ravel()), items.vectors.shape[1])
        column = pa.ListArray.from_arrays(pa.array(items.offsets.astype(np.int32)), vectors)
        table = pa.table({"row": pa.array(np.arange(len(items))), "vector": column})
        self._table = lancedb.connect(str(scratch / "lancedb")).create_table("items", table)
        if indexed:
            self._table.create_index("vector", config=IvfPq(distance_type="cosine"))

    def search(self, user: int) -> NDArray[np.int64]:
        return padded([self._search(segment) for segment in self.task.queries[user]])

    def _search(self, segment: NDArray[np.float32]) -> list[int]:
        query = self._table.search(segment, vector_column_name="vector").distance_type("cosine")
        rows: list[int] = query.limit(TOP).select(["row", "_distance"]).to_arrow()["row"].to_pylist()
        return rows


class SentenceTransformers(Contestant):
    """Token vectors of texts: the same checkpoint in torch, from text to vectors, without the projection."""

    def __init__(self, model: Path, texts: Sequence[str], threads: int, batch: int) -> None:
        import torch
        from sentence_transformers import SentenceTransformer

        self._torch = torch
        self._model = SentenceTransformer(str(model), device="cpu")
        self._texts = list(texts)
        self._batch = batch
        self._threads = threads

    def run(self, turn: int) -> Any:
        return self._model.encode(
            self._texts, batch_size=self._batch, output_value="token_embeddings", show_progress_bar=False
        )

    def answer(self) -> Arrays:
        """``tokens`` [texts]: how many vectors each text got, special tokens included."""
        return {"tokens": np.array([len(vectors) for vectors in self.run(0)])}

    def threads(self) -> AbstractContextManager[Any]:
        self._torch.set_num_threads(self._threads)
        return super().threads()


def padded(found: Sequence[Sequence[int]]) -> NDArray[np.int64]:
    """Rows found for each segment, fewer than TOP perhaps -> [K, TOP], filled with -1."""
    rows = np.full((len(found), TOP), -1, dtype=np.int64)
    for segment, best in enumerate(found):
        rows[segment, : len(best)] = best[:TOP]
    return rows
