"""ItemKNN: items that the same users met, by the cosine of their columns of the binary user-item matrix.

Sarwar et al., Item-based collaborative filtering recommendation algorithms, WWW 2001; all neighbours are kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tesserank_evaluation.baselines.histories import binary, history_matrix
from tesserank_evaluation.recommender import Scores, Training
from tesserank_evaluation.split import History


class ItemKnn:
    """``score_i = Σ_h cos(h, i)`` over the items h of the history."""

    settings: Mapping[str, Any] = {}

    def __init__(self, training: Training) -> None:
        from scipy import sparse

        matrix = binary(training.events.interaction_matrix(training.n_items))
        users = np.maximum(np.asarray(matrix.sum(axis=0)).ravel(), 1.0)
        scaled = (matrix @ sparse.diags(users**-0.5)).tocsr().astype(np.float32)
        self._similarities = (scaled.T @ scaled).tocsr()

    def scores(self, histories: Sequence[History]) -> Scores:
        """See ``Recommender``."""
        rows = history_matrix(histories, self._similarities.shape[0])
        dense: Scores = (rows @ self._similarities).toarray()
        return dense
