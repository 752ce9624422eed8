"""Cutting a history into segments whose boundaries do not move: which events a segment has.

A boundary is decided by the events beside it, never by their distance from the newest one: what lies between two
boundaries stays the same text, and so keeps its cache key, when the history grows or its window slides.

* Appending an event changes the last segment only (it may close it and open a new one).
* Dropping the oldest event changes the first segment only. With ``content`` and ``session`` this holds as long as the
  first run (the events before the first boundary) is no longer than a segment may be. It cannot hold without that
  condition: a rule that looks at neighbours only says the same everywhere in a history of one repeated item, so it
  cannot bound a segment from above and from below. Longer runs are cut by counting from their start.

``reference.cut_history`` is the same, event by event over the whole history: the definition.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from tesserank.errors import InvalidArgumentError
from tesserank.segments.config import HistoryConfig

Block = tuple[int, int]  # positions of a segment's first event and of the one after its last


def is_marked(item_id: str, period: int) -> bool:
    """Whether an item may end a content segment: one in ``period`` may, whatever its neighbours are."""
    digest = hashlib.blake2b(item_id.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") % period == 0


class HistoryCutter:
    """Cuts histories of one catalogue's items, ``item_ids`` [N] with ``token_counts`` int64 [N] tokens."""

    def __init__(self, config: HistoryConfig, item_ids: Sequence[str], token_counts: NDArray[np.int64]) -> None:
        self._config = config
        self._token_counts = token_counts
        self._marked = np.zeros(0, dtype=bool)
        if config.cut == "content":
            marks = (is_marked(item_id, config.content_period) for item_id in item_ids)
            self._marked = np.fromiter(marks, dtype=bool, count=len(item_ids))

    def newest(
        self, rows: NDArray[np.int64], timestamps: NDArray[np.int64] | None = None, max_events: int | None = None
    ) -> list[Block]:
        """The newest segments of a history that together hold at most ``max_events`` events, oldest first.

        ``max_events`` None is the configuration's.
        ``rows`` [n] are its items' rows, oldest first, ``timestamps`` [n] Unix seconds. Segments are kept whole, and
        the newest is kept even if it alone is larger. What is older than the runs they lie in is not cut at all, so
        that a long history costs what a short one does. Raises InvalidArgumentError if ``cut`` is ``session`` and
        there are no timestamps.
        """
        count, room = len(rows), self._config.max_events if max_events is None else max_events
        if self._config.cut == "item":
            return [(event, event + 1) for event in range(max(count - room, 0), count)]
        if not count:
            return []
        # A run is what lies between two boundaries.
        bounds = self._session_bounds(timestamps) if self._config.cut == "session" else self._content_bounds(rows)
        kept: list[Block] = []
        for end, start in pairwise([count, *bounds[::-1].tolist(), 0]):
            for block in reversed(self._split(rows, start, end)):
                if kept and block[1] - block[0] > room:
                    return kept[::-1]
                kept.append(block)
                room -= block[1] - block[0]
        return kept[::-1]

    def _session_bounds(self, timestamps: NDArray[np.int64] | None) -> NDArray[np.int64]:
        if timestamps is None:
            raise InvalidArgumentError(
                "history is cut by session, so every event needs a timestamp: send HISTORY_TIMESTAMPS"
            )
        gaps = np.diff(timestamps).view(np.uint64)  # timestamps do not decrease, but their difference may pass 2**63
        return np.flatnonzero(gaps > self._config.session_gap_s) + 1

    def _content_bounds(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Of marked items closer than ``min_items``, the last one ends the segment.

        Looking forward, not back, is what keeps a boundary in place when older events are dropped; and as long as the
        events it must look at have not happened yet, there is no boundary, so appending moves none either.
        """
        marked = self._marked[rows]
        ahead = self._config.min_items - 1
        ends = marked[: max(len(rows) - max(ahead, 1), 0)].copy()  # the last event ends a segment anyhow
        for step in range(1, ahead + 1):
            ends &= ~marked[step : step + len(ends)]
        return np.flatnonzero(ends) + 1

    def _split(self, rows: NDArray[np.int64], start: int, end: int) -> list[Block]:
        """Fill segments from the run's start: a run only ever grows at its end, so filled ones stay as they are."""
        if end - start == 1:
            return [(start, end)]
        blocks: list[Block] = []
        first, tokens = start, 0
        for event, cost in enumerate(self._token_counts[rows[start:end]].tolist(), start):
            if event > first and (event - first == self._config.max_items or tokens + cost > self._config.token_limit):
                blocks.append((first, event))
                first, tokens = event, 0
            tokens += cost
        blocks.append((first, end))
        return blocks
