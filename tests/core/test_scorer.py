"""Ranking: the fast scorer against the float64 one and against the formula, and what is left out of an answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tesserank.errors import InvalidArgumentError, TopKTooLargeError, UnknownItemError
from tesserank.index import Space
from tesserank.maxsim import reference
from tesserank.segments.config import SegmentsConfig
from tesserank.serving.request import RankingOptions, Text, UserContext
from tesserank.serving.scorer import Ranking, SegmentScorer
from tesserank.serving.segments import SegmentBatch
from tests.core.world import ITEMS, CountingEncoder, make_config, make_embedder, make_index

INDEX = make_index().in_float32()
USERS = [
    UserContext(
        [b"i1", b"i2", b"i3", b"i10", b"i5"], [0, 5, 50, 51, 52], texts=[Text("query", "5 6"), Text("query", "8")]
    ),
    UserContext([b"i11", b"i4"], [0, 1], weights=[0.5, 2.0]),
    UserContext(texts=[Text("profile", "9 10 11 12 13", 0.7)]),
]
CONFIGS = {
    f"{cut} {method}{'' if grouped else ' whole'}": make_config(cut, method, grouped)
    for cut in ("item", "session", "content")
    for method in ("sum", "softmax")
    for grouped in (True, False)
}
# Unit vectors, d + L <= 17 and weights of a unit that add up to 1 leave a segment score off by 17·2^-24 = 1e-6 at most
# (see test_maxsim). A score adds at most five segments of weight <= 2 in each of three channels of scale <= 2, and the
# soft maximum rounds |y| / τ <= 20 to 2^-24 of it and multiplies by τ again, which is less: 5·2·3·2·1e-6 = 6e-5.
TOLERANCE = 6e-5


def embed(config: SegmentsConfig, users: Sequence[UserContext] = USERS) -> SegmentBatch:
    return make_embedder(config, CountingEncoder(), INDEX).embed(users).batch


def rank(config: SegmentsConfig, *options: RankingOptions, users: Sequence[UserContext] = USERS) -> list[Ranking]:
    return SegmentScorer(INDEX, config).rank(embed(config, users), options)


def everything(users: Sequence[UserContext] = USERS, **more: Any) -> list[RankingOptions]:
    return [RankingOptions(top_k=len(ITEMS), **more) for _ in users]


def aggregated(scores: list[float], weights: list[float], method: str, temperature: float) -> float:
    pairs = list(zip(scores, weights, strict=True))
    if method == "sum":
        return sum(w * y for y, w in pairs)
    return temperature * float(np.log(sum(w * np.exp(y / temperature) for y, w in pairs)))


def score_by_formula(config: SegmentsConfig, batch: SegmentBatch, user: int, item: int) -> float:
    """One score, one unit and one segment at a time: nothing of the scorer's is used but the definition of MaxSim."""
    method, total = config.aggregation.method, 0.0
    for position, channel in enumerate(config.channels()):
        space = INDEX.spaces[channel.space]
        temperature = config.aggregation.temperature / space.scale
        columns = [k for k, c in enumerate(batch.channels[user].tolist()) if c == position]
        scores = []
        for k in columns:
            weights, groups = batch.token_weights[user, k], batch.token_groups[user, k]
            tokens = batch.embeddings[user, k, :, : space.dim]
            units = [(groups == g) & (weights > 0) for g in sorted(set(groups[weights > 0].tolist()))]
            y = [reference.maxsim(tokens[unit], weights[unit], space.items.item(item)) for unit in units]
            scores.append(aggregated(y, [1.0] * len(y), method, temperature))
        if columns:
            of_channel = aggregated(scores, batch.weights[user, columns].tolist(), method, temperature)
            total += channel.weight * space.scale * of_channel
    return total


