"""Answers → a response's arrays [B, ...], padded as in the protocol; ``unpack`` is the other direction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tesserank import protocol
from tesserank.index import ItemIndex
from tesserank.serving.embedder import EmbeddedUsers
from tesserank.serving.scorer import Ranking

Arrays = dict[str, NDArray[Any]]


def embedding_arrays(users: EmbeddedUsers) -> Arrays:
    """The answer of segment_embedder. Raises LimitExceededError if its padded arrays take too many bytes."""
    batch = users.batch
    return {
        protocol.SEGMENT_EMBEDDINGS.name: batch.embeddings,
        protocol.TOKEN_WEIGHTS.name: batch.token_weights,
        protocol.TOKEN_GROUPS.name: batch.token_groups,
        protocol.SEGMENT_CHANNELS.name: batch.channels,
        protocol.SEGMENT_WEIGHTS.name: batch.weights,
        **segment_arrays(users),
    }


def segment_arrays(users: EmbeddedUsers) -> Arrays:
    """What an answer says of the users' segments: their labels, and how they were come by."""
    labels = np.full((len(users.segments), max(map(len, users.segments))), b"", dtype=object)
    for row, user in enumerate(users.segments):
        labels[row, : len(user)] = [label.encode() for label in user.labels]
    return {
        protocol.SEGMENT_LABELS.name: labels,
        protocol.UNKNOWN_HISTORY.name: _column(users.unknown),
        protocol.TRUNCATED_TOKENS.name: _column(users.truncated),
        protocol.CACHE_HITS.name: _column(users.hits),
        protocol.CACHE_MISSES.name: _column(users.misses),
    }


class RankingPacker:
    """Packs rankings of the items of an index."""

    def __init__(self, index: ItemIndex) -> None:
        self._item_ids = np.array([item_id.encode() for item_id in index.item_ids], dtype=object)

    def __call__(self, rankings: Sequence[Ranking], segments: int) -> Arrays:
        """The arrays of B rankings; ``segments`` is K, of the user who has most."""
        shape = (len(rankings), max(len(ranking.rows) for ranking in rankings))
        ids = np.full(shape, b"", dtype=object)
        scores = np.full(shape, -np.inf, dtype=np.float32)
        segment_scores = np.zeros((*shape, segments), dtype=np.float32)
        contributions = np.zeros_like(segment_scores)
        for row, ranking in enumerate(rankings):
            count, own = ranking.segment_scores.shape
            ids[row, :count] = self._item_ids[ranking.rows]
            scores[row, :count] = ranking.scores
            segment_scores[row, :count, :own] = ranking.segment_scores
            contributions[row, :count, :own] = ranking.contributions
        return {
            protocol.ITEM_IDS.name: ids,
            protocol.SCORES.name: scores,
            protocol.SEGMENT_SCORES.name: segment_scores,
            protocol.SEGMENT_CONTRIBUTIONS.name: contributions,
            protocol.UNKNOWN_CANDIDATES.name: _column([ranking.unknown_candidates for ranking in rankings]),
        }


def _column(values: Sequence[int]) -> NDArray[np.int32]:
    return np.array(values, dtype=np.int32)[:, None]
