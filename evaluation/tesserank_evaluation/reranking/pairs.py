"""What the cross-encoder reads of a user and an item; one place for training and for ranking."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

HISTORY_ITEMS = 10  # the newest; of these the oldest tokens go where a pair is too long
_BETWEEN = ". "


def history_text(items: NDArray[np.int32], texts: Sequence[str]) -> str:
    """The texts of a history's newest items, the newest last; ``items`` [n] are rows of the catalogue."""
    return _BETWEEN.join(text for row in items[-HISTORY_ITEMS:].tolist() if (text := texts[row]))
