"""The fit: spaces score as a server scores them, whatever a history is cut by."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from tesserank.index import ItemIndex
from tesserank.maxsim.ragged import Ragged
from tesserank.maxsim.vectors import quantise
from tesserank.serving.interaction import LateInteraction
from tesserank.serving.request import UserContext
from tesserank_export.fit.asked import AskedTexts, CaseSegments
from tesserank_export.fit.cases import Cases
from tesserank_export.fit.scoring import SpaceScores, Way
from tesserank_export.text_space import Texts
from tests.core.world import (
    ITEMS,
    MOMENTS,
    TEMPLATE,
    TEXT_DIM,
    VOCABULARY,
    CountingEncoder,
    make_config,
    make_embedder,
    make_index,
    unit_rows,
)
from tests.export.fit_cases import cases_of, times_of

HISTORIES = ([1, 2, 3, 10, 5], [11, 4], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9], [11])
WAYS = (
    Way("sum", 1.0, 1.0, 6),
    Way("sum", 1.0, 0.5, 9),
    Way("softmax", 0.3, 0.8, 6),
    Way("softmax", 2.0, 1.0, 3),
)


@pytest.mark.parametrize("name", ["text", "collaborative", "transitions", "trend"])
@pytest.mark.parametrize("way", WAYS, ids=str)
def test_a_space_scores_as_the_server_does(name: str, way: Way) -> None:
    scored_as_served(name, way)


@pytest.mark.parametrize("by_item", [True, False], ids=["by item", "as wholes"])
@pytest.mark.parametrize("cut", ["session", "content"])
@pytest.mark.parametrize("name", ["text", "collaborative", "transitions", "trend"])
@pytest.mark.parametrize("way", WAYS, ids=str)
def test_longer_segments_score_as_the_server_does(name: str, way: Way, cut: str, by_item: bool) -> None:
    scored_as_served(name, way, cut, by_item)


def space_scores(
    index: ItemIndex, name: str, cases: Cases, components: NDArray[np.float32] | None = None
) -> SpaceScores:
    """Of segments of several items, texts go through the encoder as they do in the server."""
    space = index.spaces[name]
    if name != "text" or cases.cut == "item":
        return SpaceScores.of_items(space, cases, 9)
    items = [index.token_ids(row).tolist() for row in range(len(index))]
    texts = Texts(items, VOCABULARY, TEXT_DIM, [], TEMPLATE, CountingEncoder())
    asked = AskedTexts(CaseSegments(cases, 9, texts.segments), index.token_weights, components)
    return SpaceScores(space, cases, asked)


@pytest.mark.parametrize("by_item", [True, False], ids=["by item", "as wholes"])
@pytest.mark.parametrize("way", WAYS, ids=str)
def test_a_projection_is_applied_to_texts_that_were_encoded_together(way: Way, by_item: bool) -> None:
    turn = np.linalg.qr(np.random.default_rng(3).normal(size=(TEXT_DIM, TEXT_DIM)))[0].astype(np.float32)
    scored_as_served("text", way, "session", by_item, Projected(turn), turn)


class Projected(CountingEncoder):
    """The encoder whose projection is followed by another."""

    def __init__(self, components: NDArray[np.float32]) -> None:
        super().__init__()
        self._components = components

    def __call__(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        return unit_rows(super().__call__(ids, mask) @ self._components.T)


@pytest.mark.parametrize("by_item", [True, False], ids=["by item", "as wholes"])
@pytest.mark.parametrize("way", WAYS, ids=str)
def test_texts_of_one_vector_an_item_score_as_the_server_does(way: Way, by_item: bool) -> None:
    """As of pooled tokens: units are of segments still, and no rows of the space."""
    whole = make_index(kind="int8")
    first = whole.spaces["text"].items.offsets[:-1]
    vectors = whole.spaces["text"].items.decode().vectors[first]
    space = replace(
        whole.spaces["text"],
        items=quantise("int8", Ragged(vectors, np.arange(len(first) + 1))),
        weights=whole.spaces["text"].weights[first],
    )
    scored_as_served("text", way, "content", by_item, index=replace(whole, spaces={**whole.spaces, "text": space}))


def scored_as_served(
    name: str,
    way: Way,
    cut: str = "item",
    by_item: bool = True,
    encoder: CountingEncoder | None = None,
    components: NDArray[np.float32] | None = None,
    index: ItemIndex | None = None,
) -> None:
    index = make_index(kind="int8") if index is None else index
    toml = f"""
        [history.spaces.{name}]
        method = "{way.method}"
        temperature = {way.temperature}
        recency = {way.recency}
        max_events = {way.max_events}
    """
    config = make_config(cut, group_by_item=by_item, more=toml)
    weights = [[0.5 + 0.25 * (row % 3) for row in history] for history in HISTORIES]
    cases = cases_of(HISTORIES, weights, config)
    assert cut == "item" or any(end - start > 1 for own in cases.blocks(9) for start, end in own)
    found = space_scores(index, name, cases, components).scores(way)
    embedder, interaction = make_embedder(config, encoder or CountingEncoder(), index), LateInteraction(index, config)
    for history, own, at, scores in zip(HISTORIES, weights, cases.timestamps.tolist(), found, strict=True):
        nothing = (name == "collaborative" and history == [11]) or (name == "trend" and at < MOMENTS[1])
        if nothing:  # no events of the item, none before the moment: no segment, and a server refuses
            assert not scores.any()
            continue
        items = [ITEMS[row].encode() for row in history]
        context = UserContext(items, timestamps=times_of(history), weights=own, timestamp=at)
        [user] = embedder.embed([context]).segments
        served = interaction.scores(user)
        np.testing.assert_allclose(scores, served, rtol=2e-3, atol=2e-3 * np.abs(served).max())


def test_without_times_a_case_is_of_the_newest_moment_as_a_request_is() -> None:
    space, way = make_index().spaces["trend"], Way("sum", 1.0, 1.0, 6)
    cases = replace(cases_of([[1, 2]], [[1.0, 1.0]]), timestamps=None)
    now = replace(cases, timestamps=np.array([MOMENTS[-1]]))
    found, expected = (SpaceScores.of_items(space, own, 6).scores(way) for own in (cases, now))
    np.testing.assert_array_equal(found, expected)
    assert found.any()
