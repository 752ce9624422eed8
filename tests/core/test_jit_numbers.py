"""exp and log of the kernels against float64, and the aggregation that they are for against its formula."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tesserank.maxsim import cpu, jit
from tesserank.maxsim.aggregate import aggregate

if not jit.available():
    pytest.skip("numba or AVX2 is missing: nothing is compiled", allow_module_level=True)

from numba import njit

from tesserank.maxsim.jit import aggregate as compiled
from tesserank.maxsim.jit import numbers

FAR = np.float32(-87)  # below, exp stays at what it is here


@cache
def over(function: Any) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """The function of an array, compiled as the kernels use it."""

    @njit
    def loop(x: Any, out: Any) -> Any:
        for i in range(len(x)):
            out[i] = function(x[i])
        return out

    return lambda x: loop(x, np.empty_like(x))


def assert_within_an_ulp(found: NDArray[np.float32], exact: NDArray[np.float64]) -> None:
    """A correctly rounded result is off by half a unit in the last place."""
    assert (np.abs(found - exact) / np.spacing(np.abs(exact).astype(np.float32))).max() <= 1.0


def test_exp_is_within_a_unit_in_the_last_place() -> None:
    x = np.concatenate([np.linspace(FAR, 0, 300_001), -np.logspace(-30, 1, 50_001), [0.0]]).astype(np.float32)
    assert_within_an_ulp(over(numbers.exp)(x), np.exp(x.astype(np.float64)))


def test_exp_of_what_is_too_small_is_as_good_as_0() -> None:
    x = np.array([-88, -1e10, -np.inf], dtype=np.float32)
    assert (over(numbers.exp)(x) == over(numbers.exp)(np.full(3, FAR))).all()
    assert np.isnan(over(numbers.exp)(np.array([np.nan], dtype=np.float32)))[0]


def test_log_is_within_a_unit_in_the_last_place() -> None:
    near_1 = 1 + np.linspace(-0.3, 0.5, 100_001)
    x = np.concatenate([np.logspace(-37, 38, 300_001), near_1, np.arange(1, 1000)]).astype(np.float32)
    assert_within_an_ulp(over(numbers.log)(x), np.log(x.astype(np.float64)))


@given(st.lists(st.floats(-4e6, 4e6, width=32), min_size=1))
def test_rounding_is_to_the_nearest_even(values: list[float]) -> None:
    x = np.array(values, dtype=np.float32)
    np.testing.assert_array_equal(over(numbers.rounded)(x), np.rint(x))


def make_parts(seed: int, rows: int, columns: int, spread: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    rng = np.random.default_rng(seed)
    scores = rng.uniform(-spread, spread, (rows, columns)).astype(np.float32)
    weights = rng.choice([0.0, 0.01, 0.25, 1.0, 3.0], columns).astype(np.float32)
    weights[rng.integers(columns)] = 1.0
    return scores, weights


cases = st.builds(
    make_parts,
    seed=st.integers(0, 2**32),
    rows=st.one_of(st.integers(1, 20), st.integers(250, 600)),
    columns=st.integers(1, 24),
    spread=st.sampled_from((0.1, 1.0, 2.0)),
)


def tolerance(scores: NDArray[np.float32], weights: NDArray[np.float32], method: str, temperature: float) -> float:
    """What float32 may cost, with u = 2^-24.

    ``sum``: K products and K sums, K·u·Σ w·|y|. ``softmax``: y / τ + log w, at most P in magnitude, is rounded thrice,
    so the exponents are off by 3·u·P and the sum of exponentials by as much of itself, exp's ulp (2·u) and K·u more;
    its logarithm then by that sum, absolutely; 2·u·(P + log K) are of log and of the last sum; all of it times τ.
    """
    u, parts = 2.0**-24, len(weights)
    if method == "sum":
        return float(parts * u * np.abs(scores * weights).sum(axis=1).max()) + 1e-12
    largest = np.abs(scores).max() / temperature + np.abs(np.log(weights[weights > 0])).max()
    return float(temperature * u * (3 * largest + 2 + parts + 3 * (largest + np.log(parts) + 1)))


@pytest.mark.parametrize("method", ["sum", "softmax"])
@given(case=cases, temperature=st.sampled_from((1e-4, 0.01, 0.15, 2.0)))
def test_compiled_aggregation_is_that_of_float64(
    method: str, case: tuple[NDArray[np.float32], NDArray[np.float32]], temperature: float
) -> None:
    scores, weights = case
    exact = aggregate(scores.astype(np.float64), weights.astype(np.float64), method, temperature)
    for laid_out in (scores, np.asfortranarray(scores)):
        found = cpu.aggregate(laid_out, weights, method, temperature)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, exact, rtol=0, atol=tolerance(scores, weights, method, temperature))


@pytest.mark.parametrize("method", ["sum", "softmax"])
@given(case=cases, first=st.integers(0, 30))
def test_an_item_is_aggregated_to_the_same_bits_wherever_it_stands(
    method: str, case: tuple[NDArray[np.float32], NDArray[np.float32]], first: int
) -> None:
    scores, weights = case
    alone = cpu.aggregate(scores, weights, method, 0.15)
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(2) as pool:
        patch.setattr(compiled, "_SCORES_WORTH_A_THREAD", 1)
        assert cpu.aggregate(scores, weights, method, 0.15, pool).tobytes() == alone.tobytes()
    assert cpu.aggregate(scores[first:], weights, method, 0.15).tobytes() == alone[first:].tobytes()


def test_what_cannot_be_aggregated_is_the_same_error() -> None:
    scores = np.ones((1, 2), dtype=np.float32)
    with pytest.raises(ValueError, match="no part has a weight above 0"):
        cpu.aggregate(scores, np.zeros(2, dtype=np.float32), "softmax", 1.0)
    with pytest.raises(ValueError, match="unknown aggregation 'mean'"):
        cpu.aggregate(scores, np.ones(2, dtype=np.float32), "mean", 1.0)


def test_without_compiling_the_result_is_numpys(monkeypatch: pytest.MonkeyPatch) -> None:
    scores, weights = make_parts(0, 5, 3, 1.0)
    monkeypatch.setattr(jit, "available", lambda: False)
    expected = aggregate(scores, weights, "softmax", 0.15)
    assert cpu.aggregate(scores, weights, "softmax", 0.15).tobytes() == expected.tobytes()
