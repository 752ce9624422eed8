"""Segments and candidates → segment scores → one score an item → the best k."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tesserank.errors import InvalidArgumentError, UnknownItemError
from tesserank.index import ItemIndex
from tesserank.index.categories import UnknownCategoryError
from tesserank.maxsim import aggregate, cpu, reference
from tesserank.maxsim.topk import top_k
from tesserank.maxsim.vectors import ItemVectors
from tesserank.segments.config import SegmentsConfig
from tesserank.serving.request import RankingOptions, check_options, describe_ids
from tesserank.serving.segments import SpaceTokens, UserSegments

Rows = NDArray[np.int64]
# tokens [Q, d], token weights [Q], starts of units [G], items, rows [n] or None for all -> [n, G]
UnitScores = Callable[[NDArray[Any], NDArray[Any], NDArray[np.int64], ItemVectors, "Rows | None"], NDArray[Any]]
# scores [n, K], weights [K], method, temperature -> [n]
Aggregate = Callable[[NDArray[Any], NDArray[Any], str, float], NDArray[Any]]

# Of the catalogue. If more than this may be ranked, all of it is scored and the rest struck out; else only what may be.
_MOSTLY = 0.9


class CandidateProposer(Protocol):
    """Finds the items worth scoring, so that not all of them are."""

    def propose(self, user: UserSegments, count_hint: int, allowed: NDArray[np.bool_] | None) -> Rows | None:
        """Rows among which the user's best ``count_hint`` items probably are, ascending and each once.

        ``allowed`` bool [N] says which may be proposed, None that all may. The answer None is: score them all.
        """


@dataclass(frozen=True)
class Ranking:
    """One user's answer: index rows [n], scores [n], and per segment, [n, K], scores and contributions.

    ``seconds`` by stage: ``propose``, ``maxsim``, ``aggregate`` (with top-k and contributions).
    """

    rows: Rows
    scores: NDArray[Any]
    segment_scores: NDArray[Any]
    contributions: NDArray[Any]
    unknown_candidates: int
    seconds: Mapping[str, float]


@dataclass(frozen=True)
class _SpaceScores:
    """``scores`` [n, S] of the user's ``segments`` [S] in one space."""

    segments: NDArray[np.int64]
    scores: NDArray[Any]


@dataclass(frozen=True)
class _LiveChannel:
    """A channel that the user has segments in: which of their space's, how weighted, how scaled."""

    space: str
    columns: slice | NDArray[np.int64]
    weights: NDArray[np.float32]
    scale: float
    temperature: float


