"""Items whose texts share words with the history's texts: TF-IDF and BM25."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tesserank.errors import DataError
from tesserank_evaluation.baselines.histories import history_matrix
from tesserank_evaluation.recommender import Scores, Training
from tesserank_evaluation.split import History

if TYPE_CHECKING:
    from scipy import sparse

# Robertson & Zaragoza, The probabilistic relevance framework: BM25 and beyond, 2009: the usual values.
_K1, _B = 1.2, 0.75


class _SharedWords:
    """``score_i = Σ_w q_w · d_iw``, where q is the sum over the history's items."""

    settings: Mapping[str, Any]

    def __init__(self, queries: sparse.csr_matrix, documents: sparse.csr_matrix) -> None:
        self._queries, self._documents = queries, documents.T.tocsr()

    def scores(self, histories: Sequence[History]) -> Scores:
        """See ``Recommender``."""
        asked = history_matrix(histories, self._queries.shape[0]) @ self._queries
        dense: Scores = (asked @ self._documents).toarray().astype(np.float32, copy=False)
        return dense


class TfIdf(_SharedWords):
    """Texts as unit vectors of (1 + ln tf) · idf; a history is the sum of its items'."""

    settings: Mapping[str, Any] = {"sublinear_tf": True, "stop_words": "english"}

    def __init__(self, training: Training) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer

        vectorizer = TfidfVectorizer(sublinear_tf=True, stop_words="english", dtype=np.float32)
        vectors = _vectorised(vectorizer, training)
        super().__init__(vectors, vectors)


class Bm25(_SharedWords):
    """A history's words, as often as they occur in it, ask for items by Okapi BM25."""

    settings: Mapping[str, Any] = {"k1": _K1, "b": _B}

    def __init__(self, training: Training) -> None:
        from sklearn.feature_extraction.text import CountVectorizer

        counts = _vectorised(CountVectorizer(dtype=np.float32), training).tocsr()
        super().__init__(counts, _bm25(counts))


def _vectorised(vectorizer: Any, training: Training) -> sparse.csr_matrix:
    try:
        return vectorizer.fit_transform(training.texts)
    except ValueError as error:  # "empty vocabulary"
        raise DataError(f"the texts of {training.n_items:,} items give no words to search by: {error}") from error


def _bm25(counts: sparse.csr_matrix) -> sparse.csr_matrix:
    """Each word's weight in each document: idf · tf · (k1 + 1) / (tf + k1 · (1 − b + b · length / mean length))."""
    documents = counts.shape[0]
    lengths = np.asarray(counts.sum(axis=1)).ravel()
    holding = np.bincount(counts.indices, minlength=counts.shape[1])
    idf = np.log1p((documents - holding + 0.5) / (holding + 0.5))
    slack = _K1 * (1 - _B + _B * lengths / lengths.mean())
    weights = counts.copy()
    tf, rows = counts.data, np.repeat(np.arange(documents), np.diff(counts.indptr))
    weights.data = (idf[counts.indices] * tf * (_K1 + 1) / (tf + slack[rows])).astype(np.float32)
    return weights
