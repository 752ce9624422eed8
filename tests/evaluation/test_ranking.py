"""Ranks, lists and metrics against the plain way of computing them, ties among them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tesserank_evaluation import ranking
from tesserank_evaluation.metrics import DEPTH, KS, coverage, gains, mean_and_error
from tesserank_evaluation.ranking import NO_ITEM, best_lists, rank
from tesserank_evaluation.recommender import Scores
from tesserank_evaluation.split import History, make_cases
from tesserank_export.heldout import target_ranks
from tests.evaluation.logs import random_log

N_ITEMS = 9
LEVELS = st.sampled_from([-1.0, 0.0, 0.5, 1.0])


class Table:
    """Scores by the first item of the history."""

    def __init__(self, seed: int) -> None:
        self.settings: dict[str, object] = {}
        self._scores = np.random.default_rng(seed).integers(0, 4, size=(N_ITEMS, N_ITEMS)).astype(np.float32)

    def scores(self, histories: Sequence[History]) -> Scores:
        scores: Scores = self._scores[[int(history.items[0]) for history in histories]]
        return scores


def every_order(scores: Sequence[float], history: set[int]) -> list[tuple[int, ...]]:
    """Every ranking of the items that are not in the history that the scores allow."""
    items = [item for item in range(len(scores)) if item not in history]
    orders = itertools.permutations(items)
    return [order for order in orders if all(scores[a] >= scores[b] for a, b in itertools.pairwise(order))]


@given(scores=st.lists(LEVELS, min_size=3, max_size=6), target=st.integers(0, 2), data=st.data())
def test_every_metric_is_its_mean_over_all_orders_of_the_ties(
    scores: list[float], target: int, data: st.DataObject
) -> None:
    others = [item for item in range(len(scores)) if item != target]
    history = data.draw(st.sets(st.sampled_from(others), max_size=2))
    rows = np.array([scores], dtype=np.float32)
    found = gains(*target_ranks(rows, np.array([target], dtype=np.int32), (np.array(sorted(history), dtype=np.int32),)))
    ranks = [order.index(target) + 1 for order in every_order(scores, history)]
    for k in KS:
        recall, ndcg, mrr = zip(
            *[(1.0, 1 / math.log2(r + 1), 1 / r) if r <= k else (0.0, 0.0, 0.0) for r in ranks], strict=True
        )
        for name, expected in (("recall", recall), ("ndcg", ndcg), ("mrr", mrr)):
            assert found[f"{name}@{k}"][0] == pytest.approx(sum(expected) / len(expected))


@given(rows=st.lists(st.lists(LEVELS, min_size=60, max_size=60), min_size=1, max_size=3), data=st.data())
def test_a_list_is_the_best_items_but_the_history_ties_in_catalogue_order(
    rows: list[list[float]], data: st.DataObject
) -> None:
    histories = [
        np.array(data.draw(st.lists(st.integers(0, 59), unique=True, max_size=20)), dtype=np.int32) for _ in rows
    ]
    lists = best_lists(np.array(rows, dtype=np.float32), histories)
    for scores, history, found in zip(rows, histories, lists, strict=True):
        left = [item for item in range(60) if item not in history]
        expected = sorted(left, key=lambda item: (-scores[item], item))[:DEPTH]
        assert found.tolist() == expected + [NO_ITEM] * (DEPTH - len(expected))


def test_batches_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    cases = make_cases(random_log(40, N_ITEMS, 5), 1_000, 0, "plain")
    whole = rank(Table(1), cases, N_ITEMS, lambda count: None)
    monkeypatch.setattr(ranking, "_SCORES_AT_ONCE", 3 * N_ITEMS)
    done: list[int] = []
    parts = rank(Table(1), cases, N_ITEMS, done.append)
    assert sum(done) == len(cases)
    assert max(done) == 3
    for one, other in ((whole.better, parts.better), (whole.tied, parts.tied), (whole.lists, parts.lists)):
        np.testing.assert_array_equal(one, other)


def test_coverage_counts_each_item_once_and_no_item_never() -> None:
    lists = np.full((2, DEPTH), NO_ITEM, dtype=np.int32)
    lists[0, :6] = [0, 1, 2, 3, 4, 5]
    lists[1, :6] = [0, 1, 2, 3, 6, 7]
    assert coverage(lists, 10) == {"coverage@5": 0.6, "coverage@10": 0.8, "coverage@20": 0.8, "coverage@50": 0.8}


def test_a_mean_comes_with_its_standard_error_and_that_of_one_user_is_unknown() -> None:
    assert mean_and_error(np.array([0.0, 1.0, 1.0, 0.0])) == {"mean": 0.5, "se": round(math.sqrt(1 / 3) / 2, 5)}
    assert mean_and_error(np.array([0.25])) == {"mean": 0.25, "se": None}
