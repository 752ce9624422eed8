"""From the scores of parts to the score of the whole: items within a segment, and segments within a channel.

* ``sum``: ``s = Σ_k w_k·y_k``.
* ``softmax``: ``s = τ·log Σ_k w_k·exp(y_k / τ)``, the log-sum-exp with temperature τ: near 0 it is the largest y_k.

A *contribution* is a part's share of ``s``; a row of contributions adds up to ``s``. For ``sum`` it is ``w_k·y_k``; for
``softmax`` it is ``s`` times the part's softmax probability, which is also the derivative ``∂s/∂y_k``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[Any]
# Of the largest score: what aggregating in float32 may round, some units in the last place, 2 ** -24 each. A rule of
# thumb: channels that cancel out, or a temperature far above the scores, would round more.
ROUNDING = 1e-5


def aggregate(scores: Scores, weights: NDArray[Any], method: str, temperature: float) -> Scores:
    """Aggregate the last axis: ``scores`` [n, K] floating, ``weights`` [K] >= 0 -> ``s`` [n], of the same type.

    Raises ValueError if no weight is above 0 or the method is unknown.
    """
    if method == "sum":
        return np.asarray(contributions(scores, weights, method, temperature).sum(axis=1))
    s, _ = _soft_maximum(scores, weights, method, temperature)
    return s


def contributions(scores: Scores, weights: NDArray[Any], method: str, temperature: float) -> Scores:
    """Each part's share of what ``aggregate`` returns for the same arguments: [n, K], rows adding up to ``s``."""
    if method == "sum":
        check(weights, method)
        products: Scores = scores * weights.astype(scores.dtype)
        return products
    s, probabilities = _soft_maximum(scores, weights, method, temperature)
    shares: Scores = s[:, None] * probabilities
    return shares


def derivatives(scores: Scores, weights: NDArray[Any], method: str, temperature: float) -> Scores:
    """How much ``aggregate`` changes with each part, ``∂s/∂y_k``: [n, K]; ``w_k``, or the softmax probabilities."""
    if method == "sum":
        check(weights, method)
        return np.broadcast_to(weights.astype(scores.dtype), scores.shape)
    return _soft_maximum(scores, weights, method, temperature)[1]


def check(weights: NDArray[Any], method: str) -> None:
    """Raise ValueError if there is nothing to aggregate, or no such method."""
    if not (weights > 0).any():
        raise ValueError("no part has a weight above 0")
    if method not in ("sum", "softmax"):
        raise ValueError(f"unknown aggregation {method!r}")


def _soft_maximum(scores: Scores, weights: NDArray[Any], method: str, temperature: float) -> tuple[Scores, Scores]:
    """The soft maximum [n] and the parts' probabilities [n, K], by which its derivative is shared."""
    check(weights, method)
    tau = scores.dtype.type(temperature)
    shifts = np.full(weights.shape, -np.inf, dtype=scores.dtype)  # a weight of 0 takes its part out
    np.log(weights, out=shifts, where=weights > 0, casting="same_kind")
    scaled = scores / tau + shifts
    peak = scaled.max(axis=1, keepdims=True)
    exponentials = np.exp(scaled - peak)
    total = exponentials.sum(axis=1, keepdims=True)
    return (tau * (peak + np.log(total)))[:, 0], exponentials / total
