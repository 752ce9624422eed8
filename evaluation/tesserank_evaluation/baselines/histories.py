"""Histories as the rows of a sparse matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tesserank_evaluation.split import History

if TYPE_CHECKING:
    from scipy import sparse


def history_matrix(histories: Sequence[History], n_items: int, newest: int | None = None) -> sparse.csr_matrix:
    """float32 [B, n_items], 1 at the ``newest`` items of each history (None: at all)."""
    from scipy import sparse

    items = [history.items if newest is None else history.items[-newest:] for history in histories]
    lengths = [len(own) for own in items]
    ends = np.concatenate([[0], np.cumsum(lengths)])
    columns = np.concatenate(items)
    return sparse.csr_matrix((np.ones(len(columns), dtype=np.float32), columns, ends), shape=(len(items), n_items))


def binary(matrix: sparse.csr_matrix) -> sparse.csr_matrix:
    """The same with every stored count 1."""
    ones = matrix.copy()
    ones.sum_duplicates()
    ones.data[:] = 1.0
    return ones
