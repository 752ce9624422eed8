"""What the segments replace: sequence classification of (history, item) pairs, timed on a sample and extrapolated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

Result = dict[str, Any]
ROWS = 32  # pairs of one forward pass


def time_pairs(
    score: Callable[[str, Sequence[str]], NDArray[Any]], pairs: Sequence[tuple[str, str]], all_pairs: int
) -> Result:
    """Score ``pairs`` of (history, item), ROWS at a time, each pass with one history; what ``all_pairs`` would take.

    The extrapolation is linear: pairs have nothing in common that could be computed once.
    """
    passes = [pairs[start : start + ROWS] for start in range(0, len(pairs), ROWS)]
    score(passes[0][0][0], [item for _, item in passes[0]])  # first touches
    seconds = []
    for part in passes:
        started = perf_counter()
        score(part[0][0], [item for _, item in part])
        seconds.append(perf_counter() - started)
    each = sum(seconds) / len(pairs)
    return {
        "timed_pairs": len(pairs),
        "seconds": round(sum(seconds), 3),
        "seconds_of_passes": [round(value, 4) for value in seconds],
        "milliseconds_a_pair": round(each * 1e3, 3),
        "all_pairs": all_pairs,
        "extrapolated_seconds": round(each * all_pairs, 1),
        "extrapolated_days": round(each * all_pairs / 86_400, 2),
        "extrapolated": True,
    }


def sample_pairs(histories: Sequence[str], items: Sequence[str], count: int, seed: int) -> list[tuple[str, str]]:
    """``count`` pairs, ROWS after ROWS of one history each, drawn at random."""
    rng = np.random.default_rng(seed)
    pairs: list[tuple[str, str]] = []
    while len(pairs) < count:
        history = histories[int(rng.integers(len(histories)))]
        chosen = rng.integers(len(items), size=min(ROWS, count - len(pairs)))
        pairs += [(history, items[item]) for item in chosen.tolist()]
    return pairs
