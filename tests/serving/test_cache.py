"""The segment cache from outside: what is encoded, counted, and kept."""

from __future__ import annotations

import itertools

from tesserank_client import Client, Request
from tests.serving.pipeline import DIM, QUERIES, Served

FRESH = itertools.count(30_000)
COUNTERS = tuple(f"tesserank_cache_{name}_total" for name in ("hits", "misses", "evictions"))
MIB = 1 << 20


def fresh_text() -> str:
    return f"{QUERIES[3]} {next(FRESH)}"


def test_a_duplicate_within_a_batch_is_encoded_once(by_item: Served, client: Client) -> None:
    text = fresh_text()
    rows, _ = by_item.statistics("segment_encoder")
    (misses,) = by_item.metrics("tesserank_cache_misses_total")
    answers = client.recommend_many([Request(texts={"query": text})] * 7)
    assert by_item.statistics("segment_encoder")[0] - rows == 1
    assert by_item.metrics("tesserank_cache_misses_total") == [misses + 1]
    assert [answer.cache_misses for answer in answers] == [1] * 7, "none of them found it encoded"


def test_one_text_under_two_names_is_encoded_once(by_item: Served, client: Client) -> None:
    rows, _ = by_item.statistics("segment_encoder")
    text = fresh_text()
    client.recommend(texts={"query": text, "profile": text})
    assert by_item.statistics("segment_encoder")[0] - rows == 1


def test_counters_on_the_metrics_port_move_as_requests_hit_and_miss(by_item: Served, client: Client) -> None:
    texts = {"query": fresh_text(), "profile": fresh_text()}
    *before, entries = by_item.metrics(*COUNTERS, "tesserank_cache_entries")
    cold = client.recommend(texts=texts)
    assert (cold.cache_hits, cold.cache_misses) == (0, 2)
    after = [before[0], before[1] + 2, before[2], entries + 2]
    assert by_item.metrics(*COUNTERS, "tesserank_cache_entries") == after
    warm = client.recommend(texts={**texts, "query": fresh_text()})
    assert (warm.cache_hits, warm.cache_misses) == (1, 1)
    hot = client.recommend(texts=texts)
    assert (hot.cache_hits, hot.cache_misses) == (2, 0)
    assert by_item.metrics(*COUNTERS) == [before[0] + 3, before[1] + 3, before[2]]


def test_items_of_the_index_are_not_counted(by_item: Served, client: Client) -> None:
    before = by_item.metrics(*COUNTERS)
    answer = client.recommend(history=["P1000", "P1001"])
    assert (answer.cache_hits, answer.cache_misses) == (0, 0)
    assert by_item.metrics(*COUNTERS) == before


def test_the_cache_stays_within_the_bytes_it_was_given(by_session: Served) -> None:
    """This server runs with TESSERANK_CACHE_MIB=1."""
    (evicted,) = by_session.metrics("tesserank_cache_evictions_total")
    long = " ".join(QUERIES)
    with by_session.client() as client:
        for _ in range(8):
            client.recommend_many([Request(texts={"query": f"{next(FRESH)} {long}"}, top_k=1) for _ in range(32)])
            assert by_session.metrics("tesserank_cache_bytes")[0] <= MIB
    largest = 32 * DIM * 4 + 256
    used, evictions = by_session.metrics("tesserank_cache_bytes", "tesserank_cache_evictions_total")
    assert used > MIB - largest, "full, but for less than one more segment"
    assert evictions > evicted
