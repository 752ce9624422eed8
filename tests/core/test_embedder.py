"""Contexts become segments: looked up, found in the cache, or encoded once, with the same result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tesserank.encoding.cache import SegmentCache
from tesserank.errors import EmptyRequestError, InvalidArgumentError, UnknownItemError
from tesserank.segments.config import HistoryConfig
from tesserank.serving.embedder import EmbeddedUsers
from tesserank.serving.plan import Moment
from tesserank.serving.request import Text, UserContext
from tests.core.users import assert_same
from tests.core.world import (
    ITEMS,
    LAST,
    MOMENTS,
    TEMPLATE,
    TEXTLESS,
    UNSEEN,
    CountingEncoder,
    make_config,
    make_embedder,
    make_index,
    unit_rows,
)

CUTS = ("item", "session", "content")
contexts = st.builds(
    lambda rows, texts: UserContext(
        item_ids=[ITEMS[row].encode() for row in rows],
        timestamps=[position * 7 for position in range(len(rows))],
        texts=[Text(name, " ".join(map(str, words))) for name, words in texts],
    ),
    st.lists(st.integers(0, 9), min_size=1, max_size=9),
    st.lists(
        st.tuples(st.sampled_from(("query", "profile")), st.lists(st.integers(4, 59), min_size=1, max_size=12)),
        max_size=3,
    ),
)


def history(*items: str, **more: Any) -> UserContext:
    return UserContext(item_ids=[item.encode() for item in items], timestamps=range(0, 5 * len(items), 5), **more)


def labels(embedded: EmbeddedUsers, row: int = 0) -> list[str]:
    return list(embedded.segments[row].labels)


@pytest.mark.parametrize("cut", CUTS)
@given(users=st.lists(contexts, min_size=1, max_size=5))
@settings(max_examples=40)
def test_cold_warm_and_hot_requests_give_identical_arrays(cut: str, users: Sequence[UserContext]) -> None:
    encoder = CountingEncoder()
    embedder = make_embedder(make_config(cut), encoder)
    embedder.embed(users[:1])  # from here on the first user is hot, and the batch is warm
    warm, rows = embedder.embed(users), encoder.rows
    hot = embedder.embed(users)
    assert encoder.rows == rows, "a hot request encodes nothing"
    assert sum(hot.misses) == 0
    cold = make_embedder(make_config(cut), CountingEncoder()).embed(users)
    without_cache = make_embedder(make_config(cut), CountingEncoder(), cache=SegmentCache(0)).embed(users)
    for other in (hot, cold, without_cache):
        for ours, theirs in zip(warm.segments, other.segments, strict=True):
            assert_same(ours, theirs)


@pytest.mark.parametrize("cut", CUTS)
@given(users=st.lists(contexts, min_size=1, max_size=5))
@settings(max_examples=40)
def test_a_batch_gives_each_user_what_they_get_alone(cut: str, users: Sequence[UserContext]) -> None:
    together = make_embedder(make_config(cut), CountingEncoder()).embed(users)
    for row, user in enumerate(users):
        alone = make_embedder(make_config(cut), CountingEncoder()).embed([user])
        assert_same(together.segments[row], alone.segments[0])
        assert (together.unknown[row], together.truncated[row]) == (alone.unknown[0], alone.truncated[0])
        assert together.hits[row] + together.misses[row] == alone.hits[0] + alone.misses[0]


def test_the_same_segment_of_several_users_is_encoded_once() -> None:
    encoder, cache = CountingEncoder(), SegmentCache(1 << 20)
    texts = (Text("query", "5 6 7"), Text("profile", "5 6 7"))
    embedded = make_embedder(make_config(), encoder, cache=cache).embed([UserContext(texts=texts)] * 10)
    assert encoder.rows == 1
    assert (embedded.hits, embedded.misses) == ([0] * 10, [2] * 10), "what each user had to wait for"
    assert (cache.counters().hits, cache.counters().misses) == (0, 1), "what the cache was asked for"


def test_what_several_requests_miss_is_encoded_together_and_once() -> None:
    encoder = CountingEncoder()
    embedder = make_embedder(make_config(), encoder)
    requests = [embedder.plan([UserContext(texts=[Text("query", text)])]) for text in ("5 6", "7 8", "5 6")]
    assert [len(request.missing) for request in requests] == [1, 1, 1]
    embedder.encode(requests)
    assert encoder.shapes == [(2, 6)]
    alone = make_embedder(make_config(), CountingEncoder()).embed([UserContext(texts=[Text("query", "5 6")])])
    for request in (requests[0], requests[2]):
        assert_same(embedder.finish(request).segments[0], alone.segments[0])


def test_what_was_encoded_for_another_meanwhile_is_not_encoded_again() -> None:
    encoder, cache = CountingEncoder(), SegmentCache(1 << 20)
    embedder = make_embedder(make_config(), encoder, cache=cache)
    first, second = (embedder.plan([UserContext(texts=[Text("query", "5 6")])]) for _ in range(2))
    embedder.encode([first])
    embedder.encode([second])
    assert encoder.rows == 1
    assert second.misses == [1], "it was missing when it was looked for"
    assert (cache.counters().hits, cache.counters().misses) == (0, 2)
    assert_same(embedder.finish(first).segments[0], embedder.finish(second).segments[0])


def test_a_segment_that_is_evicted_before_it_is_needed_is_there_nevertheless() -> None:
    cache = SegmentCache(600)  # room for one text
    embedder = make_embedder(make_config(), CountingEncoder(), cache=cache)
    embedder.embed([UserContext(texts=[Text("query", "5 6")])])
    planned = embedder.plan([UserContext(texts=[Text("query", "5 6")])])
    assert planned.hits == [1]
    embedder.embed([UserContext(texts=[Text("query", "7 8")])])
    assert cache.counters().evictions == 1
    assert embedder.finish(planned).segments[0].spaces["text"].tokens.shape == (2, 8)


def test_the_encoder_is_never_given_more_rows_than_it_takes() -> None:
    encoder = CountingEncoder()
    users = [UserContext(texts=[Text("query", f"{word} {word}")]) for word in range(4, 15)]
    make_embedder(make_config(), encoder).embed(users)
    assert [rows for rows, _ in encoder.shapes] == [4, 4, 3]


def test_items_cut_one_by_one_need_no_encoder() -> None:
    encoder, index = CountingEncoder(), make_index()
    embedded = make_embedder(make_config(), encoder, index).embed([history("i3", "i0")])
    assert encoder.shapes == []
    assert labels(embedded) == [
        "history/text:i3", "history/text:i0", "history/collaborative:i3", "history/collaborative:i0",
    ]  # fmt: skip
    vectors = index.spaces["text"].items.item(3)
    np.testing.assert_array_equal(embedded.batch.embeddings[0, 0, : len(vectors)], vectors.astype(np.float32))
    assert not embedded.batch.embeddings[0, 0, len(vectors) :].any()
    assert not embedded.batch.token_weights[0, 0, len(vectors) :].any()


def test_a_looked_up_item_equals_an_encoded_one_up_to_float16() -> None:
    looked_up = make_embedder(make_config("item"), CountingEncoder()).embed([history("i4")]).batch
    encoded = make_embedder(make_config("session"), CountingEncoder()).embed([history("i4")]).batch
    np.testing.assert_allclose(looked_up.embeddings, encoded.embeddings, rtol=0, atol=2.0**-11)  # float16 below 1
    np.testing.assert_array_equal(looked_up.token_weights, encoded.token_weights)


@pytest.mark.parametrize("group_by_item", [True, False])
def test_token_weights_of_every_unit_add_up_to_1(group_by_item: bool) -> None:
    config = make_config("session", group_by_item=group_by_item)
    batch = make_embedder(config, CountingEncoder()).embed([history("i1", "i2", "i3")]).batch
    used = batch.token_weights[0, 0] > 0
    totals = np.bincount(batch.token_groups[0, 0][used], weights=batch.token_weights[0, 0][used])
    np.testing.assert_allclose(totals, np.ones(3 if group_by_item else 1), rtol=1e-6)


def test_a_session_is_one_segment_of_its_items_in_both_spaces() -> None:
    context = UserContext(item_ids=[b"i1", b"i2", b"i3"], timestamps=[0, 5, 50])
    embedded = make_embedder(make_config("session"), CountingEncoder()).embed([context])
    assert labels(embedded) == [
        "history/text:i1+i2", "history/text:i3", "history/collaborative:i1+i2", "history/collaborative:i3",
    ]  # fmt: skip
    assert embedded.misses == [2], "collaborative vectors are looked up"


@pytest.mark.parametrize("kind", ["float16", "int8"])
@pytest.mark.parametrize("group_by_item", [True, False])
def test_looked_up_segments_hold_the_vectors_of_their_items(kind: str, group_by_item: bool) -> None:
    """One segment and one item at a time; the embedder gathers those of all segments of a user at once."""
    index, config = make_index(kind=kind), make_config("session", group_by_item=group_by_item)
    # the middle item of the second session is one that the collaborative space does not know
    context = UserContext([b"i1", b"i2", b"i3", b"i11", b"i5"], timestamps=[0, 5, 50, 51, 52])
    found = make_embedder(config, CountingEncoder(), index).embed([context]).segments[0].spaces["collaborative"]
    space, blocks = index.spaces["collaborative"], [[1, 2], [3, 5]]
    units = [[row] for block in blocks for row in block] if group_by_item else blocks
    vectors = [np.concatenate([space.items.item(row) for row in unit]) for unit in units]
    np.testing.assert_array_equal(found.tokens, np.concatenate(vectors))
    assert found.starts.tolist() == np.cumsum([0, *map(len, vectors)])[:-1].tolist()
    assert found.unit_segment.tolist() == ([0, 0, 1, 1] if group_by_item else [0, 1])
    for unit, own in zip(units, np.split(found.token_weights, found.starts[1:]), strict=True):
        weights = np.concatenate([space.item_weights(row) for row in unit])
        np.testing.assert_allclose(own, weights / weights.sum(), rtol=1e-6)


@pytest.mark.parametrize("cut", CUTS)
def test_an_item_that_a_space_knows_nothing_of_is_no_segment_in_it(cut: str) -> None:
    embedder = make_embedder(make_config(cut), CountingEncoder())
    assert labels(embedder.embed([history(TEXTLESS)])) == [f"history/collaborative:{TEXTLESS}"]
    assert labels(embedder.embed([history(UNSEEN)])) == [f"history/text:{UNSEEN}"]


def test_weights_multiply_by_kind_and_decay_with_age() -> None:
    context = history("i1", "i2", "i3", "i4", weights=[1.0, 0.5, 3.0, 1.0], kinds=["view", "like", "ignore", "like"])
    batch = make_embedder(make_config(), CountingEncoder()).embed([context]).batch
    expected = [0.8**3, 0.8**2 * 0.5 * 2, 2.0]  # i3 was ignored, yet i1 and i2 are as old as they are
    np.testing.assert_allclose(batch.weights[0], expected * 2, rtol=1e-6)


def test_an_event_that_weighs_nothing_in_float32_is_no_segment() -> None:
    context = history("i1", "i2", weights=[1e-50, 1.0])
    embedded = make_embedder(make_config(), CountingEncoder()).embed([context])
    assert labels(embedded) == ["history/text:i2", "history/collaborative:i2"]


def test_unknown_items_are_counted_or_refused() -> None:
    embedder = make_embedder(make_config(), CountingEncoder())
    embedded = embedder.embed([history("i1", "x", "y", "x"), history("i1")])
    assert embedded.unknown == [3, 0]
    assert labels(embedded) == labels(embedded, 1)
    message = r"user 1: 4 items \(x, y, \\xff, \.\.\.\) of the history not in the catalogue"
    with pytest.raises(UnknownItemError, match=message):
        embedder.embed([history("i1"), UserContext([b"x", b"y", b"\xff", b"z"], reject_unknown=True)])


def test_texts_beyond_their_limit_are_cut_and_counted() -> None:
    encoder = CountingEncoder()
    embedded = make_embedder(make_config(), encoder).embed([UserContext(texts=[Text("query", "5 5 5 5 5 6 7")])])
    assert embedded.truncated == [2]
    assert int((embedded.batch.token_weights > 0).sum()) == 5


def test_texts_of_one_name_are_segments_of_one_channel() -> None:
    texts = [Text("query", "5"), Text("profile", "6"), Text("query", "7"), Text("", "8", weight=0.5)]
    embedded = make_embedder(make_config(), CountingEncoder()).embed([UserContext(texts=texts)])
    assert labels(embedded) == ["query/text", "profile/text", "query/text:2", "query/text:3"]
    assert embedded.batch.channels.tolist() == [[2, 3, 2, 2]]
    assert embedded.batch.weights.tolist() == [[1.0, 1.0, 1.0, 0.5]]


def test_a_block_of_more_items_than_the_encoder_takes_loses_the_last_ones() -> None:
    items = [f"i{number % 10}" for number in range(100)]
    unbounded = HistoryConfig(cut="session", max_events=100, max_items=100, token_limit=1_000)
    encoder = CountingEncoder()
    embedded = make_embedder(replace(make_config(), history=unbounded), encoder).embed([history(*items)])
    assert encoder.shapes == [(1, TEMPLATE.max_tokens)]
    kept = int((embedded.batch.token_weights[0, 0] > 0).sum())
    assert kept > TEMPLATE.max_tokens // 2, "separators of items that are not in it take no room"
    assert embedded.truncated[0] == sum(len(make_index().token_ids(int(item[1:]))) for item in items) - kept


NOTHING = {
    "nothing at all": UserContext(),
    "only unknown items": UserContext(item_ids=[b"x"]),
    "only blank texts": UserContext(texts=[Text("query", " ")]),
    "only weights of 0": UserContext(item_ids=[b"i1"], weights=[0.0], texts=[Text("query", "5", 0.0)]),
    "only ignored events": UserContext(item_ids=[b"i1"], kinds=["ignore"]),
}


@pytest.mark.parametrize("kind", NOTHING)
def test_a_user_without_a_segment_is_an_error_and_nothing_is_encoded(kind: str) -> None:
    encoder = CountingEncoder()
    users = [UserContext(texts=[Text("query", "5")]), NOTHING[kind]]
    with pytest.raises(EmptyRequestError, match="user 1: nothing to score by"):
        make_embedder(make_config(), encoder).embed(users)
    assert encoder.rows == 0


def test_a_text_that_no_segment_is_called_is_an_error_that_lists_the_names() -> None:
    with pytest.raises(
        InvalidArgumentError, match="user 0: no text segment is called 'mood': there are query, profile"
    ):
        make_embedder(make_config(), CountingEncoder()).embed([UserContext(texts=[Text("mood", "5")])])


def test_the_counting_encoder_ignores_padding() -> None:
    encoder = CountingEncoder()
    short, long = (
        encoder(np.array([[5, 6]]), np.ones((1, 2), int)),
        encoder(np.array([[5, 6, 9]]), np.array([[1, 1, 0]])),
    )
    np.testing.assert_array_equal(short, long[:, :2])
    np.testing.assert_allclose(unit_rows(short), short, rtol=1e-6)


def test_a_space_may_have_vectors_and_ages_of_its_own_for_items_that_are_segments() -> None:
    spaces = '[history.spaces]\ntext = 1.0\ntransitions = { method = "sum", recency = 0.5 }\n'
    embedded = make_embedder(make_config(more=spaces), CountingEncoder()).embed([history("i1", LAST, "i4")])
    user, queries = embedded.segments[0], make_index().spaces["transitions"].queries
    assert queries is not None
    rows = [ITEMS.index("i1"), ITEMS.index("i4")]  # what nothing follows is no segment, but has grown older
    assert user.spaces["transitions"].tokens.tolist() == queries.decode(np.array(rows)).vectors.tolist()
    assert dict(zip(user.labels, user.weights.tolist(), strict=True)) == pytest.approx(
        {
            "history/text:i1": 0.64,
            f"history/text:{LAST}": 0.8,
            "history/text:i4": 1.0,
            "history/transitions:i1": 0.25,
            "history/transitions:i4": 1.0,
        }
    )


def test_a_space_may_see_more_of_a_history_than_others() -> None:
    spaces = "[history.spaces]\ntext = { max_events = 2 }\ncollaborative = 1.0\ntransitions = { max_events = 4 }\n"
    met = ["i1", "i3", "i4", "i5", "i6", "i7", "i8", "i9"]
    embedded = make_embedder(make_config(more=spaces), CountingEncoder()).embed([history(*met)])
    assert (
        labels(embedded)
        == [
            *(f"history/text:{item}" for item in met[-2:]),
            *(f"history/collaborative:{item}" for item in met[-6:]),  # as [history] says
            *(f"history/transitions:{item}" for item in met[-4:]),
        ]
    )


# When it is asked


TREND = "[history.spaces]\ntrend = { weight = 1.0, method = 'sum', recency = 0.5, max_events = 3 }\n"


def test_a_moment_is_one_segment_that_weighs_what_the_history_does() -> None:
    embedder = make_embedder(make_config(more=TREND), CountingEncoder())
    queries = make_index().spaces["trend"].queries
    assert queries is not None
    for at, row in ((MOMENTS[1], 1), (MOMENTS[2] - 1, 1), (MOMENTS[2], 2), (None, 2)):
        embedded = embedder.embed([history("i1", "i3", "i4", "i5", kinds=["", "", "like", ""], timestamp=at)])
        [user] = embedded.segments
        assert labels(embedded) == [f"history/trend:1970-01-01T00:0{MOMENTS[row] // 60}Z"]
        np.testing.assert_array_equal(user.spaces["trend"].tokens, queries.decode().vectors[[row]])
        assert user.weights.tolist() == [0.5**2 + 0.5 * 2 + 1]  # the newest three, the second a like


@pytest.mark.parametrize(("since", "label"), [(-(10**11), "-1199-02-15T14:13Z"), (10**11, "5138-11-16T09:46Z")])
def test_a_moment_has_a_label_whatever_a_log_may_hold(since: int, label: str) -> None:
    assert str(Moment(0, since)) == label


def test_a_history_at_a_time_of_which_nothing_is_known_is_no_segment() -> None:
    embedder = make_embedder(make_config(more=TREND), CountingEncoder())
    for user in (history("i1", timestamp=MOMENTS[0]), history("i1", kinds=["ignore"]), UserContext([b"none"])):
        with pytest.raises(EmptyRequestError, match="give no segment"):
            embedder.embed([user])
