"""The aggregation of segment scores, as ``maxsim.aggregate`` defines it, in one pass over float32 scores.

Scores come part by part, [K, n]: neighbours in memory are items, so that eight of them go through each step at once.
An item's result depends on its own scores alone, to the bit: not on its neighbours, nor on where the range begins.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tesserank.maxsim.aggregate import check
from tesserank.maxsim.jit.arrays import frozen
from tesserank.maxsim.jit.kept import kept
from tesserank.maxsim.jit.numbers import exp, log
from tesserank.threads import share

# Waking a thread takes about 50 µs, in which a core takes in some 30 thousand scores.
_SCORES_WORTH_A_THREAD = 60_000
_STRIP = 256  # items whose scores, maxima and sums stay in the first cache between two looks at them


def aggregate(
    scores: NDArray[np.float32],
    weights: NDArray[Any],
    method: str,
    temperature: float,
    pool: ThreadPoolExecutor | None,
) -> NDArray[np.float32]:
    """``maxsim.aggregate.aggregate`` of ``scores`` [n, K] -> [n], without a copy if they lie part by part."""
    check(weights, method)
    parts, factors = frozen(scores.T, np.float32), frozen(weights, np.float32)
    out = np.empty(len(scores), dtype=np.float32)

    def aggregate_range(begin: int, end: int) -> None:
        if method == "sum":
            _weighted_sum(parts, factors, begin, end, out)
        else:
            _soft_maximum(parts, factors, np.float32(temperature), begin, end, out)

    share(aggregate_range, len(out), _SCORES_WORTH_A_THREAD // len(parts), pool)
    return out


@kept()
def _soft_maximum(parts: Any, weights: Any, temperature: Any, begin: Any, end: Any, out: Any) -> None:
    """``out[i] = τ · log Σ_k w_k · exp(parts[k, i] / τ)`` for i from ``begin`` to ``end``.

    ``parts`` float32 [K, n], ``weights`` float32 [K] of which one at least is above 0, ``out`` float32 [n].
    """
    shifts = np.empty(len(weights), dtype=np.float32)
    for k in range(len(weights)):
        shifts[k] = np.log(weights[k]) if weights[k] > 0 else -np.inf  # a weight of 0 takes its part out
    inverse = np.float32(1) / temperature
    peaks, sums = np.empty(_STRIP, dtype=np.float32), np.empty(_STRIP, dtype=np.float32)
    for first in range(begin, end, _STRIP):
        count = min(_STRIP, end - first)
        for i in range(count):
            peaks[i] = -np.inf
            sums[i] = 0
        for k in range(len(parts)):
            part, shift = parts[k, first:], shifts[k]
            for i in range(count):
                value = part[i] * inverse + shift
                peaks[i] = value if not value <= peaks[i] else peaks[i]
        for k in range(len(parts)):
            part, shift = parts[k, first:], shifts[k]
            for i in range(count):
                sums[i] += exp((part[i] * inverse + shift) - peaks[i])
        for i in range(count):
            out[first + i] = temperature * (peaks[i] + log(sums[i]))


@kept()
def _weighted_sum(parts: Any, weights: Any, begin: Any, end: Any, out: Any) -> None:
    """``out[i] = Σ_k w_k · parts[k, i]`` for i from ``begin`` to ``end``; types as of ``_soft_maximum``."""
    for first in range(begin, end, _STRIP):
        sums = out[first : min(first + _STRIP, end)]
        sums[:] = 0
        for k in range(len(parts)):
            part, weight = parts[k, first:], weights[k]
            for i in range(len(sums)):
                sums[i] += weight * part[i]
