"""The catalogue searched by queries of 8 bits, then by those of 16: the answers of one pass, proven or not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("tokenizers", reason="the request path tokenises")

from tesserank.index import ItemIndex
from tesserank.maxsim.gpu.query import Layout, pack
from tesserank.maxsim.gpu.scores import Candidates, unit_scores
from tesserank.maxsim.gpu.screen import largest_error
from tesserank.serving import device_launch, selection
from tesserank.serving.device_jobs import Found
from tesserank.serving.device_launch import Launch
from tesserank.serving.device_scorer import DeviceScorer
from tesserank.serving.device_tokens import PARTS
from tesserank.serving.request import RankingOptions, Text, UserContext
from tesserank.serving.scorer import Ranking
from tests.core.world import ITEMS, CountingEncoder, make_config, make_embedder, make_index
from tests.gpu.problems import SIGNS, make_problem

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
USERS = [
    UserContext([b"i1", b"i2", b"i3"], [0, 5, 50], texts=[Text("query", "5 6"), Text("query", "8")]),
    UserContext([b"i11", b"i4"], [0, 1], weights=[0.5, 2.0]),
    UserContext(texts=[Text("profile", "9 10 11 12 13", 0.7)]),  # nothing in the collaborative space
]
EVERY_SPACE = "[history.spaces]\ntext = 1.0\ncollaborative = 1.0\ntransitions = 0.5\n"


@settings(max_examples=25)
@given(
    problem=st.builds(
        make_problem,
        seed=st.integers(0, 2**32),
        dim=st.integers(1, 40),
        lengths=st.lists(st.integers(1, 9), min_size=1, max_size=20),
        units=st.lists(st.lists(st.integers(1, 12), min_size=1, max_size=4), min_size=1, max_size=3),
        kind=st.just(("int8", None, True)),
        signs=st.sampled_from(SIGNS),
    )
)
def test_scores_of_both_passes_differ_by_no_more_than_is_said(problem) -> None:  # type: ignore[no-untyped-def]
    items = problem.resident
    tokens, weights = (torch.from_numpy(array).to(DEVICE) for array in (problem.tokens, problem.weights))
    layout = Layout.of(problem.counts, problem.starts, together=True)
    coarse, fine = (pack(tokens, weights, layout, items, wide) for wide in (False, True))
    found, exact = (unit_scores(own, items, Candidates.all(items)) for own in (coarse, fine))
    lengths = np.diff(problem.flat_starts, append=len(problem.tokens))
    units = torch.from_numpy(np.repeat(np.arange(len(lengths)), lengths)).to(DEVICE)
    most = largest_error(coarse, fine, tokens, weights, units, items)
    assert ((found - exact).abs().amax(dim=1) <= most).all()


class Watched:
    """What two passes came to, request by request."""

    def __init__(self) -> None:
        self.proven: list[bool] = []


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    """Every search of the catalogue takes two passes, and as few items as are asked for are scored again."""
    seen = Watched()
    in_two_passes = Launch.found_in_two_passes

    def watching(launch: Launch) -> list[Found | None]:
        found = in_two_passes(launch)
        seen.proven += [own is not None for own in found]
        return found

    monkeypatch.setattr(device_launch, "WORTH_TWO_PASSES", 0)
    monkeypatch.setattr(device_launch, "KEPT", 1)
    monkeypatch.setattr(device_launch, "LEAST_KEPT", 0)
    monkeypatch.setattr(Launch, "found_in_two_passes", watching)
    return seen


def assert_same(ours: Ranking, theirs: Ranking) -> None:
    np.testing.assert_array_equal(ours.rows, theirs.rows)
    np.testing.assert_allclose(ours.scores, theirs.scores, rtol=1e-5)
    np.testing.assert_allclose(ours.segment_scores, theirs.segment_scores, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(ours.contributions, theirs.contributions, rtol=1e-4, atol=1e-5)


def ranked(index: ItemIndex, way: tuple[str, str, bool], options: list[RankingOptions]) -> list[Ranking]:
    config = make_config(*way, more=EVERY_SPACE)
    users = make_embedder(config, CountingEncoder(), index, form=PARTS).embed(USERS).segments
    return DeviceScorer(index, config, str(DEVICE)).rank(users, options)


@pytest.mark.parametrize("kept", [1, 3])
@pytest.mark.parametrize("way", [("item", "softmax", True), ("session", "sum", False), ("item", "sum", True)], ids=str)
def test_answers_are_those_of_one_pass(
    way: tuple[str, str, bool], kept: int, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = make_index(kind="int8")
    options = [RankingOptions(top_k=3), RankingOptions(top_k=2, exclude=[b"i7"]), RankingOptions(top_k=1)]
    monkeypatch.setattr(device_launch, "KEPT", kept)
    monkeypatch.setattr(device_launch, "MOST_AGAIN", 1)
    found = ranked(index, way, options)
    assert len(watched.proven) == len(USERS)
    assert any(watched.proven)
    assert kept > 1 or not watched.proven[0], "where no more are kept than are wanted, the next may be as good"
    monkeypatch.setattr(device_launch, "WORTH_TWO_PASSES", 1 << 60)
    for ours, theirs in zip(found, ranked(index, way, options), strict=True):
        assert_same(ours, theirs)
    assert len(watched.proven) == len(USERS), "the second time was one pass"


def test_where_few_may_be_ranked_that_is_proof(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """All but two items are excluded, so that what is left out is nothing that may be ranked."""
    monkeypatch.setattr(selection, "_MOSTLY", 0)
    options = [RankingOptions(top_k=3, exclude=[item.encode() for item in ITEMS[2:]])] * len(USERS)
    found = ranked(make_index(kind="int8"), ("item", "softmax", True), options)
    assert [len(ranking.rows) for ranking in found] == [2, 2, 2]
    assert watched.proven == [True] * len(USERS)


def test_what_gains_nothing_takes_one_pass(watched: Watched) -> None:
    way = ("item", "softmax", True)
    ranked(make_index(kind="int8"), way, [RankingOptions(candidates=[b"i1", b"i2"], top_k=1)] * 3)
    ranked(make_index(kind="int8"), way, [RankingOptions(top_k=12)] * 3)
    assert watched.proven == [], "candidates, and all that there are"


def test_one_pass_is_taken_for_a_while_where_two_prove_nothing(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    index, config = make_index(kind="int8"), make_config("item")
    users = make_embedder(config, CountingEncoder(), index, form=PARTS).embed(USERS).segments
    monkeypatch.setattr(device_launch, "PATIENCE", 5)
    options = [RankingOptions(top_k=3)] * len(users)
    scorer = DeviceScorer(index, config, str(DEVICE))
    tried: list[int] = []
    for _ in range(6):
        scorer.rank(users, options)
        tried.append(len(watched.proven))
    assert not any(watched.proven)
    assert tried == [3, 6, 6, 9, 9, 9], "5 - 3, 2 - 3; once more when that is 0, and then -3 are three launches"
    monkeypatch.setattr(device_launch, "KEPT", 3)
    monkeypatch.setattr(device_launch, "MOST_AGAIN", 1)
    scorer = DeviceScorer(index, config, str(DEVICE))
    watched.proven.clear()
    for _ in range(4):
        scorer.rank(users, options)
    assert len(watched.proven) == 4 * len(users)


def test_a_second_pass_as_large_as_the_first_is_not_taken(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    options = [RankingOptions(top_k=3)] * len(USERS)
    for kept, passes in ((1, 1), (2, 0)):  # 3 of 12 items are a quarter of the products, 6 are half of them
        monkeypatch.setattr(device_launch, "KEPT", kept)
        watched.proven.clear()
        ranked(make_index(kind="int8"), ("item", "softmax", True), options)
        assert len(watched.proven) == passes * len(USERS)


def test_kernels_of_both_passes_are_warm(watched: Watched) -> None:
    scorer = DeviceScorer(make_index(kind="int8"), make_config("item"), str(DEVICE))
    scorer.warm_up()
    assert watched.proven, "whether they pay or not"
