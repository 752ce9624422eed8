"""Differences are taken user by user, and ranks survive their file."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tesserank_evaluation.evaluate import against_best_baseline
from tesserank_evaluation.metrics import gains
from tesserank_evaluation.paired import difference, load_ranks, save_ranks


def untied(*better: int) -> NDArray[np.int64]:
    return np.stack([np.array(better), np.ones(len(better), dtype=np.int64)])


def test_a_difference_is_of_each_user_so_that_what_users_share_cancels() -> None:
    # Reciprocal ranks 1, 1/2, 1/4 against 1/2, 1/4, 1/4: the differences are 1/2, 1/4, 0.
    found = difference(untied(0, 1, 3), untied(1, 3, 3))
    assert found["mrr@10"] == {"mean": 0.25, "se": round(0.25 / math.sqrt(3), 5)}
    apart = [gains(*ranks)["mrr@10"].std(ddof=1) / math.sqrt(3) for ranks in (untied(0, 1, 3), untied(1, 3, 3))]
    error = found["mrr@10"]["se"]
    assert error is not None
    assert error < math.hypot(*apart)


def test_the_best_baseline_is_by_ndcg_and_tesserank_is_not_one() -> None:
    ranks = {"tesserank": untied(0, 0), "popularity": untied(5, 9), "ease": untied(2, 3), "itemknn": untied(0, 30)}
    found = against_best_baseline(ranks)
    assert found is not None
    assert found["baseline"] == "itemknn"  # 1 and 0 on average beat 1/2 and .43
    assert list(found["difference"]) == ["tesserank"]
    assert found["difference"]["tesserank"]["ndcg@10"]["mean"] == 0.5
    assert against_best_baseline({"tesserank": untied(0)}) is None
    assert against_best_baseline({"popularity": untied(0)}) is None


def test_ranks_are_read_as_they_were_written(tmp_path: Path) -> None:
    ranks = {("plain", "tesserank"): untied(1, 2), ("strict", "itemknn-last-10"): untied(3)}
    save_ranks(tmp_path / "ranks.npz", ranks)
    found = load_ranks(tmp_path / "ranks.npz")
    assert found.keys() == ranks.keys()
    for key, own in ranks.items():
        np.testing.assert_array_equal(found[key], own)
    assert load_ranks(tmp_path / "none.npz") == {}


@pytest.mark.parametrize("name", ["mean", "se"])
def test_a_recommender_does_not_differ_from_itself(name: str) -> None:
    ranks = untied(0, 4, 70)
    assert {metric[name] for metric in difference(ranks, ranks).values()} == {0.0}
