"""Popularity: the same list for everybody, by the number of users who met an item."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tesserank_evaluation.recommender import Scores, Training
from tesserank_evaluation.split import History


class Popularity:
    """``users`` float32 [items]: users who met each item."""

    settings: Mapping[str, Any] = {}

    def __init__(self, training: Training) -> None:
        matrix = training.events.interaction_matrix(training.n_items)
        self._users = np.bincount(matrix.indices, minlength=training.n_items).astype(np.float32)

    def scores(self, histories: Sequence[History]) -> Scores:
        """See ``Recommender``."""
        return np.broadcast_to(self._users, (len(histories), len(self._users)))
