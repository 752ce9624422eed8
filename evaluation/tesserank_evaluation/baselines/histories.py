"""Histories as the rows of a sparse matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tesserank_evaluation.split import History

if TYPE_CHECKING:
    from scipy import sparse


def history_matrix(histories: Sequence[History], n_items: int) -> sparse.csr_matrix:
    """float32 [B, n_items], 1 at the items of each history."""
    from scipy import sparse

    ends = np.concatenate([[0], np.cumsum([len(history.items) for history in histories])])
    columns = np.concatenate([history.items for history in histories])
    return sparse.csr_matrix((np.ones(len(columns), dtype=np.float32), columns, ends), shape=(len(histories), n_items))


def binary(matrix: sparse.csr_matrix) -> sparse.csr_matrix:
    """The same with every stored count 1."""
    ones = matrix.copy()
    ones.sum_duplicates()
    ones.data[:] = 1.0
    return ones
