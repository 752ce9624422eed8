"""The collaborative space: the held-out metric against a naive one, and embeddings that find planted structure."""

from __future__ import annotations

import itertools
import math
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tesserank.segments.config import LEARNED_SPACES, LearnedConfig
from tesserank_export.catalog import read_catalog
from tesserank_export.collaborative import METHODS, fit_collaborative, frequent, learn, next_item_ndcg
from tesserank_export.collaborative.ease import ease_weights, fit_ease
from tesserank_export.collaborative.factorisation import unit_rows
from tesserank_export.collaborative.popularity import fit_popularity
from tesserank_export.collaborative.transitions import fit_transitions
from tesserank_export.collaborative.trend import MOST_MOMENTS, fit_trend, moments_of, trends
from tesserank_export.events import Events, read_events
from tesserank_export.heldout import hold_out_last, ndcg_at_k, recall_at_k, target_ranks

REAL_DATA = Path(__file__).parents[3] / "shared" / "data"
N_GROUPS, GROUP_SIZE = 4, 12


def events_of(histories: Sequence[Sequence[int]]) -> Events:
    user = np.repeat(np.arange(len(histories)), [len(history) for history in histories]).astype(np.int32)
    item = np.array(list(itertools.chain(*histories)), dtype=np.int32)
    zeros = np.zeros(len(item), dtype=np.int32)
    users = tuple(map(str, range(len(histories))))
    return Events(users, ("",), user, item, np.arange(len(item), dtype=np.int64), zeros)


@pytest.fixture(scope="module")
def grouped() -> Events:
    """200 users, each at home in one of four groups of twelve items; items 48 and 49 are met by nobody."""
    rng = np.random.default_rng(0)
    return events_of([rng.permutation(GROUP_SIZE)[:8] + GROUP_SIZE * (user % N_GROUPS) for user in range(200)])


N_ITEMS = N_GROUPS * GROUP_SIZE + 2
GROUP = np.arange(N_GROUPS * GROUP_SIZE) // GROUP_SIZE


def naive_gain(scores: Sequence[float], target: int, history: set[int], k: int) -> tuple[float, float]:
    """NDCG@k and recall@k of one user, averaged over every order that the ties allow."""
    items = [item for item in range(len(scores)) if item not in history]
    ranks = []
    for order in itertools.permutations(items):
        if all(scores[left] >= scores[right] for left, right in itertools.pairwise(order)):
            ranks.append(order.index(target) + 1)
    gains = [1 / math.log2(rank + 1) if rank <= k else 0.0 for rank in ranks]
    return sum(gains) / len(gains), sum(rank <= k for rank in ranks) / len(ranks)


@given(
    scores=st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=3, max_size=6),
    target=st.integers(0, 2),
    k=st.integers(1, 6),
    data=st.data(),
)
def test_metrics_equal_the_average_over_all_orders_of_the_ties(
    scores: list[float], target: int, k: int, data: st.DataObject
) -> None:
    others = [item for item in range(len(scores)) if item != target]
    history = data.draw(st.sets(st.sampled_from(others), max_size=2))
    better, tied = target_ranks(
        np.array([scores], dtype=np.float32),
        np.array([target], dtype=np.int32),
        (np.array(sorted(history), dtype=np.int32),),
    )
    ndcg, recall = naive_gain(scores, target, history, k)
    assert ndcg_at_k(better, tied, k)[0] == pytest.approx(ndcg)
    assert recall_at_k(better, tied, k)[0] == pytest.approx(recall)


def test_scores_that_are_not_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        target_ranks(np.array([[np.nan, 0.0]], dtype=np.float32), np.array([0], dtype=np.int32), (np.array([1]),))


def test_the_last_new_item_of_every_user_leaves_the_training_log() -> None:
    # User 0 comes back to item 1 after meeting 2, and to 2 at the end; user 1 has too few items; user 2 repeats.
    held = hold_out_last(events_of([[0, 1, 2, 1, 2], [3, 4], [5, 5, 3, 4]]), max_users=10, seed=0)
    assert held.users.tolist() == [0, 2]
    assert held.targets.tolist() == [2, 4]
    assert [history.tolist() for history in held.histories] == [[0, 1], [5, 3]]
    assert [history.tolist() for history in held.train.histories()] == [[0, 1, 1], [3, 4], [5, 5, 3]]


