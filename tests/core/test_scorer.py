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
from tesserank.maxsim import jit, reference
from tesserank.maxsim.vectors import ItemVectors, SteppedVectors
from tesserank.segments.config import SegmentsConfig
from tesserank.serving.request import RankingOptions, Text, UserContext
from tesserank.serving.scorer import Ranking, SegmentScorer
from tesserank.serving.segments import UserSegments
from tests.core.world import ITEMS, CountingEncoder, make_config, make_embedder, make_index

INDEX = make_index(kind="int8")
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
OWN_WAYS = """
    [history.spaces]
    text = 0.5
    collaborative = { method = "softmax", temperature = 0.3, recency = 0.5 }
    transitions = { weight = 1.5, method = "sum", recency = 1.0 }
"""
CONFIGS["every space its own way"] = make_config(more=OWN_WAYS)
CONFIGS["every space its own way, in sessions"] = make_config("session", more=OWN_WAYS)


def rounding(items: ItemVectors) -> float:
    """The most that rounding a query of unit vectors to 16 bits may make a segment score of these items be off by.

    Each of the query's components is off by half a step, the largest component (times the items' steps, hence at most
    the largest of them) being 32,767 steps; see test_maxsim.
    """
    assert isinstance(items, SteppedVectors)
    return 0.505 * float(items.scale.max()) / 32_767 * float(np.abs(items.codes.astype(int)).sum(axis=1).max())


# Besides, float32 leaves the score of a unit off by (d + L)·2^-24, which is 17·2^-24 at most here: see test_maxsim.
UNIT_TOLERANCE = 17 * 2.0**-24 + max(rounding(space.items) for space in INDEX.spaces.values())


def tolerances(config: SegmentsConfig, user: UserSegments) -> tuple[float, float]:
    """The most that a segment score and a score of this user may be off by.

    A sum of parts is off by their weights times what they are off by. A soft maximum is off by no more than its parts:
    its derivatives by them add up to 1. It rounds |y| / τ <= 20 a few times and multiplies by τ again: 10·2^-24 here.
    """
    units = max(int(np.bincount(space.unit_segment).max()) for space in user.spaces.values())
    largest, score = 0.0, 0.0
    for position, channel in enumerate(config.channels()):
        weights = user.weights[user.channels == position]
        if len(weights):
            is_sum = channel.method == "sum"
            segment = UNIT_TOLERANCE * units if is_sum else UNIT_TOLERANCE + 10 * 2.0**-24
            largest = max(largest, segment)
            parts = segment * float(weights.sum()) if is_sum else segment + 10 * 2.0**-24
            score += channel.weight * INDEX.spaces[channel.space].scale * parts
    return largest, score


def embed(config: SegmentsConfig, users: Sequence[UserContext] = USERS) -> list[UserSegments]:
    return make_embedder(config, CountingEncoder(), INDEX).embed(users).segments


def rank(config: SegmentsConfig, *options: RankingOptions, users: Sequence[UserContext] = USERS) -> list[Ranking]:
    return SegmentScorer(INDEX, config).rank(embed(config, users), options)


def everything(users: Sequence[UserContext] = USERS, **more: Any) -> list[RankingOptions]:
    return [RankingOptions(top_k=len(ITEMS), **more) for _ in users]


def aggregated(scores: list[float], weights: list[float], method: str, temperature: float) -> float:
    pairs = list(zip(scores, weights, strict=True))
    if method == "sum":
        return sum(w * y for y, w in pairs)
    return temperature * float(np.log(sum(w * np.exp(y / temperature) for y, w in pairs)))


def score_by_formula(config: SegmentsConfig, user: UserSegments, item: int) -> float:
    """One score, one unit and one segment at a time: nothing of the scorer's is used but the definition of MaxSim."""
    total = 0.0
    for position, channel in enumerate(config.channels()):
        if channel.space not in user.spaces:
            continue
        mine, space = user.spaces[channel.space], INDEX.spaces[channel.space]
        method, temperature = channel.method, channel.temperature / space.scale
        units = [
            reference.maxsim(tokens, weights, space.items.item(item))
            for tokens, weights in zip(
                np.split(mine.tokens, mine.starts[1:]), np.split(mine.token_weights, mine.starts[1:]), strict=True
            )
        ]
        scores, segment_weights = [], []
        for number, segment in enumerate(mine.segments.tolist()):
            if user.channels[segment] == position:
                y = [unit for unit, of in zip(units, mine.unit_segment.tolist(), strict=True) if of == number]
                scores.append(aggregated(y, [1.0] * len(y), method, temperature))
                segment_weights.append(float(user.weights[segment]))
        if scores:
            of_channel = aggregated(scores, segment_weights, method, temperature)
            total += channel.weight * space.scale * of_channel
    return total


