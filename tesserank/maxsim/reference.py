"""What late interaction computes, written to be read: float64, one item and one token at a time where that is clearer.

MaxSim is ColBERT's (Khattab and Zaharia, 2020, arXiv:2004.12832, eq. 3) with weights on the query's tokens:
``y(Q, D) = Σ_t w_t · max_j <q_t, d_j>``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tesserank.maxsim.ragged import Ragged
from tesserank.maxsim.vectors import ItemVectors


def maxsim(query: NDArray[Any], token_weights: NDArray[Any], item: NDArray[Any]) -> float:
    """MaxSim of one query [L, d] with weights [L] and one item [M, d]; -inf for an item without vectors."""
    if len(item) == 0:
        return float("-inf")
    return float((token_weights.astype(np.float64) * token_maxima(query, item)).sum())


def token_maxima(query: NDArray[Any], item: NDArray[Any]) -> NDArray[np.float64]:
    """Each query token's best inner product with the item's vectors, [L]."""
    maxima: NDArray[np.float64] = (query.astype(np.float64) @ item.astype(np.float64).T).max(axis=1)
    return maxima


def maxsim_padded(
    query: NDArray[Any], token_weights: NDArray[Any], items: NDArray[Any], mask: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """The same for padded items [N, M, d] with a mask [N, M] of the real vectors -> [N].

    Padding becomes -inf before the maximum; zeroed instead, it would beat every negative similarity.
    """
    similarities = np.einsum("ld,nmd->nlm", query.astype(np.float64), items.astype(np.float64))
    similarities = np.where(mask[:, None, :], similarities, -np.inf)
    weighted: NDArray[np.float64] = (token_weights.astype(np.float64) * similarities.max(axis=2)).sum(axis=1)
    return weighted


def unit_scores(
    tokens: NDArray[Any],
    token_weights: NDArray[Any],
    starts: NDArray[np.int64],
    items: ItemVectors | Ragged,
    rows: NDArray[np.int64] | None = None,
) -> NDArray[np.float64]:
    """MaxSim of G units with the items of ``rows`` [n] (None: all) -> [n, G].

    Unit g has the tokens from ``starts[g]`` up to ``starts[g + 1]``. Quantised items are what they decode to.
    """
    chosen = range(len(items)) if rows is None else rows.tolist()
    scores = np.empty((len(chosen), len(starts)))
    for position, row in enumerate(chosen):
        weighted = token_weights.astype(np.float64) * token_maxima(tokens, items.item(row))
        scores[position] = [unit.sum() for unit in np.split(weighted, starts[1:])]
    return scores
