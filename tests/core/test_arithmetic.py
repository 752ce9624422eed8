"""What integers are multiplied with: the same bits on every processor, and a bound where queries have 8 bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tesserank.maxsim import cpu, jit, vectors
from tesserank.maxsim.ragged import Ragged
from tesserank.maxsim.vectors import FloatVectors
from tests.core.test_maxsim import UNIT_ROUNDOFF, Problem, make_problem, stored, unit_rows

needs_vnni = pytest.mark.skipif(not jit.has_vnni(), reason="this processor has no AVX-512 VNNI")
shapes: dict[str, Any] = {
    "seed": st.integers(0, 2**32),
    "dim": st.integers(1, 40),
    "lengths": st.lists(st.one_of(st.integers(1, 9), st.integers(100, 300)), min_size=1, max_size=30),
    # up to 5 · 30 query tokens: tiles of one, two and four packs of 16
    "units": st.lists(st.integers(1, 30), min_size=1, max_size=5),
}


def on_avx2(problem: Problem) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jit, "has_vnni", lambda: False)
        return cpu.unit_scores(*problem)


@needs_vnni
@pytest.mark.parametrize("kind", ["int8", "int16"])
@given(**shapes)
def test_both_processors_compute_the_same_bits(kind: str, **shape: Any) -> None:
    problem = make_problem(**shape, kind=kind)
    assert cpu.unit_scores(*problem).tobytes() == on_avx2(problem).tobytes()


@needs_vnni
@pytest.mark.parametrize("kind", ["int8", "int16"])
def test_they_do_with_items_of_one_vector_each_too(kind: str) -> None:
    problem = make_problem(0, 24, [1] * 150, [2] * 20, kind)
    assert cpu.unit_scores(*problem).tobytes() == on_avx2(problem).tobytes()


@needs_vnni
@given(**shapes)
@settings(max_examples=200)
def test_coarse_scores_are_within_their_bound(**shape: Any) -> None:
    problem = make_problem(**shape, kind="int8")
    if not cpu.has_coarse(problem.items):
        assert problem.items.offsets[-1] == len(problem.items), "the kernel for single vectors has one way only"
        return
    exact, coarse = cpu.unit_scores(*problem), cpu.coarse_unit_scores(*problem)
    error = cpu.coarse_error(*problem)
    float32 = len(problem.tokens) * UNIT_ROUNDOFF * 4 * float(problem.token_weights.sum())
    np.testing.assert_allclose(coarse, exact, rtol=0, atol=error + float32)


@needs_vnni
def test_the_bound_is_near_what_is_seen() -> None:
    """A bound that were ten times larger than needed would hold as well, and let ten times more pass."""
    rng = np.random.default_rng(0)
    problem = make_problem(0, 128, rng.integers(1, 30, 2_000).tolist(), [1] * 50, "int8")
    problem = problem._replace(token_weights=np.ones(50, dtype=np.float32))
    seen = float(np.abs(cpu.coarse_unit_scores(*problem) - cpu.unit_scores(*problem)).max())
    assert seen < cpu.coarse_error(*problem) < 4 * seen


@needs_vnni
@pytest.mark.parametrize("dim", [1, 3, 8, 9, 128, 517, 4096])
def test_bytes_are_multiplied_exactly_also_where_they_are_largest(dim: int) -> None:
    rng = np.random.default_rng(dim)
    limit = min(127, (2**31 - 1) // ((127 + 128) * dim))  # sums of int8 and uint8 products must fit int32
    tokens = rng.choice([-limit, 0, 1, limit], (70, dim)).astype(np.float32)
    tokens[:, 0] = limit  # so that a step of the rounding is 1, and nothing is rounded
    codes = rng.choice([-127, 0, 3, 127], (90, dim)).astype(np.int8)
    codes[:2] = np.sign(tokens[:2]) * 127
    offsets = np.array([0, 1, 3, 40, 90])
    items = vectors.Int8Vectors(codes, np.ones(dim, dtype=np.float32), offsets)
    scores = cpu.coarse_unit_scores(tokens, np.ones(70, dtype=np.float32), np.arange(70), items)
    exact = np.maximum.reduceat(codes.astype(np.int64) @ tokens.astype(np.int64).T, offsets[:-1], axis=0)
    np.testing.assert_array_equal(scores, exact.astype(np.float32), strict=True)


@needs_vnni
def test_a_token_that_is_no_number_has_no_bound() -> None:
    problem = make_problem(0, 8, [2, 3], [1, 1], "int8")
    problem.tokens[1, 3] = np.nan
    problem.token_weights[:] = 1
    assert np.isnan(cpu.coarse_error(*problem))


@pytest.mark.parametrize("kind", ["int16", "float16", "float32"])
def test_what_has_no_coarse_form_is_scored_exactly(kind: str) -> None:
    problem = make_problem(1, 8, [2, 3, 1], [2, 1], kind)
    assert not cpu.has_coarse(problem.items)
    assert cpu.coarse_error(*problem) == 0.0
    assert cpu.coarse_unit_scores(*problem).tobytes() == cpu.unit_scores(*problem).tobytes()


def test_without_vnni_nothing_is_coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jit, "has_vnni", lambda: False)
    assert not cpu.has_coarse(make_problem(0, 8, [2, 3], [1], "int8").items)


def test_the_longest_vector_of_codes_is_found_wherever_it_lies() -> None:
    rows = unit_rows(np.random.default_rng(0), 40_000, 2)  # several of the blocks that are looked through
    items = stored(Ragged(rows, np.array([0, 40_000])), "int8")
    assert isinstance(items, vectors.Int8Vectors)
    assert items.longest == np.sqrt((items.codes.astype(np.int64) ** 2).sum(axis=1)).max()
    assert items.take(np.empty(0, dtype=np.int64)).longest == 0.0


def test_float_vectors_have_no_kernel() -> None:
    items = FloatVectors(np.ones((3, 4), dtype=np.float16), np.array([0, 1, 3]))
    assert not cpu.has_coarse(items)
