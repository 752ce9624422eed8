"""The fast MaxSim against the readable one, on ragged items of every shape."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tesserank.maxsim import cpu, reference
from tesserank.maxsim.ragged import Ragged
from tesserank.maxsim.topk import top_k


class Problem(NamedTuple):
    """Arguments of ``unit_scores``."""

    tokens: NDArray[np.float32]
    token_weights: NDArray[np.float32]
    starts: NDArray[np.int64]
    items: Ragged

    @property
    def tolerance(self) -> float:
        """The largest error that float32 may make here, after Higham, Accuracy and Stability, §3.1.

        With unit roundoff u = 2^-24, an inner product of d terms is off by at most d·u·Σ|q_i·v_i|, which is at most
        d·u for rows of unit length; a maximum adds nothing; the products with the weights and the sum over a unit's L
        tokens add L·u of Σ w. Hence (d + L)·u·Σ w, and a tenth more for terms in u², which that leaves out.
        """
        _, d = self.tokens.shape
        return 1.1 * (d + len(self.tokens)) * 2.0**-24 * float(self.token_weights.sum())


def unit_rows(rng: np.random.Generator, rows: int, dim: int) -> NDArray[np.float32]:
    vectors = rng.standard_normal((rows, dim))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32)


def make_problem(seed: int, dim: int, lengths: list[int], units: list[int], dtype: Any = np.float32) -> Problem:
    rng = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    items = Ragged(unit_rows(rng, sum(lengths), dim).astype(dtype), offsets)
    starts = np.concatenate([[0], np.cumsum(units)[:-1]]).astype(np.int64)
    weights = rng.choice([0.0, 0.1, 1.0], sum(units)).astype(np.float32)
    return Problem(unit_rows(rng, sum(units), dim), weights, starts, items)


problems = st.builds(
    make_problem,
    seed=st.integers(0, 2**32),
    dim=st.integers(1, 40),
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=30),
    units=st.lists(st.integers(1, 6), min_size=1, max_size=12),
    dtype=st.sampled_from((np.float32, np.float16)),
)


@given(problems, st.sampled_from((1, 2, 7, 1024)))
def test_the_fast_path_equals_the_reference_whatever_the_shapes_and_blocks(problem: Problem, block: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cpu, "_BLOCK_TOKENS", block)
        fast = cpu.unit_scores(*problem)
    assert fast.dtype == np.float32
    np.testing.assert_allclose(fast, reference.unit_scores(*problem), rtol=0, atol=problem.tolerance)


@given(problems, st.sampled_from((1, 7, 1024)))
def test_threads_do_not_change_a_bit(problem: Problem, block: int) -> None:
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(3) as pool:
        patch.setattr(cpu, "_BLOCK_TOKENS", block)
        alone, threaded, again = (cpu.unit_scores(*problem, pool=p) for p in (None, pool, pool))
    assert alone.tobytes() == threaded.tobytes() == again.tobytes()


@pytest.mark.parametrize("seed", range(5))
def test_the_fast_path_ranks_as_the_reference_does(seed: int) -> None:
    rng = np.random.default_rng(seed)
    problem = make_problem(seed, 64, rng.integers(1, 20, 500).tolist(), [32])
    problem = problem._replace(token_weights=problem.token_weights / problem.token_weights.sum())
    exact, fast = reference.unit_scores(*problem)[:, 0], cpu.unit_scores(*problem)[:, 0]
    eleven = exact[top_k(exact, 11)]
    assert -np.diff(eleven).max() > 2 * problem.tolerance, "the seed must not make ties, or any order is right"
    assert top_k(fast, 10).tolist() == top_k(exact, 10).tolist()


def test_without_items_there_are_no_scores() -> None:
    problem = make_problem(0, 4, [2], [1, 2])
    nothing = problem._replace(items=problem.items.take(np.empty(0, dtype=np.int64)))
    assert cpu.unit_scores(*nothing).shape == reference.unit_scores(*nothing).shape == (0, 2)


def test_blocks_hold_whole_items_and_every_item_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "_BLOCK_TOKENS", 4)
    blocks = list(cpu._blocks(np.array([0, 1, 4, 5, 11, 12, 13])))
    assert [(block.start, block.stop) for block in blocks] == [(0, 2), (2, 3), (3, 4), (4, 6)]


def padded(items: Ragged) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    longest = items.lengths.max()
    mask = np.arange(longest) < items.lengths[:, None]
    vectors = np.zeros((len(items), longest, items.vectors.shape[1]), dtype=np.float32)
    vectors[mask] = items.vectors
    return vectors, mask


@given(problems)
def test_padded_items_score_as_ragged_ones_do(problem: Problem) -> None:
    vectors, mask = padded(problem.items)
    one_unit = problem._replace(starts=np.zeros(1, dtype=np.int64))
    ours = reference.maxsim_padded(problem.tokens, problem.token_weights, vectors, mask)
    np.testing.assert_allclose(ours, reference.unit_scores(*one_unit)[:, 0], rtol=0, atol=1e-12)
    back = Ragged.from_padded(vectors, mask)
    np.testing.assert_array_equal(back.offsets, problem.items.offsets)
    np.testing.assert_array_equal(back.vectors, problem.items.vectors)


def test_padding_with_zeros_would_beat_negative_similarities() -> None:
    query, weights = np.array([[1.0, 0.0]]), np.ones(1)
    vectors = np.array([[[-1.0, 0.0], [0.0, 0.0]], [[-0.6, 0.8], [-0.8, 0.6]]])
    mask = np.array([[True, False], [True, True]])
    assert reference.maxsim_padded(query, weights, vectors, mask).tolist() == [-1.0, -0.6]
    zeroed = reference.maxsim_padded(query, weights, vectors, np.ones_like(mask))
    assert zeroed.tolist() == [0.0, -0.6], "the opposite of the query would be ranked first"
    items = Ragged.from_padded(vectors.astype(np.float32), mask)
    fast = cpu.unit_scores(query.astype(np.float32), weights.astype(np.float32), np.zeros(1, np.int64), items)
    np.testing.assert_array_equal(fast[:, 0], np.array([-1.0, -0.6], dtype=np.float32))


def test_a_maxsim_by_hand() -> None:
    query, weights = np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([0.5, 2.0])
    item = np.array([[0.6, 0.8], [1.0, 0.0]])
    assert reference.maxsim(query, weights, item) == 0.5 * 1.0 + 2.0 * 0.8
    assert reference.maxsim(query, weights, item[:0]) == -np.inf


@given(problems, st.data())
def test_taken_items_are_the_items(problem: Problem, data: st.DataObject) -> None:
    rows = data.draw(st.lists(st.integers(0, len(problem.items) - 1)))
    taken = problem.items.take(np.array(rows, dtype=np.int64))
    assert len(taken) == len(rows)
    for position, row in enumerate(rows):
        np.testing.assert_array_equal(taken.item(position), problem.items.item(row))


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
