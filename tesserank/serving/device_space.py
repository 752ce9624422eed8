"""The segments of a launch's users in one space: what goes to the GPU of them, and their scores there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from tesserank.maxsim.gpu.aggregate import Channel, Hierarchy, hierarchy_arrays
from tesserank.maxsim.gpu.query import Layout, Queries, pack
from tesserank.maxsim.gpu.scores import Candidates, unit_scores
from tesserank.maxsim.gpu.screen import largest_error
from tesserank.maxsim.gpu.upload import Parcel
from tesserank.serving.aggregation import unit_spans
from tesserank.serving.device_jobs import Job, ResidentIndex
from tesserank.serving.device_tokens import Pool
from tesserank.serving.segments import SpaceTokens

COARSE = "int8"  # storage of items that queries of 8 bits multiply


class SpaceLaunch:
    """The users' segments in one space: put into a parcel, and when that has been sent, scored.

    ``changes``, for two passes: each job's ``aggregation.sensitivity``.
    """

    def __init__(
        self,
        name: str,
        jobs: Sequence[Job],
        index: ResidentIndex,
        parcel: Parcel,
        *,
        together: bool,
        changes: Sequence[Mapping[str, float]] | None,
    ) -> None:
        self.name = name
        self._items, self._segments = index.items[name], index.segments.get(name)
        self._parcel = parcel
        spaces = [job.user.spaces.get(name) for job in jobs]
        there = [space for space in spaces if space is not None]
        pool = Pool.of([space.tokens for space in there])
        weights = np.concatenate([space.token_weights for space in there])
        counts = [0 if space is None else len(space.starts) for space in spaces]
        self._layout = _layout(spaces, together).reading(pool.order)
        self._tensors = pool.tensors
        self._places = parcel.add(pool.places)
        self._host = parcel.add(*(() if pool.host is None else (pool.host,)))
        self._weights = parcel.add(pool.pooled(weights))
        self._arrays = parcel.add(*self._layout.arrays)
        self._unit_users = parcel.add(np.repeat(np.arange(len(jobs)), counts))
        begins = np.cumsum([0, *counts])
        self._hierarchies = [
            (parcel.add(*hierarchy_arrays(users, method)), method, temperature)
            for (method, temperature), users in _channels(name, jobs, begins).items()
        ]
        if changes is not None:
            self._own_layout = _layout(spaces, together=False).reading(pool.order)
            self._own_arrays = parcel.add(*self._own_layout.arrays)
            units = [own.units + begin for own, begin in zip(spaces, begins[:-1], strict=True) if own is not None]
            self._token_units = parcel.add(pool.pooled(np.concatenate(units)))
            self._changes = parcel.add(np.array([own.get(name, 0.0) for own in changes], dtype=np.float32))

    def unit_scores(self, candidates: Candidates, coarse: bool = False) -> torch.Tensor:
        """Scores of all users' units, float32 [G, most candidates of a user]; ``coarse``, where that is faster."""
        return unit_scores(
            self._coarse if coarse else self._packed(self._layout, self._arrays), self._items, candidates
        )

    def unit_scores_of(self, candidates: Candidates) -> torch.Tensor:
        """The same with candidates of each user's own, after a pass with all items."""
        return unit_scores(self._fine, self._items, candidates)

    def largest_error(self, users: int) -> torch.Tensor:
        """The most that the passes' scores of a user can differ by in this space, float32 [B]."""
        [units], [changes], [weights] = (
            self._parcel[added] for added in (self._token_units, self._changes, self._weights)
        )
        of_units = largest_error(self._coarse, self._fine, self._tokens, weights, units, self._items)
        nothing = torch.zeros(users, dtype=torch.float32, device=of_units.device)
        return changes * nothing.scatter_reduce(0, self.unit_users, of_units, "amax")

    @cached_property
    def hierarchies(self) -> list[Hierarchy]:
        """Every user's channels, over the units of all users; one each way of aggregating."""
        return [
            Hierarchy.of_arrays(self._parcel[added], method, degrees) for added, method, degrees in self._hierarchies
        ]

    @property
    def unit_users(self) -> torch.Tensor:
        """The user of each unit, int64 [G]."""
        [users] = self._parcel[self._unit_users]
        return users

    @cached_property
    def _tokens(self) -> torch.Tensor:
        """All users' token vectors, as the pool has them."""
        [places] = self._parcel[self._places]
        looked_up = [] if self._segments is None or not len(places) else [self._segments.at(places)]
        parts = [*looked_up, *self._parcel[self._host], *(tensor.to(places.device) for tensor in self._tensors)]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    @cached_property
    def _coarse(self) -> Queries:
        return self._packed(self._layout, self._arrays, wide=self._items.storage != COARSE)

    @cached_property
    def _fine(self) -> Queries:
        return self._packed(self._own_layout, self._own_arrays)

    def _packed(self, layout: Layout, arrays: slice, wide: bool = True) -> Queries:
        [weights] = self._parcel[self._weights]
        return pack(self._tokens, weights, layout, self._items, wide, self._parcel[arrays])


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
