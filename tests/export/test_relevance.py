"""Relevance weights and relevant components: by their formulas, and what they are for."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tesserank_export.relevance import (
    NO_PAIRS,
    SAMPLE,
    Pairs,
    neighbours,
    relevance_weights,
    relevant_components,
    sampled,
)
from tesserank_export.text_space import inverse_document_frequency
from tests.evaluation.logs import log_of, random_log

VOCABULARY, N_ITEMS, DIM = 12, 7, 6
catalogues = st.lists(st.lists(st.integers(0, VOCABULARY - 1), max_size=6), min_size=N_ITEMS, max_size=N_ITEMS)
pair_lists = st.lists(st.tuples(st.integers(0, N_ITEMS - 1), st.integers(0, N_ITEMS - 1)), max_size=30)


def as_pairs(pairs: list[tuple[int, int]]) -> Pairs:
    return np.array(pairs, dtype=np.int32).reshape(-1, 2)


def test_neighbours_are_one_users_and_differ() -> None:
    log = log_of([[(1, 0), (2, 1), (2, 2), (3, 3)], [(4, 0)], [], [(5, 0), (1, 0), (5, 9)]])
    assert neighbours(log).tolist() == [[1, 2], [2, 3], [5, 1], [1, 5]]
    assert neighbours(log_of([])).shape == neighbours(log_of([[(1, 0)]])).shape == (0, 2)


@given(st.integers(0, 10_000))
def test_neighbours_are_those_of_every_history(seed: int) -> None:
    log = random_log(users=9, items=4, seed=seed)
    expected = [
        [int(one), int(other)]
        for history in log.histories()
        for one, other in itertools.pairwise(history)
        if one != other
    ]
    assert neighbours(log).tolist() == expected


def naive_weight(items: list[list[int]], pairs: list[tuple[int, int]], token: int) -> float:
    asked = [(one, other) for one, other in pairs if token in items[one]]
    found = sum(token in items[other] for _, other in asked)
    held = sum(token in item for item in items)
    return math.log(1 + (found + 0.5) / (len(asked) - found + 0.5) * (len(items) - held + 0.5) / (held + 0.5))


@given(items=catalogues, pairs=pair_lists)
def test_weights_follow_their_formula_and_are_positive(items: list[list[int]], pairs: list[tuple[int, int]]) -> None:
    weights = relevance_weights(items, VOCABULARY, as_pairs(pairs))
    assert (weights.dtype, weights.shape) == (np.float32, (VOCABULARY,))
    np.testing.assert_allclose(weights, [naive_weight(items, pairs, token) for token in range(VOCABULARY)], rtol=1e-6)
    assert weights.min() > 0


@given(items=catalogues)
def test_without_pairs_relevance_is_the_inverse_document_frequency(items: list[list[int]]) -> None:
    np.testing.assert_array_equal(
        relevance_weights(items, VOCABULARY, NO_PAIRS), inverse_document_frequency(items, VOCABULARY)
    )


def random_tokens(lengths: list[int], seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    vectors = np.random.default_rng(seed).normal(size=(sum(lengths), DIM)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def naive_components(tokens: NDArray[np.float32], offsets: NDArray[np.int64], pairs: Pairs) -> NDArray[np.float64]:
    apart = []
    for one, other in pairs:
        for query in tokens[offsets[one] : offsets[one + 1]].astype(np.float64):
            answers = tokens[offsets[other] : offsets[other + 1]].astype(np.float64)
            apart.append(query - max(answers, key=lambda answer, query=query: float(query @ answer)))
    covariance = np.mean([np.outer(difference, difference) for difference in apart], axis=0)
    values, vectors = np.linalg.eigh(covariance + 0.1 * np.trace(covariance) / DIM * np.eye(DIM))
    root = np.asarray(vectors @ np.diag(values**-0.5) @ vectors.T)
    return root / np.trace(root) * DIM


@given(
    lengths=st.lists(st.integers(1, 4), min_size=N_ITEMS, max_size=N_ITEMS),
    pairs=pair_lists.filter(lambda pairs: any(one != other for one, other in pairs)),
    seed=st.integers(0, 1_000),
)
def test_components_follow_their_formula(lengths: list[int], pairs: list[tuple[int, int]], seed: int) -> None:
    tokens, offsets = random_tokens(lengths, seed)
    found = relevant_components(tokens, offsets, as_pairs(pairs))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, found.T, atol=1e-5)
    np.testing.assert_allclose(found, naive_components(tokens, offsets, as_pairs(pairs)), atol=1e-4)


@pytest.mark.parametrize("pairs", [[], [(0, 1)], [(2, 2)]], ids=["none", "without tokens", "the same"])
def test_where_nothing_can_be_learned_vectors_stay_as_they_are(pairs: list[tuple[int, int]]) -> None:
    tokens, offsets = random_tokens([3, 0, 2])
    np.testing.assert_array_equal(relevant_components(tokens, offsets, as_pairs(pairs)), np.eye(DIM))


def test_of_many_pairs_a_sample_is_learned_from() -> None:
    pairs = as_pairs([(position, position + 1) for position in range(SAMPLE + 1_000)])
    found = sampled(pairs, seed=3)
    assert len(np.unique(found, axis=0)) == SAMPLE
    np.testing.assert_array_equal(found[:, 0] + 1, found[:, 1])
    np.testing.assert_array_equal(found, sampled(pairs, seed=3))
    assert len(np.unique(sampled(pairs[:9], seed=3), axis=0)) == 9


def test_a_direction_in_which_relevant_items_differ_counts_less() -> None:
    rng = np.random.default_rng(0)
    topics = rng.normal(size=(40, DIM)) * [1, 1, 1, 1, 1, 0]
    vectors = np.repeat(topics, 2, axis=0)
    vectors[:, -1] = rng.normal(0, 2, 80)  # says nothing: it differs within a topic as much as between topics
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    within = as_pairs([(2 * topic, 2 * topic + 1) for topic in range(40)])
    tokens, offsets = vectors.astype(np.float32), np.arange(81, dtype=np.int64)
    components = relevant_components(tokens, offsets, within)

    def found(moved: NDArray[np.float32]) -> float:
        moved = moved / np.linalg.norm(moved, axis=1, keepdims=True)
        similarities = moved @ moved.T - 2 * np.eye(80, dtype=np.float32)
        return float((similarities.argmax(axis=1) == np.arange(80) ^ 1).mean())

    assert np.diag(components)[-1] < 0.6 * np.diag(components)[:-1].min()
    assert found(tokens @ components.T) > found(tokens) + 0.2
