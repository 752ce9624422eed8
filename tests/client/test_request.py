"""From arguments to tensors: what cannot be sent is refused, and all else arrives as it was."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tesserank_client import Event, InvalidArgumentError, Request, Text
from tesserank_client import _protocol as protocol
from tesserank_client._request import History, Row, check
from tesserank_client._tensors import NUMPY_DTYPES, Call, encode_cross_encoder, encode_recommend

# Any Unicode that UTF-8 can carry, U+0000 and the astral planes included.
strings = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
weights = st.floats(0, 1e6, width=32)


@st.composite
def rows(draw: st.DrawFn) -> list[Row]:
    """Users of one request: alike in having timestamps, candidates and categories, different in everything else."""
    with_timestamps = draw(st.booleans())

    def column(values: st.SearchStrategy[Any], length: int) -> st.SearchStrategy[Any]:
        return st.lists(values, min_size=length, max_size=length).map(tuple)

    def histories(length: int) -> st.SearchStrategy[History]:
        """Columns that say something: a tensor of defaults is not sent, and so cannot come back."""
        if not length:
            return st.just(History())
        return st.builds(
            History,
            item_ids=column(strings, length),
            timestamps=column(st.integers(-(2**63), 2**63 - 1), length) if with_timestamps else st.none(),
            kinds=column(strings, length),
            weights=column(weights, length),
        )

    row = st.builds(
        Row,
        history=st.integers(0, 4).flatmap(histories),
        texts=st.lists(st.builds(Text, strings, strings, weights), max_size=3).map(tuple),
        candidates=st.lists(strings, min_size=1, max_size=5).map(tuple) if draw(st.booleans()) else st.none(),
        exclude=st.lists(strings, max_size=3).map(tuple),
        categories=st.lists(strings, min_size=1, max_size=3).map(tuple) if draw(st.booleans()) else st.none(),
        top_k=st.integers(1, 2**31 - 1),
        reject_unknown=st.booleans(),
        exclude_history=st.booleans(),
        timestamp=st.integers(-(2**63), 2**63 - 1) if draw(st.booleans()) else st.none(),
    )
    return draw(st.lists(row, min_size=1, max_size=4))


@given(rows())
def test_rows_survive_the_way_to_tensors_and_back(rows: list[Row]) -> None:
    assert _rows_of(encode_recommend(rows), len(rows)) == rows


@given(rows())
def test_tensors_have_the_names_dtypes_and_shapes_of_the_contract(rows: list[Row]) -> None:
    call = encode_recommend(rows)
    assert {tensor.name for tensor, _ in call.inputs} <= {tensor.name for tensor in protocol.RECOMMEND.inputs}
    for tensor, array in call.inputs:
        assert array.dtype == NUMPY_DTYPES[tensor.datatype]
        assert array.shape[0] == len(rows)
        assert array.ndim == 1 + len(tensor.shape)
        assert tensor.shape != (1,) or array.shape == (len(rows), 1)
        assert array.size, f"{tensor.name} says nothing and should have been left out"


@given(strings, st.lists(strings, min_size=1, max_size=5))
def test_cross_encoder_texts_survive_the_way_to_tensors(history_text: str, candidates: list[str]) -> None:
    tensors = {tensor.name: array for tensor, array in encode_cross_encoder(history_text, candidates).inputs}
    assert tensors["HISTORY_TEXT"].tolist() == [[history_text.encode()]]
    assert tensors["CANDIDATE_TEXTS"].tolist() == [[text.encode() for text in candidates]]


def test_a_plain_request_sends_no_tensor_that_says_nothing() -> None:
    call = encode_recommend([check(Request(history=["a"]))])
    assert [tensor.name for tensor, _ in call.inputs] == ["HISTORY_ITEM_IDS", "REJECT_UNKNOWN"]


def test_texts_may_be_a_mapping() -> None:
    assert check(Request(texts={"query": "shoes", "profile": "runner"})).texts == (
        Text("query", "shoes"),
        Text("profile", "runner"),
    )


def test_a_text_alone_goes_to_the_first_text_segment() -> None:
    assert check(Request(texts="shoes")).texts == (Text("", "shoes"),)
    assert check(Request(texts="")).texts == ()


def test_users_with_and_without_a_top_k_are_sent_apart() -> None:
    rows = [check(Request(history=["a"], top_k=3)), check(Request(history=["b"]))]
    with pytest.raises(InvalidArgumentError, match="1 of 2 users have a top_k"):
        encode_recommend(rows)


def test_history_mixes_ids_and_events() -> None:
    row = check(Request(history=["a", Event("b", kind="click"), Event("c", weight=2)]))
    assert row.history == History(("a", "b", "c"), None, ("", "click", ""), (1.0, 1.0, 2.0))


def test_a_history_of_events_that_say_nothing_more_is_one_of_ids() -> None:
    assert check(Request(history=[Event("a"), Event("b")])) == check(Request(history=["a", "b"]))


def test_numpy_integers_are_integers() -> None:
    row = check(Request(history=[Event("a", timestamp=np.int64(7))], top_k=np.int32(3)))  # type: ignore[arg-type]
    assert (row.history.timestamps, row.top_k) == ((7,), 3)


def test_a_user_who_leaves_history_to_the_server_gets_its_default_beside_one_who_does_not() -> None:
    rows = [check(Request(["a"], candidates=["b"])), check(Request(["a"], candidates=["b"], exclude_history=True))]
    assert _array(encode_recommend(rows), "EXCLUDE_HISTORY").tolist() == [[False], [True]]
    rows = [check(Request(["a"])), check(Request(["a"], exclude_history=False))]
    assert _array(encode_recommend(rows), "EXCLUDE_HISTORY").tolist() == [[True], [False]]


@pytest.mark.parametrize("weight", [float("nan"), -1.0, float("inf"), 1e300])
def test_the_server_judges_a_weight_that_can_be_sent(weight: float) -> None:
    sent = _array(encode_recommend([check(Request([Event("a", weight=weight)]))]), "HISTORY_WEIGHTS")
    expected = np.inf if weight > 1e38 else weight
    np.testing.assert_array_equal(sent, np.array([[expected]], np.float32))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"history": "abc"}, "history is 'abc': give a list"),
        ({"history": 7}, "history is 7: give a list"),
        ({"history": [7]}, "of type int: it must be a str"),
        ({"history": [b"a"]}, "of type bytes: it must be a str"),
        ({"history": ["a", ""]}, 'item id in history is ""'),
        ({"history": [Event("")]}, 'item id in history is ""'),
        ({"history": ["\ud800"]}, "cannot be encoded as UTF-8"),
        ({"history": [Event("a", kind="")]}, "kind of the event of item 'a' is \"\""),
        ({"history": [Event("a", timestamp=1), Event("b")]}, "1 of 2 events of the history have a timestamp"),
        ({"history": [Event("a", timestamp=cast(Any, 1.5))]}, "it must be an int"),
        ({"history": [Event("a", timestamp=2**63)]}, "it must be an int from"),
        (
            {"history": [Event("a", weight=cast(Any, "heavy"))]},
            "weight 'heavy' of the event of item 'a' is not a number",
        ),
        ({"history": [Event("a", weight=cast(Any, None))]}, "weight None of the event of item 'a' is not a number"),
        ({"texts": {"query": ""}}, "text 'query' is \"\""),
        ({"texts": {"query": 3}}, "of type int: it must be a str"),
        ({"texts": {"query": "\udc80"}}, "cannot be encoded as UTF-8"),
        ({"texts": "\udc80"}, "cannot be encoded as UTF-8"),
        ({"texts": ["shoes"]}, "texts holds 'shoes': give Text"),
        ({"candidates": []}, "candidates is empty"),
        ({"candidates": "abc"}, "candidates is 'abc': give a list"),
        ({"candidates": ["a", ""]}, 'candidate id is ""'),
        ({"candidates": ["\udfff"]}, "cannot be encoded as UTF-8"),
        ({"categories": []}, "categories is empty: name some, or None for all categories"),
        ({"categories": "tents"}, "categories is 'tents': give a list"),
        ({"categories": [3]}, "category 3 is of type int"),
        ({"history": [Event("a", kind=cast(Any, ["view"]))]}, "kind of the event of item 'a' ['view'] is of type list"),
        ({"exclude": "abc"}, "exclude is 'abc': give a list"),
        ({"exclude": [""]}, 'excluded item id is ""'),
        ({"top_k": 0}, "top_k is 0: it must be an int from 1"),
        ({"top_k": True}, "top_k is True"),
        ({"top_k": 2.0}, "top_k is 2.0: it must be an int"),
        ({"top_k": 2**31}, "top_k is 2147483648"),
        ({"unknown_items": "ignore"}, "unknown_items 'ignore': it is 'skip' or 'reject'"),
        ({"exclude_history": "no"}, "exclude_history 'no': it is True, False or None"),
    ],
)
def test_what_cannot_be_sent_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgumentError) as refused:
        check(Request(**arguments))
    assert message in str(refused.value)


def test_users_with_and_without_candidates_are_not_sent_together() -> None:
    with pytest.raises(InvalidArgumentError, match="1 of 2 users have candidates"):
        encode_recommend([check(Request(["a"])), check(Request(["a"], candidates=["b"]))])


def test_users_with_and_without_categories_are_not_sent_together() -> None:
    with pytest.raises(InvalidArgumentError, match="1 of 2 users have categories, the others none: send them apart"):
        encode_recommend([check(Request(["a"])), check(Request(["a"], categories=["tents"]))])


def test_users_with_and_without_timestamps_are_not_sent_together() -> None:
    with pytest.raises(InvalidArgumentError, match="timestamps in their history, others none"):
        encode_recommend([check(Request(["a"])), check(Request([Event("a", timestamp=1)]))])


def test_requests_with_and_without_a_time_are_not_sent_together() -> None:
    with pytest.raises(InvalidArgumentError, match="1 of 2 users have a timestamp: give all of them one, or none"):
        encode_recommend([check(Request(["a"])), check(Request(["a"], timestamp=1))])
    with pytest.raises(InvalidArgumentError, match=r"timestamp of the request \(whole Unix seconds\) is 1.5"):
        check(Request(["a"], timestamp=1.5))  # type: ignore[arg-type]


def test_a_user_without_history_goes_beside_one_with_timestamps() -> None:
    call = encode_recommend([check(Request([Event("a", timestamp=1)])), check(Request(texts={"query": "b"}))])
    assert _array(call, "HISTORY_ITEM_IDS").tolist() == [[b"a"], [b""]]


def _array(call: Call, name: str) -> Any:
    return next(array for tensor, array in call.inputs if tensor.name == name)


def _rows_of(call: Call, users: int) -> list[Row]:
    """The contract read the server's way, knowing nothing of the encoder: absent is default, "" is padding."""
    tensors = {tensor.name: array.tolist() for tensor, array in call.inputs}

    def read(name: str, user: int, default: Any, count: int) -> list[Any]:
        return tensors[name][user][:count] if name in tensors else [default] * count

    def ids(name: str, user: int) -> tuple[str, ...]:
        return tuple(value.decode() for value in tensors.get(name, [[]] * users)[user] if value)

    def row(user: int) -> Row:
        history, texts = ids("HISTORY_ITEM_IDS", user), ids("TEXTS", user)
        kinds = tuple(kind.decode() for kind in read("HISTORY_KINDS", user, b"", len(history)))
        columns = (tuple(read(name, user, None, len(history))) for name in ("HISTORY_TIMESTAMPS", "HISTORY_WEIGHTS"))
        stamps, event_weights = (column if any(value is not None for value in column) else None for column in columns)
        text_weights = read("TEXT_WEIGHTS", user, 1.0, len(texts))
        return Row(
            history=History(history, stamps, kinds, event_weights) if history else History(),
            texts=tuple(map(Text, ids("TEXT_NAMES", user), texts, text_weights)),
            candidates=ids("CANDIDATE_IDS", user) if "CANDIDATE_IDS" in tensors else None,
            exclude=ids("EXCLUDE_IDS", user),
            categories=ids("CATEGORIES", user) if "CATEGORIES" in tensors else None,
            top_k=tensors["TOP_K"][user][0],
            reject_unknown=tensors["REJECT_UNKNOWN"][user][0],
            exclude_history=tensors["EXCLUDE_HISTORY"][user][0],
            timestamp=tensors["REQUEST_TIMESTAMP"][user][0] if "REQUEST_TIMESTAMP" in tensors else None,
        )

    return [row(user) for user in range(users)]
