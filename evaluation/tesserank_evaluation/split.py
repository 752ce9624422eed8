"""Whom to rank for, and what is known of them, under one of the protocols of ``tesserank_export.heldout``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tesserank.errors import DataError
from tesserank_export.events import Events
from tesserank_export.heldout import MIN_DISTINCT_ITEMS, PROTOCOLS, STRICT, HeldOut, hold_out_last


@dataclass(frozen=True)
class History:
    """What is known of one user: n distinct items at their first occurrences, oldest first, and when they ask."""

    items: NDArray[np.int32]  # [n] rows of the catalogue
    timestamps: NDArray[np.int64]  # [n] Unix seconds
    kinds: tuple[str, ...]  # [n]
    asked_at: int | None = None  # Unix seconds, the target's; None: now


@dataclass(frozen=True)
class Cases:
    """N users to rank for under one protocol, and the log that may be fitted on."""

    protocol: str
    held: HeldOut
    histories: tuple[History, ...]  # [N]
    same_time: NDArray[np.bool_]  # [N] whether the event before the target's has its timestamp

    def __len__(self) -> int:
        return len(self.histories)

    @property
    def targets(self) -> NDArray[np.int32]:
        """[N] rows of the catalogue."""
        return self.held.targets

    @property
    def too_little_known(self) -> int:
        """Users with a hidden item that are not ranked for: the protocol keeps fewer than three items of them."""
        return self.held.hidden - self.held.eligible


def make_cases(events: Events, max_users: int | None, seed: int, protocol: str) -> Cases:
    """Hold out, sample (None: everybody), and gather what is known. Raises DataError if there is nobody to rank for."""
    held = hold_out_last(events, len(events.users) if max_users is None else max_users, seed, protocol)
    if not len(held.users):
        raise DataError(
            f"nobody to rank for: the {protocol} protocol keeps fewer than {MIN_DISTINCT_ITEMS} distinct items of "
            f"each of {len(events.users):,} users"
        )
    targets = np.array([places[-1] for places in held.places])
    asked = events.timestamp[targets].tolist() if events.has_times else [None] * len(targets)
    return Cases(
        protocol=protocol,
        held=held,
        histories=tuple(history_of(events, own[:-1], at) for own, at in zip(held.places, asked, strict=True)),
        same_time=events.timestamp[targets - 1] == events.timestamp[targets],  # a target is nobody's first event
    )


def sound_digests(events: Events, seed: int, protocol: str) -> dict[str, str]:
    """Of the logs, by the protocols that made them, on which an artefact may be fitted to be asked by ``protocol``.

    What plain keeps of a basket, strict asks for; what strict keeps is less, and so does for both.
    """
    sound = [name for name in PROTOCOLS if name == STRICT or protocol != STRICT]
    return {name: hold_out_last(events, 0, seed, name).digest for name in sound if events.has_times or name != STRICT}


def history_of(events: Events, places: NDArray[np.int64], asked_at: int | None = None) -> History:
    """The events at ``places`` of a log."""
    kinds = tuple(events.kinds[kind] for kind in events.kind[places].tolist())
    return History(events.item[places], events.timestamp[places], kinds, asked_at)


def item_arrays(histories: Sequence[History]) -> tuple[NDArray[np.int32], ...]:
    """The items of each history."""
    return tuple(history.items for history in histories)
