"""Whom to predict for: users' last items held out of a log, as in an evaluation, but of a log that an evaluation's
targets have left already; and how what is known of them becomes segments."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tesserank.segments.config import SegmentsConfig
from tesserank.segments.cut import Block, HistoryCutter
from tesserank_export.events import Events
from tesserank_export.heldout import HeldOut, hold_out_last

# What every space says of every item for every case is held in memory: 128 MiB of float32 a space.
_MOST_SCORES = 2**25
_MOST_CASES = 3_000
# With fewer users than this, more than one item of each is held out, one after the other, up to _MOST_ROUNDS.
_ENOUGH_USERS = 1_500
_MOST_ROUNDS = 3


@dataclass(frozen=True)
class Cases:
    """C moments in users' lives. ``train`` is the log without what came at any of them."""

    train: Events
    users: NDArray[np.int32]  # [C] whose
    targets: NDArray[np.int32]  # [C] the next item
    timestamps: NDArray[np.int64] | None  # [C] when it was met; None: the log does not say
    histories: tuple[NDArray[np.int32], ...]  # [C] the distinct items before, oldest first
    times: tuple[NDArray[np.int64], ...]  # [C] of those, when they were met
    kinds: tuple[NDArray[np.int32], ...]  # [C] of those, positions in kind_names
    kind_names: tuple[str, ...]
    kind_weights: tuple[float, ...]  # what an event of each kind weighs
    cut: str  # history.cut
    cutter: HistoryCutter
    by_item: bool  # whether a segment's items are scored one by one: aggregation.group_by_item
    _blocks: dict[int, list[list[Block]]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.targets)

    @cached_property
    def weights(self) -> tuple[NDArray[np.float32], ...]:
        """[C] of the items known, by their events' kinds."""
        of_kind = np.array(self.kind_weights, dtype=np.float32)
        return tuple(of_kind[own] for own in self.kinds)

    def blocks(self, max_events: int) -> list[list[Block]]:
        """The newest segments of every history, as a server cuts it; see ``HistoryCutter.newest``."""
        if max_events not in self._blocks:
            self._blocks[max_events] = [
                self.cutter.newest(history.astype(np.int64), times, max_events)
                for history, times in zip(self.histories, self.times, strict=True)
            ]
        return self._blocks[max_events]


def make_cases(
    events: Events, n_items: int, config: SegmentsConfig, cutter: HistoryCutter, protocol: str, seed: int
) -> Cases:
    """Hold the last new item of every user out; with few users, also those before it."""
    most = max(1, min(_MOST_CASES, _MOST_SCORES // n_items))
    held = [hold_out_last(events, most, seed, protocol)]
    logs = [events]
    while len(held) < _MOST_ROUNDS and 0 < held[0].eligible < _ENOUGH_USERS:
        logs.append(held[-1].train)
        held.append(hold_out_last(logs[-1], most, seed, protocol))
    found = [case for log, own in zip(logs, held, strict=True) for case in _of(log, own)]
    chosen = np.sort(np.random.default_rng(seed).permutation(len(found))[:most])
    columns = zip(*(found[i] for i in chosen), strict=True) if len(chosen) else [()] * 6
    users, targets, timestamps, histories, times, kinds = columns
    configured = config.history.kinds
    return Cases(
        train=held[-1].train,
        users=np.array(users, dtype=np.int32),
        targets=np.array(targets, dtype=np.int32),
        timestamps=np.array(timestamps, dtype=np.int64) if events.has_times else None,
        histories=tuple(histories),
        times=tuple(times),
        kinds=tuple(kinds),
        kind_names=events.kinds,
        kind_weights=tuple(configured.get(kind, 1.0) for kind in events.kinds),
        cut=config.history.cut,
        cutter=cutter,
        by_item=config.aggregation.group_by_item,
    )


_Columns = tuple[int, int, int, NDArray[np.int32], NDArray[np.int64], NDArray[np.int32]]


def _of(log: Events, held: HeldOut) -> list[_Columns]:
    found = []
    for user, target, history, places in zip(held.users, held.targets, held.histories, held.places, strict=True):
        before, asked_at = places[:-1], int(log.timestamp[places[-1]])
        found.append((int(user), int(target), asked_at, history, log.timestamp[before], log.kind[before]))
    return found
