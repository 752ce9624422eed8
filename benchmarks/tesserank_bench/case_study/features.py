"""Step 1: sparse user-item features. How often each user met each item, TF-IDF of that, cosines between users."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tesserank_export.events import Events

Result = dict[str, Any]


@dataclass(frozen=True)
class Features:
    """Sparse matrices: ``counts`` and ``tfidf`` (rows of unit length) [U, N], ``cosine`` [U, U], 0 on the diagonal."""

    counts: Any
    tfidf: Any
    cosine: Any

    def popularity(self, users: NDArray[np.int32]) -> NDArray[np.float32]:
        """Scores by how many users met an item, the same for everybody: [users, N]."""
        met = np.asarray((self.counts > 0).sum(axis=0), dtype=np.float32)
        return np.repeat(met, len(users), axis=0)

    def by_neighbours(self, users: NDArray[np.int32]) -> NDArray[np.float32]:
        """Scores by what users alike met, weighted by how alike they are: [users, N]."""
        scores: NDArray[np.float32] = (self.cosine[users] @ self.tfidf).toarray().astype(np.float32)
        return scores


def make_features(events: Events, items: int) -> tuple[Features, list[Result]]:
    """The features, and what each took."""
    from sklearn.feature_extraction.text import TfidfTransformer
    from sklearn.metrics.pairwise import cosine_similarity

    made: list[Result] = []

    def timed(name: str, make: Callable[[], Any]) -> Any:
        started = perf_counter()
        matrix = make()
        made.append({"name": name, "seconds": round(perf_counter() - started, 4)} | _size(matrix))
        return matrix

    counts = timed("counts", lambda: events.interaction_matrix(items))
    tfidf = timed("tf-idf", lambda: TfidfTransformer().fit_transform(counts).tocsr())

    def cosines() -> Any:
        cosine = cosine_similarity(tfidf, dense_output=False).tolil()
        cosine.setdiag(0)  # what the user met is in the history already
        return cosine.tocsr()

    return Features(counts, tfidf, timed("cosine of users", cosines)), made


def _size(matrix: Any) -> Result:
    rows, columns = matrix.shape
    stored = matrix.data.nbytes + matrix.indices.nbytes + matrix.indptr.nbytes
    return {
        "shape": [rows, columns],
        "non_zero": int(matrix.nnz),
        "density": float(f"{matrix.nnz / (rows * columns):.3g}"),
        "bytes": int(stored),
    }
