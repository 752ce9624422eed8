"""MaxSim: the fast paths against the float64 reference, whatever is stored, however it is divided."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tesserank.maxsim import cpu, jit, reference, vectors
from tesserank.maxsim.ragged import Ragged
from tesserank.maxsim.topk import top_k
from tesserank.maxsim.vectors import FloatVectors, Int8Vectors, Int16Vectors, ItemVectors, SteppedVectors

UNIT_ROUNDOFF = 2.0**-24  # of float32
needs_kernel = pytest.mark.skipif(not jit.available(), reason="numba or AVX2 is missing: there is no kernel to test")


class Problem(NamedTuple):
    """Arguments of ``unit_scores``."""

    tokens: NDArray[np.float32]
    token_weights: NDArray[np.float32]
    starts: NDArray[np.int64]
    items: ItemVectors

    @property
    def tolerance(self) -> float:
        """The largest error that the fast path may make here.

        Float32, after Higham, Accuracy and Stability, §3.1: with unit roundoff u = 2^-24, an inner product of d terms
        is off by at most d·u·Σ|q_i·v_i|, which is at most d·u for rows of unit length; a maximum adds nothing; the
        products with the weights and the sum over a unit's L tokens add L·u of Σ w. Hence (d + L)·u·Σ w, and a tenth
        more for terms in u², which that leaves out, and for rows that quantisation has made longer than 1.

        Integers: their products and sums are exact, but a query token's components were rounded to steps of ``size``,
        so a product with codes c is off by at most size/2·Σ|c_i|, and a hundredth more for rounding before the rounding
        (3·u·R < 0.006 of a step).
        """
        _, d = self.tokens.shape
        return 1.1 * (d + len(self.tokens)) * UNIT_ROUNDOFF * float(self.token_weights.sum()) + self.rounding

    @property
    def rounding(self) -> float:
        """The error that rounding the query to 16 bits may make."""
        if not isinstance(self.items, SteppedVectors):
            return 0.0
        steps = np.abs(self.tokens * self.items.scale).max(axis=1) / query_range(self.items.peak, self.items.dim)
        codes = np.abs(self.items.codes.astype(np.int64)).sum(axis=1).max()
        return float((0.505 * steps * codes * self.token_weights).sum())


def query_range(peak: int, dim: int) -> int:
    """What a query may be rounded to: int16, and d products with codes up to ``peak`` fit int32."""
    return min(2**15 - 1, (2**31 - 1) // (peak * dim))


def unit_rows(rng: np.random.Generator, rows: int, dim: int) -> NDArray[np.float32]:
    vectors = rng.standard_normal((rows, dim))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32)


def make_problem(seed: int, dim: int, lengths: list[int], units: list[int], kind: str = "float32") -> Problem:
    rng = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    rows = Ragged(unit_rows(rng, sum(lengths), dim), offsets)
    starts = np.concatenate([[0], np.cumsum(units)[:-1]]).astype(np.int64)
    weights = rng.choice([0.0, 0.1, 1.0], sum(units)).astype(np.float32)
    return Problem(unit_rows(rng, sum(units), dim), weights, starts, stored(rows, kind))


def stored(rows: Ragged, kind: str) -> ItemVectors:
    """Float vectors as a kind of item vectors; "float32" are as they are."""
    return FloatVectors(rows.vectors, rows.offsets) if kind == "float32" else vectors.quantise(kind, rows)


KINDS = ("float32", *vectors.KINDS)
one_each = st.lists(st.just(1), min_size=1, max_size=150)  # such items have a kernel of their own
problems = st.builds(
    make_problem,
    seed=st.integers(0, 2**32),
    dim=st.integers(1, 40),
    lengths=st.lists(st.one_of(st.integers(1, 9), st.integers(100, 300)), min_size=1, max_size=30) | one_each,
    units=st.lists(st.integers(1, 6), min_size=1, max_size=12),
    kind=st.sampled_from(KINDS),
)


@given(problems, st.sampled_from((1, 2, 7, 1024)))
def test_the_fast_path_equals_the_reference_whatever_the_shapes_and_blocks(problem: Problem, block: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cpu, "_BLOCK_TOKENS", block)
        fast = cpu.unit_scores(*problem)
    assert fast.dtype == np.float32
    np.testing.assert_allclose(fast, reference.unit_scores(*problem), rtol=0, atol=problem.tolerance)


@given(problems)
@settings(max_examples=20)
def test_without_a_kernel_the_scores_are_those_of_the_reference_too(problem: Problem) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jit, "available", lambda: False)
        fast = cpu.unit_scores(*problem)
    tolerance = problem.tolerance - problem.rounding  # nothing is rounded to 16 bits there
    np.testing.assert_allclose(fast, reference.unit_scores(*problem), rtol=0, atol=tolerance)


@given(problems, st.data())
def test_rows_are_scored_as_they_are_among_all(problem: Problem, data: st.DataObject) -> None:
    rows = np.array(data.draw(st.lists(st.integers(0, len(problem.items) - 1), max_size=20)), dtype=np.int64)
    chosen, everything = cpu.unit_scores(*problem, rows=rows), cpu.unit_scores(*problem)
    assert chosen.shape == (len(rows), len(problem.starts))
    if isinstance(problem.items, SteppedVectors) and jit.available():
        assert chosen.tobytes() == everything[rows].tobytes()
    else:  # a BLAS rounds by the shape of the product
        np.testing.assert_allclose(chosen, everything[rows], rtol=0, atol=problem.tolerance)
    np.testing.assert_array_equal(
        reference.unit_scores(*problem, rows=rows), reference.unit_scores(*problem)[rows], strict=True
    )


@given(problems, st.sampled_from((1, 7, 1024)))
def test_threads_do_not_change_a_bit(problem: Problem, block: int) -> None:
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(3) as pool:
        patch.setattr(cpu, "_BLOCK_TOKENS", block)
        if jit.available():
            patch.setattr("tesserank.maxsim.jit.units.SECONDS_WORTH_A_THREAD", 0.0)
        alone, threaded, again = (cpu.unit_scores(*problem, pool=p) for p in (None, pool, pool))
    assert alone.tobytes() == threaded.tobytes() == again.tobytes()


@needs_kernel
@given(problems, st.integers(1, 12))
def test_a_unit_scores_the_same_bits_whoever_else_asks(problem: Problem, units: int) -> None:
    problem = problem._replace(items=stored(problem.items.decode(), "int8"))
    units = min(units, len(problem.starts))
    end = problem.starts[units] if units < len(problem.starts) else len(problem.tokens)
    fewer = Problem(problem.tokens[:end], problem.token_weights[:end], problem.starts[:units], problem.items)
    together = cpu.unit_scores(*problem)[:, :units]
    assert cpu.unit_scores(*fewer).tobytes() == np.asarray(together).tobytes()


@needs_kernel
@pytest.mark.parametrize("kind", [Int8Vectors, Int16Vectors])
@given(
    seed=st.integers(0, 2**32),
    dim=st.one_of(st.integers(1, 70), st.sampled_from((128, 517, 4096))),
    count=st.integers(1, 40),
    lengths=st.lists(st.integers(1, 280), min_size=1, max_size=5) | one_each,
)
@settings(max_examples=30)
def test_integers_are_multiplied_exactly_also_where_they_are_largest(
    kind: type[SteppedVectors], seed: int, dim: int, count: int, lengths: list[int]
) -> None:
    rng = np.random.default_rng(seed)
    limit = query_range(kind.peak, dim)
    tokens = rng.choice([-limit, 0, 1, limit], (count, dim)).astype(np.float32)
    tokens[:, 0] = limit  # so that a step of the rounding is 1, and nothing is rounded
    codes = rng.choice([-kind.peak, 0, 3, kind.peak], (sum(lengths), dim)).astype(kind.code_type)
    codes[0] = np.sign(tokens[0]) * kind.peak  # the largest sum there can be
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    items = kind(codes, np.ones(dim, dtype=np.float32), offsets)
    scores = cpu.unit_scores(tokens, np.ones(count, dtype=np.float32), np.arange(count), items)
    similarities = codes.astype(np.int64) @ tokens.astype(np.int64).T
    exact = np.maximum.reduceat(similarities, offsets[:-1], axis=0)
    np.testing.assert_array_equal(scores, exact.astype(np.float32), strict=True)


@needs_kernel
def test_a_token_that_is_no_number_spoils_its_own_unit_alone() -> None:
    problem = make_problem(0, 8, [2, 3], [1, 1, 1], "int8")
    problem = problem._replace(token_weights=np.ones(3, dtype=np.float32))
    sound = cpu.unit_scores(*problem)
    problem.tokens[1, 3] = np.nan
    problem.tokens[2, 0] = 0
    spoilt = cpu.unit_scores(*problem)
    assert np.isnan(spoilt[:, 1]).all()
    assert spoilt[:, 0].tobytes() == sound[:, 0].tobytes()
    assert np.isfinite(spoilt[:, 2]).all()


@pytest.mark.parametrize("kind", KINDS)
def test_zero_vectors_score_0(kind: str) -> None:
    problem = make_problem(0, 8, [2, 1, 3], [2, 1], kind)
    nothing = Ragged(np.zeros((4, 8), dtype=np.float32), np.array([0, 1, 4]))
    assert not cpu.unit_scores(*problem._replace(items=stored(nothing, kind))).any()
    assert not cpu.unit_scores(np.zeros_like(problem.tokens), *problem[1:]).any()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", [18, 21, 24, 26, 27])
def test_the_fast_path_ranks_as_the_reference_does(seed: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    problem = make_problem(seed, 64, rng.integers(1, 20, 500).tolist(), [32], kind)
    problem = problem._replace(token_weights=problem.token_weights / problem.token_weights.sum())
    exact, fast = reference.unit_scores(*problem)[:, 0], cpu.unit_scores(*problem)[:, 0]
    eleven = exact[top_k(exact, 11)]
    assert -np.diff(eleven).max() > 2 * problem.tolerance, "the seed must not make ties, or any order is right"
    assert top_k(fast, 10).tolist() == top_k(exact, 10).tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_without_items_there_are_no_scores(kind: str) -> None:
    problem = make_problem(0, 4, [2], [1, 2], kind)
    nothing = problem._replace(items=problem.items.take(np.empty(0, dtype=np.int64)))
    assert cpu.unit_scores(*nothing).shape == reference.unit_scores(*nothing).shape == (0, 2)
    nobody = np.empty(0, dtype=np.int64)
    assert cpu.unit_scores(*problem, rows=nobody).shape == (0, 2)


@needs_kernel
def test_the_kernel_is_not_let_loose_on_what_is_not_there() -> None:
    problem = make_problem(0, 4, [2, 1], [1, 2], "int8")
    for rows in ([0, 2], [-1]):
        with pytest.raises(IndexError, match="but there are 2 items"):
            cpu.unit_scores(*problem, rows=np.array(rows))
    with pytest.raises(ValueError, match="query tokens of 3 dimensions, item vectors of 4"):
        cpu.unit_scores(problem.tokens[:, :3], *problem[1:])


def test_blocks_hold_whole_items_and_every_item_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "_BLOCK_TOKENS", 4)
    blocks = list(cpu._blocks(np.array([0, 1, 4, 5, 11, 12, 13])))
    assert [(block.start, block.stop) for block in blocks] == [(0, 2), (2, 3), (3, 4), (4, 6)]


def padded(items: Ragged) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The vectors [N, M, d] padded by 0, and which are real [N, M]."""
    longest = items.lengths.max()
    mask = np.arange(longest) < items.lengths[:, None]
    vectors = np.zeros((len(items), longest, items.vectors.shape[1]), dtype=np.float32)
    vectors[mask] = items.vectors
    return vectors, mask