def test_sampling_users_hides_the_items_of_the_others_too() -> None:
    events = events_of([[user, user + 1, user + 2] for user in range(20)])
    first, again, other = (hold_out_last(events, max_users=5, seed=seed) for seed in (1, 1, 2))
    assert len(first.train) == len(events) - 20
    assert len(first.users) == 5
    assert first.users.tolist() == again.users.tolist() != other.users.tolist()


def test_an_oracle_scores_one_and_a_space_of_equals_scores_chance() -> None:
    held = hold_out_last(events_of([[0, 1, 2], [3, 4, 5], [0, 1, 2]]), max_users=10, seed=0)
    oracle = np.repeat(np.eye(2, dtype=np.float32), 3, axis=0)  # items 0 to 2 alike, 3 to 5 alike
    assert next_item_ndcg(oracle, held) == 1.0
    # Four items are left to rank, all tied: the target is at each of the ranks 1 to 4 as often.
    chance = sum(1 / math.log2(rank + 1) for rank in range(1, 5)) / 4
    assert next_item_ndcg(np.ones((6, 2), dtype=np.float32), held) == pytest.approx(chance)


def test_recent_items_weigh_more_than_old_ones() -> None:
    held = hold_out_last(events_of([[0, 1, 2]]), max_users=1, seed=0)
    old, recent = np.eye(2, dtype=np.float32)
    assert next_item_ndcg(np.stack([old, recent, recent, old]), held) == 1.0
    assert next_item_ndcg(np.stack([old, recent, old, recent]), held) < 1.0


@pytest.mark.parametrize("method", METHODS)
def test_items_of_one_group_lie_together_and_items_of_none_are_zero(grouped: Events, method: str) -> None:
    vectors = METHODS[method](grouped, N_ITEMS, 8, 0)
    assert vectors.shape == (N_ITEMS, 8)
    assert vectors.dtype == np.float32
    assert not vectors[-2:].any()
    known = vectors[:-2]
    np.testing.assert_allclose(np.linalg.norm(known, axis=1), 1.0, atol=1e-5)
    cosines = known @ known.T - 2 * np.eye(len(known))
    assert (GROUP[cosines.argmax(axis=1)] == GROUP).all()


@pytest.mark.parametrize("method", METHODS)
def test_a_space_wider_than_the_catalogue_is_padded(method: str) -> None:
    vectors = METHODS[method](events_of([[0, 1], [1, 0]]), 3, 16, 0)
    assert vectors.shape == (3, 16)
    assert np.isfinite(vectors).all()
    assert not vectors[2].any()


@pytest.mark.parametrize("method", METHODS)
def test_users_with_one_event_each_do_not_break_a_fit(method: str) -> None:
    assert np.isfinite(METHODS[method](events_of([[0], [1], [1]]), 2, 4, 0)).all()


@pytest.mark.parametrize("method", METHODS)
def test_the_same_seed_gives_the_same_vectors_whatever_the_hash_seed(method: str) -> None:
    program = (
        "import numpy as np, sys, zlib\n"
        "from tesserank_export.collaborative import METHODS\n"
        "from tesserank_export.events import Events\n"
        "i = np.arange(300, dtype=np.int32)\n"
        "e = Events(tuple(map(str, range(30))), ('',), i // 10, i * i % 17, i.astype(np.int64), i * 0)\n"
        f"print(zlib.crc32(METHODS[{method!r}](e, 17, 4, 3).tobytes()))"
    )
    environments = ({**os.environ, "PYTHONHASHSEED": seed} for seed in ("1", "2"))
    first, second = (
        subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True).stdout
        for env in environments
    )
    assert first == second != ""


