"""The text space: IDF by its formula, vectors as the encoder gives them, pooling, and the scale of scores."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tesserank.artifact.bundle import open_template
from tesserank.artifact.layout import Layout
from tesserank.encoding.batch import EncoderRows, encode_composed
from tesserank.encoding.engine import OnnxEngine
from tesserank.encoding.tokenizer import TextTokenizer
from tesserank.index import Space, load_index
from tesserank.maxsim.ragged import Ragged
from tesserank.maxsim.vectors import KINDS, ItemVectors, quantise
from tesserank.segments.config import ItemsConfig
from tesserank_export.relevance import NO_PAIRS
from tesserank_export.spaces import known_rows, space_scale
from tesserank_export.text_space import (
    Texts,
    inverse_document_frequency,
    make_text_space,
    projected,
    text_vectors,
    token_weights,
)
from tests.core.world import TEMPLATE, CountingEncoder
from tests.export.conftest import Exported
from tests.export.tiny import EMPTY_ROW, ITEMS, LONG_ROW

VOCABULARY, DIM = 20, 8
token_lists = st.lists(st.lists(st.integers(0, VOCABULARY - 1), max_size=9), min_size=1, max_size=8)


def naive_idf(items: list[list[int]], token: int) -> float:
    containing = sum(token in item for item in items)
    return math.log(1 + (len(items) - containing + 0.5) / (containing + 0.5))


@given(items=token_lists)
def test_tokens_weigh_their_idf_or_all_the_same(items: list[list[int]]) -> None:
    np.testing.assert_array_equal(
        token_weights("idf", items, VOCABULARY, NO_PAIRS), inverse_document_frequency(items, VOCABULARY)
    )
    np.testing.assert_array_equal(
        token_weights("uniform", items, VOCABULARY, NO_PAIRS), np.ones(VOCABULARY, dtype=np.float32)
    )


@given(items=token_lists)
def test_idf_follows_its_formula_and_is_positive(items: list[list[int]]) -> None:
    idf = inverse_document_frequency(items, VOCABULARY)
    assert (idf.dtype, idf.shape) == (np.float32, (VOCABULARY,))
    np.testing.assert_allclose(idf, [naive_idf(items, token) for token in range(VOCABULARY)], rtol=1e-6)
    assert idf.min() > 0


def unit(rows: int, seed: int = 0) -> NDArray[np.float16]:
    vectors = np.random.default_rng(seed).normal(size=(rows, DIM))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)


def make_space(items: list[list[int]], folder: Path, pooling: int = 1) -> tuple[Space, NDArray[np.float16]]:
    """The space of items whose vectors are random, in two shards; and those vectors."""
    vectors = unit(sum(map(len, items)))
    half = sum(map(len, items[: len(items) // 2]))
    for number, part in enumerate((vectors[:half], vectors[half:])):
        np.save(folder / f"{number}.npy", part)
    idf = inverse_document_frequency(items, VOCABULARY)
    texts = Texts(items, VOCABULARY, DIM, [folder / "0.npy", folder / "1.npy"], TEMPLATE, CountingEncoder())
    config = ItemsConfig(vectors="float16", pooling_factor=pooling)
    return make_text_space(texts, texts.tokens(), idf, config, seed=0)[0], vectors


@given(items=token_lists)
def test_without_pooling_every_token_keeps_its_vector_and_its_idf(
    items: list[list[int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    space, vectors = make_space(items, tmp_path_factory.mktemp("shards"))
    idf = inverse_document_frequency(items, VOCABULARY)
    start = 0
    for row, item in enumerate(items):
        own = space.items.item(row)
        if item:
            np.testing.assert_array_equal(own, vectors[start : start + len(item)])
            np.testing.assert_array_equal(space.item_weights(row), idf[item].astype(np.float16))
        else:
            np.testing.assert_array_equal(own, np.zeros((1, DIM)))
        start += len(item)


def test_tokens_are_projected_and_of_unit_length_again() -> None:
    components = np.random.default_rng(1).normal(size=(DIM, DIM)).astype(np.float32)
    tokens = np.concatenate([unit(70), np.zeros((1, DIM), dtype=np.float16)])
    found = projected(tokens, components)
    assert found.dtype == np.float16
    for token, moved in zip(tokens[:-1].astype(np.float64), found[:-1].astype(np.float64), strict=True):
        expected = components.astype(np.float64) @ token
        np.testing.assert_allclose(moved, expected / np.linalg.norm(expected), atol=2**-11)
    assert not found[-1].any()


@pytest.mark.parametrize("factor", [2, 3])
def test_pooling_keeps_one_vector_in_n_of_unit_length_and_the_whole_weight(factor: int, tmp_path: Path) -> None:
    items = [[1, 2, 3, 4, 5, 6], [7], [], [1, 1, 8, 9, 10], list(range(VOCABULARY))]
    space, _ = make_space(items, tmp_path, pooling=factor)
    idf = inverse_document_frequency(items, VOCABULARY)
    assert space.items.lengths.tolist() == [max(math.ceil(len(item) / factor), 1) for item in items]
    for row, item in enumerate(items):
        if item:
            norms = np.linalg.norm(space.items.item(row).astype(np.float64), axis=1)
            np.testing.assert_allclose(norms, 1.0, atol=1e-3)  # float16
            np.testing.assert_allclose(space.item_weights(row).sum(), idf[item].sum(), rtol=2**-11)  # float16


def test_pooling_joins_the_vectors_that_are_alike() -> None:
    east, north = np.eye(DIM, dtype=np.float16)[:2]
    idf = np.array([1, 2, 4, 8], dtype=np.float32)
    vectors, weights, labels = text_vectors([[0, 1, 2, 3]], np.stack([east, north, east, north]), idf, 2)
    said = zip(vectors.item(0), weights, labels, strict=True)
    pooled = {tuple(vector[:2].tolist()): (weight, label) for vector, weight, label in said}
    assert pooled == {(1.0, 0.0): (5.0, 2), (0.0, 1.0): (10.0, 3)}, "the label is that of the heaviest token"


def naive_scale(items: ItemVectors, weights: NDArray[np.float32]) -> float:
    scores = []
    known = [row for row in range(len(items)) if np.any(items.item(row))]
    for query in known:
        own = weights[items.offsets[query] : items.offsets[query + 1]].astype(np.float64)
        for other in known:
            if other != query:
                similarities = items.item(query).astype(np.float64) @ items.item(other).astype(np.float64).T
                scores.append(float((own / own.sum()) @ similarities.max(axis=1)))
    return 1 / float(np.std(scores))


@pytest.mark.parametrize("kind", KINDS)
def test_the_scale_is_one_over_the_spread_of_scores_between_different_known_items(kind: str) -> None:
    offsets = np.array([0, 2, 3, 7, 8, 9], dtype=np.int64)
    vectors = unit(9)
    vectors[2] = 0  # an item the space knows nothing of
    weights = np.random.default_rng(1).uniform(0.5, 2, 9).astype(np.float32)
    items = quantise(kind, Ragged(vectors, offsets))
    assert space_scale(items, weights) == pytest.approx(naive_scale(items, weights), rel=1e-3)
    assert known_rows(items).tolist() == [0, 2, 3, 4]


@pytest.mark.parametrize("vectors", [np.zeros((3, DIM)), np.eye(DIM)[[0, 0, 0]], np.eye(DIM)[[0]]], ids=repr)
def test_a_space_without_any_spread_has_the_scale_one(vectors: NDArray[np.float64]) -> None:
    items = quantise("int8", Ragged(vectors, np.arange(len(vectors) + 1)))
    assert space_scale(items, np.ones(len(vectors), dtype=np.float32)) == 1.0


def test_the_index_holds_what_the_encoder_says_within_half_a_step(exported: Exported) -> None:
    layout = Layout(exported.artifact)
    template = open_template(exported.artifact)
    ids = [item[:32] for item in TextTokenizer(layout.tokenizer).many([text for _, text in ITEMS])]
    index = load_index(layout.index)
    space = index.spaces["text"]
    steps = space.items.arrays()["scale"]
    filled = [row for row, item in enumerate(ids) if item]
    encoder = OnnxEngine(layout.encoder("fp32"), threads=1)
    encoded = encode_composed([template.compose([ids[row]]) for row in filled], template, encoder, EncoderRows(5))
    for row, vectors in zip(filled, encoded, strict=True):
        # Half a step of int8, and before it half a unit in float16's last place: 2**-12 for components in [0.5, 1].
        assert (np.abs(space.items.item(row) - vectors) <= steps / 2 + 2**-12 + 1e-6).all()
        assert index.token_ids(row).tolist() == ids[row]
        np.testing.assert_array_equal(space.item_weights(row), index.token_weights[ids[row]].astype(np.float16))
    assert set(range(len(ITEMS))) - set(filled) == {EMPTY_ROW}
    np.testing.assert_array_equal(space.items.item(EMPTY_ROW), np.zeros((1, 16)))
    assert len(index.token_ids(EMPTY_ROW)) == 0
    assert len(index.token_ids(LONG_ROW)) == 32
