"""What the cross-encoder learns from: an item that came next, among items that late interaction finds as good.

The log is what a protocol keeps of one, so targets are not in it. Positions within histories are drawn at random: a
user gives as many examples as they have items, less one. The artefact was fitted on the same log, so late interaction
has seen the items that came next; only what it has beside them is taken from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tesserank.errors import DataError
from tesserank_evaluation.ranking import NO_ITEM, best_lists
from tesserank_evaluation.recommender import Recommender
from tesserank_evaluation.split import History, history_of
from tesserank_export.events import Events
from tesserank_export.heldout import first_occurrences


@dataclass(frozen=True)
class Example:
    """What was known of a user, and rows of the catalogue, int32 [1 + negatives]: what came next is the first."""

    history: History
    items: NDArray[np.int32]


class Examples:
    """Examples of a step, drawn by its number: ``users`` of them, each with up to ``negatives`` negatives.

    Negatives are drawn from the retriever's best ``depth`` items that the user did not meet. Raises DataError if
    nobody met two items.
    """

    def __init__(
        self,
        log: Events,
        texts: Sequence[str],
        retriever: Recommender,
        users: int,
        negatives: int,
        depth: int,
        seed: int,
    ) -> None:
        self._log, self._texts, self._retriever = log, texts, retriever
        self._users, self._negatives, self._depth, self._seed = users, negatives, depth, seed
        offsets = log.offsets[:-1]
        places = [start + first_occurrences(own) for start, own in zip(offsets, log.histories(), strict=True)]
        self._places = [own for own in places if len(own) > 1]
        if not self._places:
            raise DataError(f"nobody of {len(log.users):,} users met two items: there is no next item to learn from")

    def of_step(self, step: int) -> list[Example]:
        """Fewer than ``users`` where what came next, or all beside it, has no text."""
        rng = np.random.default_rng([self._seed, step])
        known, following, met = [], [], []
        for user in rng.integers(len(self._places), size=self._users).tolist():
            places = self._places[user]
            end = int(rng.integers(1, len(places)))
            known.append(history_of(self._log, places[:end]))
            following.append(int(self._log.item[places[end]]))
            met.append(self._log.item[places])
        best = best_lists(self._retriever.scores(known), met, self._depth)
        found = []
        for history, positive, candidates in zip(known, following, best, strict=True):
            rows = [row for row in candidates[candidates != NO_ITEM].tolist() if self._texts[row]]
            chosen = rng.permutation(rows)[: self._negatives]
            if len(chosen) and self._texts[positive]:
                found.append(Example(history, np.concatenate([[positive], chosen]).astype(np.int32)))
        return found
