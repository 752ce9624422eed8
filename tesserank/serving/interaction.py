"""Late interaction of one user's segments with items: unit scores → segment scores → one score an item."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tesserank.index import ItemIndex
from tesserank.maxsim import cpu
from tesserank.maxsim.vectors import ItemVectors
from tesserank.segments.config import SegmentsConfig
from tesserank.serving.aggregation import Aggregate, ChannelAggregation, SpaceScores
from tesserank.serving.segments import UserSegments

Rows = NDArray[np.int64]
# tokens [Q, d], token weights [Q], starts of units [G], items, rows [n] or None for all -> [n, G]
UnitScores = Callable[[NDArray[Any], NDArray[Any], NDArray[np.int64], ItemVectors, "Rows | None"], NDArray[Any]]


class LateInteraction(ChannelAggregation):
    """Scores the items of an index. ``items`` stand in for those of the spaces that they are named after."""

    def __init__(
        self,
        index: ItemIndex,
        config: SegmentsConfig,
        unit_scores: UnitScores = cpu.unit_scores,
        aggregate: Aggregate = cpu.aggregate,
        items: Mapping[str, ItemVectors] | None = None,
    ) -> None:
        super().__init__(index, config, aggregate)
        self._unit_scores = unit_scores
        stored = {name: space.items for name, space in index.spaces.items()} | dict(items or {})
        self.items = {name: cpu.prepared(own) for name, own in stored.items()}

    def segment_scores(self, user: UserSegments, rows: Rows | None = None) -> NDArray[Any]:
        """``y_ik`` of one user's segments with the items of ``rows`` (None: all) -> [n, K]."""
        return self._gathered(user, self.in_spaces(user, rows))

    def scores(self, user: UserSegments, rows: Rows | None = None) -> NDArray[Any]:
        """One score an item of ``rows`` (None: all) -> [n]."""
        return self.of_channels(self.channels(user), self.in_spaces(user, rows))

    def in_spaces(self, user: UserSegments, rows: Rows | None) -> dict[str, SpaceScores]:
        """Segment scores, space by space."""
        return {name: self._score_space(user, name, rows) for name in user.spaces}

    def _score_space(self, user: UserSegments, name: str, rows: Rows | None) -> SpaceScores:
        space = user.spaces[name]
        units = self._unit_scores(space.tokens, space.token_weights, space.starts, self.items[name], rows)
        return self.of_units(user, name, units)
