"""From tensors to recommendations: padding goes, everything else stays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tesserank_client import InternalServerError
from tesserank_client._result import decode_cross_encoder, decode_recommend

strings = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
COUNTS = ("UNKNOWN_HISTORY", "UNKNOWN_CANDIDATES", "TRUNCATED_TOKENS", "CACHE_HITS", "CACHE_MISSES")


def answer_of(users: list[tuple[list[str], list[str]]]) -> dict[str, Any]:
    """An answer of ``recommend`` with these (item ids, segment labels) a user, padded as the server pads."""
    k, segments = (max(len(user[part]) for user in users) for part in (0, 1))
    shape = (len(users), k, segments)
    numbers = np.arange(np.prod(shape, dtype=int), dtype=np.float32).reshape(shape)
    answer: dict[str, Any] = {
        "ITEM_IDS": np.full((len(users), k), b"", dtype=object),
        "SEGMENT_LABELS": np.full((len(users), segments), b"", dtype=object),
        "SCORES": np.full((len(users), k), -np.inf, dtype=np.float32),
        "SEGMENT_SCORES": numbers,
        "SEGMENT_CONTRIBUTIONS": numbers / 2,
    }
    for row, (ids, labels) in enumerate(users):
        answer["ITEM_IDS"][row, : len(ids)] = [item.encode() for item in ids]
        answer["SEGMENT_LABELS"][row, : len(labels)] = [label.encode() for label in labels]
        answer["SCORES"][row, : len(ids)] = np.arange(len(ids), 0, -1)
    for offset, name in enumerate(COUNTS):
        answer[name] = np.arange(len(users), dtype=np.int32).reshape(-1, 1) + 10 * offset
    return answer


@given(st.lists(st.tuples(st.lists(strings, max_size=4), st.lists(strings, max_size=3)), min_size=1, max_size=4))
def test_padding_is_trimmed_and_nothing_else(users: list[tuple[list[str], list[str]]]) -> None:
    answer = answer_of(users)
    decoded = decode_recommend(answer, len(users))
    assert len(decoded) == len(users)
    for row, ((ids, labels), result) in enumerate(zip(users, decoded, strict=True)):
        assert list(result.item_ids) == ids
        assert list(result.segments) == labels
        assert result.scores.tolist() == list(range(len(ids), 0, -1))
        expected = answer["SEGMENT_SCORES"][row, : len(ids), : len(labels)]
        np.testing.assert_array_equal(result.segment_scores, expected)
        np.testing.assert_array_equal(result.contributions, expected / 2)
        assert [list(item.segment_scores) for item in result.items] == expected.tolist()
        assert [list(item.contributions) for item in result.items] == (expected / 2).tolist()


def test_counts_are_each_users_own() -> None:
    second = decode_recommend(answer_of([(["a"], ["s"]), (["b"], ["s"])]), 2)[1]
    counts = [getattr(second, name.lower()) for name in COUNTS]
    assert counts == [1, 11, 21, 31, 41]


def test_equal_answers_are_equal_and_arrays_are_read_only() -> None:
    first, second = (decode_recommend(answer_of([(["a"], ["s"])]), 1)[0] for _ in range(2))
    assert first == second
    with pytest.raises(ValueError, match="read-only"):
        first.scores[0] = 1.0


@pytest.mark.parametrize("name", ["ITEM_IDS", "SEGMENT_SCORES", "CACHE_MISSES"])
def test_a_missing_tensor_is_an_error(name: str) -> None:
    with pytest.raises(InternalServerError, match=f"lacks {name}"):
        decode_recommend({**answer_of([(["a"], ["s"])]), name: None}, 1)


@pytest.mark.parametrize(
    ("name", "shape"),
    [("SCORES", (1, 2)), ("SEGMENT_SCORES", (1, 1, 2)), ("TRUNCATED_TOKENS", (1, 0)), ("SCORES", (1,))],
)
def test_a_tensor_of_another_shape_is_an_error(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(InternalServerError, match=f"{name} came with shape"):
        decode_recommend({**answer_of([(["a"], ["s"])]), name: np.zeros(shape, np.float32)}, 1)


def test_an_answer_for_another_number_of_users_is_an_error() -> None:
    with pytest.raises(InternalServerError, match=r"came with shape \[1, 1\], the contract has \[2, -1\]"):
        decode_recommend(answer_of([(["a"], ["s"])]), 2)


def test_an_id_that_is_not_utf8_is_an_error() -> None:
    answer = answer_of([(["a"], ["s"])])
    answer["ITEM_IDS"][0, 0] = b"\xff"
    with pytest.raises(InternalServerError, match="not UTF-8"):
        decode_recommend(answer, 1)


def test_cross_encoder_scores_come_in_the_order_of_the_candidates() -> None:
    scores = decode_cross_encoder({"SCORES": np.array([[3, 1, 2]], np.float32)}, 3)
    assert scores.dtype == np.float32
    assert scores.tolist() == [3, 1, 2]


def test_cross_encoder_scores_for_other_candidates_are_an_error() -> None:
    with pytest.raises(InternalServerError, match="SCORES came with shape"):
        decode_cross_encoder({"SCORES": np.zeros((1, 2), np.float32)}, 3)
