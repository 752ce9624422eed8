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


def aggregate(scores: Scores, weights: NDArray[Any], method: str, temperature: float) -> Scores:
    """Aggregate the last axis: ``scores`` [n, K] floating, ``weights`` [K] >= 0 -> ``s`` [n], of the same type.

    Raises ValueError if no weight is above 0 or the method is unknown.
    """
    if method == "sum":
        return np.asarray(contributions(scores, weights, method, temperature).sum(axis=1))
    peak, exponentials = _soft_maximum(scores, weights, method, temperature)
    return np.asarray(scores.dtype.type(temperature) * (peak + np.log(exponentials.sum(axis=1))))


def contributions(scores: Scores, weights: NDArray[Any], method: str, temperature: float) -> Scores:
    """Each part's share of what ``aggregate`` returns for the same arguments: [n, K], rows adding up to ``s``."""
    if method == "sum":
        _check_weights(weights)
        products: Scores = scores * weights.astype(scores.dtype)
        return products
    s = aggregate(scores, weights, method, temperature)
    _, exponentials = _soft_maximum(scores, weights, method, temperature)
    shares: Scores = s[:, None] * (exponentials / exponentials.sum(axis=1, keepdims=True))
    return shares


def _soft_maximum(scores: Scores, weights: NDArray[Any], method: str, temperature: float) -> tuple[Scores, Scores]:
    """``log w_k + y_k / τ``, as its row maximum [n] and the exponentials of what remains [n, K]."""
    _check_weights(weights)
    if method != "softmax":
        raise ValueError(f"unknown aggregation {method!r}")
    with np.errstate(divide="ignore"):
        log_weights = np.log(weights).astype(scores.dtype)  # a weight of 0 takes its part out: log 0 = -inf
    scaled = scores / scores.dtype.type(temperature) + log_weights
    peak = scaled.max(axis=1)
    return peak, np.exp(scaled - peak[:, None])


def _check_weights(weights: NDArray[Any]) -> None:
    if not np.any(weights > 0):
        raise ValueError("no part has a weight above 0")