class SegmentScorer:
    """Scores items by late interaction. ``SegmentScorer.reference`` is the same in float64, without the fast path.

    ``proposer``, if any, is asked when a request has no candidates of its own. ``items`` stand in for those of the
    spaces that they are named after.
    """

    def __init__(
        self,
        index: ItemIndex,
        config: SegmentsConfig,
        unit_scores: UnitScores = cpu.unit_scores,
        aggregate: Aggregate = cpu.aggregate,
        proposer: CandidateProposer | None = None,
        items: Mapping[str, ItemVectors] | None = None,
    ) -> None:
        self._index = index
        self._config = config
        self._unit_scores = unit_scores
        self._aggregate = aggregate
        self._proposer = proposer
        self._channels = config.channels()
        self._method = config.aggregation.method
        stored = {name: space.items for name, space in index.spaces.items()} | dict(items or {})
        self._items = {name: cpu.prepared(own) for name, own in stored.items()}

    @classmethod
    def threaded(
        cls, index: ItemIndex, config: SegmentsConfig, threads: int, proposer: CandidateProposer | None = None
    ) -> SegmentScorer:
        """The fast path on several threads; the BLAS must run on one, see ``maxsim.cpu``."""
        pool = ThreadPoolExecutor(threads - 1, thread_name_prefix="maxsim") if threads > 1 else None
        shared = partial(cpu.unit_scores, pool=pool), partial(cpu.aggregate, pool=pool)
        return cls(index, config, *shared, proposer=proposer)

    @classmethod
    def reference(cls, index: ItemIndex, config: SegmentsConfig) -> SegmentScorer:
        return cls(index, config, reference.unit_scores, aggregate.aggregate)

    def warm_up(self) -> None:
        """Rank the whole catalogue for the first item, so that the first client does not pay for it.

        What is paid here: first touches of the vectors, and compiling the kernels (seconds).
        """
        for position, channel in enumerate(self._channels):
            space = self._index.spaces[channel.space]
            one = np.zeros(1, dtype=np.int64)
            tokens = space.items.item(0)
            user = UserSegments(
                ("warm-up",),
                np.array([position], dtype=np.int32),
                np.ones(1, dtype=np.float32),
                {channel.space: SpaceTokens.weighted(one, tokens, space.item_weights(0), one, one)},
            )
            self.rank([user], [RankingOptions(top_k=1)])
            if self._proposer is not None:  # which let a few items be scored
                self.scores(user)

    def rank(self, users: Sequence[UserSegments], options: Sequence[RankingOptions]) -> list[Ranking]:
        """Rank for each of B users. Raises a RequestError naming the user's row if an option cannot be used."""
        ks = [check_options(o, len(self._index), self._config.limits, row) for row, o in enumerate(options)]
        return [
            self._rank_user(user, option, k, row)
            for row, (user, option, k) in enumerate(zip(users, options, ks, strict=True))
        ]

    def _rank_user(self, user: UserSegments, options: RankingOptions, k: int, row: int) -> Ranking:
        started = perf_counter()
        allowed = self._allowed(options, row)
        rows, unknown = self._rows_to_score(user, options, k, allowed, row)
        proposed = perf_counter()
        spaces = self._score_spaces(user, rows)
        matched = perf_counter()
        channels = self._live_channels(user)
        scores = self._scores(channels, spaces)
        if rows is None and allowed is not None:
            scores[~allowed] = -np.inf
        best = top_k(scores, k)
        top = {name: _SpaceScores(space.segments, space.scores[best]) for name, space in spaces.items()}
        segment_scores, shares = self._explained(user, channels, top)
        ended = perf_counter()
        return Ranking(
            rows=best if rows is None else rows[best],
            scores=scores[best],
            segment_scores=segment_scores,
            contributions=shares,
            unknown_candidates=unknown,
            seconds={"propose": proposed - started, "maxsim": matched - proposed, "aggregate": ended - matched},
        )

    # Which items

    def _allowed(self, options: RankingOptions, row: int) -> NDArray[np.bool_] | None:
        """Which items may be in the answer, bool [N]; None: all."""
        allowed = self._in_categories(options.categories, row) if options.categories else None
        if excluded := options.excluded:
            rows = self._index.rows(excluded)
            allowed = np.ones(len(self._index), dtype=bool) if allowed is None else allowed
            allowed[rows[rows >= 0]] = False
        return allowed

    def _in_categories(self, wanted: Sequence[bytes], row: int) -> NDArray[np.bool_]:
        categories = self._index.categories
        if categories is None:
            raise InvalidArgumentError(
                f"user {row}: CATEGORIES are given, but index {self._index.index_id} knows no categories: "
                "name the catalogue's field with --category-field when exporting"
            )
        try:
            return categories.allowed(wanted)
        except UnknownCategoryError as error:
            raise InvalidArgumentError(f"user {row}: CATEGORIES: {error}") from error

    def _rows_to_score(
        self, user: UserSegments, options: RankingOptions, k: int, allowed: NDArray[np.bool_] | None, row: int
    ) -> tuple[Rows | None, int]:
        """Rows in catalogue order, so that ties break the same way everywhere, or None for all; unknown candidates."""
        if options.candidates is not None:
            rows, unknown = self._candidate_rows(options.candidates, options.reject_unknown, row)
            return (rows if allowed is None else rows[allowed[rows]]), unknown
        if self._proposer is not None:
            proposed = self._proposer.propose(user, k, allowed)
            if proposed is not None and len(proposed) >= k:
                return proposed, 0
        if allowed is None or np.count_nonzero(allowed) > _MOSTLY * len(allowed):
            return None, 0
        return np.flatnonzero(allowed), 0

    def _candidate_rows(self, candidates: Sequence[bytes], reject_unknown: bool, row: int) -> tuple[Rows, int]:
        """Index rows of the candidates, each once and ascending; and how many candidates have none."""
        found = self._index.rows(candidates)
        rows = np.sort(found)
        unknown = int(np.searchsorted(rows, 0))
        if unknown and reject_unknown:
            missing = [item for item, item_row in zip(candidates, found.tolist(), strict=True) if item_row < 0]
            raise UnknownItemError(f"user {row}: {describe_ids(missing)} of the candidates not in the catalogue")
        rows = rows[unknown:]
        is_first = np.ones(len(rows), dtype=bool)
        is_first[1:] = rows[1:] != rows[:-1]
        return rows[is_first], unknown

    # What they score

    def segment_scores(self, user: UserSegments, rows: Rows | None = None) -> NDArray[Any]:
        """``y_ik`` of one user's segments with the items of ``rows`` (None: all) -> [n, K]."""
        return self._gathered(user, self._score_spaces(user, rows))

    def scores(self, user: UserSegments, rows: Rows | None = None) -> NDArray[Any]:
        """One score an item of ``rows`` (None: all) -> [n]."""
        return self._scores(self._live_channels(user), self._score_spaces(user, rows))

    def _score_spaces(self, user: UserSegments, rows: Rows | None) -> dict[str, _SpaceScores]:
        return {name: self._score_space(name, tokens, rows) for name, tokens in user.spaces.items()}

    def _score_space(self, name: str, space: SpaceTokens, rows: Rows | None) -> _SpaceScores:
        """Units first, then segments."""
        units = self._unit_scores(space.tokens, space.token_weights, space.starts, self._items[name], rows)
        if len(space.starts) == len(space.segments):  # one unit a segment: nothing to aggregate
            return _SpaceScores(space.segments, units)
        scores = np.empty((len(space.segments), len(units)), dtype=units.dtype)
        ends = np.searchsorted(space.unit_segment, np.arange(len(space.segments) + 1))
        for segment, (start, stop) in enumerate(zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True)):
            own = units[:, start:stop]
            weights = np.ones(stop - start, dtype=np.float32)
            scores[segment] = self._aggregate(own, weights, self._method, self._temperature(name))
        return _SpaceScores(space.segments, scores.T)

    def _scores(self, channels: Sequence[_LiveChannel], spaces: Mapping[str, _SpaceScores]) -> NDArray[Any]:
        """One score an item [n]: aggregated within each channel, added over the channels."""
        total: Any = 0
        for channel in channels:
            own = spaces[channel.space].scores[:, channel.columns]
            score = self._aggregate(own, channel.weights, self._method, channel.temperature)
            score *= own.dtype.type(channel.scale)
            total = total + score
        return np.asarray(total)

    def _explained(
        self, user: UserSegments, channels: Sequence[_LiveChannel], spaces: Mapping[str, _SpaceScores]
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Segment scores [n, K], and each segment's share of the items' scores [n, K]."""
        segment_scores = self._gathered(user, spaces)
        shares = np.zeros_like(segment_scores)
        for channel in channels:
            space = spaces[channel.space]
            own = space.scores[:, channel.columns]
            parts = aggregate.contributions(own, channel.weights, self._method, channel.temperature)
            shares[:, space.segments[channel.columns]] = channel.scale * parts
        return segment_scores, shares

    def _gathered(self, user: UserSegments, spaces: Mapping[str, _SpaceScores]) -> NDArray[Any]:
        first = next(iter(spaces.values())).scores
        gathered = np.zeros((len(first), len(user)), dtype=first.dtype)
        for space in spaces.values():
            gathered[:, space.segments] = space.scores
        return gathered

    def _live_channels(self, user: UserSegments) -> list[_LiveChannel]:
        """The channels that a user has segments in."""
        live = []
        for name, space in user.spaces.items():
            channels = user.channels[space.segments]
            for position in dict.fromkeys(channels.tolist()):
                channel = self._channels[position]
                columns = np.flatnonzero(channels == position)
                live.append(
                    _LiveChannel(
                        space=name,
                        columns=_as_slice(columns),
                        weights=user.weights[space.segments[columns]],
                        scale=channel.weight * self._index.spaces[name].scale,
                        temperature=self._temperature(name),
                    )
                )
        return live

    def _temperature(self, space: str) -> float:
        """The temperature on the scale of a space's raw segment scores."""
        return self._config.aggregation.temperature / self._index.spaces[space].scale


def _as_slice(columns: NDArray[np.int64]) -> slice | NDArray[np.int64]:
    """Consecutive columns as a slice, which takes a view where the positions would take a copy."""
    first, last = int(columns[0]), int(columns[-1])
    return slice(first, last + 1) if last - first + 1 == len(columns) else columns
