"""Segments flat and as padded arrays: nothing is lost on the way, and what no embedder gives out is refused."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tesserank.errors import InvalidArgumentError, LimitExceededError
from tesserank.limits import Limits
from tesserank.serving.segments import SegmentBatch, SpaceTokens, UserSegments, normalise_weights
from tests.core.users import assert_same

CHANNEL_SPACES = ("wide", "narrow", "wide")
DIMS = {"wide": 3, "narrow": 2}

# A segment: its channel, and how many tokens each of its units has.
Segment = tuple[int, list[int]]
shapes = st.tuples(st.integers(0, 2), st.lists(st.integers(1, 3), min_size=1, max_size=3))


def make_space(name: str, segments: dict[int, list[int]], rng: np.random.Generator) -> SpaceTokens:
    """Random tokens of these segments, by position among the user's."""
    lengths = np.array([length for units in segments.values() for length in units])
    return SpaceTokens.weighted(
        segments=np.array(list(segments)),
        tokens=rng.standard_normal((lengths.sum(), DIMS[name])).astype(np.float32),
        weights=rng.uniform(0.1, 1, lengths.sum()).astype(np.float32),
        starts=np.cumsum(lengths) - lengths,
        unit_segment=np.repeat(np.arange(len(segments)), [len(units) for units in segments.values()]),
    )


def make_user(segments: list[Segment], seed: int = 0) -> UserSegments:
    rng = np.random.default_rng(seed)
    spaces = {}
    for name in DIMS:
        mine = {k: units for k, (channel, units) in enumerate(segments) if CHANNEL_SPACES[channel] == name}
        if mine:
            spaces[name] = make_space(name, mine, rng)
    return UserSegments(
        labels=tuple(f"segment-ž{k}" for k in range(len(segments))),
        channels=np.array([channel for channel, _ in segments], dtype=np.int32),
        weights=rng.uniform(0.1, 2, len(segments)).astype(np.float32),
        spaces=spaces,
    )


users = st.builds(make_user, st.lists(shapes, min_size=1, max_size=5), st.integers(0, 99))


@given(st.lists(users, min_size=1, max_size=4))
def test_users_survive_the_way_to_padded_arrays_and_back(users: list[UserSegments]) -> None:
    batch = SegmentBatch.stack(users, dim=3)
    for user, back in zip(users, batch.users(CHANNEL_SPACES, DIMS), strict=True):
        assert_same(user, back)


@given(st.lists(users, min_size=1, max_size=4))
def test_all_that_is_not_a_users_is_padding(users: list[UserSegments]) -> None:
    batch = SegmentBatch.stack(users, dim=3)
    for row, user in enumerate(users):
        assert (batch.channels[row, len(user) :] == -1).all()
        assert not batch.weights[row, len(user) :].any()
        assert set(batch.labels[row, len(user) :]) <= {b""}
        tokens = sum(len(space.tokens) for space in user.spaces.values())
        assert np.count_nonzero(batch.token_weights[row]) == tokens
        assert not batch.embeddings[row][batch.token_weights[row] == 0].any()
        for k, channel in enumerate(user.channels):
            assert not batch.embeddings[row, k, :, DIMS[CHANNEL_SPACES[channel]] :].any()


def test_a_stacked_segment_lies_where_the_protocol_says() -> None:
    user = make_user([(0, [2, 1]), (1, [1]), (0, [1])])
    batch = SegmentBatch.stack([user], dim=3)
    wide = user.spaces["wide"]
    assert batch.embeddings.shape == (1, 3, 3, 3)
    np.testing.assert_array_equal(batch.embeddings[0, 0], wide.tokens[:3])
    np.testing.assert_array_equal(batch.embeddings[0, 2, 0], wide.tokens[3])
    assert batch.token_groups[0].tolist() == [[0, 0, 1], [0, 0, 0], [0, 0, 0]]
    np.testing.assert_array_equal(batch.token_weights[0, 0], wide.token_weights[:3])
    assert batch.token_weights[0, 1:].tolist() == [[1, 0, 0], [1, 0, 0]]


def arrays_of(batch: SegmentBatch) -> dict[str, NDArray[Any]]:
    return {
        "SEGMENT_EMBEDDINGS": batch.embeddings,
        "TOKEN_WEIGHTS": batch.token_weights,
        "TOKEN_GROUPS": batch.token_groups,
        "SEGMENT_CHANNELS": batch.channels,
        "SEGMENT_WEIGHTS": batch.weights,
    }


def make_batch() -> SegmentBatch:
    return SegmentBatch.stack([make_user([(0, [2])])], dim=3)


def test_a_batch_comes_back_from_its_arrays() -> None:
    batch = SegmentBatch.stack([make_user([(0, [2])]), make_user([(1, [1]), (2, [1])])], dim=3)
    back = SegmentBatch.from_arrays(arrays_of(batch))
    for field in fields(replace(batch, labels=back.labels)):
        if field.name != "labels":
            assert getattr(back, field.name) is getattr(batch, field.name)