def test_the_best_method_on_held_out_items_is_kept_and_fitted_on_everything(grouped: Events) -> None:
    told: list[tuple[str, int, int]] = []
    space = fit_collaborative(grouped, N_ITEMS, dim=8, seed=0, progress=lambda *step: told.append(step))
    assert set(space.heldout) == set(METHODS)
    assert space.heldout[space.method] == max(space.heldout.values())
    assert space.heldout_users == 200
    # Nine of a group's twelve items are new to a user who has seen seven: chance within the group is about 0.59.
    assert space.heldout[space.method] > 0.4
    np.testing.assert_array_equal(space.vectors, METHODS[space.method](grouped, N_ITEMS, 8, 0))
    assert [(done, total) for _, done, total in told] == [(step, len(METHODS) + 1) for step in range(len(METHODS) + 2)]


def test_the_methods_are_not_fitted_on_what_they_are_checked_on() -> None:
    # The target of every user occurs nowhere but as a target: no method can know it, so each gets what chance gives.
    histories = [[0, 1, 2, 10 + user] for user in range(30)]
    space = fit_collaborative(events_of(histories), 40, dim=4, seed=0)
    chance = sum(1 / math.log2(rank + 1) for rank in range(1, 11)) / 37
    assert space.heldout == {method: pytest.approx(chance) for method in METHODS}


def test_without_users_to_check_on_the_factorisation_serves(caplog: pytest.LogCaptureFixture) -> None:
    space = fit_collaborative(events_of([[0, 1], [1, 2]]), 3, dim=4, seed=0)
    assert (space.method, dict(space.heldout), space.heldout_users) == ("factorisation", {}, 0)
    assert "without a held-out check" in caplog.text


def test_rows_of_nothing_but_rounding_become_zero() -> None:
    rows = np.array([[3.0, 4.0], [1e-8, 0.0], [0.0, 0.0]], dtype=np.float32)
    np.testing.assert_allclose(unit_rows(rows), [[0.6, 0.8], [0.0, 0.0], [0.0, 0.0]], rtol=1e-6)


@pytest.mark.timeout(180)
def test_real_histories_are_predicted_better_than_by_item_to_item_neighbours() -> None:
    folder = REAL_DATA / "amazon_beauty"
    if not folder.exists():
        pytest.skip(f"{folder} is absent")
    catalog = read_catalog(folder / "items.jsonl.gz")
    events = read_events(folder / "events.csv.gz", catalog)
    space = fit_collaborative(events, len(catalog))
    assert space.heldout_users == 1_000
    # ItemKNN on the last ten items reaches .045 on this protocol.
    assert space.heldout[space.method] > 0.045


def dense_transitions(events: Events, n_items: int, penalty: float) -> np.ndarray:
    """B by its definition, one moment of one history at a time, in float64."""
    past, future = [], []
    for history in events.histories():
        distinct = list(dict.fromkeys(history.tolist()))
        for moment in range(1, len(distinct)):
            before, after = np.zeros(n_items), np.zeros(n_items)
            for age, item in enumerate(distinct[moment - 1 :: -1][:10]):
                before[item] = 0.8**age
            for age, item in enumerate(distinct[moment:][:5]):
                after[item] = 0.8**age
            past.append(before)
            future.append(after)
    x, y = np.array(past), np.array(future)
    return np.asarray(np.linalg.solve(x.T @ x + penalty * np.eye(n_items), x.T @ y))


def dense_ease(events: Events, n_items: int, penalty: float) -> np.ndarray:
    """Each item's weights from all others by least squares, one item at a time, in float64."""
    x = (events.interaction_matrix(n_items).toarray() > 0).astype(float)
    weights = np.zeros((n_items, n_items))
    for item in range(n_items):
        others = [other for other in range(n_items) if other != item]
        rest = x[:, others]
        weights[others, item] = np.linalg.solve(rest.T @ rest + penalty * np.eye(n_items - 1), rest.T @ x[:, item])
    return weights


