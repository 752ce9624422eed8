"""What a space is asked with: units, and every case's history as parts of them.

A unit is what is scored as a whole: an item, the moment of asking, or, where the encoder reads segments of several
items, what it makes of an item within one or of the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tesserank.index import Space
from tesserank.serving.segments import normalise_weights
from tesserank_export.fit.cases import Cases
from tesserank_export.fit.parts import Parts
from tesserank_export.spaces import as_units, known_rows
from tesserank_export.text_space import EncodedSegments, projected

Tokens = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]


class Asked(Protocol):
    """``units``, int64 [U] ascending: all that any case asks with; ``are_rows``: of what the space has for segments."""

    units: NDArray[np.int64]
    are_rows: bool

    def parts(self, cases: Cases, max_events: int) -> list[Parts]:
        """Of every case."""

    def tokens(self, units: NDArray[np.int64]) -> Tokens:
        """Token vectors [Q, d], token weights [Q] and starts [u] of some units that follow one another."""


class AskedItems:
    """Items of the histories' newest ``max_events`` events."""

    are_rows = True

    def __init__(self, space: Space, cases: Cases, max_events: int) -> None:
        self._space = space
        self._known = _known(space)
        blocks = cases.blocks(max_events)
        asked = [history[own[0][0] :] for history, own in zip(cases.histories, blocks, strict=True)]
        rows = np.unique(np.concatenate(asked)).astype(np.int64)
        self.units: NDArray[np.int64] = rows[self._known[rows]]

    def parts(self, cases: Cases, max_events: int) -> list[Parts]:
        """See ``Asked``."""
        own = zip(cases.blocks(max_events), cases.histories, cases.weights, strict=True)
        return [Parts.of_items(*case, self._known, cases.by_item) for case in own]

    def tokens(self, units: NDArray[np.int64]) -> Tokens:
        """See ``Asked``."""
        return as_units(self._space.segment_vectors, self._space.segment_weights, units)


class AskedMoments:
    """The moment of each case."""

    are_rows = True

    def __init__(self, space: Space, cases: Cases) -> None:
        asked_at: Sequence[int | None] = [None] * len(cases) if cases.timestamps is None else cases.timestamps.tolist()
        self._space = space
        self._moments = [space.moment(at) for at in asked_at]
        self._known = _known(space)
        rows = np.unique(np.array(self._moments, dtype=np.int64))
        self.units: NDArray[np.int64] = rows[self._known[rows]]

    def parts(self, cases: Cases, max_events: int) -> list[Parts]:
        """See ``Asked``."""
        own = zip(cases.blocks(max_events), self._moments, cases.weights, strict=True)
        return [Parts.of_moment(*case, self._known) for case in own]

    def tokens(self, units: NDArray[np.int64]) -> Tokens:
        """See ``Asked``."""
        return as_units(self._space.segment_vectors, self._space.segment_weights, units)


class AskedTexts:
    """Segments of several items as the encoder reads them, each distinct one once."""

    are_rows = False

    def __init__(self, segments: CaseSegments, weights: NDArray[np.float32], components: NDArray[np.float32] | None):
        """``weights`` [vocabulary] of tokens; ``components``: what follows the encoder's projection, if anything."""
        encoded = segments.encoded
        self._segments = segments
        self._tokens = encoded.tokens if components is None else projected(encoded.tokens, components)
        self._offsets = encoded.item_offsets if segments.by_item else encoded.segment_offsets
        self._weights = normalise_weights(weights[encoded.ids], self._offsets[:-1])
        self.units: NDArray[np.int64] = np.arange(len(self._offsets) - 1)

    def parts(self, cases: Cases, max_events: int) -> list[Parts]:
        """See ``Asked``."""
        return self._segments.parts(cases, max_events)

    def tokens(self, units: NDArray[np.int64]) -> Tokens:
        """See ``Asked``."""
        first, last = self._offsets[units[0]], self._offsets[units[-1] + 1]
        own = slice(first, last)
        return self._tokens[own].astype(np.float32), self._weights[own], self._offsets[units] - first


class CaseSegments:
    """The distinct segments of all histories' newest ``max_events`` events, through the encoder."""

    def __init__(
        self, cases: Cases, max_events: int, encode: Callable[[Sequence[tuple[int, ...]]], EncodedSegments]
    ) -> None:
        self.by_item = cases.by_item
        found = (rows for own in _segments(cases, max_events) for rows in own)
        self._places = {rows: place for place, rows in enumerate(dict.fromkeys(found))}
        self.encoded = encode(list(self._places))

    def parts(self, cases: Cases, max_events: int) -> list[Parts]:
        """A part a unit; of ``max_events`` at most those that were encoded."""
        units = self.encoded.items_of if self.by_item else self.encoded.segment_of
        blocks = cases.blocks(max_events)
        return [
            Parts.of_units(own, [units(self._places[rows]) for rows in segments], weights)
            for own, segments, weights in zip(blocks, _segments(cases, max_events), cases.weights, strict=True)
        ]


def _segments(cases: Cases, max_events: int) -> list[list[tuple[int, ...]]]:
    """Rows of the items of each segment of each history."""
    return [
        [tuple(history[start:end].tolist()) for start, end in own]
        for history, own in zip(cases.histories, cases.blocks(max_events), strict=True)
    ]


def _known(space: Space) -> NDArray[np.bool_]:
    """Whether the space has something to ask with, of each of its rows."""
    known = np.zeros(len(space.segment_vectors), dtype=np.bool_)
    known[known_rows(space.segment_vectors)] = True
    return known
