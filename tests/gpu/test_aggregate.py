"""Aggregation and top-k on the device against numpy's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tesserank.maxsim import aggregate as in_numpy
from tesserank.maxsim.gpu.aggregate import BLOCK, SEARCHED_WHOLE, Channel, Hierarchy, aggregate, top_k
from tesserank.maxsim.topk import top_k as top_k_in_numpy

# Units of each segment of each channel of each user.
hierarchies = st.lists(
    st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=4), min_size=1, max_size=3), min_size=1, max_size=3
)


def make_users(rng: np.random.Generator, units: list[list[list[int]]]) -> tuple[list[list[Channel]], int]:
    """Channels of users whose segments have so many units; and how many units that is."""
    begin, users = 0, []
    for user in units:
        channels = []
        for lengths in user:
            ends = begin + np.cumsum(lengths)
            spans = np.stack([ends - lengths, ends], axis=1)
            weights = rng.choice([0.01, 0.5, 1.0, 3.0], len(lengths)).astype(np.float32)
            channels.append(Channel(spans, weights, float(rng.choice([0.5, 2.0]))))
            begin = int(ends[-1])
        users.append(channels)
    return users, begin


def expected(
    scores: NDArray[np.float64], user: list[Channel], method: str, temperature: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """One user's scores [n] and segment scores [S, n], by ``maxsim.aggregate`` in float64."""
    total, segments = np.zeros(scores.shape[1]), []
    for channel in user:
        own = [
            in_numpy.aggregate(scores[begin:end].T, np.ones(end - begin), method, temperature)
            for begin, end in channel.units.tolist()
        ]
        segments += own
        weights = channel.weights.astype(np.float64)
        total += channel.scale * in_numpy.aggregate(np.stack(own, axis=1), weights, method, temperature)
    return total, np.stack(segments)


@given(
    seed=st.integers(0, 2**32),
    units=hierarchies,
    columns=st.integers(1, 300),
    method=st.sampled_from(("sum", "softmax")),
    temperature=st.sampled_from((0.02, 0.3, 5.0)),
    data=st.data(),
)
@settings(max_examples=40)
def test_scores_aggregate_as_in_numpy(
    device: torch.device, seed: int, units: list[list[list[int]]], columns: int, method: str, temperature: float,
    data: st.DataObject,
) -> None:  # fmt: skip
    """The tolerance: each of the n terms of a log-sum-exp costs an exponential and a product, 2^-20 of the whole at
    most (a GPU's approximate exp2 and log2 are within 2^-21 each), and τ times that is left of it; the values
    themselves are divided by τ and multiplied again, 2^-22 of the largest. Sums are within n·2^-24, which is less.
    """
    rng = np.random.default_rng(seed)
    users, count = make_users(rng, units)
    scores = rng.uniform(-1, 1, (count, columns)).astype(np.float32)
    counts = np.array([data.draw(st.integers(0, columns)) for _ in users])
    there = torch.from_numpy(scores).to(device)
    hierarchy = Hierarchy.of(users, method, temperature, device)
    segments = torch.full((len(hierarchy.segment_weights), columns), np.nan, device=device)
    found = torch.full((len(users), columns), np.nan, device=device)
    aggregate(there, hierarchy, torch.from_numpy(counts).to(device), found, segment_scores=segments)
    once = found.clone()
    aggregate(there, hierarchy, torch.from_numpy(counts).to(device), found, add=True)

    begin = 0
    for user, (channels, n) in enumerate(zip(users, counts.tolist(), strict=True)):
        total, own = expected(scores.astype(np.float64), channels, method, temperature)
        terms = sum(int(np.diff(channel.units).sum()) + len(channel.weights) for channel in channels)
        scale = sum(channel.scale * max(1.0, float(channel.weights.sum())) for channel in channels)
        tolerance = 2.0**-20 * terms * (temperature + 10) * (scale + 1)
        np.testing.assert_allclose(once[user, :n].cpu(), total[:n], rtol=0, atol=tolerance)
        np.testing.assert_allclose(found[user, :n].cpu(), 2 * total[:n], rtol=0, atol=2 * tolerance)
        np.testing.assert_allclose(segments[begin : begin + len(own), :n].cpu(), own[:, :n], rtol=0, atol=tolerance)
        assert (once[user, n:] == -np.inf).all()
        assert segments[begin : begin + len(own), n:].isnan().all(), "nothing is written where there is no candidate"
        begin += len(own)


def test_what_cannot_be_aggregated_is_an_error(device: torch.device) -> None:
    silent = Channel(np.array([[0, 1]]), np.zeros(1, dtype=np.float32), 1.0)
    with pytest.raises(ValueError, match="no part has a weight above 0"):
        Hierarchy.of([[silent]], "sum", 1.0, device)
    heard = Channel(np.array([[0, 1]]), np.ones(1, dtype=np.float32), 1.0)
    with pytest.raises(ValueError, match="unknown aggregation 'median'"):
        Hierarchy.of([[heard]], "median", 1.0, device)


few = st.sampled_from((-np.inf, -1.5, -0.0, 0.0, 1e-30, 0.25, 0.25000003, 3.0))
rows_of_scores = st.integers(0, 12).flatmap(
    lambda n: st.lists(st.lists(few, min_size=n, max_size=n), min_size=1, max_size=3)
)


@given(rows_of_scores, st.integers(1, 14))
def test_the_best_k_are_numpys_ties_and_all(device: torch.device, rows: list[list[float]], k: int) -> None:
    scores = np.array(rows, dtype=np.float32)
    positions, found = (tensor.cpu().numpy() for tensor in top_k(torch.from_numpy(scores).to(device), k))
    assert positions.shape == found.shape == (len(rows), min(k, scores.shape[1]))
    for row, own in enumerate(scores):
        best = top_k_in_numpy(own, k)
        assert positions[row, : len(best)].tolist() == best.tolist()
        assert (positions[row, len(best) :] == -1).all()
        np.testing.assert_array_equal(found[row, : len(best)], own[best])


@given(st.integers(0, 2**32), st.integers(1, 3), st.sampled_from((1, 5)))
@settings(max_examples=30)
def test_the_best_k_of_long_rows_are_numpys_too(device: torch.device, seed: int, users: int, k: int) -> None:
    """Blocks are searched first; of equal scores many lie in other blocks, or beyond the row's whole blocks."""
    rng = np.random.default_rng(seed)
    width = int(rng.integers((SEARCHED_WHOLE * k + 1) * BLOCK, (SEARCHED_WHOLE * k + 9) * BLOCK))
    scores = rng.integers(-2, rng.integers(3, 3000), (users, width)).astype(np.float32)
    scores[rng.random(scores.shape) < rng.choice([0, 0.5, 0.9999])] = -np.inf
    positions, found = (tensor.cpu().numpy() for tensor in top_k(torch.from_numpy(scores).to(device), k))
    for row, own in enumerate(scores):
        best = top_k_in_numpy(own, k)
        assert positions[row, : len(best)].tolist() == best.tolist()
        assert (positions[row, len(best) :] == -1).all()
        np.testing.assert_array_equal(found[row, : len(best)], own[best])
