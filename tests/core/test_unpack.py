"""A request's arrays become users; padding is left behind, and nothing else is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tesserank.errors import EmptyRequestError, InvalidArgumentError
from tesserank.serving.request import RankingOptions, Text, UserContext
from tesserank.serving.unpack import ranking_options, user_contexts


def strings(*rows: list[bytes]) -> NDArray[Any]:
    return np.array(rows, dtype=object).reshape(len(rows), -1)


def plain(user: UserContext) -> UserContext:
    """With lists in the place of arrays, which cannot be compared as a whole."""
    lists = {name: getattr(user, name) for name in ("timestamps", "weights")}
    return replace(user, **{name: None if array is None else array.tolist() for name, array in lists.items()})


def test_lists_of_different_lengths_lose_their_padding() -> None:
    users = user_contexts(
        {
            "HISTORY_ITEM_IDS": strings([b"a", b"b", b"c"], [b"d", b"", b""], [b"", b"", b""]),
            "HISTORY_TIMESTAMPS": np.array([[1, 2, 3], [4, -9, -9], [0, 0, 0]]),
            "HISTORY_KINDS": strings([b"view", b"", b"like"], [b"view", b"\xff", b""], [b"", b"", b""]),
            "HISTORY_WEIGHTS": np.array([[1, 0.5, 2], [1, np.nan, np.nan], [0, 0, 0]], dtype=np.float32),
            "TEXT_NAMES": strings([b"query", b""], [b"", b"query"], [b"profile", b"query"]),
            "TEXTS": strings([b"red", b""], [b"", "žluť".encode()], [b"x", b"y"]),
            "TEXT_WEIGHTS": np.array([[0.5, np.nan], [7, 1], [1, 2]], dtype=np.float32),
            "REJECT_UNKNOWN": np.array([[True], [False], [False]]),
            "REQUEST_TIMESTAMP": np.array([[7], [0], [-1]]),
        }
    )
    assert [plain(user) for user in users] == [
        UserContext(
            [b"a", b"b", b"c"], [1, 2, 3], ["view", "", "like"], [1, 0.5, 2], [Text("query", "red", 0.5)], True, 7
        ),
        UserContext([b"d"], [4], ["view"], [1], [Text("query", "žluť", 1.0)], timestamp=0),
        UserContext([], [], [], [], [Text("profile", "x", 1.0), Text("query", "y", 2.0)], timestamp=-1),
    ]


def test_what_was_not_sent_is_absent() -> None:
    assert user_contexts({"HISTORY_ITEM_IDS": strings([b"a"])}) == [UserContext([b"a"], texts=[])]
    texts = {"TEXT_NAMES": strings([b"query"]), "TEXTS": strings([b"red"])}
    assert user_contexts(texts) == [UserContext([], texts=[Text("query", "red", 1.0)])]
    assert ranking_options({"SEGMENT_CHANNELS": np.zeros((2, 1))}) == [RankingOptions(exclude=[], history=[])] * 2


def test_lists_of_length_0_are_empty() -> None:
    empty = np.empty((2, 0), dtype=object)
    assert (
        user_contexts({"HISTORY_ITEM_IDS": empty, "TEXTS": empty, "TEXT_NAMES": empty})
        == [UserContext([], texts=[])] * 2
    )
    assert ranking_options({"CANDIDATE_IDS": empty}) == [RankingOptions(candidates=[], exclude=[], history=[])] * 2
    # not None: an allow list that allows nothing must not allow everything
    assert ranking_options({"CATEGORIES": empty}) == [RankingOptions(categories=[], exclude=[], history=[])] * 2


def test_a_request_without_any_input_is_an_empty_one() -> None:
    with pytest.raises(EmptyRequestError, match="send HISTORY_ITEM_IDS or TEXTS"):
        user_contexts({})


@pytest.mark.parametrize("name", ["HISTORY_ITEM_IDS", "CANDIDATE_IDS", "EXCLUDE_IDS", "CATEGORIES"])
def test_an_empty_id_before_the_end_is_an_error_and_not_padding(name: str) -> None:
    arrays = {name: strings([b"a", b"b", b""], [b"a", b"", b"c"])}
    unpack = user_contexts if name == "HISTORY_ITEM_IDS" else ranking_options
    with pytest.raises(InvalidArgumentError, match=f"user 1: {name} has an empty id at position 1"):
        unpack(arrays)


PARALLEL = [
    ("HISTORY_ITEM_IDS", "HISTORY_TIMESTAMPS"),
    ("HISTORY_ITEM_IDS", "HISTORY_KINDS"),
    ("HISTORY_ITEM_IDS", "HISTORY_WEIGHTS"),
    ("TEXTS", "TEXT_NAMES"),
    ("TEXTS", "TEXT_WEIGHTS"),
]


@pytest.mark.parametrize(("first", "second"), PARALLEL)
def test_parallel_lists_of_different_lengths_are_an_error_with_both_lengths(first: str, second: str) -> None:
    arrays = {first: np.full((2, 3), b"x", dtype=object), second: np.full((2, 2), b"x", dtype=object)}
    if second == "TEXT_WEIGHTS":
        arrays["TEXT_NAMES"] = arrays["TEXTS"]
    with pytest.raises(InvalidArgumentError, match=f"{first} and {second} must be equally long, but are 3 and 2"):
        user_contexts(arrays)
    with pytest.raises(InvalidArgumentError, match=f"{first} and {second} must be equally long, but are 0 and 2"):
        user_contexts({second: arrays[second]})


def test_texts_without_names_are_an_error() -> None:
    with pytest.raises(InvalidArgumentError, match="TEXTS and TEXT_NAMES must be equally long, but are 1 and 0"):
        user_contexts({"TEXTS": strings([b"red"])})


@pytest.mark.parametrize("name", ["TEXTS", "TEXT_NAMES", "HISTORY_KINDS"])
def test_what_must_be_text_must_be_utf8(name: str) -> None:
    arrays = {n: strings([b"a"]) for n in ("HISTORY_ITEM_IDS", "HISTORY_KINDS", "TEXTS", "TEXT_NAMES")}
    arrays[name] = strings([b"\xfe"])
    with pytest.raises(InvalidArgumentError, match=f"user 0: {name} is not UTF-8: byte 0xfe at position 0"):
        user_contexts(arrays)


def test_every_user_has_options_of_their_own() -> None:
    options = ranking_options(
        {
            "HISTORY_ITEM_IDS": strings([b"h", b""], [b"i", b"j"]),
            "CANDIDATE_IDS": strings([b"a", b"b"], [b"c", b""]),
            "EXCLUDE_IDS": strings([b""], [b"x"]),
            "CATEGORIES": strings([b"tents", b""], [b"tents", b"boots"]),
            "TOP_K": np.array([[5], [1]], dtype=np.int32),
            "REJECT_UNKNOWN": np.array([[False], [True]]),
            "EXCLUDE_HISTORY": np.array([[True], [False]]),
        }
    )
    assert options == [
        RankingOptions([b"a", b"b"], [b"tents"], [], [b"h"], 5, False, True),
        RankingOptions([b"c"], [b"tents", b"boots"], [b"x"], [b"i", b"j"], 1, True, False),
    ]
