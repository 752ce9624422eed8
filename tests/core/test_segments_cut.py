"""Segment boundaries stay where they are when a history grows or its window slides: the cache depends on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, event, find, given, settings
from hypothesis import strategies as st

from tesserank.errors import InvalidArgumentError
from tesserank.segments.config import HistoryConfig
from tesserank.segments.cut import HistoryCutter
from tesserank.segments.reference import Block, Event, cut_history

# Few items, so that marked ones repeat and meet; their token counts make segments full for every reason there is.
TOKENS = (0, 1, 2, 3, 5, 8, 13, 40)
ITEM_IDS = [f"item-{row}" for row in range(len(TOKENS))]
GAP = 10
EVERYTHING = 1_000_000
CUTS = ("item", "session", "content")

History = tuple[Event, ...]
Case = tuple[History, HistoryConfig]


@st.composite
def histories(draw: st.DrawFn) -> History:
    rows = draw(st.lists(st.integers(0, len(TOKENS) - 1), min_size=1, max_size=30))
    gaps = draw(st.lists(st.sampled_from((0, GAP, GAP + 1)), min_size=len(rows), max_size=len(rows)))
    stamps = [sum(gaps[: i + 1]) for i in range(len(rows))]
    return tuple(Event(f"item-{row}", row, stamp) for row, stamp in zip(rows, stamps, strict=True))


@st.composite
def configs(draw: st.DrawFn, cut: str) -> HistoryConfig:
    max_items = draw(st.integers(1, 6))
    return HistoryConfig(
        cut=cut,
        max_events=EVERYTHING,
        session_gap_s=GAP,
        content_period=draw(st.sampled_from((2, 3, 4, 1))),
        min_items=draw(st.integers(1, min(3, max_items))),
        max_items=max_items,
        token_limit=draw(st.sampled_from((1_000, 20, 9, 1_000, 1))),
    )


def cases(cut: str | None = None) -> st.SearchStrategy[Case]:
    cuts = st.sampled_from(CUTS) if cut is None else st.just(cut)
    return st.tuples(histories(), cuts.flatmap(configs))


def cut(events: History, config: HistoryConfig) -> list[Block]:
    """What is served; ``cut_history`` is the definition."""
    cutter = HistoryCutter(config, ITEM_IDS, np.array(TOKENS))
    stamps = [event.timestamp for event in events if event.timestamp is not None]
    rows = np.array([event.row for event in events], dtype=np.int64)
    blocks = cutter.newest(rows, np.array(stamps, dtype=np.int64) if len(stamps) == len(events) else None)
    return [events[start:end] for start, end in blocks]


def runs(events: History, config: HistoryConfig) -> list[Block]:
    """What lies between two boundaries, not split for its length."""
    return cut(events, replace(config, max_items=EVERYTHING, token_limit=EVERYTHING))


def tokens(block: Block) -> int:
    return sum(TOKENS[e.row] for e in block)


def fits(block: Block, config: HistoryConfig) -> bool:
    return len(block) <= config.max_items and tokens(block) <= config.token_limit


@given(cases(), st.sampled_from((EVERYTHING, 1, 2, 3, 5, 8)))
@settings(max_examples=400)
def test_segments_are_those_of_the_definition(case: Case, max_events: int) -> None:
    events, config = case
    config = replace(config, max_events=max_events)
    assert cut(events, config) == cut_history(events, config, TOKENS.__getitem__)


@given(cases())
def test_segments_put_together_are_the_history(case: Case) -> None:
    events, config = case
    assert sum(cut(events, config), ()) == events


@given(cases())
def test_a_segment_keeps_its_limits_unless_one_item_alone_breaks_them(case: Case) -> None:
    events, config = case
    for block in cut(events, config):
        assert block
        assert len(block) <= config.max_items or config.cut == "item"
        assert len(block) == 1 or tokens(block) <= config.token_limit


@given(cases())
def test_a_run_is_split_only_where_the_next_event_does_not_fit(case: Case) -> None:
    events, config = case
    if config.cut == "item":
        return
    ends_of_runs = {id(run[-1]) for run in runs(events, config)}
    blocks = cut(events, config)
    for block, following in pairwise(blocks):
        assert id(block[-1]) in ends_of_runs or not fits((*block, following[0]), config)


@given(cases("session"))
def test_a_session_ends_exactly_where_the_gap_is_too_long(case: Case) -> None:
    events, config = case
    found = runs(events, config)
    starts = [i for i in range(1, len(events)) if events[i].timestamp - events[i - 1].timestamp > GAP]  # type: ignore[operator]
    assert [run[0] for run in found[1:]] == [events[i] for i in starts]


@given(cases("content"))
def test_content_boundaries_are_at_least_min_items_apart(case: Case) -> None:
    events, config = case
    between = runs(events, config)[1:-1]  # the first run may have lost its beginning, the last one is not over
    assert all(len(run) >= config.min_items for run in between)


@given(cases())
@settings(max_examples=400)
def test_appending_an_event_changes_the_last_segment_only(case: Case) -> None:
    events, config = case
    before, after = cut(events[:-1], config), cut(events, config)
    event(f"{config.cut}: {len(after) - len(before)} more segments")
    assert after[: max(len(before) - 1, 0)] == before[:-1]


@given(cases(), st.integers(1, 12))
@settings(max_examples=400)
def test_appending_an_event_keeps_the_segments_of_the_window(case: Case, max_events: int) -> None:
    events, config = case
    new = len(cut(events, config)) - max(len(cut(events[:-1], config)) - 1, 0)  # made of the old last one's events
    windowed = replace(config, max_events=max_events)
    kept = cut(events, windowed)[:-new]
    already_there = cut(events[:-1], windowed)[:-1]
    assert kept == already_there[len(already_there) - len(kept) :]


@given(cases(), st.integers(1, 12))
def test_a_window_holds_the_newest_whole_segments_that_fit(case: Case, max_events: int) -> None:
    events, config = case
    everything, kept = cut(events, config), cut(events, replace(config, max_events=max_events))
    assert kept == everything[len(everything) - len(kept) :]
    assert len(kept) == 1 or sum(map(len, kept)) <= max_events
    if len(kept) < len(everything):
        assert sum(map(len, kept)) + len(everything[-len(kept) - 1]) > max_events


@given(cases())
@settings(max_examples=400)
def test_dropping_the_oldest_event_changes_the_first_run_only(case: Case) -> None:
    events, config = case
    first = runs(events, config)[0]
    of_first_run = len(cut(first, config))
    before, after = cut(events, config), cut(events[1:], config)
    later = before[of_first_run:]
    assert after[len(after) - len(later) :] == later
    if config.cut == "item" or fits(first, config):
        event(f"{config.cut}: the first run is one segment")
        shortened = [before[0][1:]] if len(before[0]) > 1 else []
        assert after == shortened + before[1:]


def split_for(reason: Callable[[Block, HistoryConfig], bool]) -> Callable[[Case], bool]:
    def found(case: Case) -> bool:
        events, config = case
        return len(runs(events, config)) > 2 and any(reason(run, config) for run in runs(events, config)[1:-1])

    return found


def has_close_marks(case: Case) -> bool:
    """Two marked items too close together for both to end a segment."""
    events, config = case
    return config.cut == "content" and len(runs(events, config)) < len(runs(events, replace(config, min_items=1))) - 1


REACHED = {
    "a run split for its items": split_for(lambda run, config: 1 < config.max_items < len(run)),
    "a run split for its tokens": split_for(lambda run, config: len(run) <= config.max_items and not fits(run, config)),
    "an item larger than a segment": split_for(lambda run, c: any(TOKENS[e.row] > c.token_limit for e in run)),
    "a marked item that is too close to the next": has_close_marks,
}


@pytest.mark.parametrize("kind", REACHED)
def test_the_generated_histories_reach(kind: str) -> None:
    """A property that holds on trivial cases only proves nothing; ``find`` raises if it meets no such case."""
    without_shrinking = settings(max_examples=5_000, database=None, phases=[Phase.generate])
    find(cases("content"), REACHED[kind], settings=without_shrinking)


def test_a_content_segment_closes_when_enough_unmarked_items_follow() -> None:
    config = HistoryConfig(cut="content", content_period=4, min_items=3, max_events=EVERYTHING)
    unmarked, marked, more, last = (Event(f"item-{row}", row) for row in (0, 1, 5, 6))
    history = (unmarked, unmarked, marked, more)
    assert cut(history, config) == [history]
    assert cut((*history, last), config) == [history[:3], (more, last)]


@pytest.mark.parametrize("length", [1, 2])
def test_a_session_cut_without_timestamps_is_an_error(length: int) -> None:
    history = tuple(Event(f"item-{row}", row) for row in range(length))
    with pytest.raises(InvalidArgumentError, match="send HISTORY_TIMESTAMPS"):
        cut(history, HistoryConfig(cut="session"))


@pytest.mark.parametrize("name", CUTS)
def test_an_empty_history_has_no_segments(name: str) -> None:
    assert cut((), HistoryConfig(cut=name)) == []


def test_content_boundaries_come_about_once_in_content_period_items() -> None:
    config = HistoryConfig(cut="content", max_events=EVERYTHING, min_items=1, max_items=EVERYTHING)
    item_ids = [f"item-{row}" for row in range(4_000)]
    cutter = HistoryCutter(config, item_ids, np.zeros(4_000, dtype=np.int64))
    boundaries = len(cutter.newest(np.arange(4_000))) - 1
    assert 850 < boundaries < 1_150  # 1,000 expected; 27 is the standard deviation of 4,000 draws of 1 in 4


def test_timestamps_may_lie_as_far_apart_as_64_bits_allow() -> None:
    """Their difference does not fit 64 bits with a sign."""
    history = (Event("item-0", 0, -(2**63)), Event("item-1", 1, 2**63 - 1))
    assert cut(history, HistoryConfig(cut="session", session_gap_s=1)) == [history[:1], history[1:]]


class CountedCounts:
    """Token counts that know how many events' were asked for."""

    def __init__(self) -> None:
        self.asked = 0

    def __getitem__(self, rows: Any) -> Any:
        self.asked += len(rows)
        return np.zeros(len(rows), dtype=np.int64)


@pytest.mark.parametrize("name", CUTS)
def test_a_long_history_is_cut_no_further_back_than_its_window(name: str) -> None:
    config = HistoryConfig(cut=name, max_events=20)
    asked = {}
    for length in (200, 2_000):
        counts = CountedCounts()
        cutter = HistoryCutter(config, [f"item-{row}" for row in range(2_000)], counts)  # type: ignore[arg-type]
        rows = np.arange(2_000)[-length:]
        cutter.newest(rows, rows // 5 * 10_000)
        asked[length] = counts.asked
    assert asked[200] == asked[2_000] < 60
