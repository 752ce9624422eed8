"""Approximate MaxSim: the compiled lookups against the float64 definition, whatever the shapes."""

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
from tesserank.search.centroids import CentroidVectors
from tests.core.world import unit_rows

if not jit.available():
    pytest.skip("numba or AVX2 is missing: nothing is pruned then", allow_module_level=True)

from tesserank.search.centroid_scores import LEVELS, MAX_WORDS, Slots, unit_scores
from tesserank.search.scan import REGISTER, WORD

CENTROIDS = 40


class Problem(NamedTuple):
    tokens: NDArray[np.float32]
    weights: NDArray[np.float32]
    starts: NDArray[np.int64]
    items: CentroidVectors

    @property
    def units(self) -> NDArray[np.int64]:
        return np.repeat(np.arange(len(self.starts)), np.diff(self.starts, append=len(self.tokens)))


def make_problem(seed: int, dim: int, lengths: list[int], units: list[int]) -> Problem:
    rng = np.random.default_rng(seed)
    centroids = unit_rows(rng.standard_normal((CENTROIDS, dim))).astype(np.float16).astype(np.float32)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    codes = rng.integers(CENTROIDS, size=sum(lengths)).astype(np.uint16)
    starts = np.concatenate([[0], np.cumsum(units)[:-1]]).astype(np.int64)
    raw = rng.choice([0.1, 1.0, 7.0], sum(units)).astype(np.float32)
    weights = raw / np.repeat(np.add.reduceat(raw, starts), units)
    tokens = unit_rows(rng.standard_normal((sum(units), dim)))
    return Problem(tokens, weights, starts, CentroidVectors(centroids, codes, offsets))


def heaviest(problem: Problem) -> Problem:
    """The tokens that ``unit_scores`` listens to, the rest of a unit's weight shared among them in proportion.

    Every unit has a word of its heaviest tokens; then the word that weighs most is taken, again and again.
    """
    by_unit = [
        [start + position for position in np.argsort(-own, kind="stable")]
        for start, own in zip(problem.starts, np.split(problem.weights, problem.starts[1:]), strict=True)
    ]
    words = [[tokens[i : i + WORD] for i in range(0, len(tokens), WORD)] for tokens in by_unit]
    kept = [token for own in words for token in own[0]]
    further = [word for own in words for word in own[1:]]
    further.sort(key=lambda word: -problem.weights[word].sum(dtype=np.float32))
    kept += [token for word in further[: max(MAX_WORDS - len(words), 0)] for token in word]
    kept.sort()
    units = problem.units[kept]
    starts = np.searchsorted(units, np.arange(len(problem.starts)))
    weights = problem.weights[kept] / np.add.reduceat(problem.weights[kept], starts)[units]
    return Problem(problem.tokens[kept], weights, starts, problem.items)


