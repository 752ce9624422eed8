"""What goes with what: EASE, each item regressed on all others, in its leading components.

Steck, Embarrassingly shallow autoencoders for sparse data, WWW 2019: of the binary user-item matrix X, with
P = (XᵀX + λI)⁻¹, the weights are B = −P / diag(P) by columns, and 0 on the diagonal. Their truncated SVD gives an item
two vectors: one as a segment (what it speaks for) and one as an item (what speaks for it).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tesserank_export.collaborative.frequent import most_met
from tesserank_export.events import Events

_POWER_ITERATIONS = 3

Matrix = NDArray[np.float32]


def fit_ease(events: Events, n_items: int, dim: int, penalty: float, seed: int) -> tuple[Matrix, Matrix]:
    """Vectors of items and of items as segments, each float32 [n_items, dim], zeros for items without a weight.

    Only the most met items have vectors: see ``frequent``. ``penalty`` is λ.
    """
    from sklearn.utils.extmath import randomized_svd

    items, queries = (np.zeros((n_items, dim), dtype=np.float32) for _ in range(2))
    chosen = most_met(events, n_items, "ease")
    interactions = events.interaction_matrix(n_items)[:, chosen]
    interactions.data[:] = 1.0
    weights = ease_weights(interactions, penalty)
    rank = min(dim, len(chosen))
    left, singular, right = randomized_svd(weights, rank, n_iter=_POWER_ITERATIONS, random_state=seed)
    # The weights of an item that was met beside no other are zeros, but those of its vectors only nearly.
    alone = ~weights.any(axis=1)
    root = np.sqrt(singular)
    queries[chosen, :rank] = np.where(alone[:, None], 0, left * root)
    items[chosen, :rank] = np.where(alone[:, None], 0, right.T * root)
    return items, queries


def ease_weights(interactions: Any, penalty: float) -> Matrix:
    """B, float32 [n, n], of a sparse binary X [users, n], within the memory of three such matrices.

    Raises ArithmeticError if XᵀX + λI is not positive definite in float32.
    """
    from scipy.linalg import lapack

    gram = np.asfortranarray((interactions.T @ interactions).toarray(), dtype=np.float32)
    gram[np.diag_indices_from(gram)] += np.float32(penalty)
    factor, failed = lapack.spotrf(gram, lower=True, overwrite_a=True)
    inverse, failed_too = lapack.spotri(factor, lower=True, overwrite_c=True)
    if failed or failed_too:
        raise ArithmeticError(f"XᵀX + {penalty:g} I is not positive definite in float32: a larger penalty makes it so")
    weights = np.tril(inverse)
    weights += np.tril(inverse, -1).T
    weights /= -np.diag(weights)  # column j by P_jj
    np.fill_diagonal(weights, 0.0)
    return np.ascontiguousarray(weights, dtype=np.float32)
