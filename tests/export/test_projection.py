"""The projection fitted on a catalogue: principal components, as one linear map."""

from __future__ import annotations

import numpy as np
import pytest

from tesserank.errors import ConfigError
from tesserank_export.projection import fit_projection


def states(seed: int = 0) -> list[np.ndarray]:  # type: ignore[type-arg]
    """Hidden states float32 [n, 12] that lie near a plane, off the origin."""
    rng = np.random.default_rng(seed)
    plane = rng.normal(size=(2, 12))
    return [(rng.normal(size=(n, 2)) @ plane + 0.01 * rng.normal(size=(n, 12)) + 5).astype(np.float32) for n in (9, 30)]


def test_the_map_centres_and_keeps_distances_within_the_components_kept() -> None:
    hidden = np.concatenate(states())
    found = fit_projection(states(), 2, seed=0)
    projected = hidden @ found.weight + found.bias
    np.testing.assert_allclose(projected.mean(axis=0), 0.0, atol=1e-4)
    distances = [np.linalg.norm(points[:, None] - points[None], axis=2) for points in (hidden, projected)]
    np.testing.assert_allclose(distances[1], distances[0], atol=0.1)
    np.testing.assert_allclose(found.weight.T @ found.weight, np.eye(2), atol=1e-5)
    assert (found.weight.shape, found.weight.dtype, found.bias.dtype) == ((12, 2), np.float32, np.float32)
    assert found.source.startswith("PCA 12->2, 100.0% of the variance of 39 tokens")


def test_the_same_states_and_seed_give_the_same_bits() -> None:
    first, second = (fit_projection(states(), 3, seed=7) for _ in range(2))
    np.testing.assert_array_equal(first.weight, second.weight)
    np.testing.assert_array_equal(first.bias, second.bias)


@pytest.mark.parametrize("dim", [13, 40])
def test_more_dimensions_than_can_be_fitted_are_refused_with_both_values(dim: int) -> None:
    with pytest.raises(ConfigError, match=rf"--dim {dim} is above what can be fitted: 39 tokens of 12 dimensions"):
        fit_projection(states(), dim, seed=0)
