"""Which items are scored for a user: candidates, or the catalogue, less what is excluded or of another category."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tesserank.errors import InvalidArgumentError, UnknownItemError
from tesserank.index import ItemIndex
from tesserank.index.categories import UnknownCategoryError
from tesserank.serving.interaction import Rows
from tesserank.serving.request import RankingOptions, describe_ids
from tesserank.serving.segments import UserSegments

# Of the catalogue. If more than this may be ranked, all of it is scored and the rest struck out; else only what may be.
_MOSTLY = 0.9


class CandidateProposer(Protocol):
    """Finds the items worth scoring, so that not all of them are."""

    def propose(self, user: UserSegments, count_hint: int, allowed: NDArray[np.bool_] | None) -> Rows | None:
        """Rows among which the user's best ``count_hint`` items probably are, ascending and each once.

        ``allowed`` bool [N] says which may be proposed, None that all may. The answer None is: score them all.
        """


@dataclass(frozen=True)
class Selected:
    """``rows`` to score, ascending, None for all; of all, those not ``allowed`` bool [N] are struck out, None for none.

    ``unknown``: how many candidates the catalogue does not know.
    """

    rows: Rows | None
    allowed: NDArray[np.bool_] | None
    unknown: int


class Selection:
    """Selects from an index. ``proposer``, if any, is asked when a request has no candidates of its own."""

    def __init__(self, index: ItemIndex, proposer: CandidateProposer | None = None) -> None:
        self._index = index
        self._proposer = proposer

    def select(self, user: UserSegments, options: RankingOptions, k: int, row: int) -> Selected:
        """For the best k. Raises a RequestError naming the user's ``row`` if an option cannot be used."""
        allowed = self._allowed(options, row)
        rows, unknown = self._rows_to_score(user, options, k, allowed, row)
        return Selected(rows, allowed if rows is None else None, unknown)

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
