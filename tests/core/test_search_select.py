"""The best n of many scores: those of top_k, whatever the scores are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tesserank.maxsim import jit
from tesserank.maxsim.topk import top_k

if not jit.available():
    pytest.skip("numba or AVX2 is missing: nothing is pruned then", allow_module_level=True)

from tesserank.search.select import best_rows

scores = arrays.arrays(
    np.float32,
    st.integers(0, 200),
    elements=st.one_of(st.floats(-(2.0**99), 2.0**99, width=32), st.sampled_from([0.0, 1.0, -np.inf])),
)


@settings(deadline=None)
@given(scores, st.integers(0, 250))
@example(np.array([1, 1, 1, 1], dtype=np.float32), 2)
@example(np.full(3, -np.inf, dtype=np.float32), 2)
@example(np.array([3e38, -3e38, 0, 1], dtype=np.float32), 2)  # their range is no float32
def test_they_are_those_of_top_k(values: np.ndarray, count: int) -> None:
    np.testing.assert_array_equal(best_rows(values, count), np.sort(top_k(values, count)))


def test_nan_is_never_the_best() -> None:
    np.testing.assert_array_equal(best_rows(np.array([np.nan, 1, np.nan, 2, 0], dtype=np.float32), 2), [1, 3])
