"""One vector an item, one vector a user: item2vec, and the artefact's token vectors pooled over the history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tesserank.index import ItemIndex
from tesserank.segments.config import TEXT_SPACE
from tesserank_evaluation.baselines.histories import history_matrix
from tesserank_evaluation.recommender import Scores, Training
from tesserank_evaluation.split import History
from tesserank_export.collaborative import DEFAULT_DIM, fit_item2vec
from tesserank_export.collaborative.factorisation import unit_rows


class Item2Vec:
    """Skip-gram over the histories; ``score_i`` is the mean cosine with the items of the history."""

    settings: Mapping[str, Any] = {"dim": DEFAULT_DIM}

    def __init__(self, training: Training) -> None:
        self._vectors = fit_item2vec(training.events, training.n_items, DEFAULT_DIM, training.seed)

    def scores(self, histories: Sequence[History]) -> Scores:
        """See ``Recommender``."""
        return _mean(histories, self._vectors) @ self._vectors.T


class MeanPooled:
    """``score_i`` is the inner product of the mean of the history's text vectors with the item's."""

    settings: Mapping[str, Any] = {}

    def __init__(self, training: Training) -> None:
        self._vectors = text_vectors(training.index)

    def scores(self, histories: Sequence[History]) -> Scores:
        """See ``Recommender``."""
        return _mean(histories, self._vectors) @ self._vectors.T


class MaxPooled:
    """The same with the largest value of every dimension over the history in place of the mean."""

    settings: Mapping[str, Any] = {}

    def __init__(self, training: Training) -> None:
        self._vectors = text_vectors(training.index)

    def scores(self, histories: Sequence[History]) -> Scores:
        """See ``Recommender``."""
        users = np.stack([self._vectors[history.items].max(axis=0) for history in histories])
        scores: Scores = users @ self._vectors.T
        return scores


def text_vectors(index: ItemIndex) -> NDArray[np.float32]:
    """The mean of each item's token vectors, scaled to unit length: float32 [items, d]; 0 for an item without text."""
    decoded = index.spaces[TEXT_SPACE].items.decode()
    return unit_rows(np.add.reduceat(decoded.vectors, decoded.offsets[:-1], axis=0))


def _mean(histories: Sequence[History], vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.array([[len(history.items)] for history in histories], dtype=np.float32)
    mean: NDArray[np.float32] = (history_matrix(histories, len(vectors)) @ vectors) / lengths
    return mean
