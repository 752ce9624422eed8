"""Compact vectors fitted to a space: how near they come, how small they are, and what they spend their bytes on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tesserank.artifact.layout import Layout
from tesserank.index import ItemIndex, Space, load_index, save_index
from tesserank.maxsim.compact import HIGHEST_GRADE, LOWEST_GRADE, CompactVectors
from tesserank.maxsim.ragged import Ragged
from tesserank_export.codebook import fit_codebook, nearest
from tesserank_export.compact import SHARE, fit
from tesserank_export.compact_cells import choose_cells, choose_grades, errors_of_grades
from tesserank_export.parity import compare_index
from tests.export.conftest import Exported

KINDS = 400  # of tokens, in the made-up catalogue


def unit(vectors: NDArray[np.float64]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return (vectors / np.maximum(lengths, 1e-12)).astype(np.float32)


class Catalogue:
    """Items whose tokens are of so many kinds, common and rare as words are, each near its kind's mean.

    The second item has no tokens: one zero vector, of weight 1 and label 0.
    """

    def __init__(self, items: int, dim: int, kinds: int = KINDS, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        lengths = rng.integers(1, 24, items)
        lengths[1] = 1
        chances = 1 / np.arange(2, kinds + 2)
        self.labels = rng.choice(kinds, lengths.sum(), p=chances / chances.sum())
        spread = np.geomspace(1, 0.2, dim)
        means = unit(rng.standard_normal((kinds, dim)) * spread)
        rows = unit(means[self.labels] + 0.6 * unit(rng.standard_normal((len(self.labels), dim)) * spread))
        self.textless = lengths[0]
        rows[self.textless] = 0
        self.labels[self.textless] = 0
        self.vectors = Ragged(rows, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))
        self.idf = np.log(1 + len(rows) / np.bincount(self.labels, minlength=kinds).clip(1)).astype(np.float32)
        self.weights = self.idf[self.labels]
        self.weights[self.textless] = 1

    @property
    def tokens(self) -> Ragged:
        """The token ids of the items, which are the labels of their vectors."""
        lengths = self.vectors.lengths
        lengths[1] = 0
        ids = np.delete(self.labels, self.textless).astype(np.uint16)
        return Ragged(ids[:, None], np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return Catalogue(items=4000, dim=64)


@pytest.fixture(scope="module")
def compact(catalogue: Catalogue) -> CompactVectors:
    return fit(catalogue.vectors, catalogue.weights, catalogue.labels, seed=0)


def cosines(vectors: Ragged, items: CompactVectors) -> NDArray[np.float32]:
    """Of the vectors that are not zero."""
    cosine: NDArray[np.float32] = (vectors.vectors * items.decode().vectors).sum(axis=1)
    return cosine[vectors.vectors.any(axis=1)]


def test_they_come_near_what_they_stand_for(catalogue: Catalogue, compact: CompactVectors) -> None:
    found = cosines(catalogue.vectors, compact)
    assert found.mean() > 0.995
    assert found.min() > 0.9
    zero = ~catalogue.vectors.vectors.any(axis=1)
    assert zero.sum() == 1
    assert not compact.decode().vectors[zero].any()


def test_the_whole_space_on_disk_takes_no_more_than_its_share(
    catalogue: Catalogue, compact: CompactVectors, tmp_path: Path
) -> None:
    items = len(catalogue.vectors)
    index = ItemIndex(
        index_id="index",
        encoder_id="encoder",
        item_ids=tuple(map(str, range(items))),
        spaces={"text": Space("text", compact, catalogue.weights, 1.0)},
        tokens=catalogue.tokens,
        token_weights=catalogue.idf,
    )
    save_index(index, tmp_path)
    files = list(tmp_path.rglob("*.npy"))
    stored = sum(path.stat().st_size for path in files)
    budget = SHARE * 4 * catalogue.vectors.vectors.size
    assert 0.97 * budget < stored <= budget
    after = load_index(tmp_path).spaces["text"]
    np.testing.assert_array_equal(after.items.decode().vectors, compact.decode().vectors)


def test_the_same_seed_gives_the_same_bytes(catalogue: Catalogue, compact: CompactVectors) -> None:
    again = fit(catalogue.vectors, catalogue.weights, catalogue.labels, seed=0)
    for name, array in compact.arrays().items():
        np.testing.assert_array_equal(again.arrays()[name], array, strict=True)


def test_agreement_of_rankings_is_high_and_that_of_a_larger_share_is_higher(
    catalogue: Catalogue, compact: CompactVectors
) -> None:
    def agreement(items: CompactVectors) -> float:
        return compare_index(catalogue.vectors, Space("text", items, catalogue.weights, 1.0), seed=0).top10_agreement

    finer = fit(catalogue.vectors, catalogue.weights, catalogue.labels, seed=0, share=1.25 * SHARE)
    assert finer.nbytes > 1.2 * compact.nbytes
    assert 0.9 < agreement(compact) < agreement(finer) - 0.01


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    dim=st.integers(1, 40),
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=12),
    kinds=st.integers(1, 30),
    zeros=st.floats(0, 1),
)
def test_a_tiny_catalogue_has_fewer_vectors_than_codes_and_loses_little(
    seed: int, dim: int, lengths: list[int], kinds: int, zeros: float
) -> None:
    rng = np.random.default_rng(seed)
    rows = unit(rng.standard_normal((sum(lengths), dim)))
    rows[rng.random(len(rows)) < zeros] = 0
    vectors = Ragged(rows, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))
    labels = rng.integers(0, kinds, len(rows))
    items = fit(vectors, rng.choice([0.0, 1.0, 9.0], len(rows)).astype(np.float32), labels, seed=0)
    decoded = items.decode().vectors
    assert decoded.shape == rows.shape
    assert not decoded[~rows.any(axis=1)].any()
    assert (cosines(vectors, items) > 0.99).all()


def test_vectors_of_another_length_are_refused() -> None:
    rows = np.eye(3, dtype=np.float32)
    rows[1] *= 1.5
    with pytest.raises(ValueError, match=r"vector 1 is 1\.500 long: compact vectors have length 1, or are zero"):
        fit(Ragged(rows, np.array([0, 3])), np.ones(3, np.float32), np.zeros(3, np.int64), seed=0)


def test_tokens_that_weigh_more_and_vary_more_get_more_bits(catalogue: Catalogue) -> None:
    rows = catalogue.vectors.vectors
    flat = np.ones(len(rows), dtype=np.float32)
    heavy = np.where(catalogue.labels % 2, 30.0, 1.0).astype(np.float32)
    budget = 5 * rows.size // 8
    for importance in (flat, heavy):
        cells = choose_cells(rows, catalogue.labels, importance, budget)
        grades = cells.grades[cells.of].astype(float)
        known = cells.of > 0
        odd = grades[known & (catalogue.labels % 2 == 1)].mean()
        even = grades[known & (catalogue.labels % 2 == 0)].mean()
        assert odd > even + 1 if importance is heavy else abs(odd - even) < 1


def test_common_labels_have_a_mean_of_their_own_and_rare_ones_share_one() -> None:
    catalogue = Catalogue(items=1000, dim=32, kinds=8 * KINDS)
    rows = catalogue.vectors.vectors
    cells = choose_cells(rows, catalogue.labels, np.ones(len(rows), np.float32), rows.size // 2)
    counts = np.bincount(catalogue.labels[cells.of > 0])
    for cell in range(2, len(cells.means)):
        (label,) = set(catalogue.labels[cells.of == cell].tolist())
        np.testing.assert_allclose(cells.means[cell], rows[cells.of == cell].mean(axis=0), atol=1e-6)
        assert counts[label] > counts[catalogue.labels[cells.of == 1]].max()
    assert 2 < len(cells.means) < 2 + np.count_nonzero(counts)
    assert not cells.means[0].any()


@given(
    energies=st.lists(st.floats(0, 1e6), min_size=1, max_size=5),
    costs=st.lists(st.integers(0, 50), min_size=5, max_size=5),
    budget=st.integers(0, 3000),
)
def test_grades_keep_to_the_budget_and_leave_no_step_that_would_fit(
    energies: list[float], costs: list[int], budget: int
) -> None:
    cost = np.array(costs[: len(energies)])
    errors = errors_of_grades(np.geomspace(1, 0.1, 16))
    grades, error = choose_grades(np.array(energies), cost, errors, budget)
    assert error == pytest.approx((np.array(energies) * errors[grades]).sum())
    assert (grades[cost == 0] == 0).all()
    assert ((grades[cost > 0] >= LOWEST_GRADE) & (grades[cost > 0] <= HIGHEST_GRADE)).all()
    least = int(cost.sum()) * LOWEST_GRADE
    assert int((grades * cost).sum()) <= max(budget, least)
    left = budget - int((grades * cost).sum())
    alone = len(energies) == 1 and cost[0] > 0 and grades[0] < HIGHEST_GRADE
    assert not (alone and left >= cost[0]), "one cell takes all that fits"


@given(st.lists(st.floats(0, 10), min_size=1, max_size=40))
def test_more_bits_leave_less_error(variances: list[float]) -> None:
    errors = errors_of_grades(np.array(variances))
    assert (errors[:LOWEST_GRADE] == 1).all()
    assert (np.diff(errors[LOWEST_GRADE:]) <= 0).all()
    assert errors[LOWEST_GRADE] == pytest.approx(2.0**-4)  # 2 bits of everything
    assert errors[HIGHEST_GRADE] == pytest.approx(2.0**-12)  # 6 bits


@given(seed=st.integers(0, 2**32), points=st.integers(1, 50), size=st.integers(1, 256), width=st.integers(1, 4))
def test_the_nearest_piece_is_the_nearest(seed: int, points: int, size: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    rows, book = (rng.standard_normal((n, width)).astype(np.float32) for n in (points, size))
    distances = ((rows[:, None].astype(np.float64) - book[None]) ** 2).sum(axis=2)
    chosen = distances[np.arange(points), nearest(rows, book)]
    np.testing.assert_allclose(chosen, distances.min(axis=1), rtol=2.0**-14, atol=1e-12)


def test_a_codebook_finds_the_clusters_and_follows_the_weights() -> None:
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((8, 2)) * 10
    points = (centres[rng.integers(0, 8, 4000)] + 0.01 * rng.standard_normal((4000, 2))).astype(np.float32)
    book = fit_codebook(points, np.ones(4000, np.float32), 64, rng)
    assert np.abs(points - book[nearest(points, book)]).max() < 0.1
    pair = np.array([[0, 0], [1, 0]], dtype=np.float32)
    (mean,) = fit_codebook(pair, np.array([3, 1], dtype=np.float32), 1, rng)
    np.testing.assert_allclose(mean, [0.25, 0])


def test_the_exports_own_vectors_rank_as_before(exported: Exported) -> None:
    index = load_index(Layout(exported.artifact).index)
    space = index.spaces["text"]
    decoded = space.items.decode()
    lengths = np.linalg.norm(decoded.vectors, axis=1, keepdims=True)
    vectors = Ragged(decoded.vectors / np.maximum(lengths, 1e-12), decoded.offsets)
    labels = np.zeros(len(vectors.vectors), dtype=np.int64)
    labels[lengths[:, 0] > 0] = index.tokens.vectors[:, 0]
    items = fit(vectors, space.weights, labels, seed=0)
    found = compare_index(vectors, Space("text", items, space.weights, space.scale), seed=0)
    assert found.top10_agreement >= 0.95
    assert found.mean_cosine > 0.99
