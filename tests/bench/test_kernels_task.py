"""What MaxSim is asked to do in ``tesserank bench kernels``, and how answers are compared."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tesserank.maxsim.ragged import Ragged
from tesserank_bench.kernels import contest, maxsim
from tesserank_bench.kernels.plan import TOP, Shape, varied
from tesserank_bench.kernels.task import Task, draw, recall, top_items

SMALL = Shape(segments=2, tokens=3, items=50, item_tokens=4, dim=16)


def test_a_drawn_task_has_its_shape_and_unit_vectors() -> None:
    task = draw(SMALL, users=3, seed=0)
    assert task.queries.shape == (3, 2, 3, 16)
    assert len(task.items) == 50
    assert task.items.lengths.min() >= 1
    assert task.items.lengths.max() <= 7
    assert np.linalg.norm(task.items.vectors, axis=1) == pytest.approx(1.0, abs=1e-5)
    assert np.linalg.norm(task.queries, axis=-1) == pytest.approx(1.0, abs=1e-5)
    assert task.operations == 2 * 2 * 3 * len(task.items.vectors) * 16


def test_equal_seeds_draw_equal_tasks_and_files_keep_them(tmp_path: Path) -> None:
    task = draw(SMALL, users=2, seed=1)
    task.save(tmp_path / "new" / "task.npz")
    for other in (draw(SMALL, users=2, seed=1), Task.load(tmp_path / "new" / "task.npz")):
        assert np.array_equal(task.queries, other.queries)
        assert np.array_equal(task.items.vectors, other.items.vectors)
        assert np.array_equal(task.items.offsets, other.items.offsets)
    assert not np.array_equal(task.queries, draw(SMALL, users=2, seed=2).queries)


def test_the_reference_is_the_mean_of_each_tokens_best_product() -> None:
    task = draw(SMALL, users=2, seed=0)
    item, segment = task.items.item(7).astype(np.float64), task.queries[1, 0].astype(np.float64)
    assert task.reference(1)[7, 0] == pytest.approx((segment @ item.T).max(axis=1).mean(), rel=1e-6)


def test_the_first_items_keep_their_vectors() -> None:
    task = draw(SMALL, users=1, seed=0)
    assert task.first(None) is task
    few = task.first(5)
    assert len(few.items) == 5
    assert np.array_equal(few.items.item(4), task.items.item(4))
    assert len(task.first(10_000).items) == 50


@given(st.integers(1, 40), st.integers(1, 4), st.integers(0, 1_000))
def test_the_best_items_are_the_best(items: int, segments: int, seed: int) -> None:
    scores = np.random.default_rng(seed).permutation(items * segments).reshape(items, segments) / 7.0
    best = top_items(scores)
    assert best.tolist() == np.argsort(-scores, axis=0)[:TOP].T.tolist()
    assert recall(best, scores) == 1.0


def test_recall_counts_what_was_found_of_the_best() -> None:
    scores = np.arange(40.0)[:, None]
    best = np.arange(39, 29, -1)
    assert recall(best[None], scores) == 1.0
    assert recall(np.where(best < 35, 0, best)[None], scores) == 0.5
    assert recall(np.full((1, TOP), 39), scores) == 0.1  # the same item over and over is one item
    assert recall(np.full((1, TOP), -1), scores) == 0.0
    tied = np.where(scores >= 29, 29.0, scores)  # eleven equal items: any ten of them are the best ten
    assert recall(np.arange(29, 39)[None], tied) == 1.0


def test_an_answers_errors_are_told_apart() -> None:
    exact = [np.arange(20.0)[:, None]]
    decoded = exact[0][None] + 0.25  # quantising moved every score
    answer = {
        "scores": decoded + 0.125,
        "decoded": decoded[:, [3, 0]],
        "rows": np.arange(20),
        "checked": np.array([3, 0]),
        "top": np.arange(19, 9, -1)[None, None],
    }
    assert maxsim.compare(exact, answer) == {"kernel_error": 0.125, "max_error": 0.375, "top10_agreement": 1.0}
    found = contest.compare(exact, {"top": np.arange(10, 20)[None, None]})
    assert found == {"top10_agreement": 1.0}  # without scores there is no error of theirs


def test_one_size_is_varied_at_a_time() -> None:
    assert list(varied(SMALL, items=(1, 2), dim=(8,))) == [
        SMALL,
        Shape(2, 3, 1, 4, 16),
        Shape(2, 3, 2, 4, 16),
        Shape(2, 3, 50, 4, 8),
    ]
    assert str(SMALL) == "K=2 L=3 N=50 M=4 d=16"


def test_items_of_one_token_are_possible() -> None:
    task = draw(Shape(1, 1, 5, 1, 4), users=1, seed=0)
    assert isinstance(task.items, Ragged)
    assert task.items.lengths.tolist() == [1] * 5
