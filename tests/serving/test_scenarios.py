"""Each example scenario, exported with its own segments file and served: what was planted as a taste is recommended."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from examples.requests import hot
from examples.sample_data import EXAMPLES, SCENARIOS, write_sample
from examples.tastes import TOP_K, Sample
from tesserank.artifact.assemble import assemble
from tesserank.paths import TRACKED_REPOSITORY
from tesserank_client import Client, Event, Request
from tests.serving.pipeline import CACHE, TIMEOUT_S, export, serve

USERS = 40


@pytest.fixture(scope="module", params=SCENARIOS)
def scenario(request: pytest.FixtureRequest) -> Iterator[tuple[Sample, Client]]:
    """A scenario's sample, and a client of a server of it."""
    name: str = request.param
    paths = write_sample(name, CACHE / "samples" / name)
    # Beside the cache, where large files are links and not copies.
    with tempfile.TemporaryDirectory(prefix=f"run-{os.getpid()}-", dir=CACHE) as directory:
        artifact = export(paths, EXAMPLES / name / "segments.toml", Path(directory) / "store", "fp32")
        repository = Path(directory) / "model_repository"
        assemble(TRACKED_REPOSITORY, artifact, repository)
        with serve(repository) as server, Client(server.urls.grpc, timeout=TIMEOUT_S) as client:
            yield Sample.read(paths), client


def test_users_are_recommended_their_planted_tastes(scenario: tuple[Sample, Client]) -> None:
    sample, client = scenario
    users = list(sample.users.values())[:USERS]
    requests = [
        Request(history=[Event(*row) for row in zip(user.item_ids, user.timestamps, user.kinds, strict=True)])
        for user in users
    ]
    answers = client.recommend_many(requests)
    shares = [sample.share_found(answer.item_ids, user.tastes) for answer, user in zip(answers, users, strict=True)]
    popular = [sample.share_found(sample.most_popular(user), user.tastes) for user in users]
    chance = [sample.share_by_chance(user) for user in users]
    assert np.mean(shares) > 0.8
    assert np.mean(shares) > 4 * max(np.mean(popular), np.mean(chance))
    assert all(len(answer.item_ids) == TOP_K for answer in answers)


def test_every_taste_of_the_showcase_user_is_found_from_the_history_and_from_the_texts(
    scenario: tuple[Sample, Client],
) -> None:
    sample, client = scenario
    user = sample.showcase
    whole = replace(hot(user, None), top_k=3 * TOP_K)
    asked = [replace(whole, texts={}), replace(whole, history=[]), whole]
    from_history, from_texts, both = (answer.item_ids for answer in client.recommend_many(asked))
    assert set(user.tastes) <= {sample.topic_of[item_id] for item_id in from_history}
    assert sample.share_found(from_history[:TOP_K], user.tastes) >= 0.7
    assert sample.share_found(from_texts[:TOP_K], user.tastes) >= 0.7
    assert sample.share_found(both[:TOP_K], user.tastes) >= 0.8
