"""The best n of a whole catalogue's scores, without sorting them: in three passes over them, compiled."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tesserank.maxsim.jit.arrays import frozen
from tesserank.maxsim.jit.kept import kept
from tesserank.maxsim.topk import top_k

_BINS = 4096


def best_rows(scores: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """Positions of the ``count`` largest of ``scores`` [n], ascending; those of ``top_k``, which -inf is none of."""
    values = frozen(scores, np.float32)
    few = _upper(values, count)
    return np.sort(few[top_k(values[few], count)])


@kept()
def _upper(scores: Any, count: Any) -> Any:
    """Positions, ascending, among which the ``count`` largest of ``scores`` are, and not many others.

    Scores are dealt into bins of equal width; the highest bins that together hold enough are taken, whole.
    """
    lowest, highest, usable = np.inf, -np.inf, 0  # float64: two float32 may lie further apart than a float32 says
    for value in scores:
        if value > -np.inf:  # so not NaN either
            lowest, highest, usable = min(lowest, value), max(highest, value), usable + 1
    per_score = (_BINS - 1) / (highest - lowest) if highest > lowest else 0.0
    sizes = np.zeros(_BINS, dtype=np.int64)
    for value in scores:
        if value > -np.inf:
            sizes[int((value - lowest) * per_score)] += 1
    last, taken = _BINS, 0
    while taken < min(count, usable):
        last -= 1
        taken += sizes[last]
    rows = np.empty(taken, dtype=np.int64)
    place = 0
    for row in range(len(scores)):
        if scores[row] > -np.inf and int((scores[row] - lowest) * per_score) >= last:
            rows[place] = row
            place += 1
    return rows
