"""However a request is sent, alone or beside others, for the first time or again: the answer is the same to the bit."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from tesserank_client import Event, Recommendations, Request
from tests.serving.pipeline import MAX_EVENTS, PROFILE, QUERIES, Served, Shop, bits

FRESH = itertools.count(2_000)  # words that no text had before


def fresh_request(shop: Shop, user: int) -> Request:
    """A user none of whose texts is cached, and whose history is that of a user no other test asks for."""
    return Request(history=shop.history(100 + user), texts={"query": f"{QUERIES[0]} {next(FRESH)}", "profile": PROFILE})


def flood(served: Served) -> None:
    """Push everything out of a cache of 1 MiB: 160 texts of 32 tokens are 160 * 32 * 64 * 4 bytes = 1.25 MiB."""
    texts = [" ".join(f"{QUERIES[turn % 4]} {number}" for turn in range(6)) for number in range(10_000, 10_160)]
    requests = [Request(texts={"query": text}, top_k=1) for text in texts]
    with served.client() as client:
        for start in range(0, len(requests), 40):
            client.recommend_many(requests[start : start + 40])


def ask(served: Served, request: Request) -> Recommendations:
    with served.client() as client:
        return client.recommend_many([request])[0]


def test_grpc_http_sync_and_async_clients_agree_bit_for_bit(served: Served, shop: Shop) -> None:
    requests = list(shop.requests().values())

    def ask_sync(protocol: str) -> list[Any]:
        with served.client(protocol) as client:
            return [bits(client.recommend_many([request])[0]) for request in requests]

    async def ask_all(protocol: str) -> list[Any]:
        async with served.async_client(protocol) as client:
            answers = await asyncio.gather(*(client.recommend_many([request]) for request in requests))
        return [bits(answer[0]) for answer in answers]

    expected = ask_sync("grpc")
    assert ask_sync("http") == expected
    assert asyncio.run(ask_all("grpc")) == expected
    assert asyncio.run(ask_all("http")) == expected


def test_several_users_in_one_request_are_answered_as_one_by_one(served: Served, shop: Shop) -> None:
    """Cold in the batch, and bitwise: each user's arithmetic is their own, and the encoder's rows do not mix."""
    users: Sequence[Request] = [
        fresh_request(shop, 0),
        Request(texts={"query": f"{QUERIES[1]} {next(FRESH)}"}),  # padded: fewer segments, fewer tokens
        Request(history=shop.history(101)),
        replace(fresh_request(shop, 2), history=shop.history(102)[:1]),
    ]
    with served.client() as client:
        together = client.recommend_many(users)
        alone = [client.recommend_many([user])[0] for user in users]
    for batched, single in zip(together, alone, strict=True):
        assert bits(batched) == bits(single)


def test_the_order_of_users_in_a_batch_does_not_matter(served: Served, shop: Shop) -> None:
    users = [fresh_request(shop, user) for user in range(3, 9)]
    with served.client() as client:
        forwards = client.recommend_many(users)
        backwards = client.recommend_many(users[::-1])
    assert [bits(answer) for answer in forwards] == [bits(answer) for answer in backwards[::-1]]


def test_cold_and_hot_requests_give_identical_answers(served: Served, shop: Shop) -> None:
    request = fresh_request(shop, 10)
    cold, hot = ask(served, request), ask(served, request)
    assert cold.cache_misses > 0
    assert (hot.cache_hits, hot.cache_misses) == (cold.cache_hits + cold.cache_misses, 0)
    assert bits(cold) == bits(hot)


def test_warm_requests_give_the_answers_of_cold_ones(by_session: Served, shop: Shop) -> None:
    before = fresh_request(shop, 11)
    last = before.history[-1]
    assert isinstance(last, Event)
    assert last.timestamp is not None
    after = replace(before, history=[*before.history, Event(shop.item_ids[0], last.timestamp + 5)])
    ask(by_session, before)
    warm = ask(by_session, after)
    assert warm.cache_misses == 1, "the last session alone is new"
    assert warm.cache_hits >= 2
    flood(by_session)
    cold = ask(by_session, after)
    assert cold.cache_hits == 0
    assert bits(cold) == bits(warm)


def test_what_was_evicted_is_encoded_to_the_same_bits_again(by_session: Served, shop: Shop) -> None:
    request = fresh_request(shop, 12)
    first = ask(by_session, request)
    flood(by_session)
    again = ask(by_session, request)
    assert again.cache_misses == first.cache_misses + first.cache_hits
    assert bits(again) == bits(first)


def test_an_appended_event_costs_one_encoding_and_a_known_history_none(encoding: Served, shop: Shop) -> None:
    events = list(shop.history(20))
    misses = []
    for length in range(4, len(events) + 1):
        answer = ask(encoding, Request(history=events[:length]))
        misses.append(answer.cache_misses)
    # Appending changes the last segment, and may close it and open a new one.
    assert len(misses) > MAX_EVENTS
    assert max(misses[1:]) <= 2
    assert ask(encoding, Request(history=events)).cache_misses == 0


def test_concurrent_requests_of_different_shapes_are_answered_as_in_sequence(served: Served, shop: Shop) -> None:
    """Dynamic batching puts them together; every shape of request is there, cold ones too."""
    requests = [*shop.requests().values(), *(fresh_request(shop, user) for user in range(30, 40))] * 2
    rows_before, executions_before = served.statistics("segment_embedder")
    with served.client() as client, ThreadPoolExecutor(12) as pool:
        concurrent = list(pool.map(lambda request: client.recommend_many([request])[0], requests))
        rows, executions = served.statistics("segment_embedder")
        sequential = [client.recommend_many([request])[0] for request in requests]
    assert rows - rows_before == len(requests)
    assert executions - executions_before < len(requests), "no two requests were batched, so nothing was tested"
    assert [bits(answer) for answer in concurrent] == [bits(answer) for answer in sequential]


@pytest.mark.parametrize("users", [2, 64])
def test_a_batch_of_equal_users_gives_equal_answers(by_item: Served, shop: Shop, users: int) -> None:
    with by_item.client() as client:
        answers = client.recommend_many([fresh_request(shop, 50)] * users)
    assert len({bits(answer) for answer in answers}) == 1
