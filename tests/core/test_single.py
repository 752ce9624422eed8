"""MaxSim with items of one vector each: the product against the definition and against the kernel with a maximum."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tesserank.maxsim import cpu, jit, reference
from tesserank.maxsim.vectors import SteppedVectors
from tests.core.test_maxsim import make_problem

if not jit.available():
    pytest.skip("numba or AVX2 is missing: there is no kernel to test", allow_module_level=True)

from tesserank.maxsim.jit import units
from tesserank.maxsim.jit.stores import store_of

kinds = pytest.mark.parametrize("kind", ["int8", "int16"])


@kinds
@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    dim=st.integers(1, 40),
    items=st.integers(1, 150),
    lengths=st.lists(st.integers(1, 5), min_size=1, max_size=40),
)
def test_the_scores_are_those_of_the_definition(kind: str, seed: int, dim: int, items: int, lengths: list[int]) -> None:
    problem = make_problem(seed, dim, [1] * items, lengths, kind)
    expected = reference.unit_scores(*problem)
    np.testing.assert_allclose(cpu.unit_scores(*problem), expected, rtol=0, atol=problem.tolerance)


@kinds
def test_units_of_one_token_score_as_the_kernel_with_a_maximum_does_to_the_bit(kind: str) -> None:
    tokens, _, starts, items = make_problem(0, 24, [1] * 500, [1] * 20, kind)
    weights = np.ones(20, dtype=np.float32)
    assert isinstance(items, SteppedVectors)
    store = store_of(items)
    assert store is not None
    other = units.unit_scores(tokens, weights, starts, store, items.offsets, None, None)
    np.testing.assert_array_equal(cpu.unit_scores(tokens, weights, starts, items), other)


@kinds
def test_an_items_scores_do_not_depend_on_the_others_nor_on_threads(kind: str) -> None:
    problem = make_problem(1, 8, [1] * 5000, [2] * 20, kind)
    everything = cpu.unit_scores(*problem)
    rows = np.random.default_rng(0).permutation(5000)[:777]
    np.testing.assert_array_equal(cpu.unit_scores(*problem, rows=rows), everything[rows])
    with ThreadPoolExecutor(3) as pool:
        np.testing.assert_array_equal(cpu.unit_scores(*problem, pool=pool), everything)
