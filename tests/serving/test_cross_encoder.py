"""The baseline answers beside what replaces it, and deadlines hold where answers take long."""

from __future__ import annotations

import asyncio
import time

import numpy as np
import pytest

from tesserank_client import Client, DeadlineExceededError, InvalidArgumentError
from tests.serving.pipeline import QUERIES, Served, Shop, row

HISTORY = "Trail shoes with a grippy sole. A head torch. A rain jacket that breathes."
MANY = 120  # pairs: half a second of work, ten times the deadline
DEADLINE_S = 0.05


def test_the_cross_encoder_is_deterministic_and_tells_candidates_apart(client: Client, shop: Shop) -> None:
    texts = [shop.texts[item] for item in shop.item_ids[:12]]
    scores = client.cross_encode(HISTORY, texts)
    assert scores.shape == (12,)
    assert np.isfinite(scores).all()
    assert len(set(scores.tolist())) == 12
    np.testing.assert_array_equal(client.cross_encode(HISTORY, texts), scores)
    assert not np.array_equal(client.cross_encode(QUERIES[1], texts), scores), "the history matters too"


def test_candidates_scored_together_score_as_one_by_one(client: Client, shop: Shop) -> None:
    """Of different lengths, so that together most of them are padded."""
    texts = ["tent", *(shop.texts[item] for item in shop.item_ids[:6]), " ".join(QUERIES * 3)]
    together = client.cross_encode(HISTORY, texts)
    alone = np.concatenate([client.cross_encode(HISTORY, [text]) for text in texts])
    # Padding is masked: what remains are float32 roundings of 6 layers over sequences of other shapes.
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-5)


def test_the_order_of_candidates_does_not_matter(client: Client, shop: Shop) -> None:
    texts = [shop.texts[item] for item in shop.item_ids[20:40]]
    forwards, backwards = client.cross_encode(HISTORY, texts), client.cross_encode(HISTORY, texts[::-1])
    np.testing.assert_allclose(backwards[::-1], forwards, rtol=0, atol=1e-5)


def test_a_history_longer_than_the_encoder_reads_loses_its_oldest_words(client: Client) -> None:
    newest = "a " * 600
    scores = [client.cross_encode(f"{old} {newest}", ["tent"])[0] for old in ("oldest", "other " * 50)]
    assert scores[0] == scores[1]


def test_candidates_of_several_users_are_padded_with_empty_texts(by_item: Served) -> None:
    history, texts = row(HISTORY), row("tent", "", "coffee")
    scores = by_item.raw("cross_encoder", HISTORY_TEXT=history, CANDIDATE_TEXTS=texts).as_numpy("SCORES")
    expected = by_item.raw("cross_encoder", HISTORY_TEXT=history, CANDIDATE_TEXTS=row("tent", "coffee"))
    np.testing.assert_allclose(scores[0, [0, 2]], expected.as_numpy("SCORES")[0], rtol=0, atol=1e-5)
    assert scores[0, 1] == 0


def test_no_candidates_are_refused(client: Client) -> None:
    with pytest.raises(InvalidArgumentError, match="nothing to score"):
        client.cross_encode(HISTORY, [])


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_a_deadline_passes_in_time_and_the_server_still_answers(by_item: Served, shop: Shop, protocol: str) -> None:
    texts = [shop.texts[item] for item in shop.item_ids[:MANY]]
    with by_item.client(protocol) as client:
        expected = client.recommend(texts={"query": QUERIES[0]})
        started = time.perf_counter()
        with pytest.raises(DeadlineExceededError, match=r"within 0\.05 s"):
            client.cross_encode(HISTORY, texts, timeout=DEADLINE_S)
        assert time.perf_counter() - started < 1.0, "it was not waited for"
        assert client.recommend(texts={"query": QUERIES[0]}).items == expected.items, "while the pairs are scored still"
        assert client.cross_encode(HISTORY, texts[:1]).shape == (1,)


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_a_deadline_passes_under_asyncio_and_the_server_still_answers(
    by_item: Served, shop: Shop, protocol: str
) -> None:
    texts = [shop.texts[item] for item in shop.item_ids[:MANY]]

    async def ask() -> None:
        async with by_item.async_client(protocol) as client:
            with pytest.raises(DeadlineExceededError, match=r"within 0\.05 s"):
                await client.cross_encode(HISTORY, texts, timeout=DEADLINE_S)
            assert (await client.recommend(texts={"query": QUERIES[0]})).items
            assert (await client.cross_encode(HISTORY, texts[:1])).shape == (1,)

    asyncio.run(ask())


def test_a_request_that_waits_in_a_queue_past_its_deadline_fails_by_name(by_item: Served, shop: Shop) -> None:
    texts = [shop.texts[item] for item in shop.item_ids[:MANY]]
    with by_item.client() as client:
        with pytest.raises(DeadlineExceededError):
            client.cross_encode(HISTORY, texts, timeout=DEADLINE_S)  # occupies the model
        with pytest.raises(DeadlineExceededError):
            client.cross_encode(HISTORY, texts[:1], timeout=DEADLINE_S)  # waits behind it
        assert client.cross_encode(HISTORY, texts[:1]).shape == (1,)


def test_a_ready_server_says_so(by_item: Served) -> None:
    for protocol in ("grpc", "http"):
        with by_item.client(protocol) as client:
            assert client.is_ready()
