"""What follows what: a ridge regression from the items a user met to those met next, in its leading components.

Rows of X [E, items] are the last ``_PAST`` distinct items before a moment of a history, rows of Y the ``_FUTURE`` after
it, each ``_DECAY`` times as heavy as the one nearer to the moment. B minimises ‖Y − XB‖² + λ‖B‖² (Hoerl and Kennard
1970), so B = (XᵀX + λI)⁻¹ XᵀY: EASE's item-item regression (Steck 2019), but forward in time. Its truncated
SVD, by subspace iteration (Halko, Martinsson and Tropp 2011, algorithm 4.4), which needs products with B alone, gives
an item two vectors: one as a segment (what follows it) and one as an item (what it follows).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tesserank_export.collaborative.frequent import most_met
from tesserank_export.events import Events
from tesserank_export.heldout import first_occurrences

_PAST, _FUTURE, _DECAY = 10, 5, 0.8
_OVERSAMPLING, _POWER_ITERATIONS = 16, 3

Matrix = NDArray[np.float32]


def fit_transitions(events: Events, n_items: int, dim: int, penalty: float, seed: int) -> tuple[Matrix, Matrix]:
    """Vectors of items and of items as segments, each float32 [n_items, dim].

    Items that are followed by nothing have a zero vector as segments, those that follow nothing one as items; so have
    all but the most met items: see ``frequent``. ``penalty`` is λ.
    """
    items, queries = (np.zeros((n_items, dim), dtype=np.float32) for _ in range(2))
    chosen = most_met(events, n_items, "transitions")
    past, future = windows(events, n_items)
    if not past.nnz:
        return items, queries
    past, future = past[:, chosen], future[:, chosen]
    rank = min(dim, len(chosen))
    left, singular, right = _leading(past, future, penalty, rank, seed)
    followed = np.asarray(past.sum(axis=0)).ravel() > 0  # B has exact zeros elsewhere, the iteration all but
    following = np.asarray(future.sum(axis=0)).ravel() > 0
    root = np.sqrt(singular)
    queries[chosen, :rank] = left * root * followed[:, None]
    items[chosen, :rank] = right * root * following[:, None]
    return items, queries


def windows(events: Events, n_items: int) -> tuple[Any, Any]:
    """X and Y: sparse float32 [E, n_items], a row for every event of a user but the first; repeats do not count."""
    from scipy import sparse

    item, place, length = _distinct(events)
    sides = []
    moments = np.flatnonzero(place > 0)  # between the event before and this one
    for steps, sign, room in ((_PAST, -1, place), (_FUTURE, 1, length - place)):
        rows, columns, values = [], [], []
        for step in range(steps):
            offset = -1 - step if sign < 0 else step
            inside = np.flatnonzero(room[moments] > step)
            rows.append(inside)
            columns.append(item[moments[inside] + offset])
            values.append(np.full(len(inside), _DECAY**step, dtype=np.float32))
        entries = np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))
        sides.append(sparse.csr_matrix(entries, shape=(len(moments), n_items)))
    return sides[0], sides[1]


def _distinct(events: Events) -> tuple[NDArray[Any], ...]:
    """First occurrences of every user's items: item, place in the user's history, and that history's length."""
    firsts = [
        start + first_occurrences(history)
        for start, history in zip(events.offsets[:-1].tolist(), events.histories(), strict=True)
    ]
    lengths = np.array([len(first) for first in firsts])
    kept = np.concatenate(firsts)
    place = np.arange(len(kept)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return events.item[kept], place, np.repeat(lengths, lengths)


def _leading(past: Any, future: Any, penalty: float, rank: int, seed: int) -> tuple[Matrix, Matrix, Matrix]:
    """The first ``rank`` singular vectors and values of B: [n, rank], [rank], [n, rank]."""
    solve, forward = _solver(past, penalty), (past.T @ future).tocsr()
    backward = forward.T.tocsr()
    rng = np.random.default_rng(seed)
    width = min(rank + _OVERSAMPLING, forward.shape[0])
    basis = rng.standard_normal((forward.shape[0], width), dtype=np.float32)
    for _ in range(_POWER_ITERATIONS):
        basis = np.linalg.qr(solve(forward @ basis))[0]
        basis = np.linalg.qr(backward @ solve(basis))[0]
    left, singular, within = np.linalg.svd(solve(forward @ basis), full_matrices=False)
    return left[:, :rank], singular[:rank], (basis @ within.T)[:, :rank]


def _solver(past: Any, penalty: float) -> Callable[[Matrix], Matrix]:
    """Multiplication by (XᵀX + λI)⁻¹, by its Cholesky factor."""
    from scipy.linalg import lapack

    gram = np.asfortranarray((past.T @ past).toarray())
    gram[np.diag_indices_from(gram)] += np.float32(penalty)
    factor, failed = lapack.spotrf(gram, lower=True, overwrite_a=True)
    if failed:
        raise ArithmeticError(f"XᵀX + {penalty:g} I is not positive definite in float32: a larger penalty makes it so")

    def solve(right: Matrix) -> Matrix:
        solved: Matrix = lapack.spotrs(factor, np.asfortranarray(right), lower=True)[0]
        return solved

    return solve
