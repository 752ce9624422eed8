"""Numbers of vectors that are numbers of token ids: stored once an id, not once a vector.

The weight of a text's vector is what its token weighs, and a compact vector's cell that of its token, as long as every
token keeps its own vector (no pooling).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tesserank.maxsim.ragged import Ragged


def ids_of_vectors(tokens: Ragged, offsets: NDArray[np.int64], vocabulary: int) -> NDArray[np.int64] | None:
    """The token id of each vector of a space, int64 [T]; ``vocabulary`` for the zero vector of an item without text.

    ``tokens`` [.., 1] are the items' token ids, ``offsets`` [N + 1] those of the vectors. None if the vectors are not
    those of the tokens.
    """
    lengths = tokens.lengths
    if not np.array_equal(np.diff(offsets), np.maximum(lengths, 1)):
        return None
    ids = np.full(offsets[-1], vocabulary, dtype=np.int64)
    ids[np.repeat(lengths > 0, np.maximum(lengths, 1))] = tokens.vectors[:, 0]
    return ids


def table_of(values: NDArray[Any], ids: NDArray[np.int64], vocabulary: int) -> NDArray[Any] | None:
    """The table [vocabulary + 1] from which ``table[ids]`` gives ``values`` back; None if there is none, or no use."""
    table = np.zeros(vocabulary + 1, dtype=values.dtype)
    table[ids] = values
    return table if len(table) < len(values) and np.array_equal(table[ids], values) else None
