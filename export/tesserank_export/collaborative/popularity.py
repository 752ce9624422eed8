"""A prior: how often an item was met lately, as a space of one dimension in which every segment says the same."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tesserank_export.events import Events


def fit_popularity(events: Events, n_items: int, half_life_s: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Vectors of items and of items as segments, each float32 [n_items, 1].

    An item's is log(1 + its events), an event weighing ½ for every ``half_life_s`` seconds that it is older than the
    newest of the log (0: all weigh 1); a segment's is 1. Under ``softmax`` a history of any length then adds the
    prior itself, and a number that is the same for all items.
    """
    weights = np.ones(len(events))
    if half_life_s:
        weights = 0.5 ** ((events.timestamp.max() - events.timestamp) / half_life_s)
    counts = np.bincount(events.item, weights=weights, minlength=n_items)
    return np.log1p(counts).astype(np.float32)[:, None], np.ones((n_items, 1), dtype=np.float32)
