"""Several processes of segment_ranker: the same answers from each, figures of all, and one that dies is found."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tesserank.server import Status
from tesserank.server.doctor import STAGES, diagnose
from tesserank_client import InternalServerError
from tests.serving.pipeline import QUERIES, Served, serve
from tests.serving.test_broken_servers import await_end, copy_linked, stubs_of

RANKERS = 2


@pytest.fixture(scope="module")
def several(fleet: dict[str, Served]) -> Iterator[Served]:
    one = fleet["item"]
    directory = one.repository.parent / "several"
    with serve(copy_linked(one.repository, directory / "model_repository"), rankers=RANKERS) as server:
        yield Served("item", directory / "model_repository", server, one.offline)


def test_each_answers_as_the_only_one_does(several: Served, by_item: Served) -> None:
    assert len(stubs_of(several.server, "segment_ranker")) == RANKERS
    history = {"history": ["P1000", "P1001"], "texts": {"query": QUERIES[0]}, "top_k": 5}
    with by_item.client() as client:
        expected = client.recommend(**history)
    (misses, entries) = several.metrics("tesserank_cache_misses_total", "tesserank_cache_entries")
    with several.client() as client:
        answers = [client.recommend(**history) for _ in range(2 * RANKERS)]
    for answer in answers:
        assert [item.item_id for item in answer.items] == [item.item_id for item in expected.items]
    assert sum(answer.cache_misses for answer in answers) == RANKERS, "each has a cache of its own"
    after = several.metrics("tesserank_cache_misses_total", "tesserank_cache_entries")
    assert after == [misses + RANKERS, entries + RANKERS], "counters and gauges of both"


def test_the_doctor_asks_each_and_finds_the_one_that_is_dead(several: Served) -> None:
    reports = {report.stage: report for report in diagnose(several.server.urls.grpc)}
    assert [(stage, report.status) for stage, report in reports.items()] == [(stage, Status.OK) for stage in STAGES]
    assert reports["segment_ranker"].detail.endswith(f", of {RANKERS} instances")
    victim = stubs_of(several.server, "segment_ranker")[-1]
    victim.kill()
    await_end(victim)
    with several.client() as client:
        answered = 0
        for _ in range(2 * RANKERS):
            try:
                answered += bool(client.recommend(texts={"query": QUERIES[0]}).items)
            except InternalServerError:
                continue
        assert answered == RANKERS, "every other one"
    for _ in range(2):  # whichever of them comes first
        reports = {report.stage: report for report in diagnose(several.server.urls.http)}
        assert reports["segment_ranker"].status is Status.BROKEN
        assert reports["segment_ranker"].remedy == "restart the server"
