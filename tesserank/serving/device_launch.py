"""What a GPU does for a batch of users: all that it needs goes there in one copy, what is found comes back in one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tesserank.index import ItemIndex
from tesserank.maxsim.gpu.aggregate import Channel, Hierarchy, aggregate, hierarchy_arrays, top_k
from tesserank.maxsim.gpu.items import DeviceItems
from tesserank.maxsim.gpu.query import PLACES, Layout, pack
from tesserank.maxsim.gpu.scores import Candidates, candidate_arrays, unit_scores
from tesserank.maxsim.gpu.upload import Parcel, download
from tesserank.serving.aggregation import LiveChannel, unit_spans
from tesserank.serving.device_tokens import Pool
from tesserank.serving.segments import SpaceTokens, UserSegments
from tesserank.serving.selection import Selected


@dataclass(frozen=True)
class ResidentIndex:
    """An index in a device's memory, by space: its items, and what its items are as segments."""

    device: torch.device
    items: Mapping[str, DeviceItems]
    segments: Mapping[str, DeviceItems]
    size: int

    @staticmethod
    def upload(index: ItemIndex, device: torch.device) -> ResidentIndex:
        """Raises ValueError as ``DeviceItems.upload``."""
        items = {name: DeviceItems.upload(space.items, device) for name, space in index.spaces.items()}
        segments = {
            name: items[name] if space.queries is None else DeviceItems.upload(space.queries, device)
            for name, space in index.spaces.items()
        }
        return ResidentIndex(device, items, segments, len(index))

    @property
    def nbytes(self) -> int:
        """Bytes of device memory."""
        return sum(held.nbytes for held in {id(held): held for held in self._all()}.values())

    def _all(self) -> list[DeviceItems]:
        return [*self.items.values(), *self.segments.values()]


@dataclass(frozen=True)
class Job:
    """A user of a request, at its place there; the best ``k`` of ``selected`` are wanted."""

    place: int
    user: UserSegments
    selected: Selected
    k: int
    channels: Sequence[LiveChannel]

    @property
    def score_rows(self) -> int:
        """Rows of scores that it takes, at most: of its units, and of the pieces that they are put together from."""
        return sum(2 * len(space.starts) + PLACES - 1 for space in self.user.spaces.values())


@dataclass(frozen=True)
class Found:
    """Of a user: positions [c] of the best items and their scores [c], and by space their units' scores [c, G]."""

    positions: NDArray[np.int64]
    scores: NDArray[np.float32]
    units: dict[str, NDArray[np.float32]]


def launch(jobs: Sequence[Job], index: ResidentIndex) -> list[Found]:
    """Score what the jobs selected: all of them the whole catalogue, or each of them rows of its own."""
    rows = [job.selected.rows for job in jobs]
    chosen = [own for own in rows if own is not None]
    lengths = [index.size if own is None else len(own) for own in rows]
    parcel = Parcel(index.device)
    counts = parcel.add(np.array(lengths, dtype=np.int64))
    # All users' rows of the catalogue are one job, so that each item is read once.
    candidates = parcel.add(*candidate_arrays(chosen, index.size)) if chosen else parcel.add(np.array([0, index.size]))
    struck = parcel.add(*_struck_out(jobs))
    names = dict.fromkeys(name for job in jobs for name in job.user.spaces)
    spaces = [_Space(name, jobs, index, parcel, together=not chosen) for name in names]
    parcel.send()

    *picked, offsets = parcel[candidates]
    scored = Candidates(picked[0] if picked else None, offsets, max(lengths))
    scores = torch.zeros((len(jobs), max(lengths)), dtype=torch.float32, device=index.device)
    units = [space.unit_scores(parcel, scored) for space in spaces]
    for space, own in zip(spaces, units, strict=True):
        for hierarchy in space.hierarchies(parcel):
            aggregate(own, hierarchy, parcel[counts][0], scores, add=True)
    users, columns = parcel[struck]
    if len(users):
        scores[users, columns] = float("-inf")
    positions, best = top_k(scores, max(job.k for job in jobs))
    # Where nothing was found (-1), anything will do: it is cut off below.
    held = positions.clamp(min=0)
    of_best = [own.gather(1, held[space.unit_users(parcel)]) for space, own in zip(spaces, units, strict=True)]
    return _found(jobs, [space.name for space in spaces], download(positions, best, *of_best))


