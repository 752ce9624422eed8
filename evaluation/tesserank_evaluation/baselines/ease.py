"""EASE: the item-item weights that rebuild the user-item matrix best: ``tesserank_export.collaborative.ease``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from tesserank_evaluation.baselines.histories import binary, history_matrix
from tesserank_evaluation.baselines.newest import Newest
from tesserank_evaluation.baselines.tuning import best_of
from tesserank_evaluation.recommender import Scores, Training
from tesserank_evaluation.split import History
from tesserank_export.collaborative.ease import ease_weights

PENALTIES = (1.0, 10.0, 100.0, 500.0)


class Ease:
    """``scores = X B`` for the histories' rows X; ``penalty`` is λ."""

    def __init__(self, training: Training, penalty: float) -> None:
        matrix = binary(training.events.interaction_matrix(training.n_items))
        self._weights = ease_weights(matrix, penalty)
        self.settings: Mapping[str, Any] = {"penalty": penalty}

    def scores(self, histories: Sequence[History]) -> Scores:
        """See ``Recommender``."""
        scores: Scores = history_matrix(histories, len(self._weights)) @ self._weights
        return scores


def fit_ease(training: Training) -> Newest:
    """With the penalty that ranks held-out items best."""
    return best_of([partial(Ease, penalty=penalty) for penalty in PENALTIES], training)
