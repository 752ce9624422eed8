"""One user's scores put together: unit scores → segment scores → one score an item, and each segment's share of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tesserank.index import ItemIndex
from tesserank.maxsim import aggregate
from tesserank.segments.config import SegmentsConfig
from tesserank.serving.segments import SpaceTokens, UserSegments

# scores [n, K], weights [K], method, temperature -> [n]
Aggregate = Callable[[NDArray[Any], NDArray[Any], str, float], NDArray[Any]]


@dataclass(frozen=True)
class SpaceScores:
    """``scores`` [n, S] of the user's ``segments`` [S] in one space."""

    segments: NDArray[np.int64]
    scores: NDArray[Any]


@dataclass(frozen=True)
class LiveChannel:
    """A channel that the user has segments in: which of their space's, how weighted, how scaled, how aggregated.

    ``temperature`` is on the scale of the space's raw segment scores.
    """

    space: str
    columns: slice | NDArray[np.int64]
    weights: NDArray[np.float32]
    scale: float
    method: str
    temperature: float


class ChannelAggregation:
    """Aggregates as an index and a segments file say."""

    def __init__(self, index: ItemIndex, config: SegmentsConfig, aggregate: Aggregate = aggregate.aggregate) -> None:
        self._scales = {name: space.scale for name, space in index.spaces.items()}
        self._aggregate = aggregate
        self._channels = config.channels()

    def of_units(self, user: UserSegments, name: str, units: NDArray[Any]) -> SpaceScores:
        """Segment scores of ``units`` [n, G], the scores of the units of a user's tokens in space ``name``."""
        space = user.spaces[name]
        if len(space.starts) == len(space.segments):  # one unit a segment: nothing to aggregate
            return SpaceScores(space.segments, units)
        scores = np.empty((len(space.segments), len(units)), dtype=units.dtype)
        channels = user.channels[space.segments].tolist()
        for segment, ((start, stop), channel) in enumerate(zip(unit_spans(space).tolist(), channels, strict=True)):
            weights = np.ones(stop - start, dtype=np.float32)
            scores[segment] = self._aggregate(units[:, start:stop], weights, *self.aggregation(channel))
        return SpaceScores(space.segments, scores.T)

    def of_channels(self, channels: Sequence[LiveChannel], spaces: Mapping[str, SpaceScores]) -> NDArray[Any]:
        """One score an item [n]: aggregated within each channel, added over the channels."""
        total: Any = 0
        for channel in channels:
            own = spaces[channel.space].scores[:, channel.columns]
            score = self._aggregate(own, channel.weights, channel.method, channel.temperature)
            score *= own.dtype.type(channel.scale)
            total = total + score
        return np.asarray(total)

    def explained(
        self, user: UserSegments, channels: Sequence[LiveChannel], spaces: Mapping[str, SpaceScores]
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Segment scores [n, K], and each segment's share of the items' scores [n, K]."""
        segment_scores = self._gathered(user, spaces)
        shares = np.zeros_like(segment_scores)
        for channel in channels:
            space = spaces[channel.space]
            own = space.scores[:, channel.columns]
            parts = aggregate.contributions(own, channel.weights, channel.method, channel.temperature)
            shares[:, space.segments[channel.columns]] = channel.scale * parts
        return segment_scores, shares

    def _gathered(self, user: UserSegments, spaces: Mapping[str, SpaceScores]) -> NDArray[Any]:
        first = next(iter(spaces.values())).scores
        gathered = np.zeros((len(first), len(user)), dtype=first.dtype)
        for space in spaces.values():
            gathered[:, space.segments] = space.scores
        return gathered

    def channels(self, user: UserSegments) -> list[LiveChannel]:
        """The channels that a user has segments in."""
        live = []
        for name, space in user.spaces.items():
            channels = user.channels[space.segments]
            for position in dict.fromkeys(channels.tolist()):
                channel = self._channels[position]
                columns = np.flatnonzero(channels == position)
                method, temperature = self.aggregation(position)
                live.append(
                    LiveChannel(
                        space=name,
                        columns=_as_slice(columns),
                        weights=user.weights[space.segments[columns]],
                        scale=channel.weight * self._scales[name],
                        method=method,
                        temperature=temperature,
                    )
                )
        return live

    def aggregation(self, channel: int) -> tuple[str, float]:
        """The method of a channel, by its position, and its temperature on the scale of raw segment scores."""
        own = self._channels[channel]
        return own.method, own.temperature / self._scales[own.space]


def sensitivity(user: UserSegments, channels: Sequence[LiveChannel]) -> dict[str, float]:
    """By space: how much a score changes at most where no unit's score in that space changes by more than 1.

    A soft maximum changes by no more than its largest part does, as its derivatives add up to 1; a sum by all of its
    parts' changes, weighted.
    """
    changes = dict.fromkeys(user.spaces, 0.0)
    for channel in channels:
        parts = 1.0
        if channel.method == "sum":
            units = np.bincount(user.spaces[channel.space].unit_segment)
            parts = float((channel.weights * units[channel.columns]).sum())
        changes[channel.space] += channel.scale * parts
    return changes


def unit_spans(space: SpaceTokens) -> NDArray[np.int64]:
    """Of each of S segments, its first unit and the one behind its last: int64 [S, 2]."""
    ends = np.searchsorted(space.unit_segment, np.arange(len(space.segments) + 1))
    return np.stack([ends[:-1], ends[1:]], axis=1)


def _as_slice(columns: NDArray[np.int64]) -> slice | NDArray[np.int64]:
    """Consecutive columns as a slice, which takes a view where the positions would take a copy."""
    first, last = int(columns[0]), int(columns[-1])
    return slice(first, last + 1) if last - first + 1 == len(columns) else columns
