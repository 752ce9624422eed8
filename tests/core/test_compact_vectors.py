"""Compact vectors: what their codes say, read slowly and fast, and what they score."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tesserank.maxsim import cpu, jit, reference
from tesserank.maxsim.compact import (
    ALL_PAIRS,
    CODES,
    HIGHEST_GRADE,
    LOWEST_GRADE,
    MULTIPLE,
    PEAK,
    WIDTHS,
    CompactVectors,
    layout,
    marks_of,
    padded,
)
from tesserank.maxsim.vectors import from_arrays

UNIT_ROUNDOFF = 2.0**-24  # of float32
LARGEST_QUERY = 2**15 - 1
needs_kernel = pytest.mark.skipif(not jit.available(), reason="numba or AVX2 is missing: there is no kernel to test")


def make_compact(seed: int, dim: int, lengths: list[int]) -> CompactVectors:
    """Any numbers that fit together; cell 0 is that of zero vectors."""
    rng = np.random.default_rng(seed)
    width, tokens, cells = padded(dim), sum(lengths), 5
    grades = rng.integers(LOWEST_GRADE, HIGHEST_GRADE + 1, cells).astype(np.uint8)
    grades[:2] = 0, rng.choice([0, ALL_PAIRS])
    means = rng.integers(-127, 128, (cells, width)).astype(np.int8)
    books = rng.integers(-127, 128, (len(WIDTHS), CODES * width)).astype(np.int8)
    means[0] = 0
    steps = rng.integers(1, 4, (len(WIDTHS) + 1, width)).astype(np.int16)
    steps[:, dim:] = 0  # nothing lies beyond d
    of = rng.integers(0, cells, tokens).astype(np.uint16)
    begins = np.concatenate([[0], np.cumsum(grades[of].astype(np.int64) * (width // MULTIPLE))])
    return CompactVectors(
        codes=rng.integers(0, CODES, begins[-1]).astype(np.uint8),
        marks=marks_of(begins),
        cells=of,
        means=means,
        spreads=rng.uniform(0.1, 1.0, cells).astype(np.float32),
        grades=grades,
        books=books,
        steps=steps,
        order=rng.permutation(dim).astype(np.int16),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
    )


compacts = st.builds(
    make_compact,
    seed=st.integers(0, 2**32),
    dim=st.integers(1, 40),
    lengths=st.lists(st.one_of(st.integers(1, 9), st.integers(100, 300)), min_size=1, max_size=12),
)


def read_slowly(items: CompactVectors) -> list[list[float]]:
    """Every token's vector as the module's docstring says, a number at a time."""
    vectors, code = [], 0
    for cell in items.cells:
        grade, width = int(items.grades[cell]), items.means.shape[1]
        quarter = width // 4
        residual = [0] * width
        in_pairs = [column for column in range(width) if column // quarter < grade - 4]
        in_fours = [column for column in range(width) if grade and column // quarter >= grade - 4]
        in_rest = [column for column in range(width) if column // quarter < grade - 8]
        for book, columns, size in ((0, in_pairs, 2), (1, in_fours, 4), (2, in_rest, 4)):
            for column in columns:
                group, place = divmod(column, size)
                said = items.books[book].reshape(-1, 256, size)[group, items.codes[code], place]
                residual[column] += int(said) * int(items.steps[book, column])
                code += place == size - 1
        means = [int(mean) * int(step) for mean, step in zip(items.means[cell], items.steps[3], strict=True)]
        scaled = [round(float(items.spreads[cell] * np.float32(part))) for part in residual]
        vector = [part + mean for part, mean in zip(scaled, means, strict=True)]
        length = float(np.sqrt(sum(part * part for part in vector)))
        ordered = [0.0] * items.dim
        for place, dimension in enumerate(items.order):
            ordered[dimension] = vector[place] / length if length else 0.0
        vectors.append(ordered)
    assert code == len(items.codes)
    return vectors


@given(compacts)
def test_vectors_are_what_the_codes_say(items: CompactVectors) -> None:
    found = items.decode()
    assert found.vectors.dtype == np.float32
    np.testing.assert_allclose(found.vectors, read_slowly(items), rtol=0, atol=0.501 / PEAK)  # the last rounding


@given(compacts)
def test_vectors_have_length_one_or_are_zero(items: CompactVectors) -> None:
    assume(items.dim >= 8)  # of few random numbers all may be 0
    lengths = np.linalg.norm(items.decode().vectors, axis=1)
    zero = items.cells == 0
    assert (lengths[zero] == 0).all()
    np.testing.assert_allclose(lengths[~zero], 1, atol=0.5 * np.sqrt(items.dim) / PEAK + 1e-6)


@needs_kernel
@given(compacts)
def test_compiled_or_not_the_same_bits_come_out(items: CompactVectors) -> None:
    compiled = items.decode().vectors
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jit, "available", lambda: False)
        np.testing.assert_array_equal(items.decode().vectors, compiled, strict=True)


@given(items=compacts, data=st.data())
def test_every_way_to_ask_gives_the_same_vectors(items: CompactVectors, data: st.DataObject) -> None:
    rows = np.array(data.draw(st.lists(st.integers(0, len(items) - 1))), dtype=np.int64)
    start = data.draw(st.integers(0, len(items)))
    stop = data.draw(st.integers(start, len(items)))
    everything = items.decode()
    for chosen, expected in ((rows, rows.tolist()), (slice(start, stop), list(range(start, stop)))):
        for found in (items.decode(chosen), items.take(chosen).decode()):
            np.testing.assert_array_equal(found.lengths, items.lengths[expected])
            for position, row in enumerate(expected):
                np.testing.assert_array_equal(found.item(position), everything.item(row), strict=True)
    for row in range(len(items)):
        np.testing.assert_array_equal(items.item(row), everything.item(row), strict=True)
    places = np.flatnonzero(np.arange(items.offsets[-1]) % 3)[::-1]
    np.testing.assert_array_equal(items.at(places), everything.vectors[places], strict=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jit, "available", lambda: False)
        np.testing.assert_array_equal(items.at(places), everything.vectors[places], strict=True)


@given(compacts)
def test_what_is_stored_is_all_there_is(items: CompactVectors) -> None:
    back = from_arrays("compact", items.arrays(), items.offsets)
    np.testing.assert_array_equal(back.decode().vectors, items.decode().vectors, strict=True)
    assert (len(back), back.dim, back.kind) == (len(items), items.dim, "compact")
    assert items.nbytes == sum(array.nbytes for array in items.arrays().values()) + items.offsets.nbytes


def queries_for(items: CompactVectors, seed: int) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    units = rng.integers(1, 6, rng.integers(1, 8))
    tokens = rng.standard_normal((units.sum(), items.dim)).astype(np.float32)
    tokens /= np.linalg.norm(tokens, axis=1, keepdims=True)
    return tokens, rng.choice([0.0, 0.1, 1.0], len(tokens)).astype(np.float32), np.cumsum(units) - units


def tolerance(
    items: CompactVectors, tokens: NDArray[np.float32], weights: NDArray[np.float32], compiled: bool
) -> float:
    """What rounding may make of a score: see ``Problem.tolerance`` and ``rounding`` of test_maxsim."""
    floats = 1.1 * (items.dim + len(tokens)) * UNIT_ROUNDOFF * float(weights.sum())
    if not compiled:
        return floats
    largest = min(LARGEST_QUERY, (2**31 - 1) // (PEAK * items.dim))
    sizes = np.abs(tokens).max(axis=1) / PEAK / largest
    products = PEAK * np.abs(items.decode().vectors.astype(np.float64)).sum(axis=1).max()
    # Where a unit is one query (items of one vector each), its rounding is that of the weighted sum of its tokens.
    return floats + float((0.505 * sizes * weights).sum() * products) * 1.01


@given(items=compacts, seed=st.integers(0, 2**32))
def test_scores_are_those_of_the_decoded_vectors(items: CompactVectors, seed: int) -> None:
    tokens, weights, starts = queries_for(items, seed)
    expected = reference.unit_scores(tokens, weights, starts, items)
    found = cpu.unit_scores(tokens, weights, starts, items)
    bound = tolerance(items, tokens, weights, jit.available())
    np.testing.assert_allclose(found, expected, rtol=0, atol=bound)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jit, "available", lambda: False)
        slow = cpu.unit_scores(tokens, weights, starts, items)
    np.testing.assert_allclose(slow, expected, rtol=0, atol=tolerance(items, tokens, weights, False))


@given(seed=st.integers(0, 2**32), dim=st.integers(1, 40), items=st.integers(1, 150))
def test_items_of_one_token_score_as_their_vectors_do(seed: int, dim: int, items: int) -> None:
    compact = make_compact(seed, dim, [1] * items)
    tokens, weights, starts = queries_for(compact, seed)
    expected = reference.unit_scores(tokens, weights, starts, compact)
    bound = tolerance(compact, tokens, weights, jit.available())
    np.testing.assert_allclose(cpu.unit_scores(tokens, weights, starts, compact), expected, rtol=0, atol=bound)


@needs_kernel
@given(items=compacts, seed=st.integers(0, 2**32), data=st.data())
def test_an_items_scores_are_the_same_bits_among_whatever_others(
    items: CompactVectors, seed: int, data: st.DataObject
) -> None:
    rows = np.array(data.draw(st.lists(st.integers(0, len(items) - 1), min_size=1)), dtype=np.int64)
    query = queries_for(items, seed)
    everything = np.asarray(cpu.unit_scores(*query, items))
    assert np.asarray(cpu.unit_scores(*query, items, rows)).tobytes() == everything[rows].tobytes()


def test_a_zero_vector_scores_zero() -> None:
    items = make_compact(0, 24, [1, 3, 2])
    items.cells[0] = 0
    items = from_cells(items, items.cells)
    tokens, weights, starts = queries_for(items, 1)
    assert not cpu.unit_scores(tokens, weights, starts, items)[0].any()


def from_cells(items: CompactVectors, cells: NDArray[np.uint16]) -> CompactVectors:
    """The same with other cells, and codes of zeros."""
    begins = np.concatenate([[0], np.cumsum(items.grades[cells].astype(np.int64) * (padded(items.dim) // MULTIPLE))])
    parts = dict(items.arrays()) | {"codes": np.zeros(begins[-1], dtype=np.uint8), "marks": marks_of(begins)}
    return CompactVectors(**(parts | {"cells": cells}), offsets=items.offsets)


@pytest.mark.parametrize("width", [16, 128, 144])
def test_a_grade_is_so_many_sixteenths_of_d_bytes_and_its_books_leave_nothing_out(width: int) -> None:
    for grade in range(LOWEST_GRADE, HIGHEST_GRADE + 1):
        (_, first, pairs), (_, fours, last), (_, rest_first, rest) = parts = layout(grade, width)
        assert (first, fours, last, rest_first) == (0, pairs, width, 0)
        assert rest <= pairs
        assert sum((end - begin) // WIDTHS[book] for book, begin, end in parts) == grade * width // MULTIPLE


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"offsets": np.array([0, 5])}, "do not span"),
        ({"marks": np.zeros(2, np.uint32)}, r"marks \(2,\) of 6 tokens in 24 dimensions: \(1,\) are needed"),
        ({"means": np.zeros((5, 24), np.int8)}, r"means \(5, 24\) .*: \(5, 32\) are needed"),
        ({"cells": np.full(6, 9, np.uint16)}, "cell 9 of a token, but there are 5"),
        ({"codes": np.zeros(3, np.uint8)}, r"3 bytes of codes, but tokens have [\d,]+"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, Mapping) else None,
)
def test_parts_that_do_not_fit_are_an_error(change: dict[str, NDArray[Any]], message: str) -> None:
    items = make_compact(0, 24, [1, 3, 2])
    with pytest.raises(ValueError, match=message):
        CompactVectors(**({"offsets": items.offsets} | dict(items.arrays()) | change))
