"""Ranking on a GPU: the same answers as ``SegmentScorer``, all users of a request in one launch a space.

The index lies in device memory from the start. What crosses to it is the users' tokens and the rows of candidates; what
comes back are the best items, their scores, and the scores of their units, of which the explanation is made.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import torch
from numpy.typing import NDArray

from tesserank.devices import choose_device, current
from tesserank.index import ItemIndex
from tesserank.maxsim.gpu.aggregate import Channel, Hierarchy, aggregate, top_k
from tesserank.maxsim.gpu.items import DeviceItems
from tesserank.maxsim.gpu.query import PLACES, Layout, pack
from tesserank.maxsim.gpu.scores import Candidates, unit_scores
from tesserank.maxsim.gpu.upload import download, upload
from tesserank.segments.config import SegmentsConfig
from tesserank.serving.aggregation import ChannelAggregation, LiveChannel, unit_spans
from tesserank.serving.device_tokens import joined
from tesserank.serving.request import RankingOptions, check_options
from tesserank.serving.scorer import Ranking, warm_up_users
from tesserank.serving.segments import SpaceTokens, UserSegments
from tesserank.serving.selection import Selected, Selection

# Of scores of units and their pieces that lie in memory at once; users beyond it are scored after the others.
SCORES_BYTES = 1 << 30


@dataclass(frozen=True)
class _Job:
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
class _Found:
    """Of a user: positions [c] of the best items and their scores [c], and by space their units' scores [c, G]."""

    positions: NDArray[np.int64]
    scores: NDArray[np.float32]
    units: dict[str, NDArray[np.float32]]


