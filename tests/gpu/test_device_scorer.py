"""Ranking on a device beside ranking in float64: the same answers, as far as the kernels' bounds let them tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

pytest.importorskip("tokenizers", reason="the request path tokenises")

from tesserank.errors import ConfigError, InvalidArgumentError, TopKTooLargeError, UnknownItemError
from tesserank.index import save_index
from tesserank.maxsim.gpu.bounds import error_bound
from tesserank.maxsim.gpu.items import DeviceItems
from tesserank.serving import device_scorer
from tesserank.serving.aggregation import sensitivity
from tesserank.serving.device_jobs import Found, Job
from tesserank.serving.device_launch import Launcher
from tesserank.serving.device_scorer import DeviceScorer
from tesserank.serving.device_tokens import PARTS
from tesserank.serving.interaction import LateInteraction
from tesserank.serving.lookup import ARRAYS, TokenForm
from tesserank.serving.ranker import open_scorer
from tesserank.serving.request import RankingOptions, Text, UserContext
from tesserank.serving.scorer import SegmentScorer
from tesserank.serving.segments import UserSegments
from tests.core.world import ITEMS, CountingEncoder, make_config, make_embedder, make_index

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
USERS = [
    UserContext(
        [b"i1", b"i2", b"i3", b"i10", b"i5"], [0, 5, 50, 51, 52], texts=[Text("query", "5 6"), Text("query", "8")]
    ),
    UserContext([b"i11", b"i4"], [0, 1], weights=[0.5, 2.0]),
    UserContext(texts=[Text("profile", "9 10 11 12 13", 0.7)]),  # nothing in the collaborative space
]
SOME = [b"i7", b"i3", b"i3", b"i0", b"nobody"]
ALL, EXCLUDED = RankingOptions(top_k=len(ITEMS)), RankingOptions(top_k=5, exclude=[b"i1"], history=[b"i2"])
CANDIDATES = RankingOptions(candidates=SOME, top_k=3)
TOYS = RankingOptions(categories=[b"toy"], top_k=10)


@cache
def scorers(cut: str, method: str, grouped: bool, kind: str) -> tuple[DeviceScorer, SegmentScorer]:
    index, config = make_index(kind=kind), make_config(cut, method, grouped)
    return DeviceScorer(index, config, DEVICE), SegmentScorer.reference(index, config)


def embedded(cut: str, method: str, grouped: bool, kind: str, form: TokenForm = ARRAYS) -> list[UserSegments]:
    index, config = make_index(kind=kind), make_config(cut, method, grouped)
    return make_embedder(config, CountingEncoder(), index, form=form).embed(USERS).segments


def tolerance(cut: str, method: str, grouped: bool, kind: str, user: UserSegments) -> float:
    """The most that a score may be off by: what units may be off by, as far as a score feels it, and float32 sums."""
    index = make_index(kind=kind)
    interaction = LateInteraction(index, make_config(cut, method, grouped))
    error = 1e-5
    for name, change in sensitivity(user, interaction.channels(user)).items():
        space = user.spaces[name]
        items = DeviceItems.upload(index.spaces[name].items, "cpu")
        error += change * float(error_bound(space.tokens, space.token_weights, space.starts, items, True).max())
    return error


def exact_scores(reference: SegmentScorer, user: UserSegments) -> NDArray[np.float64]:
    (ranking,) = reference.rank([user], [ALL])
    scores = np.empty(len(ITEMS))
    scores[ranking.rows] = ranking.scores
    return scores


WAYS = [
    ("item", "softmax", True, "int8"),
    ("item", "sum", False, "float16"),
    ("session", "softmax", False, "int16"),
    ("session", "sum", True, "int8"),
]
REQUESTS = {
    "the catalogue": [ALL, ALL, ALL],
    "less what is excluded": [EXCLUDED, ALL, EXCLUDED],
    "candidates": [CANDIDATES, CANDIDATES, replace(CANDIDATES, candidates=[b"i4"], top_k=1)],
    "a category": [TOYS, TOYS, TOYS],
    "of every kind at once": [ALL, CANDIDATES, EXCLUDED],
}


@pytest.mark.parametrize("request_name", REQUESTS)
@pytest.mark.parametrize("way", WAYS, ids=str)
def test_answers_are_those_of_the_reference(way: tuple[str, str, bool, str], request_name: str) -> None:
    scorer, reference = scorers(*way)
    users, options = embedded(*way), REQUESTS[request_name]
    found, wanted = scorer.rank(embedded(*way, PARTS), options), reference.rank(users, options)
    for user, ours, theirs in zip(users, found, wanted, strict=True):
        off = tolerance(*way, user)
        exact = exact_scores(reference, user)
        assert len(ours.rows) == len(theirs.rows) == len(set(ours.rows.tolist()))
        assert ours.unknown_candidates == theirs.unknown_candidates
        np.testing.assert_allclose(ours.scores, exact[ours.rows], rtol=0, atol=off)
        # Whatever stands at a place is as good as what should, or so near that both may be wrong by as much.
        assert (exact[ours.rows] >= theirs.scores - 2 * off).all()
        assert (np.diff(ours.scores) <= 0).all()
        np.testing.assert_allclose(ours.contributions.sum(axis=1), ours.scores, rtol=1e-5, atol=1e-6)
        assert ours.segment_scores.shape == theirs.segment_scores.shape
        same = {row: place for place, row in enumerate(theirs.rows.tolist())}
        for place, row in enumerate(ours.rows.tolist()):
            if row in same:
                np.testing.assert_allclose(ours.segment_scores[place], theirs.segment_scores[same[row]], atol=off)
                np.testing.assert_allclose(ours.contributions[place], theirs.contributions[same[row]], atol=20 * off)
        assert set(ours.seconds) == {"propose", "maxsim", "aggregate"}


def test_users_that_do_not_fit_memory_together_are_scored_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    scorer, _ = scorers(*WAYS[0])
    users = embedded(*WAYS[0])
    together = scorer.rank(users, [ALL] * 3)
    launches: list[int] = []

    launch = Launcher.__call__

    def counting(launcher: Launcher, jobs: Sequence[Job]) -> list[Found]:
        launches.append(len(jobs))
        return launch(launcher, jobs)

    monkeypatch.setattr(Launcher, "__call__", counting)
    monkeypatch.setattr(device_scorer, "SCORES_BYTES", 1)
    for alone, before in zip(scorer.rank(users, [ALL] * 3), together, strict=True):
        np.testing.assert_allclose(alone.scores, before.scores, atol=1e-5)
    assert launches == [1, 1, 1]


def test_what_no_request_may_ask_is_refused_as_on_the_cpu() -> None:
    scorer, _ = scorers(*WAYS[0])
    users = embedded(*WAYS[0])[:1]
    for options, error in (
        (RankingOptions(top_k=100), TopKTooLargeError),
        (replace(CANDIDATES, reject_unknown=True), UnknownItemError),
        (RankingOptions(categories=[b"nothing"]), InvalidArgumentError),
    ):
        with pytest.raises(error, match="user 0: "):
            scorer.rank(users, [options])


def test_only_unknown_candidates_are_an_empty_answer() -> None:
    scorer, _ = scorers(*WAYS[0])
    (found,) = scorer.rank(embedded(*WAYS[0])[:1], [RankingOptions(candidates=[b"nobody"], top_k=1)])
    assert found.rows.shape == (0,)
    assert found.segment_scores.shape[0] == 0
    assert found.unknown_candidates == 1


def test_the_index_is_put_there_once_and_its_size_is_known() -> None:
    scorer, _ = scorers(*WAYS[0])
    before = {name: items.vectors.data_ptr() for name, items in scorer._resident.items.items()}
    scorer.warm_up()
    assert {name: items.vectors.data_ptr() for name, items in scorer._resident.items.items()} == before
    assert scorer.nbytes == sum(items.nbytes for items in scorer._resident.items.values()) > 0, (
        "no space is looked up in others"
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_where_there_is_no_gpu_auto_is_the_cpu(tmp_path: Path) -> None:
    (tmp_path / "index").mkdir()
    save_index(make_index(), tmp_path / "index")
    assert isinstance(open_scorer(tmp_path, make_index(), make_config(), 1, "auto"), SegmentScorer)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_device_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"device cuda: torch .* finds no GPU"):
        open_scorer(tmp_path, make_index(), make_config(), 1, "cuda")
