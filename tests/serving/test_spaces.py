"""Spaces with a way of aggregating and, for segments, vectors of their own: through a real server."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from examples.sample_data import SamplePaths
from tesserank.artifact.assemble import assemble
from tesserank.paths import TRACKED_REPOSITORY
from tesserank.protocol import RECOMMEND, SEGMENT_EMBEDDER, SEGMENTED_MAXSIM
from tesserank_client import Request
from tesserank_evaluation.late_interaction import opened
from tesserank_evaluation.ranking import rank
from tesserank_evaluation.split import make_cases
from tesserank_evaluation.through_server import ServedRanks
from tesserank_export.catalog import read_catalog
from tesserank_export.events import read_events
from tests.serving.pipeline import CACHE, Offline, Served, Shop, export, row, serve

SEGMENTS = """
[history]
max_events = 6
[history.spaces]
text = 0.5
transitions = { weight = 0.2, method = "sum", recency = 0.9, max_events = 20 }
popularity = { weight = 0.3, temperature = 1.0, recency = 1.0 }
trend = { weight = 0.2, method = "sum", recency = 0.95, max_events = 20 }
[learned.transitions]
dim = 96
penalty = 20.0
[learned.popularity]
half_life_s = 864000
[learned.trend]
dim = 32
half_life_s = 345600
"""


@pytest.fixture(scope="module")
def own_ways(sample: SamplePaths) -> Iterator[Served]:
    with tempfile.TemporaryDirectory(prefix="spaces-", dir=CACHE) as folder:
        directory = Path(folder)
        segments = directory / "segments.toml"
        segments.write_text(SEGMENTS, encoding="utf-8")
        artifact = export(sample, segments, directory / "store", "fp32")
        repository = directory / "model_repository"
        assemble(TRACKED_REPOSITORY, artifact, repository)
        with serve(repository) as server:
            yield Served("item", repository, server, Offline(artifact))


def test_a_server_answers_as_the_reference_does(own_ways: Served, shop: Shop) -> None:
    assert own_ways.offline.index.spaces["transitions"].queries is not None
    requests = {name: request for name, request in shop.requests().items() if name != "text, whole catalogue"}
    with own_ways.client() as client:
        for name, request in requests.items():
            answer, expected = client.recommend_many([request])[0], own_ways.offline.recommend(request)
            assert list(answer.segments) == expected.labels, name
            largest = float(np.abs(expected.scores).max())
            np.testing.assert_allclose(answer.scores, expected.scores, atol=2e-4 * largest, err_msg=name)
            np.testing.assert_allclose(answer.contributions.sum(axis=1), answer.scores, atol=1e-5 * largest)
            assert len(set(answer.item_ids) & set(expected.item_ids)) >= 9, name  # rounding may turn neighbours around


def test_answers_are_of_the_time_of_the_request(own_ways: Served, shop: Shop) -> None:
    moments = own_ways.offline.index.spaces["trend"].moments
    assert moments is not None
    answers = {}
    with own_ways.client() as client:
        for at in (None, int(moments[-1]), int(moments[len(moments) // 2])):
            request = Request(shop.history(3), top_k=20, timestamp=at)
            answers[at] = client.recommend_many([request])[0]
            expected = own_ways.offline.recommend(request)
            assert list(answers[at].segments) == expected.labels
            largest = float(np.abs(expected.scores).max())
            np.testing.assert_allclose(answers[at].scores, expected.scores, atol=2e-4 * largest)
    now, newest, earlier = answers.values()
    assert now.item_ids == newest.item_ids
    np.testing.assert_array_equal(now.scores, newest.scores)
    assert now.item_ids != earlier.item_ids


def test_an_evaluation_asks_a_server_at_the_time_of_the_target(own_ways: Served, sample: SamplePaths) -> None:
    catalog = read_catalog(sample.items)
    cases = make_cases(read_events(sample.events, catalog), 24, 0, "plain")
    with opened(own_ways.offline.artifact, 1, 0) as in_process, own_ways.client() as client:
        found = ServedRanks(client, catalog, in_process.limits.max_history_events).rank(cases, lambda count: None)
        expected = rank(in_process, cases, len(catalog), lambda count: None)
        now = tuple(replace(history, asked_at=None) for history in cases.histories)
        at_once = rank(in_process, replace(cases, histories=now), len(catalog), lambda count: None)
    assert (found.lists == expected.lists).mean() > 0.99  # rounding may turn neighbours around
    assert (at_once.lists == expected.lists).mean() < 0.9


def test_the_split_path_agrees_to_the_bit(own_ways: Served, shop: Shop) -> None:
    """The widest space is not that of the texts here."""
    history = shop.history(3)
    context = {
        "HISTORY_ITEM_IDS": row(*(event.item_id for event in history)),
        "HISTORY_TIMESTAMPS": row(*(event.timestamp for event in history), dtype=np.int64),
        "REQUEST_TIMESTAMP": row(history[-1].timestamp, dtype=np.int64),
    }
    options = {"CANDIDATE_IDS": row(*shop.item_ids[:80]), "TOP_K": row(7, dtype=np.int32)}
    embedded = own_ways.raw("segment_embedder", **context)
    wanted = {tensor.name for tensor in SEGMENTED_MAXSIM.inputs} & {tensor.name for tensor in SEGMENT_EMBEDDER.outputs}
    ranked = own_ways.raw("segmented_maxsim", **{name: embedded.as_numpy(name) for name in wanted}, **options)
    answer = own_ways.raw("recommend", **context, **options)
    shared = {tensor.name for tensor in RECOMMEND.outputs} & {tensor.name for tensor in SEGMENTED_MAXSIM.outputs}
    assert {"ITEM_IDS", "SCORES", "SEGMENT_SCORES"} <= shared
    for name in shared:
        np.testing.assert_array_equal(answer.as_numpy(name), ranked.as_numpy(name), err_msg=name)
