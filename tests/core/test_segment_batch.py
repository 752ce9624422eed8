"""Segments as padded arrays: nothing is lost, padding is recognisable, and what no embedder gives out is refused."""

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
from tesserank.serving.segments import EmbeddedSegment, SegmentBatch, normalise_weights

DIM = 3


def make_segment(label: str, tokens: int, width: int, channel: int, seed: int) -> EmbeddedSegment:
    rng = np.random.default_rng(seed)
    return EmbeddedSegment(
        label=label,
        channel=channel,
        weight=float(np.float32(rng.uniform(0.1, 2))),
        vectors=rng.standard_normal((tokens, width)).astype(np.float32),
        token_weights=rng.uniform(0.1, 1, tokens).astype(np.float32),
        groups=np.sort(rng.integers(0, 3, tokens)).astype(np.int32),
    )


segments = st.builds(
    make_segment,
    label=st.text(min_size=1, max_size=5),
    tokens=st.integers(1, 5),
    width=st.integers(1, DIM),
    channel=st.integers(0, 3),
    seed=st.integers(0, 99),
)
users = st.lists(st.lists(segments, min_size=1, max_size=4), min_size=1, max_size=4)


def assert_holds(batch: SegmentBatch, row: int, user: list[EmbeddedSegment]) -> None:
    """The user's segments, and after them only padding."""
    for k, segment in enumerate(user):
        length, width = segment.vectors.shape
        np.testing.assert_array_equal(batch.embeddings[row, k, :length, :width], segment.vectors)
        assert not batch.embeddings[row, k, length:].any()
        assert not batch.embeddings[row, k, :, width:].any()
        np.testing.assert_array_equal(batch.token_weights[row, k, :length], segment.token_weights)
        assert not batch.token_weights[row, k, length:].any()
        np.testing.assert_array_equal(batch.token_groups[row, k, :length], segment.groups)
        assert (batch.channels[row, k], batch.weights[row, k]) == (segment.channel, np.float32(segment.weight))
        assert batch.labels[row, k] == segment.label.encode()
    rest = slice(len(user), None)
    assert (batch.channels[row, rest] == -1).all()
    for padding in (batch.embeddings, batch.token_weights, batch.weights):
        assert not padding[row, rest].any()
    assert set(batch.labels[row, rest]) <= {b""}


@given(users)
def test_a_stacked_batch_holds_every_user(batch_of: list[list[EmbeddedSegment]]) -> None:
    batch = SegmentBatch.stack(batch_of, DIM)
    longest = max(len(segment.vectors) for user in batch_of for segment in user)
    assert batch.embeddings.shape == (len(batch_of), max(map(len, batch_of)), longest, DIM)
    for row, user in enumerate(batch_of):
        assert_holds(batch, row, user)


def arrays_of(batch: SegmentBatch) -> dict[str, NDArray[Any]]:
    return {
        "SEGMENT_EMBEDDINGS": batch.embeddings,
        "TOKEN_WEIGHTS": batch.token_weights,
        "TOKEN_GROUPS": batch.token_groups,
        "SEGMENT_CHANNELS": batch.channels,
        "SEGMENT_WEIGHTS": batch.weights,
    }


def test_a_batch_comes_back_from_its_arrays() -> None:
    batch = SegmentBatch.stack([[make_segment("a", 2, 3, 0, 0)], [make_segment("b", 1, 3, 1, 1)]], DIM)
    back = SegmentBatch.from_arrays(arrays_of(batch))
    for field in fields(replace(batch, labels=back.labels)):
        if field.name != "labels":
            assert getattr(back, field.name) is getattr(batch, field.name)


@pytest.mark.parametrize("name", ["TOKEN_WEIGHTS", "TOKEN_GROUPS", "SEGMENT_CHANNELS", "SEGMENT_WEIGHTS"])
def test_arrays_whose_shapes_disagree_are_an_error_with_both(name: str) -> None:
    arrays = arrays_of(SegmentBatch.stack([[make_segment("a", 2, 3, 0, 0)]], DIM))
    arrays[name] = np.concatenate([arrays[name], arrays[name]], axis=1)
    with pytest.raises(InvalidArgumentError, match=rf"{name} has shape \(1, 2.*SEGMENT_EMBEDDINGS \(1, 1, 2, 3\)"):
        SegmentBatch.from_arrays(arrays)


@given(st.lists(st.tuples(st.sampled_from((0.0, 0.5, 2.0)), st.integers(0, 3)), min_size=1, max_size=12), st.booleans())
def test_normalised_weights_add_up_to_1_in_every_unit(pairs: list[tuple[float, int]], by_group: bool) -> None:
    weights = np.array([weight for weight, _ in pairs], dtype=np.float32)
    groups = np.unique(np.sort([group for _, group in pairs]), return_inverse=True)[1].astype(np.int32)
    shares, units = normalise_weights(weights, groups, by_group)
    assert (shares.dtype, units.dtype) == (np.float32, np.int32)
    np.testing.assert_array_equal(units, groups if by_group else np.zeros(len(groups)))
    np.testing.assert_allclose(np.bincount(units, weights=shares), np.ones(units.max() + 1), rtol=1e-6)
    for unit in range(units.max() + 1):
        mine = units == unit
        if weights[mine].any():
            np.testing.assert_allclose(shares[mine], weights[mine] / weights[mine].sum(), rtol=1e-6)
        else:
            assert len(set(shares[mine].tolist())) == 1, "nothing is known, so all count alike"


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
    arrays = arrays_of(SegmentBatch.stack([[make_segment("a", 2, 3, 0, 0)]], DIM))
    arrays[name].flat[0] = value
    with pytest.raises(InvalidArgumentError, match=message):
        SegmentBatch.from_arrays(arrays)


def test_arrays_with_an_empty_axis_are_refused() -> None:
    arrays = arrays_of(SegmentBatch.stack([[make_segment("a", 2, 3, 0, 0)]], DIM))
    with pytest.raises(InvalidArgumentError, match="no axis may be empty"):
        SegmentBatch.from_arrays({name: array[:, :0] for name, array in arrays.items()})


def test_padding_cannot_take_more_memory_than_allowed() -> None:
    users = [[make_segment("long", 5, 3, 0, 0)], [make_segment("short", 1, 3, 0, 0)] * 4]
    size = 4 * 2 * 4 * 5 * DIM
    assert SegmentBatch.stack(users, DIM, Limits(max_embedding_bytes=size)).embeddings.nbytes == size
    with pytest.raises(LimitExceededError, match=f"take {size} bytes, the limit max_embedding_bytes is {size - 1}"):
        SegmentBatch.stack(users, DIM, Limits(max_embedding_bytes=size - 1))