def _struck_out(jobs: Sequence[Job]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Users and columns of what may not be in the answer."""
    struck = [np.empty(0, dtype=np.int64) if own is None else np.flatnonzero(~own) for own in _allowed(jobs)]
    return np.repeat(np.arange(len(jobs)), [len(own) for own in struck]), np.concatenate(struck)


def _allowed(jobs: Sequence[Job]) -> list[NDArray[np.bool_] | None]:
    return [job.selected.allowed for job in jobs]


class _Space:
    """The users' segments in one space: put into a parcel, and when that has been sent, scored."""

    def __init__(self, name: str, jobs: Sequence[Job], index: ResidentIndex, parcel: Parcel, together: bool) -> None:
        self.name = name
        self._items, self._segments = index.items[name], index.segments[name]
        spaces = [job.user.spaces.get(name) for job in jobs]
        there = [space for space in spaces if space is not None]
        pool = Pool.of([space.tokens for space in there])
        weights = np.concatenate([space.token_weights for space in there])
        layout = _layout(spaces, together)
        if pool.order is not None:
            layout = layout.reading(pool.order)
            weights[pool.order] = weights.copy()
        self._layout = layout
        self._tensors = pool.tensors
        self._places = parcel.add(pool.places)
        self._host = parcel.add(*(() if pool.host is None else (pool.host,)))
        self._weights = parcel.add(weights)
        self._arrays = parcel.add(*layout.arrays)
        counts = [0 if space is None else len(space.starts) for space in spaces]
        self._unit_users = parcel.add(np.repeat(np.arange(len(jobs)), counts))
        self._hierarchies = [
            (parcel.add(*hierarchy_arrays(users, method)), method, temperature)
            for (method, temperature), users in _channels(name, jobs, np.cumsum([0, *counts])).items()
        ]

    def unit_scores(self, parcel: Parcel, candidates: Candidates) -> torch.Tensor:
        """Scores of all users' units, float32 [G, most candidates of a user]."""
        [places], [weights] = parcel[self._places], parcel[self._weights]
        looked_up = [self._segments.at(places)] if len(places) else []
        parts = [*looked_up, *parcel[self._host], *(tensor.to(places.device) for tensor in self._tensors)]
        tokens = parts[0] if len(parts) == 1 else torch.cat(parts)
        queries = pack(tokens, weights, self._layout, self._items, there=parcel[self._arrays])
        return unit_scores(queries, self._items, candidates)

    def hierarchies(self, parcel: Parcel) -> list[Hierarchy]:
        """Every user's channels, over the units of all users; one each way of aggregating."""
        return [Hierarchy.there(parcel[added], method, degrees) for added, method, degrees in self._hierarchies]

    def unit_users(self, parcel: Parcel) -> torch.Tensor:
        """The user of each unit, int64 [G]."""
        [users] = parcel[self._unit_users]
        return users


def _layout(spaces: Sequence[SpaceTokens | None], together: bool) -> Layout:
    nothing = np.empty(0, dtype=np.int64)
    return Layout.of(
        [0 if space is None else len(space.tokens) for space in spaces],
        [nothing if space is None else space.starts for space in spaces],
        together,
    )


def _channels(
    name: str, jobs: Sequence[Job], begins: NDArray[np.int64]
) -> dict[tuple[str, float], list[list[Channel]]]:
    """The users' channels in a space by their way of aggregating; a user's units begin at ``begins``."""
    ways: dict[tuple[str, float], list[list[Channel]]] = {}
    for place, (job, begin) in enumerate(zip(jobs, begins[:-1].tolist(), strict=True)):
        for channel in job.channels:
            if channel.space == name:
                users = ways.setdefault((channel.method, channel.temperature), [[] for _ in jobs])
                spans = begin + unit_spans(job.user.spaces[name])[channel.columns]
                users[place].append(Channel(spans, channel.weights, channel.scale))
    return ways


def _found(jobs: Sequence[Job], names: Sequence[str], downloaded: Sequence[NDArray[Any]]) -> list[Found]:
    """Each user's own: of ``positions`` and ``scores`` [B, k], and of units [G, k] in each space."""
    where, values, *parts = downloaded
    begins = dict.fromkeys(names, 0)
    found = []
    for user, job in enumerate(jobs):
        count = min(int(np.count_nonzero(where[user] >= 0)), job.k)
        own = {}
        for name, part in zip(names, parts, strict=True):
            space = job.user.spaces.get(name)
            if space is not None:
                end = begins[name] + len(space.starts)
                own[name] = np.ascontiguousarray(part[begins[name] : end, :count].T)
                begins[name] = end
        found.append(Found(where[user, :count], values[user, :count], own))
    return found
