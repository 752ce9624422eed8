"""Nobody waits for what is not theirs: not for another's encoder, not for a lost wake-up of Triton's."""

from __future__ import annotations

import itertools
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tesserank_client import Client, DeadlineExceededError, Request
from tests.serving.pipeline import PROFILE, QUERIES, Served, Shop

FRESH = itertools.count(90_000)
STALL_S = 0.45  # Triton 24.10's batcher looks at its queue again after 0.5 s, when it has missed a request


def slow_requests(users: int) -> list[Request]:
    """Users of whom every text must be encoded, and is long."""
    return [Request(texts={"profile": f"{next(FRESH)} {PROFILE * 4}"}) for _ in range(users)]


def test_hot_requests_are_answered_while_the_encoder_works_for_others(by_item: Served, shop: Shop) -> None:
    hot = Request(history=shop.history(70), texts={"query": QUERIES[0]})
    with by_item.client() as client, ThreadPoolExecutor(4) as pool:
        expected = client.recommend_many([hot])[0].items
        client.recommend_many([hot])
        slow = [pool.submit(client.recommend_many, slow_requests(32)) for _ in range(4)]
        answered = 0
        while not any(future.done() for future in slow):
            answer = client.recommend_many([hot])[0]
            assert (answer.items, answer.cache_misses) == (expected, 0)
            answered += 1
        assert all(len(future.result()) == 32 for future in slow)
    assert answered >= 5, "the encoder takes tens of milliseconds for 32 texts, a hot request one"


def test_requests_one_after_the_other_do_not_stall(client: Client) -> None:
    """With a queue policy in its configuration, segment_ranker stalled for 0.5 s in every tenth of these requests."""
    client.recommend(texts=QUERIES[0])
    taken = []
    for _ in range(300):
        started = time.perf_counter()
        client.recommend(texts=QUERIES[0], top_k=1)
        taken.append(time.perf_counter() - started)
    assert sum(seconds > STALL_S for seconds in taken) <= 2, "a busy machine may pause once"


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_a_request_whose_deadline_passes_in_the_queue_is_not_worked_on(by_item: Served, protocol: str) -> None:
    with by_item.client() as client, by_item.client(protocol) as impatient, ThreadPoolExecutor(4) as pool:
        slow = [pool.submit(client.recommend_many, slow_requests(32)) for _ in range(4)]
        time.sleep(0.05)  # both encoding threads are busy
        given_up = slow_requests(16)
        with pytest.raises(DeadlineExceededError):
            impatient.recommend_many(given_up, timeout=0.01)
        for future in slow:
            future.result()
        after = client.recommend_many(given_up)
    assert sum(answer.cache_misses for answer in after) == 16, "nobody encoded them for a client that was gone"


def test_every_stage_is_timed_on_the_metrics_port(by_item: Served, client: Client, shop: Shop) -> None:
    stages = ("unpack", "tokenise", "encode", "gather", "propose", "maxsim", "aggregate", "pack")
    runs = [f'tesserank_stage_runs_total{{stage="{stage}"}}' for stage in stages]
    seconds = [f'tesserank_stage_seconds_total{{stage="{stage}"}}' for stage in stages]
    tokens = [f'tesserank_encoder_tokens_total{{tokens="{kind}"}}' for kind in ("real", "padded")]
    encoder = ["tesserank_encoder_batches_total", "tesserank_encoder_rows_total", *tokens]

    def reading() -> list[float]:
        return by_item.metrics(*runs, *seconds) + by_item.metrics(*encoder, model="segment_encoder")

    before = reading()
    client.recommend(history=shop.history(71)[-1:], texts=f"{QUERIES[0]} {next(FRESH)}")
    client.recommend(history=shop.history(71)[-1:])
    changes = (b - a for a, b in zip(before, reading(), strict=True))
    grown = dict(zip([*runs, *seconds, *encoder], changes, strict=True))
    assert [grown[name] for name in runs] == [1 if stage == "encode" else 2 for stage in stages]
    assert all(0 < grown[name] < 5 for name in seconds)
    assert [grown[name] for name in encoder[:2]] == [1, 1], "one text was new"
    assert 5 < grown[tokens[0]] == grown[tokens[1]], "a text that runs alone needs no padding"