@pytest.mark.parametrize("name", ["TOKEN_WEIGHTS", "TOKEN_GROUPS", "SEGMENT_CHANNELS", "SEGMENT_WEIGHTS"])
def test_arrays_whose_shapes_disagree_are_an_error_with_both(name: str) -> None:
    arrays = arrays_of(make_batch())
    arrays[name] = np.concatenate([arrays[name], arrays[name]], axis=1)
    with pytest.raises(InvalidArgumentError, match=rf"{name} has shape \(1, 2.*SEGMENT_EMBEDDINGS \(1, 1, 2, 3\)"):
        SegmentBatch.from_arrays(arrays)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("SEGMENT_WEIGHTS", 0.0, "SEGMENT_WEIGHTS must be finite and above 0"),
        ("SEGMENT_WEIGHTS", np.nan, "SEGMENT_WEIGHTS must be finite and above 0"),
        ("TOKEN_WEIGHTS", np.nan, "TOKEN_WEIGHTS must lie between 0 and 1"),
        ("TOKEN_WEIGHTS", -0.5, "TOKEN_WEIGHTS must lie between 0 and 1"),
        ("TOKEN_WEIGHTS", 1e38, "TOKEN_WEIGHTS must lie between 0 and 1"),
        ("SEGMENT_EMBEDDINGS", np.inf, "SEGMENT_EMBEDDINGS holds NaN or infinity"),
        ("SEGMENT_CHANNELS", -2, "SEGMENT_CHANNELS holds -2"),
    ],
)
def test_a_value_that_no_embedder_gives_out_is_refused(name: str, value: float, message: str) -> None:
    arrays = arrays_of(make_batch())
    arrays[name].flat[0] = value
    with pytest.raises(InvalidArgumentError, match=message):
        SegmentBatch.from_arrays(arrays)


def test_arrays_with_an_empty_axis_are_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="no axis may be empty"):
        SegmentBatch.from_arrays({name: array[:, :0] for name, array in arrays_of(make_batch()).items()})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channels": [[0, 9]]}, "SEGMENT_CHANNELS holds 9, there are 3"),
        ({"channels": [[-1, -1]]}, "user 0: no segment"),
        ({"channels": [[-1, 0]]}, r"user 0: SEGMENT_CHANNELS holds -1 \(padding\) before its last segment"),
        ({"token_weights": [[[0, 0], [1, 0]]]}, "user 0: a segment of space 'wide' has no token weight above 0"),
        ({"embeddings": np.zeros((1, 2, 2, 5))}, "SEGMENT_EMBEDDINGS has 5 dimensions, the index has 3"),
    ],
)
def test_arrays_that_no_embedder_makes_are_errors_and_not_crashes(changes: dict[str, Any], message: str) -> None:
    batch = SegmentBatch.stack([make_user([(0, [2]), (2, [1])])], dim=3)
    broken = {name: np.array(value, dtype=getattr(batch, name).dtype) for name, value in changes.items()}
    with pytest.raises(InvalidArgumentError, match=message):
        replace(batch, **broken).users(CHANNEL_SPACES, DIMS)


def test_padding_cannot_take_more_memory_than_allowed() -> None:
    users = [make_user([(0, [3, 2])]), make_user([(0, [1])] * 4)]
    size = 4 * 2 * 4 * 5 * 3
    assert SegmentBatch.stack(users, 3, Limits(max_embedding_bytes=size)).embeddings.nbytes == size
    with pytest.raises(LimitExceededError, match=f"take {size} bytes, the limit max_embedding_bytes is {size - 1}"):
        SegmentBatch.stack(users, 3, Limits(max_embedding_bytes=size - 1))


units_of_weights = st.lists(st.lists(st.sampled_from((0.0, 0.5, 2.0)), min_size=1, max_size=4), min_size=1, max_size=4)


def flat(units: list[list[float]]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    lengths = np.array([len(unit) for unit in units])
    return np.concatenate(units).astype(np.float32), np.cumsum(lengths) - lengths


@given(units_of_weights)
def test_normalised_weights_add_up_to_1_in_every_unit(units: list[list[float]]) -> None:
    weights, starts = flat(units)
    shares = normalise_weights(weights, starts)
    assert shares.dtype == np.float32
    for unit, own in zip(units, np.split(shares, starts[1:]), strict=True):
        # of weights 0, nothing is known, so all count alike
        expected = np.array(unit) / sum(unit) if any(unit) else np.full(len(unit), 1 / len(unit))
        np.testing.assert_allclose(own, expected, rtol=1e-6)


@given(units_of_weights)
def test_tokens_that_have_no_say_are_left_out_of_a_space(units: list[list[float]]) -> None:
    weights, starts = flat(units)
    shares = normalise_weights(weights, starts)
    tokens = np.arange(len(weights), dtype=np.float32)[:, None]
    of_units = np.arange(len(units))
    space = SpaceTokens.weighted(of_units, tokens, weights, starts, of_units)
    assert (space.token_weights > 0).all()
    expected = [(unit, token) for unit, own in enumerate(np.split(tokens[:, 0], starts[1:])) for token in own]
    kept = [pair for pair, share in zip(expected, shares, strict=True) if share > 0]
    assert list(zip(space.units.tolist(), space.tokens[:, 0].tolist(), strict=True)) == kept
