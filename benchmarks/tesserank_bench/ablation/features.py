"""What the technique began with: sparse user-item features, and users ranked for by what users alike met.

Of H, the histories' rows, and X, the log's user-item counts, both weighted alike, ``scores = H Xᵀ X_binary``: a user
counts for as much as the features of both agree. *counts* are the features as they are; *TF-IDF* is scikit-learn's
(``idf = ln((1 + users) / (1 + users with the item)) + 1``); *cosine* is TF-IDF in rows of unit length.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any

from sklearn.feature_extraction.text import TfidfTransformer

from tesserank_evaluation.baselines.histories import binary, history_matrix
from tesserank_evaluation.baselines.popularity import Popularity
from tesserank_evaluation.recommender import Fit, Scores, Training
from tesserank_evaluation.split import History


class UsersAlike:
    """``transformer`` weighs features; None leaves counts."""

    settings: Mapping[str, Any] = {}

    def __init__(self, training: Training, transformer: TfidfTransformer | None) -> None:
        counts = training.events.interaction_matrix(training.n_items)
        self._transformer = transformer
        weighed = counts if transformer is None else transformer.fit_transform(counts)
        self._of_items = (weighed.T @ binary(counts)).tocsr()

    def scores(self, histories: Sequence[History]) -> Scores:
        """See ``Recommender``."""
        rows = history_matrix(histories, self._of_items.shape[1])
        if self._transformer is not None:
            rows = self._transformer.transform(rows)
        scores: Scores = (rows @ self._of_items).toarray().astype("float32")
        return scores


def _tf_idf(training: Training, norm: str | None) -> UsersAlike:
    return UsersAlike(training, TfidfTransformer(norm=norm))


FEATURES: Mapping[str, Fit] = MappingProxyType(
    {
        "popularity": Popularity,
        "counts": partial(UsersAlike, transformer=None),
        "TF-IDF": partial(_tf_idf, norm=None),
        "cosine": partial(_tf_idf, norm="l2"),
    }
)
