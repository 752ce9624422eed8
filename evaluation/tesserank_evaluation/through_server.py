"""tesserank as it is served: a running server asked through the client, which answers with its best items alone.

Of a target that is not among them nothing is known but that it is worse. So every metric and coverage up to the depth
asked for are exact, ties within a list included; users whose target ties with the last item of a list, where some of
the tie may be cut off, are counted.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tesserank.errors import ArtifactError, ServerError
from tesserank_client import Client, EmptyRequestError, Event, Recommendations, Request, TesserankClientError
from tesserank_evaluation.metrics import DEPTH
from tesserank_evaluation.ranking import NO_ITEM, Advance, Ranked, best_lists
from tesserank_evaluation.recommender import Recommender
from tesserank_evaluation.split import Cases, History, item_arrays
from tesserank_export.catalog import Catalog

_USERS_AT_ONCE = 16
_LEAST_AGREEMENT = 0.5  # between a server and the artefact it serves; pruned search agrees in 0.95 at least


class ServedRanks:
    """Ranks by a server's answers. ``longest_history``: events that it takes; older items are still excluded."""

    def __init__(self, client: Client, catalog: Catalog, longest_history: int) -> None:
        self._client = client
        self._catalog = catalog
        self._longest = longest_history
        self.unanswered = 0  # users without any segment: all items tie
        self.cut_ties = 0

    def rank(self, cases: Cases, advance: Advance) -> Ranked:
        """The targets' ranks within the lists. Raises ServerError if the server does not answer."""
        started = time.perf_counter()
        parts = []
        for first in range(0, len(cases), _USERS_AT_ONCE):
            batch = slice(first, first + _USERS_AT_ONCE)
            histories = cases.histories[batch]
            answers = self._ask(histories)
            places = np.array(
                [
                    self._place(answer, target, history)
                    for answer, target, history in zip(answers, cases.targets[batch].tolist(), histories, strict=True)
                ],
                dtype=np.int64,
            )
            parts.append((places[:, 0], places[:, 1], np.stack([self._rows(answer) for answer in answers])))
            advance(len(answers))
        return Ranked.of(parts, started)

    def check_serves(self, expected: Recommender, histories: Sequence[History]) -> None:
        """Raise ArtifactError if the server's best items are not those of ``expected``, the artefact's own."""
        lists = best_lists(expected.scores(histories), item_arrays(histories))
        answers = self._ask(histories)
        shared = [
            np.intersect1d(own[own >= 0], self._rows(answer)).size / np.count_nonzero(own >= 0)
            for own, answer in zip(lists, answers, strict=True)
            if answer is not None
        ]
        if shared and float(np.mean(shared)) < _LEAST_AGREEMENT:
            raise ArtifactError(
                f"the server's best {DEPTH} items share {np.mean(shared):.0%} with those of the artefact that is "
                "evaluated: it serves another one; assemble and serve this one"
            )

    def _ask(self, histories: Sequence[History]) -> list[Recommendations | None]:
        requests = [self._request(history) for history in histories]
        try:
            return list(self._client.recommend_many(requests))
        except EmptyRequestError:
            return [self._ask_one(request) for request in requests]  # an error of one is an error of all
        except TesserankClientError as error:
            raise ServerError(f"the server does not answer: {error}") from error

    def _ask_one(self, request: Request) -> Recommendations | None:
        try:
            return self._client.recommend_many([request])[0]
        except EmptyRequestError:
            return None
        except TesserankClientError as error:
            raise ServerError(f"the server does not answer: {error}") from error

    def _request(self, history: History) -> Request:
        ids = [self._catalog.item_ids[row] for row in history.items.tolist()]
        events = zip(ids, history.timestamps.tolist(), history.kinds, strict=True)
        newest = [Event(item, timestamp, kind) for item, timestamp, kind in events][-self._longest :]
        top_k = min(DEPTH, len(self._catalog))
        return Request(newest, exclude=ids[: -self._longest], top_k=top_k, timestamp=history.asked_at)

    def _place(self, answer: Recommendations | None, target: int, history: History) -> tuple[int, int]:
        """Items better than the target, and items tied with it."""
        if answer is None:
            self.unanswered += 1
            return 0, len(self._catalog) - len(history.items)
        rows = self._rows(answer)
        if target not in rows:
            return DEPTH, 1
        own = answer.scores[rows.tolist().index(target)]
        if own == answer.scores[-1] and len(answer.items) == DEPTH:
            self.cut_ties += 1
        return int((answer.scores > own).sum()), int((answer.scores == own).sum())

    def _rows(self, answer: Recommendations | None) -> NDArray[np.int32]:
        rows = np.full(DEPTH, NO_ITEM, dtype=np.int32)
        if answer is not None:
            found = [self._catalog.row_of.get(item, NO_ITEM) for item in answer.item_ids]
            if NO_ITEM in found:
                unknown = answer.item_ids[found.index(NO_ITEM)]
                raise ArtifactError(f"the server recommends {unknown!r}, which the catalogue lacks: it serves another")
            rows[: len(found)] = found
        return rows
