"""Segments and candidates → segment scores → one score an item → the best k."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tesserank.errors import InvalidArgumentError, UnknownItemError
from tesserank.index import ItemIndex, Space
from tesserank.maxsim import cpu, reference
from tesserank.maxsim.aggregate import aggregate, contributions
from tesserank.maxsim.ragged import Ragged
from tesserank.maxsim.topk import top_k
from tesserank.segments.config import SegmentsConfig
from tesserank.serving.request import RankingOptions, check_options, describe_ids
from tesserank.serving.segments import EmbeddedSegment, SegmentBatch, normalise_weights

# tokens [Q, d], token weights [Q], starts of units [G], items -> [N, G]
UnitScores = Callable[[NDArray[Any], NDArray[Any], NDArray[np.int64], Ragged], NDArray[Any]]


@dataclass(frozen=True)
class Ranking:
    """One user's answer: index rows [n], scores [n], and per segment, [n, K], scores and contributions."""

    rows: NDArray[np.int64]
    scores: NDArray[Any]
    segment_scores: NDArray[Any]
    contributions: NDArray[Any]
    unknown_candidates: int


class SegmentScorer:
    """Scores items by late interaction. ``SegmentScorer.reference`` is the same in float64, without the fast path."""

    def __init__(self, index: ItemIndex, config: SegmentsConfig, unit_scores: UnitScores = cpu.unit_scores) -> None:
        self._index = index
        self._config = config
        self._unit_scores = unit_scores
        self._channels = config.channels()
        self._method = config.aggregation.method

    @classmethod
    def threaded(cls, index: ItemIndex, config: SegmentsConfig, threads: int) -> SegmentScorer:
        """The fast path on several threads; the BLAS must run on one, see ``maxsim.cpu``."""
        pool = ThreadPoolExecutor(threads, thread_name_prefix="maxsim") if threads > 1 else None
        return cls(index, config, partial(cpu.unit_scores, pool=pool))

    @classmethod
    def reference(cls, index: ItemIndex, config: SegmentsConfig) -> SegmentScorer:
        return cls(index, config, reference.unit_scores)

    def warm_up(self) -> None:
        """Rank the whole catalogue for the first item, so that the first client does not pay for first touches."""
        for position, channel in enumerate(self._channels):
            space = self._index.spaces[channel.space]
            vectors = space.items.item(0).astype(np.float32)
            weights, groups = normalise_weights(
                space.weights[: len(vectors)], np.zeros(len(vectors), dtype=np.int32), by_group=False
            )
            segment = EmbeddedSegment("warm-up", position, 1.0, vectors, weights, groups)
            self.rank(SegmentBatch.stack([[segment]], self._index.dim), [RankingOptions(top_k=1)])

    def rank(self, segments: SegmentBatch, options: Sequence[RankingOptions]) -> list[Ranking]:
        """Rank for each of B users. Raises a RequestError naming the user's row if an option cannot be used."""
        limits = self._config.limits
        if segments.embeddings.shape[3] != self._index.dim:
            raise InvalidArgumentError(
                f"SEGMENT_EMBEDDINGS has {segments.embeddings.shape[3]} dimensions, the index has {self._index.dim}"
            )
        ks = [check_options(option, len(self._index), limits, row) for row, option in enumerate(options)]
        return [self._rank_user(segments, option, ks[row], row) for row, option in enumerate(options)]

    def _rank_user(self, segments: SegmentBatch, options: RankingOptions, k: int, row: int) -> Ranking:
        rows, unknown = self._candidate_rows(options, row)
        segment_scores = self.segment_scores(segments, row, rows)
        scores = self._scores(segments, row, segment_scores)
        excluded = self._index.rows(options.excluded)
        excluded = excluded[excluded >= 0]
        if rows is None:
            scores[excluded] = -np.inf
        else:
            scores[np.isin(rows, excluded)] = -np.inf
        best = top_k(scores, k)
        return Ranking(
            rows=best if rows is None else rows[best],
            scores=scores[best],
            segment_scores=segment_scores[best],
            contributions=self._contributions(segments, row, segment_scores[best]),
            unknown_candidates=unknown,
        )

    def _candidate_rows(self, options: RankingOptions, row: int) -> tuple[NDArray[np.int64] | None, int]:
        """Index rows of the candidates, each once, in catalogue order so that ties break the same way everywhere."""
        if options.candidates is None:
            return None, 0
        found = self._index.rows(options.candidates)
        unknown = [item for item, item_row in zip(options.candidates, found, strict=True) if item_row < 0]
        if unknown and options.reject_unknown:
            raise UnknownItemError(f"user {row}: {describe_ids(unknown)} of the candidates not in the catalogue")
        return np.unique(found[found >= 0]), len(unknown)

    def segment_scores(self, segments: SegmentBatch, row: int, rows: NDArray[np.int64] | None) -> NDArray[Any]:
        """``y_ik`` of one user with the items of ``rows`` (None: all) -> [n, K]; columns of padding are 0."""
        count = len(self._index) if rows is None else len(rows)
        scores: NDArray[Any] | None = None
        for name, space in self._index.spaces.items():
            mine = np.flatnonzero(self._in_space(segments.channels[row], name))
            if not len(mine):
                continue
            items = space.items if rows is None else space.items.take(rows)
            per_segment = self._score_space(segments, row, mine, items, space)
            if scores is None:
                scores = np.zeros((count, segments.channels.shape[1]), dtype=per_segment.dtype)
            scores[:, mine] = per_segment
        if scores is None:
            raise InvalidArgumentError(f"user {row}: no segment")
        return scores

    def _in_space(self, channels: NDArray[np.int32], space: str) -> NDArray[np.bool_]:
        if channels.max() >= len(self._channels):
            raise InvalidArgumentError(f"SEGMENT_CHANNELS holds {channels.max()}, there are {len(self._channels)}")
        known = [position for position, channel in enumerate(self._channels) if channel.space == space]
        return np.isin(channels, known)

    def _score_space(
        self, segments: SegmentBatch, row: int, mine: NDArray[np.int64], items: Ragged, space: Space
    ) -> NDArray[Any]:
        """Segment scores [n, len(mine)] of the segments that lie in one space: units first, then segments."""
        weights = segments.token_weights[row, mine]
        segment, token = np.nonzero(weights > 0)
        if len(np.unique(segment)) < len(mine):
            raise InvalidArgumentError(f"user {row}: a segment of space {space.name!r} has no token weight above 0")
        groups = segments.token_groups[row, mine][segment, token]
        is_first = np.ones(len(segment), dtype=bool)
        is_first[1:] = (segment[1:] != segment[:-1]) | (groups[1:] != groups[:-1])
        starts = np.flatnonzero(is_first)
        tokens = segments.embeddings[row, mine, :, : space.dim][segment, token]
        units = self._unit_scores(tokens, weights[segment, token], starts, items)
        if len(starts) == len(mine):  # one unit a segment: nothing to aggregate
            return units
        columns = []
        for position in range(len(mine)):
            own = units[:, segment[starts] == position]
            columns.append(aggregate(own, np.ones(own.shape[1]), self._method, self._temperature(space.name)))
        return np.stack(columns, axis=1)

    def _scores(self, segments: SegmentBatch, row: int, segment_scores: NDArray[Any]) -> NDArray[Any]:
        """One score an item [n]: aggregated within each channel, added over the channels."""
        total = np.zeros(len(segment_scores), dtype=segment_scores.dtype)
        for channel in self._live_channels(segments, row):
            own = segment_scores[:, channel.columns]
            total += channel.scale * aggregate(own, channel.weights, self._method, channel.temperature)
        return total

    def _contributions(self, segments: SegmentBatch, row: int, segment_scores: NDArray[Any]) -> NDArray[Any]:
        """Each segment's share of the items' scores [n, K]; columns of padding are 0."""
        shares = np.zeros_like(segment_scores)
        for channel in self._live_channels(segments, row):
            own = segment_scores[:, channel.columns]
            parts = contributions(own, channel.weights, self._method, channel.temperature)
            shares[:, channel.columns] = channel.scale * parts
        return shares

    def _live_channels(self, segments: SegmentBatch, row: int) -> Iterator[_LiveChannel]:
        """The channels that a user has segments in."""
        for position, channel in enumerate(self._channels):
            columns = np.flatnonzero(segments.channels[row] == position)
            if len(columns):
                yield _LiveChannel(
                    columns=columns,
                    weights=segments.weights[row, columns],
                    scale=channel.weight * self._index.spaces[channel.space].scale,
                    temperature=self._temperature(channel.space),
                )

    def _temperature(self, space: str) -> float:
        """The temperature on the scale of a space's raw segment scores."""
        return self._config.aggregation.temperature / self._index.spaces[space].scale


@dataclass(frozen=True)
class _LiveChannel:
    columns: NDArray[np.int64]
    weights: NDArray[np.float32]
    scale: float
    temperature: float
