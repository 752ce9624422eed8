"""The log as sequences of items, and these in batches of nearly one length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from tesserank_export.events import Events
from tesserank_export.heldout import first_occurrences

ABSENT = -1  # what a shorter sequence has at its end
_SEQUENCES = 128  # of a batch: Kang and McAuley's
_POSITIONS = 4_096  # of a batch, padding included: its softmax has so many times the catalogue's entries
_SORTED_AT_ONCE = 16  # batches among which sequences may move to meet others of their length


def sequences_of(events: Events, length: int) -> list[NDArray[np.int32]]:
    """Of each user the newest ``length`` + 1 items, each at its first occurrence, oldest first; two at least."""
    distinct = (history[first_occurrences(history)] for history in events.histories())
    return [items[-(length + 1) :] for items in distinct if len(items) > 1]


def batches(
    sequences: Sequence[NDArray[np.int32]], rng: np.random.Generator
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Every sequence once, in random order: inputs and the items that follow each, both int64 [B, L]."""
    order = rng.permutation(len(sequences))
    window = _SEQUENCES * _SORTED_AT_ONCE
    cut: list[list[int]] = []
    for first in range(0, len(order), window):
        ascending = sorted(order[first : first + window].tolist(), key=lambda row: len(sequences[row]))
        cut.extend(_cut(ascending, sequences))
    for place in rng.permutation(len(cut)).tolist():
        padded = stacked([sequences[row] for row in cut[place]])
        yield np.where(padded[:, 1:] == ABSENT, ABSENT, padded[:, :-1]), padded[:, 1:]


def _cut(rows: Sequence[int], sequences: Sequence[NDArray[np.int32]]) -> Iterator[list[int]]:
    """Rows ascending in length, cut where a batch would have too many sequences or positions."""
    batch: list[int] = []
    for row in rows:
        positions = (len(batch) + 1) * (len(sequences[row]) - 1)
        if batch and (len(batch) == _SEQUENCES or positions > _POSITIONS):
            yield batch
            batch = []
        batch.append(row)
    yield batch


def stacked(sequences: Sequence[NDArray[np.int32]]) -> NDArray[np.int64]:
    """int64 [B, L], L that of the longest."""
    rows = np.full((len(sequences), max(map(len, sequences))), ABSENT, dtype=np.int64)
    for row, items in enumerate(sequences):
        rows[row, : len(items)] = items
    return rows
