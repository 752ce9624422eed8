"""k-means in a few dimensions, for books of 256 pieces: Lloyd's algorithm (1982, doi:10.1109/TIT.1982.1056489)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

_ROUNDS = 12  # later ones lower the error by less than a hundredth


def fit_codebook(
    points: NDArray[np.float32], weights: NDArray[np.float32], size: int, rng: np.random.Generator
) -> NDArray[np.float32]:
    """The ``size`` points, float32 [size, w], around which ``points`` [n, w] of ``weights`` [n] > 0 lie closest.

    Some are equal where there are fewer points than that; n is at least 1.
    """
    book: NDArray[np.float32] = points[rng.choice(len(points), size, replace=len(points) < size)].copy()
    for _ in range(_ROUNDS):
        codes = nearest(points, book)
        totals = np.bincount(codes, weights=weights, minlength=size)
        used = totals > 0
        for c in range(points.shape[1]):
            sums = np.bincount(codes, weights=weights * points[:, c], minlength=size)
            book[used, c] = sums[used] / totals[used]
        # a piece that nobody uses goes where the one that most use is, and they part in the next round
        crowded = np.argsort(-totals)[: size - int(used.sum())]
        book[~used] = book[crowded] * np.float32(1.001)
    return book


def nearest(points: NDArray[np.float32], book: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Which of up to 256 pieces, float32 [k, w], is nearest to each point [n, w]; the first of equally near ones."""
    codes = np.empty(len(points), dtype=np.uint8)
    _nearest(np.ascontiguousarray(points), np.ascontiguousarray(book.T), codes)
    return codes


@njit(nogil=True)
def _nearest(points: Any, columns: Any, codes: Any) -> None:
    """Distances are no less than 0, so that their bits order as they do: with the piece's number in the lowest eight,
    one minimum of integers finds both. Distances that differ by less than 2 ** -15 of themselves count as equal."""
    width, size = columns.shape
    distances = np.empty(size, dtype=np.float32)
    keys = distances.view(np.int32)
    numbers = np.arange(size).astype(np.int32)
    for i in range(len(points)):
        distances[:] = 0
        for c in range(width):
            value, column = points[i, c], columns[c]
            for k in range(size):
                distances[k] += (value - column[k]) * (value - column[k])
        for k in range(size):
            keys[k] = (keys[k] & -256) | numbers[k]
        least = keys[0]
        for k in range(1, size):
            least = min(least, keys[k])
        codes[i] = least & 255
