"""Segments and candidates → segment scores → one score an item → the best k."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tesserank.index import ItemIndex
from tesserank.maxsim import aggregate, cpu, reference
from tesserank.maxsim.topk import top_k
from tesserank.segments.config import SegmentsConfig
from tesserank.serving.aggregation import SpaceScores
from tesserank.serving.interaction import LateInteraction, Rows
from tesserank.serving.lookup import ARRAYS, TokenForm
from tesserank.serving.request import RankingOptions, check_options
from tesserank.serving.screen import Screen
from tesserank.serving.segments import SpaceTokens, UserSegments
from tesserank.serving.selection import CandidateProposer, Selection


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


class Scorer(Protocol):
    """What ranks: on the CPU ``SegmentScorer``, on a GPU ``device_scorer.DeviceScorer``.

    ``together``: how many requests are best ranked by one call, where that many wait. 1 where a call takes as long as
    its users do one after the other, so that the first need not wait for the last. ``form``: in which it takes users'
    token vectors.
    """

    @property
    def together(self) -> int: ...

    @property
    def form(self) -> TokenForm: ...

    def rank(self, users: Sequence[UserSegments], options: Sequence[RankingOptions]) -> list[Ranking]:
        """Rank for each of B users. Raises a RequestError naming the user's row if an option cannot be used."""

    def rank_each(
        self, users: Sequence[UserSegments], options: Sequence[RankingOptions]
    ) -> Iterator[tuple[int, Ranking]]:
        """``rank``, user by user with its row, in whatever order they are done."""


class SegmentScorer:
    """Ranks items by late interaction. ``SegmentScorer.reference`` is the same in float64, without the fast path.

    ``proposer``, if any, is asked when a request has no candidates of its own. ``screen``, if any, leaves out what
    cannot be among the best.
    """

    together = 1
    form = ARRAYS

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
        self._selection = Selection(index, proposer)
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
        for user in warm_up_users(self._index, self._config):
            self.rank([user], [RankingOptions(top_k=1)])
            self._interaction.scores(user)  # of all items, where a proposer or the screen let a few be scored

    def rank(self, users: Sequence[UserSegments], options: Sequence[RankingOptions]) -> list[Ranking]:
        """Rank for each of B users. Raises a RequestError naming the user's row if an option cannot be used."""
        ks = [check_options(o, len(self._index), self._config.limits, row) for row, o in enumerate(options)]
        return [
            self._rank_user(user, option, k, row)
            for row, (user, option, k) in enumerate(zip(users, options, ks, strict=True))
        ]

    def rank_each(
        self, users: Sequence[UserSegments], options: Sequence[RankingOptions]
    ) -> Iterator[tuple[int, Ranking]]:
        """See ``Scorer``."""
        return enumerate(self.rank(users, options))

    def _rank_user(self, user: UserSegments, options: RankingOptions, k: int, row: int) -> Ranking:
        started = perf_counter()
        selected = self._selection.select(user, options, k, row)
        rows, allowed = selected.rows, selected.allowed
        proposed = perf_counter()
        if self._screen is not None:
            left = self._screen.survivors(user, rows, allowed, k)
            rows, allowed = (rows, allowed) if left is None else (left, None)
        interaction = self._interaction
        spaces = interaction.in_spaces(user, rows)
        matched = perf_counter()
        channels = interaction.channels(user)
        scores = interaction.of_channels(channels, spaces)
        if allowed is not None:
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
            unknown_candidates=selected.unknown,
            seconds={"propose": proposed - started, "maxsim": matched - proposed, "aggregate": ended - matched},
        )


def warm_up_users(index: ItemIndex, config: SegmentsConfig) -> Iterator[UserSegments]:
    """For each channel, a user whose only segment is the first item."""
    for position, channel in enumerate(config.channels()):
        space = index.spaces[channel.space]
        one = np.zeros(1, dtype=np.int64)
        yield UserSegments(
            ("warm-up",),
            np.array([position], dtype=np.int32),
            np.ones(1, dtype=np.float32),
            {channel.space: SpaceTokens.weighted(one, space.items.item(0), space.item_weights(0), one, one)},
        )