def test_ease_is_the_best_of_its_rank_approximation_of_the_regression() -> None:
    rng = np.random.default_rng(4)
    events = events_of([rng.integers(0, 30, rng.integers(1, 12)) for _ in range(80)])
    exact = dense_ease(events, 32, 5.0)
    np.testing.assert_allclose(ease_weights(binary_matrix(events, 32), 5.0), exact, atol=2e-6)
    full = fit_ease(events, 32, 32, 5.0, seed=0)
    np.testing.assert_allclose(full[1] @ full[0].T, exact, atol=1e-5)
    items, queries = fit_ease(events, 32, 6, 5.0, seed=0)
    assert items.dtype == queries.dtype == np.float32
    left, singular, right = np.linalg.svd(exact)
    best = np.linalg.norm(exact - left[:, :6] * singular[:6] @ right[:6])
    assert np.linalg.norm(exact - queries @ items.T) <= 1.02 * best
    assert not items[30:].any(), "what nobody met has no vector"


def test_ease_knows_nothing_of_what_was_met_alone() -> None:
    items, queries = fit_ease(events_of([[0, 1], [0, 1], [2]]), 4, 4, 1.0, seed=0)
    assert (queries @ items.T)[0].argmax() == 1
    assert not items[2:].any()
    assert not queries[2:].any()


def binary_matrix(events: Events, n_items: int) -> object:
    matrix = events.interaction_matrix(n_items)
    matrix.data[:] = 1.0
    return matrix


def test_transitions_are_the_best_of_their_rank_approximation_of_the_regression() -> None:
    rng = np.random.default_rng(3)
    events = events_of([rng.integers(0, 30, rng.integers(1, 25)) for _ in range(60)])
    exact = dense_transitions(events, 32, 5.0)
    full = fit_transitions(events, 32, 32, 5.0, seed=0)
    np.testing.assert_allclose(full[1] @ full[0].T, exact, atol=2e-6)
    items, queries = fit_transitions(events, 32, 6, 5.0, seed=0)
    assert items.dtype == queries.dtype == np.float32
    left, singular, right = np.linalg.svd(exact)
    best = np.linalg.norm(exact - left[:, :6] * singular[:6] @ right[:6])
    assert np.linalg.norm(exact - queries @ items.T) <= 1.02 * best
    assert not items[30:].any(), "what nobody met has no vector"
    assert not queries[30:].any()


def test_transitions_see_the_order_of_events() -> None:
    items, queries = fit_transitions(events_of([[0, 1], [0, 1], [2, 0], [0, 1, 3]]), 5, 4, 0.1, seed=0)
    scores = queries @ items.T
    assert scores[0].argmax() == 1
    assert scores[0, 2] == pytest.approx(0, abs=1e-6)
    assert not queries[3].any(), "nothing follows 3"
    assert not items[2].any(), "2 follows nothing"


def test_transitions_of_single_events_are_none() -> None:
    items, queries = fit_transitions(events_of([[0], [1, 1]]), 3, 4, 1.0, seed=0)
    assert items.shape == queries.shape == (3, 4)
    assert not items.any()
    assert not queries.any()


def test_transitions_leave_out_what_is_rare_where_there_are_too_many_items_and_say_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(frequent, "MOST_ITEMS", 2)
    items, queries = fit_transitions(events_of([[0, 2, 1], [0, 1], [1, 0]]), 3, 2, 1.0, seed=0)
    assert queries[:2].any()
    assert not queries[2].any()
    assert not items[2].any()
    assert caplog.messages == ["transitions: 2 of 3 items, the most met, have vectors"]


def test_popularity_is_the_logarithm_of_how_often_lately() -> None:
    events = events_of([[0, 1, 0], [1, 1]])  # seconds 0 to 4
    items, queries = fit_popularity(events, 3, half_life_s=2)
    weights = 0.5 ** ((4 - np.arange(5)) / 2)
    expected = np.log1p([weights[0] + weights[2], weights[1] + weights[3] + weights[4], 0])
    np.testing.assert_allclose(items[:, 0], expected, rtol=1e-6)
    assert queries.tolist() == [[1.0]] * 3
    np.testing.assert_allclose(fit_popularity(events, 3, 0)[0][:, 0], np.log1p([2, 3, 0]), rtol=1e-6)


