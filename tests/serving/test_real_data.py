"""A real catalogue and its users: what the server recommends is what the offline reference recommends.

Minutes of export and of float64; TESSERANK_SLOW=1 runs it.
"""

from __future__ import annotations

import csv
import gzip
import itertools
import os
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from examples.sample_data import SamplePaths
from tesserank.artifact.assemble import assemble
from tesserank.maxsim.aggregate import aggregate
from tesserank.maxsim.ragged import Ragged
from tesserank.maxsim.vectors import ItemVectors
from tesserank.paths import CHECKOUT, TRACKED_REPOSITORY
from tesserank.serving.interaction import LateInteraction
from tesserank.serving.scorer import SegmentScorer
from tesserank_client import Client, Request
from tests.serving.pipeline import CACHE, TIMEOUT_S, Offline, export, serve
from tests.serving.test_reference import score_tolerance

DATA = CHECKOUT.parent / "shared" / "data" / "amazon_beauty"
USERS = 200
K = 10
LAST_EVENTS = 10


class WholeOffline(Offline):
    """Scores every item of the catalogue, in float64."""

    def __init__(self, artifact: Path) -> None:
        super().__init__(artifact)
        self._decoded: dict[int, Ragged] = {}
        self._scorer = SegmentScorer(
            self.index, self.config, LateInteraction(self.index, self.config, self._unit_scores, aggregate)
        )

    def _unit_scores(
        self,
        tokens: NDArray[Any],
        token_weights: NDArray[Any],
        starts: NDArray[np.int64],
        items: ItemVectors,
        rows: NDArray[np.int64] | None,
    ) -> NDArray[np.float64]:
        """``maxsim.reference.unit_scores`` a unit at a time: item by item, 200 users would take most of an hour."""
        assert rows is None
        if id(items) not in self._decoded:  # the index keeps them alive
            float32 = items.decode()
            self._decoded[id(items)] = Ragged(float32.vectors.astype(np.float64), float32.offsets)
        decoded = self._decoded[id(items)]
        columns = []
        for start, stop in itertools.pairwise([*starts.tolist(), len(tokens)]):
            similarities = decoded.vectors @ tokens[start:stop].T.astype(np.float64)
            columns.append(np.maximum.reduceat(similarities, decoded.offsets[:-1], axis=0) @ token_weights[start:stop])
        return np.stack(columns, axis=1)


def histories(count: int) -> list[list[str]]:
    """The last events of ``count`` users, spread evenly over the log."""
    users: dict[str, list[tuple[int, str]]] = {}
    with gzip.open(DATA / "events.csv.gz", "rt", encoding="utf-8") as lines:
        for line in csv.DictReader(lines):
            users.setdefault(line["user_id"], []).append((int(float(line["timestamp"])), line["item_id"]))
    step = len(users) // count
    chosen = list(users.values())[::step][:count]
    return [[item for _, item in sorted(events)][-LAST_EVENTS:] for events in chosen]


def assert_same_ranking(
    served: Sequence[str], ids: Sequence[str], scores: NDArray[np.float64], tolerance: float
) -> None:
    """``ids`` and ``scores``: the reference's ranking. Only ties within ``tolerance`` may change places."""
    score_of = dict(zip(ids, scores.tolist(), strict=True))
    for rank, item in enumerate(served):
        if item != ids[rank]:
            assert abs(score_of[item] - scores[rank]) <= tolerance, f"rank {rank + 1}: {item} instead of {ids[rank]}"


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.skipif(os.environ.get("TESSERANK_SLOW") != "1", reason="minutes: set TESSERANK_SLOW=1")
@pytest.mark.skipif(not DATA.is_dir(), reason=f"no data set at {DATA}")
def test_200_users_of_amazon_beauty_get_the_offline_references_top_10() -> None:
    data = SamplePaths(DATA / "items.jsonl.gz", DATA / "events.csv.gz", DATA / "none.json", DATA / "none.json")
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="beauty-", dir=CACHE) as directory:
        segments = Path(directory) / "segments.toml"
        segments.write_text('name = "beauty"\n', encoding="utf-8")  # the defaults
        artifact = export(data, segments, Path(directory) / "store", "fp32")
        repository = Path(directory) / "model_repository"
        assemble(TRACKED_REPOSITORY, artifact, repository)
        offline = WholeOffline(artifact)
        with serve(repository) as server, Client(server.urls.grpc, timeout=TIMEOUT_S) as client:
            _compare(client, offline)


def _compare(client: Client, offline: WholeOffline) -> None:
    requests = [Request(history=history) for history in histories(USERS)]
    assert len(requests) == USERS
    compared = identical = 0
    for request in requests:
        answer = client.recommend_many([request])[0]
        everything = offline.recommend(replace(request, top_k=min(len(offline.index), 1_000)))
        assert len(answer.items) == K
        tolerance = score_tolerance(offline, float(everything.scores.max()))
        assert_same_ranking(answer.item_ids, everything.item_ids, everything.scores, tolerance)
        compared += 1
        identical += list(answer.item_ids) == everything.item_ids[:K]
    print(f"{identical} of {compared} users have identical lists, the others differ by ties")
    assert identical >= 0.99 * USERS, "ties within rounding are rare"