@given(problems)
def test_padded_items_score_as_ragged_ones_do(problem: Problem) -> None:
    items = problem.items.decode()
    rows, mask = padded(items)
    one_unit = problem._replace(starts=np.zeros(1, dtype=np.int64))
    ours = reference.maxsim_padded(problem.tokens, problem.token_weights, rows, mask)
    np.testing.assert_allclose(ours, reference.unit_scores(*one_unit)[:, 0], rtol=0, atol=1e-12)
    back = Ragged.from_padded(rows, mask)
    np.testing.assert_array_equal(back.offsets, items.offsets)
    np.testing.assert_array_equal(back.vectors, items.vectors)


def test_padding_with_zeros_would_beat_negative_similarities() -> None:
    query, weights = np.array([[1.0, 0.0]]), np.ones(1)
    vectors = np.array([[[-1.0, 0.0], [0.0, 0.0]], [[-0.6, 0.8], [-0.8, 0.6]]])
    mask = np.array([[True, False], [True, True]])
    assert reference.maxsim_padded(query, weights, vectors, mask).tolist() == [-1.0, -0.6]
    zeroed = reference.maxsim_padded(query, weights, vectors, np.ones_like(mask))
    assert zeroed.tolist() == [0.0, -0.6], "the opposite of the query would be ranked first"
    real = Ragged.from_padded(vectors.astype(np.float32), mask)
    items = FloatVectors(real.vectors, real.offsets)
    fast = cpu.unit_scores(query.astype(np.float32), weights.astype(np.float32), np.zeros(1, np.int64), items)
    np.testing.assert_array_equal(fast[:, 0], np.array([-1.0, -0.6], dtype=np.float32))


def test_a_maxsim_by_hand() -> None:
    query, weights = np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([0.5, 2.0])
    item = np.array([[0.6, 0.8], [1.0, 0.0]])
    assert reference.maxsim(query, weights, item) == 0.5 * 1.0 + 2.0 * 0.8
    assert reference.maxsim(query, weights, item[:0]) == -np.inf
