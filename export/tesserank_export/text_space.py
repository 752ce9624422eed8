"""The text space of the index: token vectors of every item, what tokens weigh, optional pooling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage

from tesserank.encoding.batch import Encode, EncoderRows, encode_composed
from tesserank.encoding.template import Template
from tesserank.index import Space
from tesserank.maxsim.ragged import Ragged
from tesserank.segments.config import RELEVANCE, TEXT_SPACE, UNIFORM, ItemsConfig
from tesserank_export.relevance import Pairs, relevance_weights
from tesserank_export.spaces import make_space

SHARD_ITEMS = 1024
_ROWS = EncoderRows(32)  # a call of the encoder
_TOKENS_AT_ONCE = 1 << 16
TokenIds = Sequence[Sequence[int]]


@dataclass(frozen=True)
class Texts:
    """A catalogue that went through an encoder: what its text space is made of."""

    items: TokenIds  # [N] the token ids of each
    vocabulary: int  # one above the largest token id
    dim: int
    shards: Sequence[Path]  # of ``encode_shard``, in order
    template: Template
    encode: Encode

    @property
    def identity(self) -> list[str]:
        """Names the token ids and the encoder, for a step that uses them."""
        return [shard.parent.name for shard in self.shards]

    @cached_property
    def offsets(self) -> NDArray[np.int64]:
        """[N + 1]: the tokens of item i are offsets[i]:offsets[i + 1]; there may be none."""
        return _offsets([len(item) for item in self.items])

    def segments(self, segments: Sequence[Sequence[int]]) -> EncodedSegments:
        """What the encoder makes of segments, each the rows of the items that it has."""
        parts = [[part for row in rows if len(part := self.items[row])] for rows in segments]
        fitting = [self.template.fitting(own) for own in parts]
        composed = [self.template.compose(own) for own in fitting if own]
        vectors = encode_composed(composed, self.template, self.encode, _ROWS)
        return EncodedSegments(
            tokens=np.concatenate(vectors).astype(np.float16) if vectors else np.empty((0, self.dim), np.float16),
            ids=np.array([token for own in fitting for part in own for token in part], dtype=np.int64),
            item_lengths=[[len(part) for part in own] for own in fitting],
        )

    def tokens(self) -> NDArray[np.float16]:
        """Vectors of all tokens, [T, dim], from the shards."""
        loaded = [shard for shard in map(np.load, self.shards) if len(shard)]
        return np.concatenate(loaded) if loaded else np.empty((0, self.dim), dtype=np.float16)


@dataclass(frozen=True)
class EncodedSegments:
    """S segments that went through the encoder, one after the other: of all tokens vectors [T, d] and ids [T].

    ``item_lengths``: how many tokens each item of each segment has; what has none is no item of it.
    """

    tokens: NDArray[np.float16]
    ids: NDArray[np.int64]
    item_lengths: Sequence[Sequence[int]]

    @cached_property
    def item_offsets(self) -> NDArray[np.int64]:
        """First token of each item of each segment, and the end."""
        return _offsets([length for own in self.item_lengths for length in own])

    @cached_property
    def segment_offsets(self) -> NDArray[np.int64]:
        """First token of each segment that has any, and the end."""
        return _offsets([sum(own) for own in self.item_lengths if own])

    def items_of(self, segment: int) -> NDArray[np.int64]:
        """Positions of its items among those of all segments."""
        return np.arange(self._first_items[segment], self._first_items[segment + 1])

    def segment_of(self, segment: int) -> NDArray[np.int64]:
        """Its position among segments that have tokens: one or none."""
        return np.arange(self._first_segments[segment], self._first_segments[segment + 1])

    @cached_property
    def _first_items(self) -> NDArray[np.int64]:
        return _offsets([len(own) for own in self.item_lengths])

    @cached_property
    def _first_segments(self) -> NDArray[np.int64]:
        return _offsets([bool(own) for own in self.item_lengths])


def _offsets(lengths: Sequence[int]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def token_weights(kind: str, items: TokenIds, vocabulary: int, pairs: Pairs) -> NDArray[np.float32]:
    """What every token id weighs, float32 [vocabulary]: ``idf``, ``relevance`` by the ``pairs``, or ``uniform``: 1."""
    if kind == UNIFORM:
        return np.ones(vocabulary, dtype=np.float32)
    if kind == RELEVANCE:
        return relevance_weights(items, vocabulary, pairs)
    return inverse_document_frequency(items, vocabulary)


def projected(tokens: NDArray[np.float16], components: NDArray[np.float32]) -> NDArray[np.float16]:
    """``tokens`` [T, d] as an encoder gives them whose projection is followed by ``components`` [d, d]."""
    out = np.empty_like(tokens)
    for first in range(0, len(tokens), _TOKENS_AT_ONCE):
        moved = tokens[first : first + _TOKENS_AT_ONCE].astype(np.float32) @ components.T
        moved /= np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), 1e-12)
        out[first : first + len(moved)] = moved
    return out


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


def make_text_space(
    texts: Texts, tokens: NDArray[np.float16], weights: NDArray[np.float32], config: ItemsConfig, seed: int
) -> tuple[Space, Ragged]:
    """The text space, and its vectors as they were before they were quantised.

    ``tokens`` [T, d] are vectors of all tokens of the ``texts``, ``weights`` [vocabulary] what each id weighs.
    """
    vectors, own_weights, labels = text_vectors(texts.items, tokens, weights, config.pooling_factor)
    space = make_space(TEXT_SPACE, vectors, own_weights, labels, config.vectors, seed, texts.vocabulary)
    return space, vectors


def text_vectors(
    items: TokenIds, tokens: NDArray[np.float16], token_weights: NDArray[np.float32], pooling: int
) -> tuple[Ragged, NDArray[np.float32], NDArray[np.int64]]:
    """Cut ``tokens`` [T, d] up and pool if asked: vectors, float16 ragged, weights, float32, and labels of each.

    A vector's label is its token id, of a pooled one that which weighs most. An item without tokens gets one zero
    vector of weight 1 and label 0.
    """
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
            own = np.zeros((1, tokens.shape[1]), dtype=np.float16)
        else:
            own_labels = np.asarray(item, dtype=np.int64)
            own_weights = token_weights[own_labels]
            if pooling > 1:
                own, own_weights, own_labels = _pool(own, own_weights, own_labels, pooling)
        vectors.append(own)
        weights.append(own_weights)
        labels.append(own_labels)
    return Ragged.of(vectors), np.concatenate(weights), np.concatenate(labels)


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
