"""The best k of many scores, the same way every time."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def top_k(scores: NDArray[Any], k: int) -> NDArray[np.int64]:
    """Positions of the k largest of ``scores`` [n], best first; of equal scores the earlier position wins.

    Positions with -inf are left out, so fewer than k may come back.
    """
    usable = int(np.count_nonzero(scores != -np.inf))
    k = min(k, usable)
    if k == 0:
        return np.empty(0, dtype=np.int64)
    threshold = np.partition(scores, len(scores) - k)[len(scores) - k]
    above = np.flatnonzero(scores > threshold)
    ties = np.flatnonzero(scores == threshold)[: k - len(above)]
    chosen = np.concatenate([above, ties])
    best: NDArray[np.int64] = chosen[np.lexsort((chosen, -scores[chosen]))]
    return best
