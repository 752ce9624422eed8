"""The text space of the index: token vectors of every item, IDF weights, optional pooling."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage

from tesserank.encoding.batch import Encode, EncoderRows, encode_composed
from tesserank.encoding.template import Template
from tesserank.index import Space
from tesserank.maxsim.cpu import unit_scores
from tesserank.maxsim.ragged import Ragged
from tesserank.maxsim.vectors import KINDS, ItemVectors, quantise
from tesserank_export import compact
from tesserank_export.collaborative.learned import Learned

SHARD_ITEMS = 1024
_ROWS = EncoderRows(32)  # a call of the encoder
TokenIds = Sequence[Sequence[int]]


def token_weights(kind: str, items: TokenIds, vocabulary: int) -> NDArray[np.float32]:
    """What every token id weighs, float32 [vocabulary]: ``idf``, or ``uniform``: 1."""
    if kind == "uniform":
        return np.ones(vocabulary, dtype=np.float32)
    return inverse_document_frequency(items, vocabulary)


def inverse_document_frequency(items: TokenIds, vocabulary: int) -> NDArray[np.float32]:
    """IDF of every token id, float32 [vocabulary], as BM25 has it: ``ln(1 + (N - n + 0.5) / (n + 0.5))``.

    Robertson and Zaragoza, "The Probabilistic Relevance Framework" (2009), eq. 3.3, with Lucene's 1 + inside the
    logarithm, which keeps it above 0.
    """
    counts = np.zeros(vocabulary, dtype=np.int64)
    for item in items:
        counts[np.unique(np.asarray(item, dtype=np.int64))] += 1
    return np.log1p((len(items) - counts + 0.5) / (counts + 0.5)).astype(np.float32)


def encode_shard(items: TokenIds, template: Template, encode: Encode, path: Path) -> None:
    """Encode the token ids of some items and save their vectors, float16 [T, d], to a .npy file.

    An item without tokens has no vectors here.
    """
    inputs = [template.compose([item]) for item in items if item]
    vectors = encode_composed(inputs, template, encode, _ROWS)
    np.save(path, np.concatenate(vectors).astype(np.float16) if vectors else np.empty((0, 0), dtype=np.float16))


def text_vectors(
    items: TokenIds, shards: Sequence[Path], dim: int, idf: NDArray[np.float32], pooling: int
) -> tuple[Ragged, NDArray[np.float32], NDArray[np.int64]]:
    """Put the shards together and pool if asked: vectors, float16 [T, d] ragged, weights, float32 [T], labels, [T].

    A vector's label is its token id, of a pooled one that which weighs most. An item without tokens gets one zero
    vector of weight 1 and label 0.
    """
    loaded = [shard for shard in map(np.load, shards) if len(shard)]
    tokens = np.concatenate(loaded) if loaded else np.empty((0, dim), dtype=np.float16)
    vectors: list[NDArray[np.float16]] = []
    weights: list[NDArray[np.float32]] = []
    labels: list[NDArray[np.int64]] = []
    start = 0
    for item in items:
        own = tokens[start : start + len(item)]
        start += len(item)
        if not len(own):
            own_labels = np.zeros(1, dtype=np.int64)
            own_weights = np.ones(1, dtype=np.float32)
            own = np.zeros((1, dim), dtype=np.float16)
        else:
            own_labels = np.asarray(item, dtype=np.int64)
            own_weights = idf[own_labels]
            if pooling > 1:
                own, own_weights, own_labels = _pool(own, own_weights, own_labels, pooling)
        vectors.append(own)
        weights.append(own_weights)
        labels.append(own_labels)
    return Ragged.of(vectors), np.concatenate(weights), np.concatenate(labels)


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


def _pool(
    vectors: NDArray[np.float16], weights: NDArray[np.float32], labels: NDArray[np.int64], factor: int
) -> tuple[NDArray[np.float16], NDArray[np.float32], NDArray[np.int64]]:
    """Token pooling (Clavié, Chaffin and Adams, 2024, arXiv:2409.14683): Ward clusters, mean vectors, weights added.

    A cluster has the label of its token that weighs most.
    """
    wanted = -(-len(vectors) // factor)
    if wanted >= len(vectors):
        return vectors, weights, labels
    of = fcluster(linkage(vectors.astype(np.float64), method="ward"), wanted, criterion="maxclust") - 1
    clusters = int(of.max()) + 1
    pooled = np.zeros((clusters, vectors.shape[1]))
    np.add.at(pooled, of, vectors.astype(np.float64))
    pooled /= np.maximum(np.linalg.norm(pooled, axis=1, keepdims=True), 1e-12)
    heaviest = np.zeros(clusters, dtype=np.int64)
    lightest_first = np.argsort(weights, kind="stable")
    heaviest[of[lightest_first]] = labels[lightest_first]  # the last that is written stays
    return pooled.astype(np.float16), np.bincount(of, weights=weights).astype(np.float32), heaviest
