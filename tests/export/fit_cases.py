"""Users to predict for in the small world of ``tests.core.world``, whose events are of kinds of these weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tesserank.segments.config import SegmentsConfig
from tesserank.segments.cut import HistoryCutter
from tesserank_export.fit.cases import Cases
from tests.core.world import ITEMS, make_index
from tests.evaluation.logs import log_of

WEIGHTS = (0.5, 0.75, 1.0)
DEFAULT = SegmentsConfig()


def cutter_of(config: SegmentsConfig = DEFAULT) -> HistoryCutter:
    return HistoryCutter(config.history, ITEMS, make_index().tokens.lengths)


def times_of(history: Sequence[int]) -> list[int]:
    """Sittings of different lengths, in which items are seconds apart."""
    return [1_000 * (place // 2 + place // 5) + 6 * place for place in range(len(history))]


def cases_of(
    histories: Sequence[Sequence[int]],
    weights: Sequence[Sequence[float]],
    config: SegmentsConfig = DEFAULT,
) -> Cases:
    return Cases(
        train=log_of([]) if not histories else log_of([[(0, 0)]]),
        users=np.arange(len(histories), dtype=np.int32),
        targets=np.zeros(len(histories), dtype=np.int32),
        timestamps=np.array([150 + 70 * row for row in range(len(histories))]),
        histories=tuple(np.array(history, dtype=np.int32) for history in histories),
        times=tuple(np.array(times_of(history)) for history in histories),
        kinds=tuple(np.array([WEIGHTS.index(weight) for weight in own], dtype=np.int32) for own in weights),
        kind_names=tuple(map(str, WEIGHTS)),
        kind_weights=WEIGHTS,
        cut=config.history.cut,
        cutter=cutter_of(config),
        by_item=config.aggregation.group_by_item,
    )
