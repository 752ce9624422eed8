"""Inner products by lookup: the compiled sums against the float64 definition, whatever the shapes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tesserank.errors import ArtifactError
from tesserank.maxsim import jit, reference
from tesserank.search.pieces import CODES, LEAST_WIDTH, MAX_PIECES, PieceVectors, piece_width
from tests.core.world import unit_rows

if not jit.available():
    pytest.skip("numba or AVX2 is missing: nothing is pruned then", allow_module_level=True)

from tesserank.search.piece_scores import LEVELS, lookup_table, unit_scores


class Problem(NamedTuple):
    tokens: NDArray[np.float32]
    weights: NDArray[np.float32]
    starts: NDArray[np.int64]
    items: PieceVectors


def make_problem(seed: int, dim: int, count: int, units: list[int]) -> Problem:
    rng = np.random.default_rng(seed)
    width = piece_width(dim)
    pieces = -(-dim // width)
    books = (rng.standard_normal((pieces, CODES, width)) / np.sqrt(dim)).astype(np.float16).astype(np.float32)
    codes = rng.integers(CODES, size=(count, pieces)).astype(np.uint8)
    starts = np.concatenate([[0], np.cumsum(units)[:-1]]).astype(np.int64)
    raw = rng.choice([0.1, 1.0, 7.0], sum(units)).astype(np.float32)
    weights = raw / np.repeat(np.add.reduceat(raw, starts), units)
    return Problem(unit_rows(rng.standard_normal((sum(units), dim))), weights, starts, PieceVectors(books, codes, dim))


def tolerance(problem: Problem) -> float:
    """Half a level for each piece's rounding, and float32's own."""
    units = np.add.reduceat(problem.tokens * problem.weights[:, None], problem.starts, axis=0)
    _, steps, _ = lookup_table(units, problem.items.books)
    pieces = len(problem.items.books)
    return float(steps.max() * 0.5 * pieces * 1.001 + (problem.items.dim + pieces) * 2.0**-22)


shapes = st.tuples(
    st.integers(0, 2**32 - 1),
    st.integers(1, 40),
    st.integers(1, 200),
    st.lists(st.integers(1, 5), min_size=1, max_size=40),
)


@settings(max_examples=60, deadline=None)
@given(shapes)
def test_scores_are_the_definition_but_for_the_levels(shape: tuple[int, int, int, list[int]]) -> None:
    problem = make_problem(*shape)
    expected = reference.unit_scores(*problem)
    np.testing.assert_allclose(unit_scores(*problem), expected, rtol=0, atol=tolerance(problem))


@settings(max_examples=20, deadline=None)
@given(shapes)
def test_an_items_scores_do_not_depend_on_the_others_nor_on_threads(shape: tuple[int, int, int, list[int]]) -> None:
    problem = make_problem(*shape)
    everything = unit_scores(*problem)
    rows = np.random.default_rng(shape[0]).permutation(len(problem.items))[: len(problem.items) // 2]
    with ThreadPoolExecutor(3) as pool:
        np.testing.assert_array_equal(unit_scores(*problem, pool=pool), everything)
        np.testing.assert_array_equal(unit_scores(*problem, rows=rows, pool=pool), everything[rows])


@pytest.mark.parametrize("dim", [1, 128, LEAST_WIDTH * MAX_PIECES, LEAST_WIDTH * MAX_PIECES + 1, 4096])
def test_vectors_of_any_size_are_summed_without_overflow(dim: int) -> None:
    """Every piece says the most that it can, which is where 16 bits would end."""
    problem = make_problem(dim, dim, 3, [1])
    width = piece_width(dim)
    assert len(problem.items.books) <= MAX_PIECES
    said = np.zeros(len(problem.items.books) * width, dtype=np.float32)
    said[:dim] = problem.tokens[0]
    best = np.einsum("pcw,pw->pc", problem.items.books, said.reshape(-1, width)).argmax(axis=1)
    problem.items.codes[:] = best.astype(np.uint8)
    expected = reference.unit_scores(*problem)
    np.testing.assert_allclose(unit_scores(*problem), expected, rtol=0, atol=tolerance(problem))


def test_the_widest_book_of_a_unit_uses_every_level() -> None:
    table, steps, _ = lookup_table(np.array([[1.0, 0, 0, 0], [0, 0, 0, 0]], dtype=np.float32), one_book())
    assert table[:, 0].min() == 0
    assert table[:, 0].max() == LEVELS
    assert steps[1] == 0  # of a unit without a direction
    assert not table[:, 1].any()


def one_book() -> NDArray[np.float32]:
    return np.linspace(-1, 1, CODES * 4, dtype=np.float32).reshape(1, CODES, 4)


def test_piece_vectors_are_item_vectors() -> None:
    items = make_problem(0, 10, 5, [1]).items
    assert (len(items), items.dim, items.lengths.tolist()) == (5, 10, [1] * 5)
    decoded = items.decode()
    assert decoded.vectors.shape == (5, 10)
    for row in range(5):
        np.testing.assert_array_equal(items.item(row), decoded.item(row))
    rows = np.array([4, 0])
    np.testing.assert_array_equal(items.decode(rows).vectors, decoded.vectors[rows])
    np.testing.assert_array_equal(items.take(rows).decode().vectors, decoded.vectors[rows])
    np.testing.assert_array_equal(items.at(rows), decoded.vectors[rows])


@pytest.mark.parametrize(("dim", "pieces"), [(8, 3), (13, 3), (4, 0)])
def test_codes_that_do_not_fit_the_books_are_refused(dim: int, pieces: int) -> None:
    with pytest.raises(ValueError, match=f"do not make vectors of {dim} dimensions"):
        PieceVectors(np.zeros((3, CODES, 4), dtype=np.float32), np.zeros((1, pieces), dtype=np.uint8), dim)


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    items = make_problem(1, 6, 7, [1]).items
    items.save(tmp_path)
    loaded = PieceVectors.load(tmp_path, 7, 6)
    np.testing.assert_array_equal(loaded.decode().vectors, items.decode().vectors)
    with pytest.raises(ArtifactError, match=r"codes of 7 items, the space has 8.*make export"):
        PieceVectors.load(tmp_path, 8, 6)
    (tmp_path / "search" / "books.npy").unlink()
    with pytest.raises(ArtifactError, match="make export"):
        PieceVectors.load(tmp_path, 7, 6)
