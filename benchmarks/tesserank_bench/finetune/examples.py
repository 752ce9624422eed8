"""What the cross-encoder learns from: an item that came next, among those that late interaction found beside it.

It will be asked to order late interaction's best items where what comes next is one of them, so that is what it sees in
training too. The cases are of a log that an evaluation's targets have left, and what came next has left the log that
its spaces were learned from: it is found, or not, nearly as a target would be (what a fit chose, it chose with that).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tesserank.errors import DataError
from tesserank_evaluation.ranking import NO_ITEM, best_lists
from tesserank_evaluation.recommender import Recommender
from tesserank_evaluation.split import Cases, History, item_arrays
from tesserank_export.events import Events

_CASES_AT_ONCE = 16  # of which late interaction is asked


@dataclass(frozen=True)
class Example:
    """What was known of a user, and rows of the catalogue, int32 [1 + negatives]: what came next is the first."""

    history: History
    items: NDArray[np.int32]


class Examples:
    """Examples of a step, drawn by its number: ``users`` of them, each with up to ``negatives`` negatives.

    Negatives are drawn from the retriever's best ``depth`` items beside the history, less what else the user met in
    ``log``, which the ``cases`` are of.
    """

    def __init__(
        self,
        log: Events,
        cases: Cases,
        texts: Sequence[str],
        retriever: Recommender,
        users: int,
        negatives: int,
        depth: int,
        seed: int,
    ) -> None:
        self._log, self._cases, self._texts, self._retriever = log, cases, texts, retriever
        self._users, self._negatives, self._depth, self._seed = users, negatives, depth, seed
        self._found: dict[int, NDArray[np.int32] | None] = {}

    def of_step(self, step: int) -> list[Example]:
        """Fewer than ``users`` where late interaction finds fewer of all cases.

        Raises DataError if it finds none.
        """
        rng = np.random.default_rng([self._seed, step])
        order = rng.permutation(len(self._cases))
        found: list[Example] = []
        for first in range(0, len(order), _CASES_AT_ONCE):
            for case, others in self._with_others(order[first : first + _CASES_AT_ONCE].tolist()):
                chosen = rng.permutation(others)[: self._negatives]
                items = np.concatenate([self._cases.targets[[case]], chosen]).astype(np.int32)
                found.append(Example(self._cases.histories[case], items))
            if len(found) >= self._users:
                return found[: self._users]
        if not found:
            raise DataError(
                f"what came next is among late interaction's best {self._depth} for none of {len(order):,} users: "
                "there is nothing to learn from"
            )
        return found

    def _with_others(self, cases: Sequence[int]) -> list[tuple[int, NDArray[np.int32]]]:
        """Those of ``cases`` whose target late interaction finds, with what it finds beside it."""
        self._ask([case for case in cases if case not in self._found])
        found = [(case, self._found[case]) for case in cases]
        return [(case, others) for case, others in found if others is not None]

    def _ask(self, cases: Sequence[int]) -> None:
        if not cases:
            return
        histories = [self._cases.histories[case] for case in cases]
        lists = best_lists(self._retriever.scores(histories), item_arrays(histories), self._depth)
        for case, best in zip(cases, lists, strict=True):
            target, met = int(self._cases.targets[case]), set(self._met(case).tolist())
            others = [row for row in best[best != NO_ITEM].tolist() if row not in met and self._texts[row]]
            usable = target in best and others and self._texts[target]
            self._found[case] = np.array(others, dtype=np.int32) if usable else None

    def _met(self, case: int) -> NDArray[np.int32]:
        """All items that the user of a case met, the target and what came with it among them."""
        user = self._cases.held.users[case]
        met: NDArray[np.int32] = self._log.item[self._log.offsets[user] : self._log.offsets[user + 1]]
        return met