@pytest.mark.parametrize("name", CONFIGS)
def test_fast_scores_are_those_of_the_reference_and_of_the_formula(name: str) -> None:
    config = CONFIGS[name]
    segments = embed(config)
    options = everything(exclude_history=False)
    fast, exact = (
        scorer.rank(segments, options)
        for scorer in (SegmentScorer(INDEX, config), SegmentScorer.reference(INDEX, config))
    )
    for user, ours, theirs in zip(segments, fast, exact, strict=True):
        assert (ours.scores.dtype, theirs.scores.dtype) == (np.float32, np.float64)
        segment, score = tolerances(config, user)
        assert -np.diff(theirs.scores[:11]).max() > 2 * score, "the world must not have ties, or any order is right"
        assert ours.rows[:10].tolist() == theirs.rows[:10].tolist()
        np.testing.assert_allclose(ours.scores, theirs.scores, rtol=0, atol=score)
        np.testing.assert_allclose(ours.segment_scores, theirs.segment_scores, rtol=0, atol=segment)
        formula = [score_by_formula(config, user, item) for item in theirs.rows.tolist()]
        # the scorer takes logarithms of its float32 weights in float32
        np.testing.assert_allclose(theirs.scores, formula, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", CONFIGS)
def test_contributions_add_up_to_the_score(name: str) -> None:
    for ranking in rank(CONFIGS[name], *everything()):
        np.testing.assert_allclose(ranking.contributions.sum(axis=1), ranking.scores, rtol=0, atol=1e-5)  # float32
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
        for field in ("rows", "scores", "segment_scores", "contributions"):
            assert getattr(ranking, field).tobytes() == getattr(alone, field).tobytes()


@pytest.mark.parametrize("name", CONFIGS)
def test_threads_and_candidates_give_the_same_bits(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if not jit.available():
        pytest.skip("numba or AVX2 is missing: a BLAS rounds by the shape of the product")
    config = CONFIGS[name]
    segments = embed(config)
    plain = rank(config, *everything(exclude_history=False))
    monkeypatch.setattr("tesserank.maxsim.jit.units.SECONDS_WORTH_A_THREAD", 0.0)
    monkeypatch.setattr("tesserank.maxsim.jit.aggregate._SCORES_WORTH_A_THREAD", 1)
    named = everything(candidates=[item.encode() for item in reversed(ITEMS)])
    for threads in (1, 3):
        scorer = SegmentScorer.threaded(INDEX, config, threads)
        for options in (everything(exclude_history=False), named):
            for ours, theirs in zip(scorer.rank(segments, options), plain, strict=True):
                assert ours.rows.tolist() == theirs.rows.tolist()
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


TOYS, BOOKS = {0, 3, 6, 9}, {1, 4, 7, 10}


@given(
    wanted=st.lists(st.sampled_from((b"toy", b"book")), max_size=3),
    excluded=st.lists(st.integers(0, 11)),
    candidates=st.none() | st.lists(st.integers(0, 11), min_size=1),
    top_k=st.integers(1, 12),
)
@settings(max_examples=60)
def test_filters_restrict_what_is_ranked_and_never_cut_what_was(
    wanted: list[bytes], excluded: list[int], candidates: list[int] | None, top_k: int
) -> None:
    config = CONFIGS["item softmax"]
    options = RankingOptions(
        candidates=None if candidates is None else [ITEMS[row].encode() for row in candidates],
        categories=wanted,
        exclude=[ITEMS[row].encode() for row in excluded],
        top_k=min(top_k, 12 if candidates is None else len(candidates)),
    )
    allowed = set().union(*({b"toy": TOYS, b"book": BOOKS}[name] for name in wanted)) if wanted else set(range(12))
    allowed -= set(excluded)
    if candidates is not None:
        allowed &= set(candidates)
    found = rank(config, options, users=USERS[:1])[0]
    catalogue = rank(config, *everything(USERS[:1]), users=USERS[:1])[0]
    expected = [row for row in catalogue.rows.tolist() if row in allowed][: options.top_k]
    assert found.rows.tolist() == expected
    assert np.isfinite(found.scores).all()


def test_an_unknown_category_is_named_and_so_is_the_flag_that_makes_them() -> None:
    config = CONFIGS["item sum"]
    with pytest.raises(
        InvalidArgumentError, match=r"user 0: CATEGORIES: no item has 'toys': there are 2 \(book, toy\)"
    ):
        rank(config, RankingOptions(categories=[b"book", b"toys"]), users=USERS[:1])
    plain = SegmentScorer(replace(INDEX, categories=None), config)
    with pytest.raises(InvalidArgumentError, match=r"index index-1 knows no categories: .* --category-field"):
        plain.rank(embed(config, USERS[:1]), [RankingOptions(categories=[b"toy"])])


class Proposing:
    """A proposer that gives a fixed answer, and remembers what it was asked."""

    def __init__(self, rows: list[int] | None) -> None:
        self._rows = None if rows is None else np.array(rows)
        self.asked: list[tuple[int, list[int] | None]] = []

    def propose(
        self, user: UserSegments, count_hint: int, allowed: NDArray[np.bool_] | None
    ) -> NDArray[np.int64] | None:
        assert len(user)
        self.asked.append((count_hint, None if allowed is None else np.flatnonzero(allowed).tolist()))
        return self._rows


def propose(rows: list[int] | None, options: RankingOptions) -> tuple[Ranking, Proposing]:
    config, proposing = CONFIGS["item softmax"], Proposing(rows)
    ranking = SegmentScorer(INDEX, config, proposer=proposing).rank(embed(config, USERS[:1]), [options])[0]
    return ranking, proposing


def test_what_is_proposed_is_ranked_by_its_exact_scores() -> None:
    found, proposing = propose([2, 5, 8, 9], RankingOptions(top_k=3))
    named = rank(CONFIGS["item softmax"], RankingOptions([b"i2", b"i5", b"i8", b"i9"], top_k=3), users=USERS[:1])[0]
    assert found.rows.tolist() == named.rows.tolist()
    assert found.scores.tobytes() == named.scores.tobytes()
    assert proposing.asked == [(3, None)]


def test_a_proposer_hears_of_every_filter() -> None:
    _, proposing = propose([0, 3], RankingOptions(top_k=2, categories=[b"toy"], exclude=[b"i6"], history=[b"i9"]))
    assert proposing.asked == [(2, [0, 3])]


def test_a_proposer_is_not_asked_about_candidates() -> None:
    assert propose([1], RankingOptions([b"i3"]))[1].asked == []


@pytest.mark.parametrize("rows", [None, [4, 7]], ids=["nothing", "too little"])
def test_without_a_proposal_everything_that_may_be_is_ranked(rows: list[int] | None) -> None:
    options = RankingOptions(top_k=3, categories=[b"book"])
    found, _ = propose(rows, options)
    assert found.rows.tolist() == rank(CONFIGS["item softmax"], options, users=USERS[:1])[0].rows.tolist()
    assert len(found.rows) == 3


def test_the_seconds_of_every_stage_are_told() -> None:
    [ranking] = rank(CONFIGS["item softmax"], RankingOptions(), users=USERS[:1])
    assert set(ranking.seconds) == {"propose", "maxsim", "aggregate"}
    assert min(ranking.seconds.values()) > 0


def all_alike(space: Space) -> Space:
    """The space with item 0 in every row."""
    items = space.items.take(np.zeros(len(ITEMS), dtype=np.int64))
    return replace(space, items=items, weights=np.ones(items.offsets[-1], dtype=np.float32))


def test_equal_items_come_in_the_order_of_the_catalogue() -> None:
    index = replace(INDEX, spaces={name: all_alike(space) for name, space in INDEX.spaces.items()})
    scorer = SegmentScorer(index, CONFIGS["item softmax"])
    segments = embed(CONFIGS["item softmax"], USERS[2:])
    assert scorer.rank(segments, [RankingOptions(top_k=5)])[0].rows.tolist() == [0, 1, 2, 3, 4]
    candidates = [b"i7", b"i2", b"i9"]
    assert scorer.rank(segments, [RankingOptions(candidates)])[0].rows.tolist() == [2, 7, 9]


def test_after_warming_up_nothing_is_compiled_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    for method in ("sum", "softmax"):
        config = CONFIGS[f"session {method}"]
        scorer = SegmentScorer.threaded(INDEX, config, 2)
        scorer.warm_up()
        if not jit.available():
            continue
        with monkeypatch.context() as patch:
            patch.setattr("numba.core.dispatcher.Dispatcher.compile", refuse)
            segments = embed(config)
            scorer.rank(segments, everything())
            scorer.rank(segments, everything(candidates=[b"i1", b"i2"] * 6, categories=[b"toy"]))


def refuse(*arguments: Any) -> None:
    raise AssertionError(f"compiled while serving: {arguments}")