def expected(problem: Problem, rows: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
    """The definition: MaxSim with the centroids, where a token that nothing is similar to counts 0."""
    chosen = np.arange(len(problem.items)) if rows is None else rows
    scores = np.empty((len(chosen), len(problem.starts)))
    for place, row in enumerate(chosen):
        maxima = np.maximum(reference.token_maxima(problem.tokens, problem.items.item(row)), 0)
        scores[place] = np.add.reduceat(problem.weights.astype(np.float64) * maxima, problem.starts)
    return scores


def tolerance(problem: Problem) -> float:
    """Half a level for each token's rounding, and float32's own (d terms, unit rows; see test_maxsim)."""
    lengths = np.diff(problem.starts, append=len(problem.tokens))
    level = np.maximum.reduceat(problem.weights, problem.starts) / LEVELS
    return float((0.5 * level * lengths).max() * 1.001 + (problem.tokens.shape[1] + 16) * 2.0**-24)


shapes = st.tuples(
    st.integers(0, 2**32 - 1),
    st.integers(1, 17),
    st.lists(st.integers(1, 13), min_size=1, max_size=150),
    st.lists(st.integers(1, 40), min_size=1, max_size=40),
)


@settings(max_examples=60, deadline=None)
@given(shapes)
def test_scores_are_the_definition_but_for_the_levels(shape: tuple[int, int, list[int], list[int]]) -> None:
    problem = make_problem(*shape)
    found = unit_scores(*problem)
    listened = heaviest(problem)
    np.testing.assert_allclose(found, expected(listened), rtol=0, atol=tolerance(listened))


@settings(max_examples=20, deadline=None)
@given(shapes)
def test_an_items_scores_do_not_depend_on_the_others_nor_on_threads(
    shape: tuple[int, int, list[int], list[int]],
) -> None:
    problem = make_problem(*shape)
    everything = unit_scores(*problem)
    rows = np.random.default_rng(shape[0]).permutation(len(problem.items))[: len(problem.items) // 2]
    with ThreadPoolExecutor(3) as pool:
        np.testing.assert_array_equal(unit_scores(*problem, pool=pool), everything)
        np.testing.assert_array_equal(unit_scores(*problem, rows=rows, pool=pool), everything[rows])


@pytest.mark.parametrize("registers", range(1, 4))
def test_a_row_of_any_width_is_summed(registers: int) -> None:
    words = registers * REGISTER // WORD
    problem = make_problem(registers, 8, [3, 1, 5], [WORD] * words)
    assert Slots.of(*problem[:3]).queries.shape == (registers * REGISTER, 8)
    np.testing.assert_allclose(unit_scores(*problem), expected(problem), rtol=0, atol=tolerance(problem))


def test_units_share_the_room_and_keep_their_heaviest_tokens() -> None:
    tokens = np.eye(20, dtype=np.float32)
    weights = np.full(20, 0.05, dtype=np.float32)
    weights[[3, 13]] = 0.1
    slots = Slots.of(tokens, weights, np.array([0]))
    np.testing.assert_array_equal(slots.words, [0, 5])
    assert slots.queries.shape == (REGISTER, 20)
    crowd = MAX_WORDS + 1
    starts = np.arange(crowd) * 20
    slots = Slots.of(np.tile(tokens, (crowd, 1)), np.tile(weights, crowd), starts)
    np.testing.assert_array_equal(slots.words, np.arange(crowd + 1))
    kept = slots.queries.reshape(-1, WORD, 20)[:crowd].any(axis=(0, 1))
    np.testing.assert_array_equal(np.flatnonzero(kept), [0, 1, 3, 13])


def test_room_that_is_left_goes_to_the_words_that_weigh_most() -> None:
    units = MAX_WORDS - 1  # one word more than one each
    lengths = np.full(units, 2 * WORD)
    starts = np.cumsum(lengths) - lengths
    weights = np.tile(np.linspace(0.9, 0.1, 2 * WORD), units).reshape(units, -1)
    weights[4, WORD:] = 0.8  # this unit's lighter half is heavier than the others'
    tokens = np.eye(weights.size, dtype=np.float32)
    slots = Slots.of(tokens, weights.ravel().astype(np.float32), starts)
    assert np.diff(slots.words).tolist() == [2 if unit == 4 else 1 for unit in range(units)]


def test_centroid_vectors_are_item_vectors() -> None:
    items = make_problem(0, 4, [2, 1, 3], [1]).items
    assert (len(items), items.dim, items.lengths.tolist()) == (3, 4, [2, 1, 3])
    decoded = items.decode()
    for row in range(3):
        np.testing.assert_array_equal(items.item(row), decoded.item(row))
    rows = np.array([2, 0])
    np.testing.assert_array_equal(items.decode(rows).vectors, np.concatenate([items.item(2), items.item(0)]))


def test_codes_without_a_centroid_are_refused() -> None:
    with pytest.raises(ValueError, match="code 5 of a token, but there are 5 centroids"):
        CentroidVectors(np.zeros((5, 2), dtype=np.float32), np.array([0, 5], dtype=np.uint16), np.array([0, 1, 2]))


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    items = make_problem(1, 6, [2, 4], [1]).items
    items.save(tmp_path)
    loaded = CentroidVectors.load(tmp_path, items.offsets)
    np.testing.assert_array_equal(loaded.centroids, items.centroids)
    np.testing.assert_array_equal(loaded.codes, items.codes)
    with pytest.raises(ArtifactError, match=r"offsets 0\.\.7 do not span the 6 vectors.*make export"):
        CentroidVectors.load(tmp_path, np.array([0, 7]))
    (tmp_path / "search" / "codes.npy").unlink()
    with pytest.raises(ArtifactError, match="make export"):
        CentroidVectors.load(tmp_path, items.offsets)