def naive_trend(events: Events, n_items: int, moment: int, half_life_s: int) -> NDArray[np.float64]:
    lately, ever = np.zeros(n_items), np.zeros(n_items)
    for item, timestamp in zip(events.item.tolist(), events.timestamp.tolist(), strict=True):
        if timestamp < moment:
            lately[item] += 0.5 ** ((moment - timestamp) / half_life_s)
            ever[item] += 1
    return np.log1p(lately) - 0.5 * np.log1p(ever)


def test_a_trend_is_of_what_was_met_before_the_moment(grouped: Events) -> None:
    half_life_s = 80
    items, queries, moments = fit_trend(grouped, N_ITEMS, 64, half_life_s)
    assert moments[0] == grouped.timestamp.min()
    assert moments[-1] == grouped.timestamp.max() + 1
    assert (np.diff(moments) > 0).all()
    assert np.diff(moments).max() == half_life_s // 4
    expected = [naive_trend(grouped, N_ITEMS, moment, half_life_s) for moment in moments.tolist()]
    np.testing.assert_allclose(queries @ items.T, expected, atol=1e-5)


@given(cut=st.integers(0, 40), seed=st.integers(0, 99))
def test_a_moment_knows_nothing_of_what_comes_after_it(cut: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    events = events_of([rng.integers(0, 5, 10).tolist() for _ in range(4)])  # seconds 0 to 39
    moments = np.arange(0, 45, 5)
    earlier = moments <= cut
    all_, some = trends(events, 5, moments, 7), trends(events.subset(events.timestamp < cut), 5, moments, 7)
    np.testing.assert_array_equal(all_[earlier], some[earlier])


def test_moments_are_bounded_in_number_and_a_log_without_times_has_two() -> None:
    long = events_of([list(range(5))])
    long = replace(long, timestamp=np.array([0, 1, 10**6, 10**8, 10**9]))
    assert len(moments_of(long, 3600)) <= MOST_MOMENTS
    timeless = replace(long, timestamp=np.zeros(5, dtype=np.int64))
    items, queries, moments = fit_trend(timeless, 6, 2, 0)
    assert moments.tolist() == [0, 1]
    assert not queries[0].any()
    np.testing.assert_allclose(queries[1] @ items.T, [*[np.log(2) / 2] * 5, 0], atol=1e-6)


def test_rarer_items_than_there_is_room_for_have_no_trend(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    events = events_of([[0, 2, 1], [0, 1], [1, 0, 3, 3, 3]])
    alone = fit_trend(events, 4, 4, 0)
    monkeypatch.setattr(frequent, "MOST_ITEMS", 3)
    items, queries, _ = fit_trend(events, 4, 4, 0)
    assert not items[2].any()
    np.testing.assert_allclose((queries @ items.T)[:, [0, 1, 3]], (alone[1] @ alone[0].T)[:, [0, 1, 3]], atol=1e-6)
    assert caplog.messages == ["trend: 3 of 4 items, the most met, have vectors"]


def test_nothing_is_trending_without_events() -> None:
    items, queries, moments = fit_trend(events_of([]), 3, 4, 0)
    assert (items.shape, queries.shape, moments.shape) == ((3, 4), (1, 4), (1,))
    assert not items.any()


@pytest.mark.parametrize("name", [name for name in LEARNED_SPACES if name != "collaborative"])
def test_every_space_is_learned_alike_from_the_same_seed(name: str, grouped: Events) -> None:
    settings = LearnedConfig(dim=8)
    first, again = (learn(name, grouped, N_ITEMS, settings, seed=1) for _ in range(2))
    assert first.items.dtype == np.float32
    assert len(first.items) == N_ITEMS
    assert (first.items == again.items).all()
    if first.queries is not None:
        rows = len(first.items) if first.moments is None else len(first.moments)
        assert first.queries.shape == (rows, first.items.shape[1])
