"""Implicit ALS: factors of users and items that weigh what was met more than what was not.

Hu, Koren, Volinsky, Collaborative filtering for implicit feedback datasets, ICDM 2008, by the package ``implicit``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from tesserank_evaluation.baselines.histories import binary, history_matrix
from tesserank_evaluation.baselines.newest import Newest
from tesserank_evaluation.baselines.tuning import best_of
from tesserank_evaluation.recommender import Scores, Training
from tesserank_evaluation.split import History

FACTORS = 128
ITERATIONS = 15
WEIGHTS = (1.0, 10.0, 40.0)  # of what was met, against 1 of what was not: up to the paper's
PENALTIES = (0.1, 1.0, 10.0)


class Als:
    """``score_i = u · v_i``, where u is computed from the history against the fitted factors of the items."""

    def __init__(self, training: Training, alpha: float, penalty: float) -> None:
        from implicit.cpu.als import AlternatingLeastSquares

        matrix = binary(training.events.interaction_matrix(training.n_items))
        with threadpool_limits(1, "blas"):  # implicit runs threads of its own
            self._model = AlternatingLeastSquares(
                factors=FACTORS,
                regularization=penalty,
                alpha=alpha,
                iterations=ITERATIONS,
                random_state=training.seed,
            )
            self._model.fit(matrix, show_progress=False)
        self.settings: Mapping[str, Any] = {"factors": FACTORS, "alpha": alpha, "penalty": penalty}

    def scores(self, histories: Sequence[History]) -> Scores:
        """See ``Recommender``."""
        items = self._model.item_factors
        rows = history_matrix(histories, len(items))
        with threadpool_limits(1, "blas"):
            users = self._model.recalculate_user(np.arange(len(histories)), rows)
        scores: Scores = users @ items.T
        return scores


def fit_als(training: Training) -> Newest:
    """With the weight and the penalty that rank held-out items best."""
    return best_of([partial(Als, alpha=alpha, penalty=penalty) for alpha in WEIGHTS for penalty in PENALTIES], training)
