"""Step 2: low-dimensional embeddings of the items, from the interactions alone."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tesserank_export.collaborative import METHODS
from tesserank_export.heldout import HeldOut

Result = dict[str, Any]
NAMES = {
    "item2vec": "word2vec over interaction sequences",
    "factorisation": "SVD of the user-item matrix",
    "cooccurrence": "SVD of co-occurrence",
}
LAST_ITEMS = 10


def make_embeddings(
    held: HeldOut, items: int, dim: int, seed: int
) -> tuple[dict[str, NDArray[np.float32]], list[Result]]:
    """Vectors [items, dim] by method, rows of unit length or zero; and what each took."""
    vectors: dict[str, NDArray[np.float32]] = {}
    made: list[Result] = []
    for method, name in NAMES.items():
        started = perf_counter()
        vectors[method] = METHODS[method](held.train, items, dim, seed)
        seconds = perf_counter() - started
        known = int(vectors[method].any(axis=1).sum())
        made.append({"name": name, "method": method, "seconds": round(seconds, 3), "dim": dim, "items": known})
    return vectors, made


def scores(vectors: NDArray[np.float32], histories: Sequence[NDArray[np.int32]]) -> NDArray[np.float32]:
    """The sum of an item's cosines with the last items of each history: [histories, items]."""
    users = [vectors[history[-LAST_ITEMS:]].sum(axis=0) for history in histories]
    summed: NDArray[np.float32] = np.stack(users) @ vectors.T
    return summed
