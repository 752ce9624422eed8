"""What a client may get wrong, each with an error of its own kind that names the user and both values."""

from __future__ import annotations

import math
from typing import Any

import pytest

from tesserank import errors
from tesserank.errors import (
    EmptyRequestError,
    InvalidArgumentError,
    LimitExceededError,
    RequestError,
    TopKTooLargeError,
    UnknownItemError,
)
from tesserank.limits import Limits
from tesserank.protocol import ErrorCode
from tesserank.serving.request import RankingOptions, Text, UserContext, check_context, check_options, decode_text

LIMITS = Limits(
    max_history_events=3, max_texts=2, max_text_bytes=6, max_candidates=4, max_excluded=2, max_top_k=3, max_id_bytes=5
)

WITHIN: dict[str, UserContext] = {
    "events": UserContext(item_ids=[b"a"] * 3),
    "texts": UserContext(texts=[Text("query", "x")] * 2),
    "bytes of a text": UserContext(texts=[Text("query", "über!")]),
    "bytes of an id": UserContext(item_ids=[b"12345"]),
    "weights": UserContext(item_ids=[b"a"] * 3, weights=[0.0, 1e6, 0.5], texts=[Text("query", "x", 0.0)]),
    "times": UserContext(item_ids=[b"a"] * 3, timestamps=[-5, 7, 7]),
}
BEYOND: dict[str, tuple[UserContext, str]] = {
    "events": (UserContext(item_ids=[b"a"] * 4), "4 history events, the limit max_history_events is 3"),
    "texts": (UserContext(texts=[Text("query", "x")] * 3), "3 texts, the limit max_texts is 2"),
    "bytes of a text": (
        UserContext(texts=[Text("query", "überz!")]),
        "7 bytes in text 'query', the limit max_text_bytes is 6",
    ),
    "bytes of an id": (UserContext(item_ids=[b"a", b"123456"]), "6 bytes in an item id, the limit max_id_bytes is 5"),
    "weights": (
        UserContext(item_ids=[b"a"], weights=[3e38]),
        r"a weight of 3e\+38 in history, the limit max_weight is 1,000,000",
    ),
}


@pytest.mark.parametrize("kind", WITHIN)
def test_a_context_may_reach_the_limit_of(kind: str) -> None:
    check_context(WITHIN[kind], LIMITS, 0)


@pytest.mark.parametrize("kind", BEYOND)
def test_a_context_may_not_exceed_the_limit_of(kind: str) -> None:
    context, message = BEYOND[kind]
    with pytest.raises(LimitExceededError, match=f"^user 7: {message}$"):
        check_context(context, LIMITS, 7)


@pytest.mark.parametrize("weight", [math.nan, math.inf, -math.inf, -0.1])
def test_a_weight_must_be_finite_and_not_negative(weight: float) -> None:
    with pytest.raises(
        InvalidArgumentError, match=f"user 2: weight {weight} at position 1 of history: weights must be"
    ):
        check_context(UserContext(item_ids=[b"a"] * 2, weights=[1.0, weight]), LIMITS, 2)
    with pytest.raises(InvalidArgumentError, match=f"weight {weight} at position 0 of text 'query'"):
        check_context(UserContext(texts=[Text("query", "x", weight)]), LIMITS, 2)


def test_a_history_must_be_oldest_first() -> None:
    message = "user 0: history must be oldest first, but timestamp 8 at position 2 follows 9"
    with pytest.raises(InvalidArgumentError, match=message):
        check_context(UserContext(item_ids=[b"a"] * 3, timestamps=[7, 9, 8]), LIMITS, 0)


@pytest.mark.parametrize(
    ("options", "k"),
    [
        (RankingOptions(), 10),
        (RankingOptions(candidates=[b"a", b"b"]), 2),
        (RankingOptions(candidates=[b"a"] * 4, top_k=3), 3),
        (RankingOptions(top_k=1, exclude=[b"a", b"b"]), 1),
    ],
    ids=["the default", "fewer candidates than the default", "as many as allowed", "excluded ones"],
)
def test_k_is_what_was_asked_for_or_the_default_or_all_there_are(options: RankingOptions, k: int) -> None:
    assert check_options(options, 50, LIMITS, 0) == k


