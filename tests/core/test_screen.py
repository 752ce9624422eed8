"""The screen: who is left among the best, whatever the user, and an answer that is the same to the bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tesserank.index import Categories
from tesserank.maxsim import cpu, jit
from tesserank.segments.config import SegmentsConfig
from tesserank.segments.reader import parse_segments
from tesserank.serving import screen
from tesserank.serving.interaction import LateInteraction
from tesserank.serving.request import RankingOptions
from tesserank.serving.scorer import Ranking, SegmentScorer
from tesserank.serving.screen import Screen
from tesserank.serving.segments import SpaceTokens, UserSegments
from tests.core.catalogue import ITEMS, history, make_catalogue
from tests.core.world import make_config, make_index

if not jit.has_vnni():
    pytest.skip("this processor has no AVX-512 VNNI: nothing is screened", allow_module_level=True)

INDEX = replace(
    make_catalogue()[0], categories=Categories.of(["toy" if row % 4 == 0 else "book" for row in range(ITEMS)])
)
CONFIGS = {
    "softmax": SegmentsConfig(),
    "sum": parse_segments('[aggregation]\nmethod = "sum"'),
    "sharp": parse_segments("[aggregation]\ntemperature = 0.001"),
}


def make_user(seed: int, items: int = 4, in_pairs: bool = False) -> UserSegments:
    """Some items of the catalogue as a history, a segment each; or twice as many, two in a segment."""
    rows = np.random.default_rng(seed).integers(ITEMS, size=items * (1 + in_pairs)).tolist()
    user = history(INDEX, CONFIGS["softmax"], rows)
    if not in_pairs:
        return user
    of_each = {name: _paired(space, place * items) for place, (name, space) in enumerate(user.spaces.items())}
    return UserSegments(user.labels[::2], user.channels[::2], user.weights[::2], of_each)


def _paired(space: SpaceTokens, first: int) -> SpaceTokens:
    segments = np.arange(len(space.segments) // 2)
    return replace(space, segments=segments + first, unit_segment=np.repeat(segments, 2))


@pytest.fixture(autouse=True)
def _screen_small_catalogues(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(screen, "_LEAST_ITEMS", 1)
    monkeypatch.setattr(screen, "_ITEMS_PER_WANTED", 1)


def coarse(config: str = "softmax") -> LateInteraction:
    return LateInteraction(INDEX, CONFIGS[config], cpu.coarse_unit_scores)


def assert_the_same(ours: Ranking, theirs: Ranking) -> None:
    assert ours.rows.tolist() == theirs.rows.tolist()
    for name in ("scores", "segment_scores", "contributions"):
        assert getattr(ours, name).tobytes() == getattr(theirs, name).tobytes(), name


@settings(max_examples=60, deadline=None)
@given(
    user=st.builds(make_user, seed=st.integers(0, 2**32), items=st.integers(1, 6), in_pairs=st.booleans()),
    k=st.integers(1, 50),
    config=st.sampled_from(sorted(CONFIGS)),
    categories=st.sampled_from([[], [b"toy"], [b"book"], [b"toy", b"book"]]),
    candidates=st.sampled_from([None, 60, 700]),
)
def test_an_answer_is_the_same_to_the_bit(
    user: UserSegments, k: int, config: str, categories: list[bytes], candidates: int | None
) -> None:
    chosen = None
    if candidates is not None:
        rows = np.random.default_rng(k).permutation(ITEMS)[:candidates].tolist()
        chosen = [INDEX.item_ids[row].encode() for row in rows]
    options = RankingOptions(candidates=chosen, categories=categories, top_k=k)
    plain = SegmentScorer(INDEX, CONFIGS[config])
    screened = SegmentScorer(INDEX, CONFIGS[config], screen=Screen.of(coarse(config)))
    [expected], [found] = plain.rank([user], [options]), screened.rank([user], [options])
    assert_the_same(found, expected)


def test_most_are_left_out_and_the_best_are_not() -> None:
    user, screened = make_user(1), Screen(coarse())
    left = screened.survivors(user, None, None, 10)
    assert left is not None
    assert 10 <= len(left) < ITEMS / 4
    assert left.tolist() == sorted(set(left.tolist()))
    best = SegmentScorer(INDEX, CONFIGS["softmax"]).rank([user], [RankingOptions(top_k=10)])[0].rows
    assert set(best.tolist()) <= set(left.tolist())


def test_what_may_not_be_ranked_is_not_left_even_if_fewer_may_than_are_wanted() -> None:
    allowed: NDArray[np.bool_] = np.zeros(ITEMS, dtype=bool)
    allowed[[3, 70, 111]] = True
    left = Screen(coarse()).survivors(make_user(2), None, allowed, 10)
    assert left is not None
    assert left.tolist() == [3, 70, 111]


def test_few_items_and_many_wanted_are_not_screened(monkeypatch: pytest.MonkeyPatch) -> None:
    user, screened = make_user(3), Screen(coarse())
    monkeypatch.setattr(screen, "_LEAST_ITEMS", ITEMS + 1)
    assert screened.survivors(user, None, None, 1) is None
    monkeypatch.setattr(screen, "_LEAST_ITEMS", 1)
    monkeypatch.setattr(screen, "_ITEMS_PER_WANTED", 10)
    assert screened.survivors(user, None, None, ITEMS // 10 + 1) is None
    assert screened.survivors(user, np.arange(99), None, 10) is None
    assert screened.survivors(user, np.arange(100), None, 10) is not None


def test_a_user_who_is_no_number_is_scored_as_without_a_screen() -> None:
    user = make_user(4)
    user.spaces["text"].tokens[0, 0] = np.nan
    assert Screen(coarse()).survivors(user, None, None, 5) is None


def test_without_a_space_of_bytes_there_is_no_screen() -> None:
    index = make_index(kind="int16")
    assert Screen.of(LateInteraction(index, make_config(), cpu.coarse_unit_scores)) is None