@pytest.mark.parametrize("name", CONFIGS)
def test_fast_scores_are_those_of_the_reference_and_of_the_formula(name: str) -> None:
    config = CONFIGS[name]
    batch = embed(config)
    options = everything(exclude_history=False)
    fast, exact = (
        scorer.rank(batch, options) for scorer in (SegmentScorer(INDEX, config), SegmentScorer.reference(INDEX, config))
    )
    for user, (ours, theirs) in enumerate(zip(fast, exact, strict=True)):
        assert (ours.scores.dtype, theirs.scores.dtype) == (np.float32, np.float64)
        assert -np.diff(theirs.scores[:11]).max() > 2 * TOLERANCE, "the world must not have ties, or any order is right"
        assert ours.rows[:10].tolist() == theirs.rows[:10].tolist()
        np.testing.assert_allclose(ours.scores, theirs.scores, rtol=0, atol=TOLERANCE)
        np.testing.assert_allclose(ours.segment_scores, theirs.segment_scores, rtol=0, atol=TOLERANCE)
        formula = [score_by_formula(config, batch, user, item) for item in theirs.rows.tolist()]
        # the scorer takes logarithms of its float32 weights in float32
        np.testing.assert_allclose(theirs.scores, formula, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", CONFIGS)
def test_contributions_add_up_to_the_score(name: str) -> None:
    for ranking in rank(CONFIGS[name], *everything()):
        np.testing.assert_allclose(ranking.contributions.sum(axis=1), ranking.scores, rtol=0, atol=TOLERANCE)
        assert ranking.contributions.shape == ranking.segment_scores.shape


def test_one_by_one_scoring_of_a_sessions_items_changes_its_score() -> None:
    grouped, whole = (rank(make_config("session", "softmax", by), *everything())[0] for by in (True, False))
    assert not np.allclose(np.sort(grouped.scores), np.sort(whole.scores), atol=1e-3)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_user_gets_the_same_bits_whoever_else_is_in_the_batch(name: str) -> None:
    config = CONFIGS[name]
    together = rank(config, *everything())
    for user, ranking in zip(USERS, together, strict=True):
        alone = rank(config, *everything([user]), users=[user])[0]
        segments = alone.segment_scores.shape[1]
        assert ranking.rows.tolist() == alone.rows.tolist()
        assert ranking.scores.tobytes() == alone.scores.tobytes()
        assert ranking.segment_scores[:, :segments].tobytes() == alone.segment_scores.tobytes()
        assert not ranking.segment_scores[:, segments:].any(), "columns of padding are 0"
        assert not ranking.contributions[:, segments:].any()


def test_threads_give_the_same_bits() -> None:
    config = CONFIGS["item softmax"]
    batch = embed(config)
    for threads in (1, 3):
        threaded = SegmentScorer.threaded(INDEX, config, threads).rank(batch, everything())
        for ours, theirs in zip(threaded, rank(config, *everything()), strict=True):
            assert ours.scores.tobytes() == theirs.scores.tobytes()


@given(rows=st.lists(st.integers(0, 11), min_size=1, max_size=20), top_k=st.integers(1, 20))
@settings(max_examples=50)
def test_candidates_are_ranked_as_they_are_within_the_catalogue(rows: list[int], top_k: int) -> None:
    config = CONFIGS["session softmax"]
    options = RankingOptions([ITEMS[row].encode() for row in rows], top_k=min(top_k, len(rows)))
    found = rank(config, options, users=USERS[:1])[0]
    catalogue = rank(config, *everything(USERS[:1], exclude_history=False), users=USERS[:1])[0]
    expected = [row for row in catalogue.rows.tolist() if row in set(rows)][: min(top_k, len(rows))]
    assert found.rows.tolist() == expected, "each candidate once, however often it was sent"


def test_the_history_and_excluded_items_are_left_out_of_the_catalogue() -> None:
    options = RankingOptions(top_k=12, history=USERS[1].item_ids, exclude=[b"i0", b"i7", b"nobody"])
    found = rank(CONFIGS["item softmax"], options, users=[USERS[1]])[0]
    assert set(found.rows.tolist()) == set(range(12)) - {11, 4, 0, 7}
    assert len(found.scores) == len(found.segment_scores) == 8
    assert np.isfinite(found.scores).all()


def test_exclusion_wins_over_candidates() -> None:
    options = RankingOptions([b"i0", b"i1"], exclude=[b"i1"], top_k=2)
    assert rank(CONFIGS["item sum"], options, users=USERS[:1])[0].rows.tolist() == [0]
    nothing = rank(CONFIGS["item sum"], replace(options, exclude=[b"i0", b"i1"]), users=USERS[:1])[0]
    assert nothing.rows.tolist() == []
    assert nothing.segment_scores.shape[0] == 0


def test_unknown_candidates_are_counted_or_refused() -> None:
    options = RankingOptions([b"x", b"i3", b"y", b"x"], top_k=4)
    found = rank(CONFIGS["item sum"], options, users=USERS[:1])[0]
    assert (found.rows.tolist(), found.unknown_candidates) == ([3], 3)
    with pytest.raises(UnknownItemError, match=r"user 0: 3 items \(x, y, x\) of the candidates not in the catalogue"):
        rank(CONFIGS["item sum"], replace(options, reject_unknown=True), users=USERS[:1])
    only_unknown = rank(CONFIGS["item sum"], RankingOptions([b"x"]), users=USERS[:1])[0]
    assert (only_unknown.rows.tolist(), only_unknown.unknown_candidates) == ([], 1)


def test_an_option_that_cannot_be_used_names_its_user() -> None:
    with pytest.raises(TopKTooLargeError, match="user 1: TOP_K is 13, but there are 12 items in the catalogue"):
        rank(CONFIGS["item sum"], RankingOptions(), RankingOptions(top_k=13), users=USERS[:2])


def all_alike(space: Space) -> Space:
    """The space with item 0 in every row."""
    items = space.items.take(np.zeros(len(ITEMS), dtype=np.int64))
    return replace(space, items=items, weights=np.ones(len(items.vectors), dtype=np.float32))


def test_equal_items_come_in_the_order_of_the_catalogue() -> None:
    index = replace(INDEX, spaces={name: all_alike(space) for name, space in INDEX.spaces.items()})
    scorer = SegmentScorer(index, CONFIGS["item softmax"])
    batch = embed(CONFIGS["item softmax"], USERS[2:])
    assert scorer.rank(batch, [RankingOptions(top_k=5)])[0].rows.tolist() == [0, 1, 2, 3, 4]
    candidates = [b"i7", b"i2", b"i9"]
    assert scorer.rank(batch, [RankingOptions(candidates)])[0].rows.tolist() == [2, 7, 9]


def test_warming_up_needs_nobody() -> None:
    SegmentScorer(INDEX, CONFIGS["item softmax"]).warm_up()


def changed(batch: SegmentBatch, name: str, value: NDArray[Any]) -> SegmentBatch:
    return replace(batch, **{name: value})


def test_arrays_that_no_embedder_makes_are_errors_and_not_crashes() -> None:
    config = CONFIGS["item softmax"]
    scorer, batch = SegmentScorer(INDEX, config), embed(config, USERS[:1])
    option = [RankingOptions()]
    with pytest.raises(InvalidArgumentError, match="SEGMENT_CHANNELS holds 9, there are 4"):
        scorer.rank(changed(batch, "channels", np.full_like(batch.channels, 9)), option)
    with pytest.raises(InvalidArgumentError, match="user 0: no segment"):
        scorer.rank(changed(batch, "channels", np.full_like(batch.channels, -1)), option)
    with pytest.raises(InvalidArgumentError, match="has no token weight above 0"):
        scorer.rank(changed(batch, "token_weights", np.zeros_like(batch.token_weights)), option)
