"""Parts of the users that a mean over all of them hides."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tesserank_evaluation.split import Cases

RARE_EVENTS = 5  # a target with fewer events to learn from is rare
LONG_ITEMS = 20  # a history with more items is long
SHORT_ITEMS = 5  # one with at most so many is short

SLICES = {
    "unseen target": "nobody but the held-out users has met it: only its text is known",
    "rare target": f"1 to {RARE_EVENTS - 1} events to learn from",
    "short history": f"at most {SHORT_ITEMS} items",
    "long history": f"more than {LONG_ITEMS} items",
    "same time": "the item before the target has the target's timestamp",
}


def slices_of(cases: Cases, n_items: int) -> dict[str, NDArray[np.bool_]]:
    """Which of the N cases belong to each of ``SLICES``."""
    known = np.bincount(cases.held.train.item, minlength=n_items)[cases.targets]
    lengths = np.array([len(history.items) for history in cases.histories])
    masks = (
        known == 0,
        (known > 0) & (known < RARE_EVENTS),
        lengths <= SHORT_ITEMS,
        lengths > LONG_ITEMS,
        cases.same_time,
    )
    return dict(zip(SLICES, masks, strict=True))
