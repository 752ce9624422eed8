"""The definition of a cut, event by event and over the whole history; ``cut`` finds the same segments faster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tesserank.errors import InvalidArgumentError
from tesserank.segments.config import HistoryConfig
from tesserank.segments.cut import is_marked


@dataclass(frozen=True)
class Event:
    """One known item in a user's history. ``row`` is the item's row in the index, ``timestamp`` Unix seconds."""

    item_id: str
    row: int
    timestamp: int | None = None
    weight: float = 1.0


Block = tuple[Event, ...]


def cut_history(events: Sequence[Event], config: HistoryConfig, token_count: Callable[[int], int]) -> list[Block]:
    """Cut a history, oldest first, into its segments, oldest first, and keep the newest that fit ``max_events``.

    The whole history is cut before the window is applied, and the window drops whole segments, so that it never cuts
    one in two. The newest segment is kept even if it alone is larger. ``token_count`` maps an item's row to the number
    of its tokens. Raises InvalidArgumentError if ``cut`` is ``session`` and an event has no timestamp.
    """
    if config.cut == "item":
        return [(event,) for event in events[-config.max_events :]]
    if config.cut == "session" and any(event.timestamp is None for event in events):
        raise InvalidArgumentError(
            "history is cut by session, so every event needs a timestamp: send HISTORY_TIMESTAMPS"
        )
    boundary = _session_boundary if config.cut == "session" else _content_boundary
    blocks: list[Block] = []
    for run in _runs(events, config, boundary):
        blocks.extend(_split_run(run, config, token_count))
    return _newest(blocks, config.max_events)


_Boundary = Callable[[Sequence[Event], int, HistoryConfig], bool]


def _runs(events: Sequence[Event], config: HistoryConfig, boundary: _Boundary) -> list[Sequence[Event]]:
    runs, start = [], 0
    for i in range(len(events)):
        if i + 1 == len(events) or boundary(events, i, config):
            runs.append(events[start : i + 1])
            start = i + 1
    return runs


def _session_boundary(events: Sequence[Event], i: int, config: HistoryConfig) -> bool:
    here, following = events[i].timestamp, events[i + 1].timestamp
    assert here is not None  # cut_history saw to it
    assert following is not None
    return following - here > config.session_gap_s


def _content_boundary(events: Sequence[Event], i: int, config: HistoryConfig) -> bool:
    """Of marked items closer than ``min_items``, the last one ends the segment.

    Looking forward, not back, is what keeps a boundary in place when older events are dropped; and as long as the
    events it must look at have not happened yet, there is no boundary, so appending moves none either.
    """
    if not is_marked(events[i].item_id, config.content_period):
        return False
    ahead = events[i + 1 : i + config.min_items]
    return len(ahead) == config.min_items - 1 and not any(is_marked(e.item_id, config.content_period) for e in ahead)


def _split_run(run: Sequence[Event], config: HistoryConfig, token_count: Callable[[int], int]) -> list[Block]:
    """Fill segments from the run's start: a run only ever grows at its end, so filled ones stay as they are."""
    blocks: list[Block] = []
    block: list[Event] = []
    tokens = 0
    for event in run:
        cost = token_count(event.row)
        if block and (len(block) == config.max_items or tokens + cost > config.token_limit):
            blocks.append(tuple(block))
            block, tokens = [], 0
        block.append(event)
        tokens += cost
    blocks.append(tuple(block))
    return blocks


def _newest(blocks: list[Block], max_events: int) -> list[Block]:
    kept = total = 0
    for block in reversed(blocks):
        if kept and total + len(block) > max_events:
            break
        kept, total = kept + 1, total + len(block)
    return blocks[len(blocks) - kept :]
