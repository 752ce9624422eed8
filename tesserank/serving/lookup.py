"""What lies in the index as a segment, items and moments: token vectors, all of a user at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tesserank.index import Space
from tesserank.maxsim.ragged import spans


@dataclass(frozen=True)
class TokenRows:
    """The token vectors of consecutive segments of one user in one space."""

    tokens: Any  # float32 [q, d]: an array; for a scorer of a device, a tensor there or ``device_tokens.Resident``
    weights: NDArray[np.float32]  # [q]
    unit_lengths: NDArray[np.int64]  # [g] tokens of each unit
    segment_units: NDArray[np.int64]  # [s] units of each segment


class Lookup:
    """A space's vectors of items, or of moments, that are segments. ``knows`` [N]: whether it knows anything of one."""

    def __init__(self, space: Space) -> None:
        self._items = space.segment_vectors
        self._weights = space.segment_weights.astype(np.float32)  # numpy converts float16 slowly
        self._lengths = self._items.lengths
        # What a space knows nothing of has one vector, of zeros.
        knows = self._lengths > 1
        single = np.flatnonzero(~knows)
        knows[single] = self._items.decode(single).vectors.any(axis=1)
        self.knows: list[bool] = knows.tolist()

    def tokens(self, rows: NDArray[np.int64], counts: NDArray[np.int64], group_by_item: bool) -> TokenRows:
        """The vectors of the items, or moments, of ``rows``, ``counts`` [s] of them in each segment.

        A unit is an item, or a whole segment if not ``group_by_item``.
        """
        lengths = self._lengths[rows]
        places, _ = spans(self._items.offsets[rows], lengths)
        tokens, weights = self._vectors(places), self._weights[places]
        if group_by_item:
            return TokenRows(tokens, weights, lengths, counts)
        of_segments = np.add.reduceat(lengths, np.cumsum(counts) - counts)
        return TokenRows(tokens, weights, of_segments, np.ones_like(counts))

    def _vectors(self, places: NDArray[np.int64]) -> Any:
        """The token vectors at ``places``, in the scorer's form."""
        return self._items.at(places)


@dataclass(frozen=True)
class TokenForm:
    """In which form a scorer takes token vectors: how what lies in the index is looked up, and how parts are joined."""

    lookup: Callable[[Space], Lookup]
    join: Callable[[Sequence[Any]], Any]


def join_arrays(arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """One after the other; not copied if there is one."""
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


ARRAYS = TokenForm(Lookup, join_arrays)
