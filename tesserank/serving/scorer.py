"""Segments and candidates → segment scores → one score an item → the best k."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from tesserank.segments.config import SegmentsConfig
from tesserank.serving.interaction import LateInteraction, Rows, SpaceScores
from tesserank.serving.request import RankingOptions, check_options, describe_ids
from tesserank.serving.screen import Screen
from tesserank.serving.segments import SpaceTokens, UserSegments

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


class SegmentScorer:
    """Ranks items by late interaction. ``SegmentScorer.reference`` is the same in float64, without the fast path.

    ``proposer``, if any, is asked when a request has no candidates of its own. ``screen``, if any, leaves out what
    cannot be among the best.
    """

    def __init__(
        self,
        index: ItemIndex,
        config: SegmentsConfig,
        interaction: LateInteraction | None = None,
        proposer: CandidateProposer | None = None,
        screen: Screen | None = None,
    ) -> None:
        self._index = index
        self._config = config
        self._interaction = interaction or LateInteraction(index, config)
        self._proposer = proposer
        self._screen = screen

    @classmethod
    def threaded(
        cls, index: ItemIndex, config: SegmentsConfig, threads: int, proposer: CandidateProposer | None = None
    ) -> SegmentScorer:
        """The fast path on several threads; the BLAS must run on one, see ``maxsim.cpu``."""
        pool = ThreadPoolExecutor(threads - 1, thread_name_prefix="maxsim") if threads > 1 else None
        aggregate = partial(cpu.aggregate, pool=pool)
        interaction = LateInteraction(index, config, partial(cpu.unit_scores, pool=pool), aggregate)
        coarse = LateInteraction(
            index, config, partial(cpu.coarse_unit_scores, pool=pool), aggregate, items=interaction.items
        )
        return cls(index, config, interaction, proposer, Screen.of(coarse))

    @classmethod
    def reference(cls, index: ItemIndex, config: SegmentsConfig) -> SegmentScorer:
        return cls(index, config, LateInteraction(index, config, reference.unit_scores, aggregate.aggregate))

    def warm_up(self) -> None:
        """Rank the whole catalogue for the first item, so that the first client does not pay for it.

        What is paid here: first touches of the vectors, and compiling the kernels (seconds).
        """
        for position, channel in enumerate(self._config.channels()):
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
            self._interaction.scores(user)  # of all items, where a proposer or the screen let a few be scored

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
        if self._screen is not None:
            left = self._screen.survivors(user, rows, allowed, k)
            rows, allowed = (rows, allowed) if left is None else (left, None)
        interaction = self._interaction
        spaces = interaction.in_spaces(user, rows)
        matched = perf_counter()
        channels = interaction.channels(user)
        scores = interaction.of_channels(channels, spaces)
        if rows is None and allowed is not None:
            scores[~allowed] = -np.inf
        best = top_k(scores, k)
        top = {name: SpaceScores(space.segments, space.scores[best]) for name, space in spaces.items()}
        segment_scores, shares = interaction.explained(user, channels, top)
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
