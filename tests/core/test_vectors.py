"""What holds the vectors of items: what comes back of them, in which order, and within which rounding."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tesserank.maxsim.ragged import Ragged
from tesserank.maxsim.vectors import (
    DEFAULT_KIND,
    KINDS,
    FloatVectors,
    Int8Vectors,
    Int16Vectors,
    SteppedVectors,
    from_arrays,
    quantise,
)


def make_vectors(seed: int, dim: int, lengths: list[int], spread: float) -> Ragged:
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((sum(lengths), dim)) * spread ** rng.integers(0, 4, dim)
    return Ragged(vectors.astype(np.float32), np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))


matrices = st.builds(
    make_vectors,
    seed=st.integers(0, 2**32),
    dim=st.integers(1, 20),
    lengths=st.lists(st.integers(0, 5), min_size=1, max_size=12),
    spread=st.sampled_from((1.0, 0.1)),
)
every_kind = pytest.mark.parametrize("kind", KINDS)


@every_kind
@given(vectors=matrices, data=st.data())
def test_every_way_to_ask_gives_the_same_vectors(kind: str, vectors: Ragged, data: st.DataObject) -> None:
    items = quantise(kind, vectors)
    rows = data.draw(st.lists(st.integers(0, len(vectors) - 1)))
    start = data.draw(st.integers(0, len(vectors)))
    stop = data.draw(st.integers(start, len(vectors)))
    assert (len(items), items.dim) == (len(vectors), vectors.vectors.shape[1])
    np.testing.assert_array_equal(items.lengths, vectors.lengths)
    asked = {
        "all": (items.decode(), range(len(items))),
        "some": (items.decode(np.array(rows, dtype=np.int64)), rows),
        "some, taken": (items.take(np.array(rows, dtype=np.int64)).decode(), rows),
        "a slice": (items.decode(slice(start, stop)), range(start, stop)),
    }
    for found, expected in asked.values():
        assert found.vectors.dtype == np.float32
        assert len(found) == len(expected)
        for position, row in enumerate(expected):
            np.testing.assert_array_equal(found.item(position), items.item(row), strict=True)
    places = np.flatnonzero(np.arange(items.offsets[-1]) % 3)[::-1]
    np.testing.assert_array_equal(items.at(places), items.decode().vectors[places], strict=True)


@every_kind
@given(vectors=matrices)
def test_what_is_stored_is_all_there_is(kind: str, vectors: Ragged) -> None:
    items = quantise(kind, vectors)
    back = from_arrays(kind, items.arrays(), items.offsets)
    assert back.kind == kind
    np.testing.assert_array_equal(back.decode().vectors, items.decode().vectors, strict=True)
    assert items.nbytes == sum(array.nbytes for array in items.arrays().values()) + items.offsets.nbytes


@pytest.mark.parametrize("kind", [Int8Vectors, Int16Vectors])
@given(vectors=matrices)
def test_a_component_is_rounded_by_half_a_step_of_its_dimension(kind: type[SteppedVectors], vectors: Ragged) -> None:
    items = kind.quantise(vectors)
    largest = np.abs(vectors.vectors).max(axis=0, initial=0)
    assert items.codes.min(initial=0) >= -kind.peak
    error = np.abs(items.decode().vectors - vectors.vectors)
    # Half a step, and three roundings of float32: the step, the quotient (up to the peak) and the product.
    assert (error <= largest / kind.peak * (0.5 + 3 * kind.peak * 2.0**-24)).all()
    np.testing.assert_allclose(np.abs(items.decode().vectors).max(axis=0, initial=0), largest, rtol=1e-6)


@pytest.mark.parametrize("kind", [Int8Vectors, Int16Vectors])
@given(vectors=matrices, power=st.integers(-149, 0))
def test_a_dimension_with_steps_too_small_for_float32_is_nought(
    kind: type[SteppedVectors], vectors: Ragged, power: int
) -> None:
    tiny = vectors.vectors.copy()
    tiny[:, 0] *= np.float32(2.0**power)
    items = kind.quantise(Ragged(tiny, vectors.offsets))
    assert (items.scale > 0).all()
    found, exact = items.decode().vectors[:, 0], tiny[:, 0]
    least = np.finfo(np.float32).tiny * kind.peak
    np.testing.assert_allclose(found, exact, atol=max(np.abs(exact).max(initial=0) / kind.peak, least), rtol=0)
    if np.abs(exact).max(initial=0) < least / 2:
        assert not found.any()


@given(vectors=matrices)
def test_float16_rounds_to_float16(vectors: Ragged) -> None:
    items = FloatVectors.quantise(vectors)
    expected: NDArray[np.float16] = vectors.vectors.astype(np.float16)
    assert items.arrays()["vectors"].dtype == np.float16
    np.testing.assert_array_equal(items.decode().vectors, expected.astype(np.float32), strict=True)
    np.testing.assert_array_equal(items.in_float32().vectors, items.decode().vectors, strict=True)


@every_kind
def test_zeros_stay_zeros(kind: str) -> None:
    vectors = Ragged(np.array([[0, 0, 1], [0, 0, 0]], dtype=np.float32), np.array([0, 1, 2]))
    items = quantise(kind, vectors)
    assert not items.item(1).any()
    assert not items.decode().vectors[:, :2].any()


def test_the_default_is_a_kind() -> None:
    assert DEFAULT_KIND in KINDS


@pytest.mark.parametrize(
    ("codes", "scale", "offsets", "message"),
    [
        (np.zeros((2, 3), np.int8), np.ones(3, np.float32), [0, 1], "do not span"),
        (np.zeros((2, 3), np.int8), np.ones(2, np.float32), [0, 2], r"codes int8 \(2, 3\) and scales \(2,\)"),
        (np.zeros((2, 3), np.int16), np.ones(3, np.float32), [0, 2], "codes int16"),
    ],
    ids=["offsets", "scales", "type"],
)
def test_int8_parts_that_do_not_fit_are_an_error(
    codes: NDArray[np.int8], scale: NDArray[np.float32], offsets: list[int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Int8Vectors(codes, scale, np.array(offsets, dtype=np.int64))


@given(vectors=matrices, data=st.data())
def test_taken_items_are_the_items(vectors: Ragged, data: st.DataObject) -> None:
    rows = data.draw(st.lists(st.integers(0, len(vectors) - 1)))
    taken = vectors.take(np.array(rows, dtype=np.int64))
    assert len(taken) == len(rows)
    for position, row in enumerate(rows):
        np.testing.assert_array_equal(taken.item(position), vectors.item(row))


@given(matrices)
def test_matrices_put_together_come_back(vectors: Ragged) -> None:
    back = Ragged.of([vectors.item(row) for row in range(len(vectors))])
    np.testing.assert_array_equal(back.vectors, vectors.vectors)
    np.testing.assert_array_equal(back.offsets, vectors.offsets)


@pytest.mark.parametrize(
    ("offsets", "message"),
    [
        ([], "offsets none do not span"),
        ([1, 3], "1..3"),
        ([0, 2], r"0\.\.2 do not span the 3"),
        ([0, 2, 1, 3], "decrease"),
    ],
)
def test_offsets_that_do_not_fit_the_vectors_are_an_error(offsets: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Ragged(np.zeros((3, 2)), np.array(offsets, dtype=np.int64))