def test_a_small_catalogue_bounds_the_default_k() -> None:
    assert check_options(RankingOptions(), 4, LIMITS, 0) == 4


MISTAKEN: dict[str, tuple[RankingOptions, type[RequestError], str]] = {
    "too many candidates": (
        RankingOptions(candidates=[b"a"] * 5), LimitExceededError, "5 candidates, the limit max_candidates is 4",
    ),
    "no candidates": (RankingOptions(candidates=[]), InvalidArgumentError, "CANDIDATE_IDS is empty"),
    "a long candidate": (RankingOptions(candidates=[b"123456"]), LimitExceededError, "6 bytes in an item id"),
    "too many exclusions": (
        RankingOptions(exclude=[b"a"] * 3), LimitExceededError, "3 excluded items, the limit max_excluded is 2",
    ),
    "a long exclusion": (RankingOptions(exclude=[b"123456"]), LimitExceededError, "6 bytes in an item id"),
    "a k of 0": (RankingOptions(top_k=0), InvalidArgumentError, "TOP_K must be at least 1, not 0"),
    "a negative k": (RankingOptions(top_k=-3), InvalidArgumentError, "TOP_K must be at least 1, not -3"),
    "a k above the limit": (RankingOptions(top_k=4), LimitExceededError, "4 items .*, the limit max_top_k is 3"),
    "a k above the candidates": (
        RankingOptions(candidates=[b"a", b"b"], top_k=3), TopKTooLargeError, "TOP_K is 3, but there are 2 candidates",
    ),
    "a k above the catalogue": (RankingOptions(top_k=3), TopKTooLargeError, "there are 2 items in the catalogue"),
}  # fmt: skip


@pytest.mark.parametrize("kind", MISTAKEN)
def test_options_are_refused_for(kind: str) -> None:
    options, error, message = MISTAKEN[kind]
    with pytest.raises(error, match=f"^user 3: .*{message}"):
        check_options(options, 2, LIMITS, 3)


def test_the_history_is_excluded_unless_the_client_chose_the_candidates() -> None:
    def excluded(**options: Any) -> list[bytes]:
        return RankingOptions(exclude=[b"x"], history=[b"h"], **options).excluded

    assert excluded() == [b"x", b"h"]
    assert excluded(candidates=[b"a"]) == [b"x"]
    assert excluded(candidates=[b"a"], exclude_history=True) == [b"x", b"h"]
    assert excluded(exclude_history=False) == [b"x"]


def test_text_that_is_not_utf8_is_an_error_that_names_the_byte() -> None:
    assert decode_text("žluť".encode(), "TEXTS", 0) == "žluť"
    with pytest.raises(InvalidArgumentError, match="user 4: TEXTS is not UTF-8: byte 0xff at position 2"):
        decode_text(b"ab\xff", "TEXTS", 4)


CODES = {
    InvalidArgumentError: ErrorCode.INVALID_ARGUMENT,
    UnknownItemError: ErrorCode.UNKNOWN_ITEM,
    EmptyRequestError: ErrorCode.EMPTY_REQUEST,
    LimitExceededError: ErrorCode.LIMIT_EXCEEDED,
    TopKTooLargeError: ErrorCode.TOP_K_TOO_LARGE,
    RequestError: ErrorCode.INTERNAL,
}


@pytest.mark.parametrize("error", CODES, ids=lambda error: error.__name__)
def test_an_error_travels_under_its_code(error: type[RequestError]) -> None:
    assert error("user 0: what happened").wire() == f"{CODES[error].value}: user 0: what happened"


def test_every_code_has_an_error_and_every_error_one_base() -> None:
    assert set(CODES.values()) == set(ErrorCode)
    assert {RequestError, *RequestError.__subclasses__()} == set(CODES)
    ours = [e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, Exception)]
    assert all(issubclass(error, errors.TesserankError) for error in ours)
    assert all(error.__name__ in (errors.__doc__ or "") for error in ours), "the tree at the top shows every error"
