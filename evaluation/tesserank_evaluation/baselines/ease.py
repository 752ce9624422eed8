"""EASE: the item-item weights that rebuild the binary user-item matrix best, in closed form.

Steck, Embarrassingly shallow autoencoders for sparse data, WWW 2019: with G = XᵀX + λI and P = G⁻¹, the weights are
B = −P / diag(P) by columns, and 0 on the diagonal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tesserank_evaluation.baselines.histories import binary, history_matrix
from tesserank_evaluation.baselines.tuning import best_of
from tesserank_evaluation.recommender import Scores, Training
from tesserank_evaluation.split import History

PENALTIES = (10.0, 100.0, 500.0)


class Ease:
    """``scores = X B`` for the histories' rows X; ``penalty`` is λ."""

    def __init__(self, training: Training, penalty: float) -> None:
        self._weights = _weights(training, penalty)
        self.settings: Mapping[str, Any] = {"penalty": penalty}

    def scores(self, histories: Sequence[History]) -> Scores:
        """See ``Recommender``."""
        scores: Scores = history_matrix(histories, len(self._weights)) @ self._weights
        return scores


def fit_ease(training: Training) -> Ease:
    """With the penalty that ranks best for users' second-last items."""
    return best_of([partial(Ease, penalty=penalty) for penalty in PENALTIES], training)


def _weights(training: Training, penalty: float) -> NDArray[np.float32]:
    """B, float32 [items, items], within the memory of two such matrices."""
    from scipy.linalg import lapack

    matrix = binary(training.events.interaction_matrix(training.n_items))
    gram = np.asfortranarray((matrix.T @ matrix).toarray())
    gram[np.diag_indices_from(gram)] += penalty
    factor, failed = lapack.spotrf(gram, lower=True, overwrite_a=True)
    inverse, failed_too = lapack.spotri(factor, lower=True, overwrite_c=True)
    if failed or failed_too:
        raise ArithmeticError(f"XᵀX + {penalty:g} I is not positive definite in float32")
    weights = np.tril(inverse)
    weights += np.tril(inverse, -1).T
    weights /= -np.diag(weights)  # column j by P_jj
    np.fill_diagonal(weights, 0.0)
    return np.ascontiguousarray(weights, dtype=np.float32)
