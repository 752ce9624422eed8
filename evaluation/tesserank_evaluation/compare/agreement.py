"""How much two lists of best items agree.

*Overlap@k* is the share of the best k that both have. *Rank-biased overlap* (Webber, Moffat and Zobel 2010, "A
similarity measure for indefinite rankings", eq. 32, extrapolated from the k items that are there) weighs agreement at
the top more, with X_d the items that the best d of both share:

    RBO = X_k / k · p^k + (1 − p) / p · Σ_{d=1..k} X_d / d · p^d

It is 1 for the same list, 0 for lists without a common item. p = 0.9 gives the first ten items 86% of the weight.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tesserank_evaluation.metrics import KS, mean_and_error
from tesserank_evaluation.ranking import NO_ITEM

PERSISTENCE = 0.9
_USERS_AT_ONCE = 512

Lists = NDArray[np.int32]  # [N, depth] rows of the catalogue, best first; NO_ITEM where there are fewer


def agreement(one: Lists, other: Lists) -> dict[str, dict[str, float | None]]:
    """``overlap@k``, ``same@k`` (the very same list) and ``rbo``: means over users and their standard errors."""
    shared, lengths = shared_items(one, other), (one != NO_ITEM).sum(axis=1)
    if not (lengths == (other != NO_ITEM).sum(axis=1)).all():
        raise ValueError("lists of one user differ in length: they are of different catalogues or histories")
    heard = lengths > 0  # a user who has met every item has no list to agree on
    shared, lengths = shared[heard], lengths[heard]
    found = {f"overlap@{k}": shared[:, k - 1] / np.minimum(lengths, k) for k in KS}
    found |= {f"same@{k}": (one[heard, :k] == other[heard, :k]).all(axis=1).astype(np.float64) for k in KS}
    found["rbo"] = rank_biased_overlap(shared, lengths)
    return {name: mean_and_error(values) for name, values in found.items()}


def shared_items(one: Lists, other: Lists) -> NDArray[np.int64]:
    """How many items the best d of both lists share: int64 [N, depth], column d - 1."""
    depth = one.shape[1]
    places = np.arange(depth)
    later = np.maximum(places[:, None], places[None, :])  # where an item at both places is in both lists
    counts = np.zeros((len(one), depth), dtype=np.int64)
    for first in range(0, len(one), _USERS_AT_ONCE):
        batch = slice(first, first + _USERS_AT_ONCE)
        same = (one[batch, :, None] == other[batch, None, :]) & (one[batch, :, None] != NO_ITEM)
        user, place, other_place = np.nonzero(same)
        np.add.at(counts[batch], (user, later[place, other_place]), 1)
    return counts.cumsum(axis=1)


def rank_biased_overlap(
    shared: NDArray[np.int64], lengths: NDArray[np.int64], persistence: float = PERSISTENCE
) -> NDArray[np.float64]:
    """RBO of N pairs of lists of ``lengths`` [N], from ``shared_items`` [N, depth] → [N]."""
    depths = np.arange(1, shared.shape[1] + 1)
    weighed = shared / depths * persistence**depths
    weighed[depths > lengths[:, None]] = 0.0
    last = shared[np.arange(len(shared)), lengths - 1] / lengths * persistence**lengths
    rbo: NDArray[np.float64] = last + (1 - persistence) / persistence * weighed.sum(axis=1)
    return rbo