class DeviceScorer:
    """Ranks the items of an index on a device, which holds them: a GPU, or in tests the CPU, interpreted.

    The whole catalogue is searched exhaustively, whatever the segments file says of searching it pruned.
    """

    # Launching takes most of the time of a request, and is the same for many.
    together = 64

    def __init__(self, index: ItemIndex, config: SegmentsConfig, device: str) -> None:
        """Raises ConfigError for a device that is not there."""
        self._index = index
        self._config = config
        self._device = choose_device(device)
        self._selection = Selection(index)
        self._aggregation = ChannelAggregation(index, config)
        self._items = {name: DeviceItems.upload(space.items, self._device) for name, space in index.spaces.items()}

    @property
    def nbytes(self) -> int:
        """Bytes of device memory that the index takes."""
        return sum(items.nbytes for items in self._items.values())

    def warm_up(self) -> None:
        """Compile the kernels (seconds): with all items, and with candidates."""
        first = self._index.item_ids[0].encode()
        for user in warm_up_users(self._index, self._config):
            self.rank([user, user], [RankingOptions(top_k=1), RankingOptions(candidates=[first], top_k=1)])

    def rank(self, users: Sequence[UserSegments], options: Sequence[RankingOptions]) -> list[Ranking]:
        """Rank for each of B users. Raises a RequestError naming the user's row if an option cannot be used."""
        started = perf_counter()
        jobs = self._jobs(users, options)
        share = (perf_counter() - started) / max(len(jobs), 1)
        rankings: dict[int, Ranking] = {}
        with current(self._device), torch.inference_mode():
            for batch in self._batches(jobs):
                began = perf_counter()
                found = self._scored(batch)
                seconds = {"propose": share, "maxsim": (perf_counter() - began) / len(batch)}
                rankings |= {
                    job.place: self._explained(job, own, seconds) for job, own in zip(batch, found, strict=True)
                }
        return [rankings[place] for place in range(len(jobs))]

    def _jobs(self, users: Sequence[UserSegments], options: Sequence[RankingOptions]) -> list[_Job]:
        limits, size = self._config.limits, len(self._index)
        ks = [check_options(option, size, limits, row) for row, option in enumerate(options)]
        return [
            _Job(row, user, self._selection.select(user, option, k, row), k, self._aggregation.channels(user))
            for row, (user, option, k) in enumerate(zip(users, options, ks, strict=True))
        ]

    def _batches(self, jobs: Sequence[_Job]) -> Iterator[list[_Job]]:
        """Jobs that are launched together: all on the whole catalogue, or each on rows of its own."""
        for exhaustive in (True, False):
            batch: list[_Job] = []
            rows = width = 0
            for job in jobs:
                if (job.selected.rows is None) != exhaustive:
                    continue
                own = len(self._index) if job.selected.rows is None else len(job.selected.rows)
                if batch and 4 * (rows + job.score_rows) * max(width, own) > SCORES_BYTES:
                    yield batch
                    batch, rows, width = [], 0, 0
                batch.append(job)
                rows, width = rows + job.score_rows, max(width, own)
            if batch:
                yield batch

    def _scored(self, jobs: Sequence[_Job]) -> list[_Found]:
        rows = [job.selected.rows for job in jobs]
        chosen = [own for own in rows if own is not None]
        lengths = [len(self._index) if own is None else len(own) for own in rows]
        (counts,) = upload(self._device, np.array(lengths, dtype=np.int64))
        scores = torch.zeros((len(jobs), max(lengths)), dtype=torch.float32, device=self._device)
        units: dict[str, torch.Tensor] = {}
        for name in dict.fromkeys(name for job in jobs for name in job.user.spaces):
            items = self._items[name]
            candidates = Candidates.of(chosen, items) if chosen else Candidates.all(items)
            units[name] = self._units(name, jobs, candidates)
            for hierarchy in self._hierarchies(name, jobs):
                aggregate(units[name], hierarchy, counts, scores, add=True)
        self._strike_out(jobs, scores)
        positions, best = top_k(scores, max(job.k for job in jobs))
        return self._downloaded(jobs, positions, best, units)

    def _units(self, name: str, jobs: Sequence[_Job], candidates: Candidates) -> torch.Tensor:
        """Scores of all users' units in one space, float32 [G, most candidates of a user]."""
        items = self._items[name]
        spaces = [job.user.spaces.get(name) for job in jobs]
        there = [space for space in spaces if space is not None]
        tokens = joined([space.tokens for space in there], self._device)
        (weights,) = upload(self._device, np.concatenate([space.token_weights for space in there]))
        nothing = np.empty(0, dtype=np.int64)
        layout = Layout.of(
            [0 if space is None else len(space.tokens) for space in spaces],
            [nothing if space is None else space.starts for space in spaces],
            together=candidates.rows is None,
        )
        return unit_scores(pack(tokens, weights, layout, items), items, candidates)

    def _hierarchies(self, name: str, jobs: Sequence[_Job]) -> list[Hierarchy]:
        """Every user's channels in one space, over the units of all users; one each way of aggregating."""
        begins = np.cumsum([0, *(_unit_count(job.user.spaces.get(name)) for job in jobs)]).tolist()
        ways: dict[tuple[str, float], list[list[Channel]]] = {}
        for place, (job, begin) in enumerate(zip(jobs, begins[:-1], strict=True)):
            for channel in job.channels:
                if channel.space == name:
                    users = ways.setdefault((channel.method, channel.temperature), [[] for _ in jobs])
                    spans = begin + unit_spans(job.user.spaces[name])[channel.columns]
                    users[place].append(Channel(spans, channel.weights, channel.scale))
        return [Hierarchy.of(users, method, temperature, self._device) for (method, temperature), users in ways.items()]

    def _strike_out(self, jobs: Sequence[_Job], scores: torch.Tensor) -> None:
        """-inf for what may not be in the answer."""
        struck = [
            (user, np.flatnonzero(~job.selected.allowed))
            for user, job in enumerate(jobs)
            if job.selected.allowed is not None
        ]
        if struck:
            users = np.repeat([user for user, _ in struck], [len(items) for _, items in struck])
            rows, columns = upload(self._device, users.astype(np.int64), np.concatenate([items for _, items in struck]))
            scores[rows, columns] = float("-inf")

    def _downloaded(
        self, jobs: Sequence[_Job], positions: torch.Tensor, best: torch.Tensor, units: dict[str, torch.Tensor]
    ) -> list[_Found]:
        """All that leaves the device, in one copy."""
        gathered = []
        for name, scores in units.items():
            counts = [_unit_count(job.user.spaces.get(name)) for job in jobs]
            (users,) = upload(self._device, np.repeat(np.arange(len(jobs)), counts))
            # Where nothing was found (-1), anything will do: it is cut off below.
            gathered.append(scores.gather(1, positions.clamp(min=0)[users]))
        where, values, *parts = download(positions, best, *gathered)
        found = []
        begins = dict.fromkeys(units, 0)
        for user, job in enumerate(jobs):
            count = min(int(np.count_nonzero(where[user] >= 0)), job.k)
            own = {}
            for (name, begin), part in zip(begins.items(), parts, strict=True):
                size = _unit_count(job.user.spaces.get(name))
                begins[name] = begin + size
                if size:
                    own[name] = np.ascontiguousarray(part[begin : begin + size, :count].T)
            found.append(_Found(where[user, :count], values[user, :count], own))
        return found

    def _explained(self, job: _Job, found: _Found, seconds: dict[str, float]) -> Ranking:
        began = perf_counter()
        top = {name: self._aggregation.of_units(job.user, name, units) for name, units in found.units.items()}
        segment_scores, shares = self._aggregation.explained(job.user, job.channels, top)
        rows = job.selected.rows
        return Ranking(
            rows=found.positions if rows is None else rows[found.positions],
            scores=found.scores,
            segment_scores=segment_scores,
            contributions=shares,
            unknown_candidates=job.selected.unknown,
            seconds=seconds | {"aggregate": perf_counter() - began},
        )


def _unit_count(space: SpaceTokens | None) -> int:
    return 0 if space is None else len(space.starts)
