"""Which items of the whole catalogue are worth scoring exactly, for one user."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tesserank.index import ItemIndex
from tesserank.maxsim import cpu
from tesserank.maxsim.vectors import ItemVectors
from tesserank.search import centroid_scores, piece_scores
from tesserank.search.centroids import CentroidVectors
from tesserank.search.pieces import PieceVectors
from tesserank.search.select import best_rows
from tesserank.search.standins import StandIns
from tesserank.segments.config import SegmentsConfig
from tesserank.serving.interaction import LateInteraction
from tesserank.serving.segments import UserSegments

# Proposed items for one that is wanted. Measured: of 4 proposed for 1 wanted, 0.995 of the wanted are among them.
PROPOSED_PER_WANTED = 4
# Of the catalogue: more than this to score exactly, and looking for what to score is not worth its while.
_MOSTLY = 0.5


class StandInProposer:
    """Ranks the catalogue by approximate scores and proposes the best (``scorer.CandidateProposer``).

    An approximate score differs from the exact one in its MaxSim alone, and in the spaces of ``stand_ins`` alone: the
    others, channels, weights and aggregation are the scorer's. The same request gets the same proposal.
    """

    def __init__(
        self,
        index: ItemIndex,
        config: SegmentsConfig,
        stand_ins: StandIns,
        candidates: int,
        pool: ThreadPoolExecutor | None = None,
    ) -> None:
        """``stand_ins`` by space; ``candidates``: how many items to propose."""
        self._size = len(index)
        self._candidates = candidates
        self._interaction = LateInteraction(
            index, config, partial(_unit_scores, pool=pool), partial(cpu.aggregate, pool=pool), items=stand_ins
        )

    @classmethod
    def threaded(
        cls,
        index: ItemIndex,
        config: SegmentsConfig,
        stand_ins: StandIns,
        candidates: int,
        threads: int,
    ) -> StandInProposer:
        """The same on several threads; the BLAS must run on one, see ``maxsim.cpu``."""
        pool = ThreadPoolExecutor(threads - 1, thread_name_prefix="search") if threads > 1 else None
        return cls(index, config, stand_ins, candidates, pool)

    def propose(
        self, user: UserSegments, count_hint: int, allowed: NDArray[np.bool_] | None
    ) -> NDArray[np.int64] | None:
        """Rows of about the best items, ascending; None if that would be most of what is allowed.

        At least PROPOSED_PER_WANTED times ``count_hint`` are proposed, all ``allowed`` bool [N] (None: all are).
        """
        possible = self._size if allowed is None else int(np.count_nonzero(allowed))
        wanted = max(self._candidates, PROPOSED_PER_WANTED * count_hint)
        if wanted > _MOSTLY * possible:
            return None
        rows = None if allowed is None or possible > _MOSTLY * self._size else np.flatnonzero(allowed)
        approximate = self._interaction.scores(user, rows)
        if rows is None and allowed is not None:
            approximate[~allowed] = -np.inf
        best = best_rows(approximate, wanted)
        return best if rows is None else rows[best]


def _unit_scores(
    tokens: NDArray[Any],
    token_weights: NDArray[Any],
    starts: NDArray[np.int64],
    items: ItemVectors,
    rows: NDArray[np.int64] | None,
    pool: ThreadPoolExecutor | None,
) -> NDArray[Any]:
    if isinstance(items, CentroidVectors):
        return centroid_scores.unit_scores(tokens, token_weights, starts, items, rows, pool)
    if isinstance(items, PieceVectors):
        return piece_scores.unit_scores(tokens, token_weights, starts, items, rows, pool)
    return cpu.unit_scores(tokens, token_weights, starts, items, rows, pool)
