"""Rows without their padding: nothing is lost, nothing is moved, and there are few shapes."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tesserank.encoding.pytorch.packing import LEAST_TOKENS, Packed, token_bucket, write

lengths_of_rows = st.lists(st.integers(0, 300), max_size=80)


def make_rows(lengths: list[int]) -> list[np.ndarray]:
    rng = np.random.default_rng(len(lengths))
    return [rng.integers(0, 1000, length) for length in lengths]


@given(lengths_of_rows)
def test_rows_and_padded_rows_pack_alike(lengths: list[int]) -> None:
    rows = make_rows(lengths)
    width = max(lengths, default=0)
    ids, mask = np.zeros((2, len(rows), width), dtype=np.int64)
    for row, tokens in enumerate(rows):
        ids[row, : len(tokens)], mask[row, : len(tokens)] = tokens, 1
    a, b = Packed.of(ids, mask), Packed.of_rows(rows)
    for name in ("ids", "positions", "offsets"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), name)
    for row, tokens in enumerate(rows):
        own = slice(int(b.offsets[row]), int(b.offsets[row + 1]))
        np.testing.assert_array_equal(b.ids[own], tokens)
        np.testing.assert_array_equal(b.positions[own], np.arange(len(tokens)))


def test_a_hole_in_a_mask_keeps_the_positions_behind_it() -> None:
    found = Packed.of(np.array([[7, 8, 9]]), np.array([[1, 0, 1]]))
    assert found.ids.tolist() == [7, 9]
    assert found.positions.tolist() == [0, 2]


@given(lengths_of_rows)
def test_what_is_written_fits_its_shape_and_the_rest_belongs_to_no_row(lengths: list[int]) -> None:
    packed = Packed.of_rows(make_rows(lengths))
    shape = packed.shape
    buffer = np.full(shape.numbers, -1, dtype=np.int64)
    write(packed, shape, buffer)
    count = len(packed.ids)
    ids, positions, offsets = np.split(buffer, [shape.tokens, 2 * shape.tokens])
    np.testing.assert_array_equal(ids[:count], packed.ids)
    np.testing.assert_array_equal(positions[:count], packed.positions)
    assert not ids[count:].any()
    assert not positions[count:].any()
    np.testing.assert_array_equal(offsets[: len(lengths) + 1], packed.offsets)
    assert (offsets[len(lengths) :] == count).all()
    assert shape.longest >= packed.longest


@given(st.integers(0, 100_000))
def test_buckets_hold_what_they_are_for_and_little_more(count: int) -> None:
    bucket = token_bucket(count)
    assert bucket >= count
    assert bucket == LEAST_TOKENS or bucket < 1.25 * count
    assert token_bucket(bucket) == bucket


def test_there_are_few_buckets() -> None:
    buckets = {token_bucket(count) for count in range(4097)}
    assert sorted(buckets)[:8] == [64, 80, 96, 112, 128, 160, 192, 224]
    assert len(buckets) == 25
