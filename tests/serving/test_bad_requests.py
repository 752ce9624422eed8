"""What a client can get wrong: each mistake has its typed error, and the server answers the next request as before."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from tesserank_client import (
    Client,
    EmptyRequestError,
    Event,
    InternalServerError,
    InvalidArgumentError,
    LimitExceededError,
    Request,
    RequestRejectedError,
    TesserankClientError,
    Text,
    TopKTooLargeError,
    UnknownItemError,
)
from tests.serving.pipeline import LIMITS, QUERIES, Served, Shop, bits, row

QUERY = {"query": QUERIES[0]}


@pytest.fixture(autouse=True)
def _the_server_still_answers(by_item: Served, shop: Shop) -> Iterator[None]:
    """Whatever a test sent, a good request gets the same answer after it as before, over both protocols."""
    good = Request(history=shop.history(0), texts=QUERY)
    with by_item.client() as client:
        before = bits(client.recommend_many([good])[0])
    yield
    for protocol in ("grpc", "http"):
        with by_item.client(protocol) as client:
            assert bits(client.recommend_many([good])[0]) == before, protocol


def many(count: int) -> list[str]:
    return [f"P{1000 + number}" for number in range(count)]


# Name of the case: arguments of recommend(), the error, and a part of its message.
TYPED: dict[str, tuple[dict[str, Any], type[TesserankClientError], str]] = {
    "nothing at all": ({}, EmptyRequestError, "no input|nothing to score by"),
    "only unknown items": ({"history": ["nope", "nor"]}, EmptyRequestError, r"2 history items \(2 not in the"),
    "only weights of 0": ({"history": [Event("P1000", weight=0.0)]}, EmptyRequestError, "no segment with a weight"),
    "only kinds that weigh 0": ({"history": [Event("P1000", kind="ignored")]}, EmptyRequestError, "no segment"),
    "a text without words": ({"texts": {"query": " \t "}}, EmptyRequestError, "1 text"),
    "unknown item, rejected": (
        {"history": ["P1000", "nope"], "unknown_items": "reject"},
        UnknownItemError,
        r"user 0: 1 item \(nope\) of the history",
    ),
    "unknown candidate, rejected": (
        {"texts": QUERY, "candidates": ["P1000", "nope"], "unknown_items": "reject"},
        UnknownItemError,
        r"1 item \(nope\) of the candidates",
    ),
    "too many events": ({"history": many(61)}, LimitExceededError, "61 history events, .* max_history_events is 60"),
    "too many texts": ({"texts": [Text("query", "a")] * 5}, LimitExceededError, "5 texts, the limit max_texts is 4"),
    "too long a text": ({"texts": {"query": "x" * 2_001}}, LimitExceededError, "2,001 bytes .* max_text_bytes is 2,0"),
    "too many segments": (
        {"history": many(8), "texts": [Text("query", word) for word in ("a", "b", "c")]},
        LimitExceededError,
        "19 segments, the limit max_segments is 18",
    ),
    "too many candidates": (
        {"texts": QUERY, "candidates": many(701)},
        LimitExceededError,
        "701 candidates, the limit max_candidates is 700",
    ),
    "too many excluded": ({"texts": QUERY, "exclude": many(51)}, LimitExceededError, "max_excluded is 50"),
    "too long an id": ({"history": ["x" * 33]}, LimitExceededError, "33 bytes .* max_id_bytes is 32"),
    "too much asked for": ({"texts": QUERY, "top_k": 661}, LimitExceededError, "max_top_k is 660"),
    "too heavy": ({"history": [Event("P1000", weight=1e6)]}, LimitExceededError, "max_weight is 1,000"),
    "more than the catalogue": ({"texts": QUERY, "top_k": 651}, TopKTooLargeError, "651, but there are 650 items"),
    "more than the candidates": (
        {"texts": QUERY, "candidates": ["P1000", "P1001"], "top_k": 3},
        TopKTooLargeError,
        "TOP_K is 3, but there are 2 candidates",
    ),
    "NaN weight of an event": ({"history": [Event("P1000", weight=float("nan"))]}, InvalidArgumentError, "weight nan"),
    "negative weight of an event": ({"history": [Event("P1000", weight=-0.5)]}, InvalidArgumentError, "weight -0.5"),
    "NaN weight of a text": ({"texts": [Text("query", "a", float("nan"))]}, InvalidArgumentError, "text 'query'"),
    "infinite weight of a text": ({"texts": [Text("query", "a", 1e300)]}, InvalidArgumentError, "weight inf"),
    "newest first": (
        {"history": [Event("P1000", 200), Event("P1001", 100)]},
        InvalidArgumentError,
        "timestamp 100 at position 1 follows 200",
    ),
    "no such category": (
        {"texts": QUERY, "categories": ["Baby", "no such"]},
        InvalidArgumentError,
        r"user 0: CATEGORIES: no item has 'no such': there are 13 \(Art supplies",
    ),
    "no such text": ({"texts": {"mood": "blue"}}, InvalidArgumentError, "'mood': there are query, profile"),
}  # fmt: skip


@pytest.mark.parametrize("protocol", ["grpc", "http"])
@pytest.mark.parametrize("case", TYPED)
def test_a_mistake_has_its_typed_error(by_item: Served, case: str, protocol: str) -> None:
    arguments, error, message = TYPED[case]
    with by_item.client(protocol) as client, pytest.raises(error, match=message) as raised:
        client.recommend(**arguments)
    assert type(raised.value) is error
    assert "Traceback" not in str(raised.value)
    assert "\n" not in str(raised.value), "one line, without Triton's frame around it"


def test_limits_are_inclusive(client: Client) -> None:
    texts = [Text("query", "a"), Text("query", "b")]
    answer = client.recommend(
        history=many(LIMITS["max_history_events"]),
        texts=texts,
        candidates=many(650) + ["x" * LIMITS["max_id_bytes"]] * 50,
        exclude=many(LIMITS["max_excluded"]),
    )
    assert len(answer.segments) == LIMITS["max_segments"]
    assert answer.unknown_candidates == 50
    heavy = Event("P1000", weight=float(LIMITS["max_weight"]))
    assert client.recommend(history=[heavy], texts={"query": "x" * LIMITS["max_text_bytes"]}).items


def test_more_users_than_a_batch_holds_is_a_limit_exceeded(client: Client) -> None:
    with pytest.raises(LimitExceededError, match="batch-size must be <= 64"):
        client.recommend_many([Request(texts=QUERY)] * 65)


def test_unknown_items_are_skipped_and_counted_by_default(client: Client, shop: Shop) -> None:
    known = client.recommend(history=["P1000", "P1001"], candidates=shop.item_ids[:40])
    mixed = client.recommend(history=["nope", "P1000", "nor", "P1001"], candidates=[*shop.item_ids[:40], "neither"])
    assert (mixed.unknown_history, mixed.unknown_candidates) == (2, 1)
    assert mixed.items == known.items


def test_candidates_of_whom_none_is_known_give_an_empty_answer_and_their_count(client: Client) -> None:
    answer = client.recommend(texts=QUERY, candidates=["nope", "neither"])
    assert (answer.items, answer.unknown_candidates) == ((), 2)


def test_an_error_of_one_user_names_their_row(client: Client) -> None:
    with pytest.raises(EmptyRequestError, match=r"^user 2: "):
        client.recommend_many([Request(texts=QUERY), Request(history=["P1000"]), Request(history=["nope"])])


QUERY_ROWS = {"TEXT_NAMES": row("query"), "TEXTS": row("tent")}
NOT_UTF8 = row(b"caf\xe9")
# Tensors that the client would never send: its checks stand before, or its types do.
RAW: dict[str, tuple[dict[str, Any], type[TesserankClientError], str]] = {
    "text that is not UTF-8": (
        {"TEXT_NAMES": row("query"), "TEXTS": NOT_UTF8},
        InvalidArgumentError,
        "TEXTS is not UTF-8: byte 0xe9 at position 3",
    ),
    "name that is not UTF-8": ({"TEXT_NAMES": NOT_UTF8, "TEXTS": row("a")}, InvalidArgumentError, "NAMES is not UTF-8"),
    "kind that is not UTF-8": (
        {"HISTORY_ITEM_IDS": row("P1000"), "HISTORY_KINDS": NOT_UTF8},
        InvalidArgumentError,
        "HISTORY_KINDS is not UTF-8",
    ),
    "unknown id that is not UTF-8": (
        {"HISTORY_ITEM_IDS": NOT_UTF8, "REJECT_UNKNOWN": row(True, dtype=bool)},
        UnknownItemError,
        r"caf\\xe9",
    ),
    "k of 0": ({**QUERY_ROWS, "TOP_K": row(0, dtype=np.int32)}, InvalidArgumentError, "must be at least 1, not 0"),
    "k below 0": ({**QUERY_ROWS, "TOP_K": row(-5, dtype=np.int32)}, InvalidArgumentError, "not -5"),
    "hole in the history": (
        {"HISTORY_ITEM_IDS": row("P1000", "", "P1001")},
        InvalidArgumentError,
        "HISTORY_ITEM_IDS has an empty id at position 1",
    ),
    "hole in the candidates": (
        {**QUERY_ROWS, "CANDIDATE_IDS": row("", "P1000")},
        InvalidArgumentError,
        "CANDIDATE_IDS has an empty id at position 0",
    ),
    "candidates that are all padding": ({**QUERY_ROWS, "CANDIDATE_IDS": row("", "")}, InvalidArgumentError, "is empty"),
    "timestamps of another length": (
        {"HISTORY_ITEM_IDS": row("P1000", "P1001"), "HISTORY_TIMESTAMPS": row(1, dtype=np.int64)},
        InvalidArgumentError,
        "HISTORY_TIMESTAMPS must be equally long, but are 2 and 1",
    ),
    "weights of another length": (
        {"HISTORY_ITEM_IDS": row("P1000"), "HISTORY_WEIGHTS": row(1, 2, dtype=np.float32)},
        InvalidArgumentError,
        "must be equally long, but are 1 and 2",
    ),
    "weights without a history": ({"HISTORY_WEIGHTS": row(1, dtype=np.float32)}, InvalidArgumentError, "0 and 1"),
    "texts without names": ({"TEXTS": row("tent")}, InvalidArgumentError, "TEXT_NAMES must be equally long"),
    "names without texts": ({"TEXT_NAMES": row("query")}, InvalidArgumentError, "must be equally long"),
    "text weights of another length": (
        {**QUERY_ROWS, "TEXT_WEIGHTS": row(1, 2, dtype=np.float32)},
        InvalidArgumentError,
        "TEXT_WEIGHTS must be equally long",
    ),
    "no users": ({"HISTORY_ITEM_IDS": np.empty((0, 1), object)}, InvalidArgumentError, "got 0"),
    "lists of no length": ({"HISTORY_ITEM_IDS": np.empty((1, 0), object)}, EmptyRequestError, "nothing to score by"),
    "wrong datatype of TOP_K": ({**QUERY_ROWS, "TOP_K": row(5, dtype=np.int64)}, InvalidArgumentError, "TOP_K"),
    "wrong datatype of weights": (
        {"HISTORY_ITEM_IDS": row("P1000"), "HISTORY_WEIGHTS": row(1, dtype=np.float64)},
        InvalidArgumentError,
        "HISTORY_WEIGHTS",
    ),
    "numbers for ids": ({"HISTORY_ITEM_IDS": row(1000, dtype=np.int64)}, InvalidArgumentError, "HISTORY_ITEM_IDS"),
    "rank too low": ({"HISTORY_ITEM_IDS": np.array([b"P1000"], object)}, InvalidArgumentError, "HISTORY_ITEM_IDS"),
    "rank too high": ({"HISTORY_ITEM_IDS": row("P1000")[None]}, InvalidArgumentError, "HISTORY_ITEM_IDS"),
    "two values of TOP_K": ({**QUERY_ROWS, "TOP_K": row(5, 6, dtype=np.int32)}, InvalidArgumentError, "TOP_K"),
    "no such tensor": ({**QUERY_ROWS, "TOPK": row(5, dtype=np.int32)}, InvalidArgumentError, "TOPK"),
    "batches of two sizes": (
        {**QUERY_ROWS, "TOP_K": np.array([[5], [5]], dtype=np.int32)},
        InvalidArgumentError,
        "batch",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", RAW)
def test_a_malformed_triton_call_has_its_typed_error(by_item: Served, case: str) -> None:
    inputs, error, message = RAW[case]
    with pytest.raises(error, match=message) as raised:
        by_item.raw(**inputs)
    assert type(raised.value) is error


# The models inside can be called too; what they are given must not end them.
INNER: dict[str, tuple[str, dict[str, Any], str]] = {
    "encoder: a token that the vocabulary lacks": (
        "segment_encoder",
        {"INPUT_IDS": row(10**9, dtype=np.int64), "ATTENTION_MASK": row(1, dtype=np.int64)},
        "input index out of range",
    ),
    "encoder: a mask of another length": (
        "segment_encoder",
        {"INPUT_IDS": row(101, 102, dtype=np.int64), "ATTENTION_MASK": row(1, dtype=np.int64)},
        r"INPUT_IDS has shape \(1, 2\), ATTENTION_MASK \(1, 1\)",
    ),
    "encoder: more tokens than positions": (
        "segment_encoder",
        {"INPUT_IDS": np.full((1, 2_000), 101), "ATTENTION_MASK": np.ones((1, 2_000), np.int64)},
        "invalid expand shape|position",
    ),
    "scorer: channels of another length": (
        "segmented_maxsim",
        {
            "SEGMENT_EMBEDDINGS": np.ones((1, 1, 1, 64), np.float32),
            "TOKEN_WEIGHTS": np.ones((1, 1, 1), np.float32),
            "TOKEN_GROUPS": np.zeros((1, 1, 1), np.int32),
            "SEGMENT_CHANNELS": np.zeros((1, 2), np.int32),
            "SEGMENT_WEIGHTS": np.ones((1, 1), np.float32),
        },
        "SEGMENT_CHANNELS has shape",
    ),
    "scorer: a channel that is not configured": (
        "segmented_maxsim",
        {
            "SEGMENT_EMBEDDINGS": np.ones((1, 1, 1, 64), np.float32),
            "TOKEN_WEIGHTS": np.ones((1, 1, 1), np.float32),
            "TOKEN_GROUPS": np.zeros((1, 1, 1), np.int32),
            "SEGMENT_CHANNELS": np.full((1, 1), 99, np.int32),
            "SEGMENT_WEIGHTS": np.ones((1, 1), np.float32),
        },
        "SEGMENT_CHANNELS holds 99",
    ),
    "cross-encoder: text that is not UTF-8": (
        "cross_encoder",
        {"HISTORY_TEXT": row("a"), "CANDIDATE_TEXTS": NOT_UTF8},
        "CANDIDATE_TEXTS is not UTF-8",
    ),
}


@pytest.mark.parametrize("case", INNER)
def test_a_model_inside_survives_what_it_cannot_use(by_item: Served, case: str) -> None:
    model, inputs, message = INNER[case]
    with pytest.raises((InvalidArgumentError, InternalServerError), match=message):
        by_item.raw(model, **inputs)


def test_bad_users_fail_alone_when_batched_with_good_ones(by_item: Served, shop: Shop) -> None:
    bad = [TYPED[name][0] for name in ("only unknown items", "newest first", "no such text", "too many segments")]
    good = [{"history": shop.history(user), "texts": {"query": f"{QUERIES[1]} {user}"}} for user in range(200, 220)]
    mixed: list[dict[str, Any]] = [user for pair in zip(good, itertools.cycle(bad)) for user in pair]

    def ask(arguments: dict[str, Any]) -> Any:
        try:
            return bits(client.recommend(**arguments))
        except RequestRejectedError as error:
            return type(error), str(error)

    with by_item.client() as client:
        with ThreadPoolExecutor(16) as pool:
            concurrent = list(pool.map(ask, mixed))
        sequential = list(map(ask, mixed))
    failed = [answer for answer in concurrent if isinstance(answer[0], type)]
    assert len(failed) == len(good), "the bad half, and none of the good"
    assert concurrent == sequential, "good ones get their own answers, bad ones their own errors"


def test_cold_requests_share_the_encoders_batches(by_item: Served) -> None:
    """What the test before relies on."""
    rows, executions = by_item.statistics("segment_encoder")
    texts = [f"{QUERIES[2]} {number}" for number in range(50_000, 50_040)]
    with by_item.client() as client, ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda text: client.recommend(texts={"query": text}), texts))
    rows_after, executions_after = by_item.statistics("segment_encoder")
    assert rows_after - rows == len(texts)
    assert executions_after - executions < len(texts)


def test_histories_cut_by_session_need_timestamps(by_session: Served) -> None:
    with by_session.client() as client:
        with pytest.raises(InvalidArgumentError, match="every event needs a timestamp"):
            client.recommend(history=["P1000"])
        assert client.recommend(history=[Event("P1000", 1)]).items
