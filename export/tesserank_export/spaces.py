"""Spaces of the index out of vectors: stored, and with the scale of what their segments score."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tesserank.index import Space
from tesserank.maxsim.cpu import unit_scores
from tesserank.maxsim.ragged import Ragged
from tesserank.maxsim.vectors import KINDS, ItemVectors, quantise
from tesserank_export import compact
from tesserank_export.collaborative.learned import Learned


def make_learned_space(name: str, learned: Learned, kind: str) -> Space:
    """The space of one vector an item, quantised, and its scale.

    ``kind``, one of ``maxsim.vectors.KINDS``, is the items': no kernel goes through queries, so they are float16, which
    keeps the direction of short ones too.
    """
    weights = np.ones(len(learned.items), dtype=np.float32)
    items = quantise(kind, one_each(learned.items))
    asked = None if learned.queries is None else quantise("float16", one_each(learned.queries))
    scale = space_scale(items, weights, queries=asked, of_moments=learned.moments is not None)
    return Space(name, items, weights, scale, asked, learned.moments)


def one_each(vectors: NDArray[np.float32]) -> Ragged:
    """Every item with one vector of [n, d]."""
    return Ragged(vectors, np.arange(len(vectors) + 1, dtype=np.int64))


def make_space(
    name: str,
    vectors: Ragged,
    weights: NDArray[np.float32],
    labels: NDArray[np.int64],
    kind: str,
    seed: int = 0,
    vocabulary: int = 0,
) -> Space:
    """The space of float vectors [T, d], one at least an item, weights [T] and labels [T]; quantised, and its scale.

    ``labels`` say what kind of token each is, of ``vocabulary``; ``seed`` is of random choices: see ``compact.fit``.
    """
    items = quantise(kind, vectors) if kind in KINDS else compact.fit(vectors, weights, labels, seed, vocabulary)
    stored = weights.astype(np.float16).astype(np.float32)
    return Space(name, items, stored, space_scale(items, stored))


def space_scale(
    items: ItemVectors,
    weights: NDArray[np.float32],
    seed: int = 0,
    segments: int = 128,
    candidates: int = 512,
    queries: ItemVectors | None = None,
    of_moments: bool = False,
) -> float:
    """1 / standard deviation of the score of random segments with random other items.

    Segments are items, with those of ``queries`` as vectors if they have their own, or moments, with one of them each.
    Scores of different spaces are comparable once each is divided by its own spread. 1.0 for a space without any.
    """
    rng = np.random.default_rng(seed)
    asks, own = (items, weights) if queries is None else (queries, np.ones(len(queries), dtype=np.float32))
    known, asking = known_rows(items), known_rows(asks)
    if len(known) < 2 or len(asking) < (1 if of_moments else 2):
        return 1.0
    asked = rng.choice(asking, min(segments, len(asking)), replace=False)
    others = rng.choice(known, min(candidates, len(known)), replace=False)
    scores = unit_scores(*as_units(asks, own, asked), items, others)
    spread = float((scores if of_moments else scores[others[:, None] != asked[None, :]]).std())
    return 1.0 / spread if spread > 0 else 1.0


def known_rows(items: ItemVectors) -> NDArray[np.int64]:
    """Rows of the items that the space knows something of: those with a vector that is not zero."""
    lengths = items.lengths
    single = np.flatnonzero(lengths == 1)  # what a space knows nothing of has one zero vector
    known = lengths > 0
    known[single] = items.decode(single).vectors.any(axis=1)
    return np.flatnonzero(known)


def as_units(
    items: ItemVectors, weights: NDArray[np.float32], rows: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
    """Items as segments of one unit each: their tokens [Q, d], token weights [Q] and starts [len(rows)]."""
    taken = items.decode(rows)
    raw = np.concatenate([weights[items.offsets[row] : items.offsets[row + 1]] for row in rows])
    starts = taken.offsets[:-1]
    totals = np.repeat(np.maximum(np.add.reduceat(raw, starts), 1e-12), taken.lengths)
    return taken.vectors, (raw / totals).astype(np.float32), starts
