"""Rows of token ids without their padding, one after the other, and the few sizes that they are rounded up to.

A CUDA graph holds one shape. So a call's tokens are rounded up to one of few counts, at most a quarter more than there
are; what is left over belongs to no row, and nothing that belongs to one depends on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tesserank.encoding.batching import MOST_ROWS
from tesserank.encoding.template import row_bucket

LEAST_TOKENS = 64
LEAST_ROWS = MOST_ROWS  # one size for nearly all calls
LENGTHS = (32, 64, 128, 256)  # longest rows that attention is launched for; beyond these, powers of two


@dataclass(frozen=True)
class Packed:
    """R rows of T tokens in all: ``ids`` and ``positions`` (each token's within its row) int64 [T], ``offsets`` int64
    [R + 1] of the rows' first tokens.
    """

    ids: NDArray[np.int64]
    positions: NDArray[np.int64]
    offsets: NDArray[np.int64]

    @staticmethod
    def of(ids: NDArray[np.int64], mask: NDArray[np.int64]) -> Packed:
        """The tokens of ``ids`` [rows, L] where ``mask`` [rows, L] is not 0."""
        row, column = np.nonzero(mask)
        return Packed(ids[row, column], column, _offsets(np.count_nonzero(mask, axis=1)))

    @staticmethod
    def of_rows(rows: Sequence[NDArray[np.int64]]) -> Packed:
        """Rows of any lengths."""
        lengths = np.array([len(row) for row in rows], dtype=np.int64)
        offsets = _offsets(lengths)
        ids = np.concatenate([np.empty(0, dtype=np.int64), *rows])
        return Packed(ids, np.arange(len(ids)) - np.repeat(offsets[:-1], lengths), offsets)

    def padded(self) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Ids [R, longest], 0 behind each row, and which of them are real."""
        real = np.arange(self.longest) < np.diff(self.offsets)[:, None]
        ids = np.zeros(real.shape, dtype=np.int64)
        ids[real] = self.ids
        return ids, real

    @property
    def longest(self) -> int:
        """Tokens of the longest row."""
        return int(np.diff(self.offsets).max(initial=0))

    @property
    def shape(self) -> PackedShape:
        """The shape that this fits into."""
        return PackedShape(
            tokens=token_bucket(len(self.ids)),
            rows=max(row_bucket(len(self.offsets) - 1), LEAST_ROWS),
            longest=next((length for length in LENGTHS if length >= self.longest), _power(self.longest)),
        )


@dataclass(frozen=True)
class PackedShape:
    """What a graph is captured for: as many tokens, rows, and tokens of the longest row at most."""

    tokens: int
    rows: int
    longest: int

    @property
    def numbers(self) -> int:
        """Of ids, positions and offsets together."""
        return 2 * self.tokens + self.rows + 1


def write(packed: Packed, shape: PackedShape, buffer: NDArray[np.int64]) -> None:
    """Fill ``buffer`` int64 [shape.numbers]: ids, positions, offsets. Padding tokens are 0, at position 0.

    Rows that are not there begin and end where the last one ends.
    """
    count = len(packed.ids)
    ids, positions, offsets = np.split(buffer, [shape.tokens, 2 * shape.tokens])
    ids[:count], ids[count:] = packed.ids, 0
    positions[:count], positions[count:] = packed.positions, 0
    offsets[: len(packed.offsets)], offsets[len(packed.offsets) :] = packed.offsets, count


def token_bucket(count: int) -> int:
    """The next of 64, 80, 96, 112, 128, 160, ...: four to an octave."""
    step = max(_power(count) // 8, LEAST_TOKENS // 4)
    return max(-(-count // step) * step, LEAST_TOKENS)


def _offsets(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def _power(count: int) -> int:
    """The next power of two."""
    return 1 << max(count - 1, 0).bit_length()
