"""Which items a regression takes in: its matrices are dense, 4 · n² bytes for n items."""

from __future__ import annotations

import logging

import numpy as np
from numpy.typing import NDArray

from tesserank_export.events import Events

MOST_ITEMS = 16_384  # one GiB a matrix. Rarer items have no vector in such a space.

logger = logging.getLogger(__name__)


def most_met(events: Events, n_items: int, space: str) -> NDArray[np.int64]:
    """Rows of the at most MOST_ITEMS items with most events, ascending; those without any are none of them."""
    counts = np.bincount(events.item, minlength=n_items)
    met = np.count_nonzero(counts)
    chosen = np.sort(np.argsort(-counts, kind="stable")[: min(MOST_ITEMS, met)])
    if len(chosen) < met:
        logger.warning("%s: %s of %s items, the most met, have vectors", space, f"{len(chosen):,}", f"{met:,}")
    return chosen
