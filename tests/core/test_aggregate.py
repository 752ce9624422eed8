"""Aggregation against its formulas, and the best k against a sort."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tesserank.maxsim.aggregate import aggregate, contributions
from tesserank.maxsim.topk import top_k

METHODS = ("sum", "softmax")
scores_in_range = st.floats(-2, 2, width=32)
weights_in_range = st.sampled_from((0.0, 0.25, 1.0, 3.0))


@st.composite
def parts(draw: st.DrawFn, dtype: Any = np.float64) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Scores [n, K] and weights [K], not all of them 0."""
    rows, columns = draw(st.integers(1, 4)), draw(st.integers(1, 6))
    scores = draw(st.lists(scores_in_range, min_size=rows * columns, max_size=rows * columns))
    weights = draw(st.lists(weights_in_range, min_size=columns, max_size=columns))
    assume(any(weights))
    return np.array(scores, dtype=dtype).reshape(rows, columns), np.array(weights)


@given(parts())
def test_sum_is_the_weighted_sum(case: tuple[NDArray[Any], NDArray[Any]]) -> None:
    scores, weights = case
    expected = [sum(w * y for w, y in zip(weights, row, strict=True)) for row in scores]
    np.testing.assert_allclose(aggregate(scores, weights, "sum", 1.0), expected, rtol=0, atol=1e-12)


@given(parts(), st.floats(0.05, 2.0))
def test_softmax_is_the_log_sum_exp(case: tuple[NDArray[Any], NDArray[Any]], temperature: float) -> None:
    scores, weights = case
    # 2 / 0.05 = 40, and exp(40) is far from overflow: the formula may be taken literally in float64
    expected = [
        temperature * math.log(sum(w * math.exp(y / temperature) for w, y in zip(weights, row, strict=True)))
        for row in scores
    ]
    np.testing.assert_allclose(aggregate(scores, weights, "softmax", temperature), expected, rtol=0, atol=1e-12)


@given(parts(dtype=np.float32), st.sampled_from((1e-4, 1e-3, 1e-2)))
def test_softmax_tends_to_the_maximum(case: tuple[NDArray[Any], NDArray[Any]], temperature: float) -> None:
    scores, weights = case
    largest = scores[:, weights > 0].max(axis=1)
    # max_k (y_k + τ·log w_k) <= s <= the same + τ·log K; the weights lie in [1/4, 3]; float32 has 2^-23 of |s / τ|
    slack = temperature * (math.log(4) + math.log(len(weights))) + 2e-6
    soft = aggregate(scores, weights, "softmax", temperature)
    assert soft.dtype == np.float32
    np.testing.assert_allclose(soft, largest, rtol=0, atol=slack)


@pytest.mark.parametrize("method", METHODS)
@given(case=parts(), temperature=st.floats(1e-3, 2.0))
def test_contributions_add_up_to_the_score(method: str, case: Any, temperature: float) -> None:
    scores, weights = case
    shares = contributions(scores, weights, method, temperature)
    assert shares.shape == scores.shape
    total = aggregate(scores, weights, method, temperature)
    np.testing.assert_allclose(shares.sum(axis=1), total, rtol=0, atol=1e-12)


@pytest.mark.parametrize("method", METHODS)
@given(case=parts(), temperature=st.floats(1e-3, 2.0))
def test_a_part_of_weight_0_is_no_part(method: str, case: Any, temperature: float) -> None:
    scores, weights = case
    live = weights > 0
    with_it = aggregate(scores, weights, method, temperature)
    np.testing.assert_allclose(with_it, aggregate(scores[:, live], weights[live], method, temperature), atol=1e-12)
    assert not contributions(scores, weights, method, temperature)[:, ~live].any()


def test_a_softmax_contribution_is_a_share_by_the_derivative() -> None:
    scores, weights, temperature, step = np.array([[0.2, 0.5, 0.4]]), np.array([1.0, 0.5, 2.0]), 0.1, 1e-6
    s = aggregate(scores, weights, "softmax", temperature)[0]
    for part in range(3):
        moved = scores.copy()
        moved[0, part] += step
        derivative = (aggregate(moved, weights, "softmax", temperature)[0] - s) / step
        share = contributions(scores, weights, "softmax", temperature)[0, part]
        assert share == pytest.approx(s * derivative, abs=1e-4)


@pytest.mark.parametrize("function", [aggregate, contributions])
def test_weights_that_are_all_0_and_unknown_methods_are_errors(function: Any) -> None:
    scores = np.ones((2, 2))
    for method in METHODS:
        with pytest.raises(ValueError, match="no part has a weight above 0"):
            function(scores, np.zeros(2), method, 1.0)
    with pytest.raises(ValueError, match="unknown aggregation 'mean'"):
        function(scores, np.ones(2), "mean", 1.0)


@given(st.lists(st.sampled_from((-math.inf, -1.0, 0.0, 0.5, 2.0))), st.integers(0, 12))
def test_top_k_is_a_stable_sort_without_minus_infinity(values: list[float], k: int) -> None:
    scores = np.array(values, dtype=np.float32)
    expected = sorted((i for i, value in enumerate(values) if value > -math.inf), key=lambda i: (-values[i], i))[:k]
    assert top_k(scores, k).tolist() == expected


@pytest.mark.parametrize("k", [1, 50, 499, 500])
def test_ties_among_many_scores_go_to_the_earlier_position(k: int) -> None:
    scores = np.random.default_rng(0).integers(0, 5, 500).astype(np.float32)
    assert top_k(scores, k).tolist() == sorted(range(500), key=lambda i: (-scores[i], i))[:k]
