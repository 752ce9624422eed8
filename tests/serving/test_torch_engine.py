"""The engine torch behind a real server, on a CPU: its answers beside those of the exported graphs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import numpy as np
import pytest

from examples.sample_data import SamplePaths
from tesserank.artifact.assemble import assemble
from tesserank.paths import TRACKED_REPOSITORY
from tesserank_client import InvalidArgumentError, Request
from tests.serving.pipeline import PROFILE, QUERIES, Offline, Served, export, serve, write_segments

SETTINGS = {"TESSERANK_ENGINE": "torch", "TESSERANK_DEVICE": "cpu"}


@pytest.fixture(scope="module")
def by_torch(sample: SamplePaths, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    directory = tmp_path_factory.mktemp("torch")
    artifact = export(sample, write_segments(directory, "item"), directory / "store", "fp32", ["torch"])
    repository = directory / "model_repository"
    assemble(TRACKED_REPOSITORY, artifact, repository)
    with ExitStack() as stack:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in SETTINGS.items():
                patch.setenv(name, value)
            server = stack.enter_context(serve(repository))
        yield Served("item", repository, server, Offline(artifact))


@pytest.mark.parametrize("query", QUERIES)
def test_answers_are_those_of_the_exported_graph(by_torch: Served, query: str) -> None:
    request = Request(texts={"query": query, "profile": PROFILE}, top_k=5)
    expected = by_torch.offline.recommend(request)
    with by_torch.client() as client:
        (answer,) = client.recommend_many([request])
    assert [item.item_id for item in answer.items] == expected.item_ids
    np.testing.assert_allclose([item.score for item in answer.items], expected.scores, atol=1e-4)


def test_ids_that_the_encoder_does_not_know_fail_alone(by_torch: Served) -> None:
    good = np.full((1, 6), 7, dtype=np.int64)
    ones = np.ones_like(good)
    found = by_torch.raw("segment_encoder", INPUT_IDS=good, ATTENTION_MASK=ones).as_numpy("TOKEN_EMBEDDINGS")
    with pytest.raises(InvalidArgumentError, match="INPUT_IDS from 1000000 to 1000000, the encoder knows 0 to"):
        by_torch.raw("segment_encoder", INPUT_IDS=good * 0 + 1_000_000, ATTENTION_MASK=ones)
    again = by_torch.raw("segment_encoder", INPUT_IDS=good, ATTENTION_MASK=ones).as_numpy("TOKEN_EMBEDDINGS")
    np.testing.assert_array_equal(again, found)


def test_the_cross_encoder_scores_as_the_exported_graph_does(by_torch: Served, by_item: Served) -> None:
    texts = ["tent", QUERIES[0], PROFILE]
    with by_torch.client() as ours, by_item.client() as theirs:
        np.testing.assert_allclose(ours.cross_encode(PROFILE, texts), theirs.cross_encode(PROFILE, texts), atol=1e-4)
