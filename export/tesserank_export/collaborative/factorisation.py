"""Two factorisations of the user-item matrix, both by randomised SVD: seconds for millions of events."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tesserank_export.events import Events

# Singular values enter by their root: between whitening (0), best on baskets, and PCA (1), best on long histories.
_SPECTRUM_POWER = 0.5
# Co-occurrence: how far apart two events of a user may lie, and what each step costs. 20 steps are no better than 5.
_WINDOW = 5
_STEP_DECAY = 0.8
# Exponent of the items' degrees. Full normalisation (0.5) halves NDCG@10 on long histories of popular items.
_COOCCURRENCE_NORM = 0.25
_POWER_ITERATIONS = 4
# A row this much shorter than the longest is what rounding left of an item that the leading components do not cover.
_ROUNDING = 1e-6


def fit_factorisation(events: Events, n_items: int, dim: int, seed: int) -> NDArray[np.float32]:
    """Truncated SVD of the binary user-item matrix, degree-normalised on both sides → float32 [n_items, dim].

    Dividing by the root of both degrees lets neither heavy users nor popular items take the leading components. Rows
    have unit length; items without events, or outside the leading components, are zero.
    """
    interactions = events.interaction_matrix(n_items)
    interactions.data[:] = 1.0
    normalised = _scale(interactions, _degrees(interactions, axis=1), _degrees(interactions, axis=0), 0.5)
    return _embed(normalised.T.tocsr(), dim, seed)


def fit_cooccurrence(events: Events, n_items: int, dim: int, seed: int) -> NDArray[np.float32]:
    """Truncated SVD of how often items follow each other within a few events → float32 [n_items, dim].

    Unlike ``fit_factorisation`` it sees the order of events: better where histories are long and tastes drift. Rows
    have unit length; items that never occur beside another are zero.
    """
    pairs = _window_pairs(events, n_items)
    degrees = _degrees(pairs, axis=1)
    return _embed(_scale(pairs, degrees, degrees, _COOCCURRENCE_NORM), dim, seed)


def unit_rows(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows scaled to unit length; rows of no length but rounding become zero."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    real = lengths > _ROUNDING * lengths.max(initial=0.0)
    return np.divide(vectors, lengths, out=np.zeros_like(vectors), where=real)


def _window_pairs(events: Events, n_items: int) -> Any:
    """Symmetric co-occurrence, a pair k events apart counted ``_STEP_DECAY ** (k - 1)``: sparse [n_items, n_items]."""
    from scipy import sparse

    pairs = sparse.csr_matrix((n_items, n_items), dtype=np.float32)
    for step in range(1, _WINDOW + 1):
        earlier, later = events.item[:-step], events.item[step:]
        counted = (events.user[:-step] == events.user[step:]) & (earlier != later)
        weight = np.full(int(counted.sum()), _STEP_DECAY ** (step - 1), dtype=np.float32)
        pairs = pairs + sparse.csr_matrix((weight, (earlier[counted], later[counted])), shape=pairs.shape)
    return (pairs + pairs.T).tocsr()


def _degrees(matrix: Any, axis: int) -> NDArray[np.float64]:
    return np.asarray(matrix.sum(axis=axis), dtype=np.float64).ravel()


def _scale(matrix: Any, rows: NDArray[np.float64], columns: NDArray[np.float64], power: float) -> Any:
    """Divide by ``power`` of the degrees; a degree of zero belongs to an empty row or column, which stays empty."""
    from scipy import sparse

    left, right = (np.where(degrees > 0, degrees, 1.0) ** -power for degrees in (rows, columns))
    return (sparse.diags(left) @ matrix @ sparse.diags(right)).astype(np.float32).tocsr()


def _embed(matrix: Any, dim: int, seed: int) -> NDArray[np.float32]:
    """Rows of a sparse [n, m] in its leading components, unit length: [n, dim], padded with zeros where m is small."""
    from sklearn.utils.extmath import randomized_svd

    vectors = np.zeros((matrix.shape[0], dim), dtype=np.float32)
    rank = min(dim, *matrix.shape)
    if rank and matrix.nnz:
        left, singular, _ = randomized_svd(matrix, rank, n_iter=_POWER_ITERATIONS, random_state=seed)
        vectors[:, :rank] = left * singular**_SPECTRUM_POWER
    return unit_rows(vectors)
