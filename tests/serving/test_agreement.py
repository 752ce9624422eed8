"""However a request is sent, alone or beside others, for the first time or again: the answer is the same to the bit."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tesserank.protocol import RECOMMEND, SEGMENT_EMBEDDER, SEGMENTED_MAXSIM, Tensor
from tesserank_client import Event, Recommendations, Request
from tests.serving.pipeline import MAX_EVENTS, PROFILE, QUERIES, Served, Shop, bits, row

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
    """Every shape of request is there, cold ones too, which are encoded together."""
    requests = [*shop.requests().values(), *(fresh_request(shop, user) for user in range(30, 50))] * 2
    rows_before, executions_before = served.statistics("segment_encoder")
    with served.client() as client, ThreadPoolExecutor(12) as pool:
        concurrent = list(pool.map(lambda request: client.recommend_many([request])[0], requests))
        rows, executions = served.statistics("segment_encoder")
        sequential = [client.recommend_many([request])[0] for request in requests]
    assert rows - rows_before >= 20, "each fresh text once"
    assert executions - executions_before < rows - rows_before, "no two were encoded together, so nothing was tested"
    assert [bits(answer) for answer in concurrent] == [bits(answer) for answer in sequential]


def test_the_two_models_of_the_split_path_answer_as_the_one(served: Served, shop: Shop) -> None:
    context = {"HISTORY_ITEM_IDS": row(*[event.item_id for event in shop.history(60)])}
    if served.cut == "session":
        stamps = [event.timestamp for event in shop.history(60)]
        context["HISTORY_TIMESTAMPS"] = row(*stamps, dtype=np.int64)
    context |= {"TEXTS": row(QUERIES[2], PROFILE), "TEXT_NAMES": row("query", "profile")}
    options = {"CANDIDATE_IDS": row(*shop.item_ids[:80]), "TOP_K": row(7, dtype=np.int32)}
    embedded = arrays_of(served.raw("segment_embedder", **context), SEGMENT_EMBEDDER.outputs)
    wanted = {tensor.name for tensor in SEGMENTED_MAXSIM.inputs}
    segments = {name: array for name, array in embedded.items() if name in wanted}
    ranked = arrays_of(served.raw("segmented_maxsim", **segments, **options), SEGMENTED_MAXSIM.outputs)
    answer = arrays_of(served.raw("recommend", **context, **options), RECOMMEND.outputs)
    for name in set(answer) - {"CACHE_HITS", "CACHE_MISSES"}:
        np.testing.assert_array_equal(answer[name], (embedded | ranked)[name], err_msg=name)


def arrays_of(result: Any, outputs: Sequence[Tensor]) -> dict[str, Any]:
    return {tensor.name: result.as_numpy(tensor.name) for tensor in outputs}


@pytest.mark.parametrize("users", [2, 64])
def test_a_batch_of_equal_users_gives_equal_answers(by_item: Served, shop: Shop, users: int) -> None:
    with by_item.client() as client:
        answers = client.recommend_many([fresh_request(shop, 50)] * users)
    assert len({bits(answer) for answer in answers}) == 1
