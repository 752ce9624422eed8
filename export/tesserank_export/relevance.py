"""What an event log says of texts: an item and the next that somebody met are a query and a relevant document."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tesserank_export.events import Events

SAMPLE = 20_000  # pairs that the components are learned from: of 128 dimensions, some hundred thousand tokens
_RIDGE = 0.1  # of the mean eigenvalue: a direction in which neighbours agree to the bit must not be all that counts
_ROWS = 512  # items whose neighbours' tokens are counted at once

Pairs = NDArray[np.int32]  # [P, 2] rows of the catalogue, the earlier item first
NO_PAIRS: Pairs = np.empty((0, 2), dtype=np.int32)


def neighbours(events: Events) -> Pairs:
    """Items that one user met one after the other, int32 [P, 2]; an item met twice in a row is no pair."""
    follows = (events.user[1:] == events.user[:-1]) & (events.item[1:] != events.item[:-1])
    return np.stack([events.item[:-1][follows], events.item[1:][follows]], axis=1)


def relevance_weights(items: Sequence[Sequence[int]], vocabulary: int, pairs: Pairs) -> NDArray[np.float32]:
    """What every token id weighs, float32 [vocabulary], above 0: Robertson and Sparck Jones, "Relevance weighting of
    search terms" (1976), formula F4 with ½ added.

    Of R pairs whose first item has the token, r have it in the second too; of N items, n have it::

        ln(1 + (r + ½) / (R − r + ½) · (N − n + ½) / (n + ½))

    the catalogue standing for what is not relevant (Croft and Harper 1979). The 1 + is Lucene's, which keeps a weight
    above 0. Of a token without pairs that is its inverse document frequency.
    """
    holds = _incidence(items, vocabulary)
    following = _follow_counts(pairs, len(items))
    asked = holds.T @ np.asarray(following.sum(axis=1)).ravel()
    found = np.zeros(vocabulary)
    for first in range(0, len(items), _ROWS):
        rows = slice(first, first + _ROWS)
        found += np.asarray(holds[rows].multiply(following[rows] @ holds).sum(axis=0)).ravel()
    held = np.asarray(holds.sum(axis=0)).ravel()
    odds = (found + 0.5) / (asked - found + 0.5) * (len(items) - held + 0.5) / (held + 0.5)
    weights: NDArray[np.float32] = np.log1p(odds).astype(np.float32)
    return weights


def _incidence(items: Sequence[Sequence[int]], vocabulary: int) -> sparse.csr_matrix:
    """Which item has which token: 1 or nothing, [N, vocabulary]."""
    tokens = [np.unique(np.asarray(item, dtype=np.int64)) for item in items]
    columns = np.concatenate(tokens) if tokens else np.empty(0, dtype=np.int64)
    starts = np.concatenate([[0], np.cumsum([len(own) for own in tokens])])
    return sparse.csr_matrix((np.ones(len(columns)), columns, starts), shape=(len(items), vocabulary))


def _follow_counts(pairs: Pairs, n_items: int) -> sparse.csr_matrix:
    """How often an item was met right after another: [N, N]."""
    return sparse.csr_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(n_items, n_items))


def sampled(pairs: Pairs, seed: int) -> Pairs:
    """At most ``SAMPLE`` of them, drawn without replacement."""
    drawn: Pairs = pairs[np.random.default_rng(seed).permutation(len(pairs))[:SAMPLE]]
    return drawn


def relevant_components(
    tokens: NDArray[np.float16] | NDArray[np.float32], offsets: NDArray[np.int64], pairs: Pairs
) -> NDArray[np.float32]:
    """A map M of token vectors, float32 [d, d], symmetric: ``v -> M v``, to be normalised afterwards.

    Relevant component analysis (Bar-Hillel, Hertz, Shental and Weinshall, "Learning distance functions using
    equivalence relations", 2003), chunklets being a token of one item and the token of the next that answers it best::

        C = mean of (q − v)(q − v)ᵀ        M = (C + ρ · tr C / d · I)^−½, scaled to a mean eigenvalue of 1

    so that directions in which relevant items differ count less. ``tokens`` [T, d] of unit length, those of item i at
    ``offsets[i]:offsets[i + 1]``, maybe none. Without any pair of two items with tokens M is the identity.
    """
    dim = tokens.shape[1]
    scatter = np.zeros((dim, dim))  # C but for a factor, which the scaling takes out
    for one, next_one in pairs:
        queries = tokens[offsets[one] : offsets[one + 1]].astype(np.float32)
        answers = tokens[offsets[next_one] : offsets[next_one + 1]].astype(np.float32)
        if len(queries) and len(answers):
            apart = queries - answers[(queries @ answers.T).argmax(axis=1)]
            scatter += apart.T @ apart
    spread = np.trace(scatter) / dim
    if not spread > 0:
        return np.eye(dim, dtype=np.float32)
    values, vectors = np.linalg.eigh(scatter / spread)
    scales = (np.maximum(values, 0) + _RIDGE) ** -0.5
    return np.asarray((vectors * (scales / scales.mean())) @ vectors.T, dtype=np.float32)
