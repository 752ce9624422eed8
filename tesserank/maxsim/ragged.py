"""Items' rows as one matrix with offsets: no padding is stored, so none can win a maximum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Ragged:
    """``vectors`` [T, d] of any type; item i has rows ``offsets[i]:offsets[i + 1]``; ``offsets`` [N + 1]."""

    vectors: NDArray[Any]
    offsets: NDArray[np.int64]

    def __post_init__(self) -> None:
        if len(self.offsets) == 0 or self.offsets[0] != 0 or self.offsets[-1] != len(self.vectors):
            ends = "none" if len(self.offsets) == 0 else f"{self.offsets[0]}..{self.offsets[-1]}"
            raise ValueError(f"offsets {ends} do not span the {len(self.vectors)} vectors")
        if np.any(np.diff(self.offsets) < 0):
            raise ValueError("offsets decrease")

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Vectors of each item, int64 [N]."""
        return np.diff(self.offsets)

    def item(self, row: int) -> NDArray[Any]:
        """One item's vectors, [M, d], a view."""
        return self.vectors[self.offsets[row] : self.offsets[row + 1]]

    def take(self, rows: NDArray[np.int64] | slice) -> Ragged:
        """The items of ``rows`` in that order: copied, or a view where they are a slice of consecutive ones."""
        if isinstance(rows, slice):
            offsets = self.offsets[rows.start : rows.stop + 1]
            return Ragged(self.vectors[offsets[0] : offsets[-1]], offsets - offsets[0])
        places, offsets = spans(self.offsets[rows], self.offsets[rows + 1] - self.offsets[rows])
        return Ragged(self.vectors[places], offsets)

    @staticmethod
    def of(matrices: list[NDArray[Any]]) -> Ragged:
        """One item a matrix; at least one matrix, of equal widths."""
        offsets = np.concatenate([[0], np.cumsum([len(matrix) for matrix in matrices])]).astype(np.int64)
        return Ragged(np.concatenate(matrices), offsets)

    @staticmethod
    def from_padded(vectors: NDArray[Any], mask: NDArray[np.bool_]) -> Ragged:
        """From padded vectors [N, M, d] and a mask [N, M] of the real ones."""
        offsets = np.concatenate([[0], np.cumsum(mask.sum(axis=1))]).astype(np.int64)
        return Ragged(vectors[mask], offsets)


def spans(begins: NDArray[np.int64], lengths: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The places from ``begins[i]`` on, ``lengths[i]`` of them, for i after i; and the offsets [n + 1] of each i."""
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return np.arange(offsets[-1]) + np.repeat(begins - offsets[:-1], lengths), offsets
