"""Each baseline against a naive computation of what its docstring says."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer

from tesserank.artifact.manifest import load_manifest
from tesserank.errors import DataError
from tesserank.index import ItemIndex
from tesserank_evaluation.artifact import HeldOutArtifact
from tesserank_evaluation.baselines import BASELINES
from tesserank_evaluation.baselines.als import Als
from tesserank_evaluation.baselines.ease import Ease
from tesserank_evaluation.baselines.item_knn import ItemKnn
from tesserank_evaluation.baselines.newest import Newest
from tesserank_evaluation.baselines.popularity import Popularity
from tesserank_evaluation.baselines.tuning import best_of
from tesserank_evaluation.baselines.vectors import Item2Vec, MaxPooled, MeanPooled, text_vectors
from tesserank_evaluation.baselines.words import Bm25, TfIdf
from tesserank_evaluation.contenders import Baseline
from tesserank_evaluation.recommender import Scores, Training
from tesserank_evaluation.split import History, make_cases
from tesserank_export.catalog import read_catalog
from tesserank_export.events import read_events
from tesserank_export.heldout import PLAIN, PROTOCOLS, hold_out_last
from tests.evaluation.logs import log_of, random_log

N_ITEMS = 14  # item 13 is met by nobody
WORDS = ("red", "blue", "soap", "cream", "brush", "comb", "hair", "skin")
TEXTS = [" ".join(WORDS[(row * step) % len(WORDS)] for step in range(1, 3 + row % 4)) for row in range(N_ITEMS)]


@pytest.fixture(scope="module")
def training(index: ItemIndex) -> Training:
    return Training(random_log(80, N_ITEMS - 1, 2), TEXTS, index, 0, PLAIN)


@pytest.fixture(scope="module")
def histories() -> list[History]:
    rng = np.random.default_rng(4)
    sizes = (1, 3, 12)
    items = [rng.permutation(N_ITEMS)[:size].astype(np.int32) for size in sizes]
    return [History(own, np.arange(len(own)), ("view",) * len(own)) for own in items]


def binary(training: Training) -> NDArray[np.float64]:
    matrix = np.zeros((len(training.events.users), N_ITEMS))
    matrix[training.events.user, training.events.item] = 1.0
    return matrix


def test_popularity_counts_users_not_events(training: Training, histories: list[History]) -> None:
    expected = binary(training).sum(axis=0)
    assert expected.max() < np.bincount(training.events.item).max()  # some users met an item twice
    np.testing.assert_array_equal(Popularity(training).scores(histories), np.tile(expected, (3, 1)))


def test_itemknn_adds_the_cosines_of_columns(training: Training, histories: list[History]) -> None:
    matrix = binary(training)
    found = ItemKnn(training).scores(histories)
    for history, scores in zip(histories, found, strict=True):
        expected = np.zeros(N_ITEMS)
        for known in history.items:
            for item in range(N_ITEMS):
                lengths = np.linalg.norm(matrix[:, known]) * np.linalg.norm(matrix[:, item])
                expected[item] += matrix[:, known] @ matrix[:, item] / lengths if lengths else 0.0
        np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("penalty", [1.0, 50.0])
def test_ease_solves_the_constrained_least_squares_problem(
    training: Training, histories: list[History], penalty: float
) -> None:
    matrix = binary(training)
    weights = np.zeros((N_ITEMS, N_ITEMS))
    for item in range(N_ITEMS):  # ridge regression of an item's column on the others': the definition
        others = [other for other in range(N_ITEMS) if other != item]
        gram = matrix[:, others].T @ matrix[:, others] + penalty * np.eye(len(others))
        weights[others, item] = np.linalg.solve(gram, matrix[:, others].T @ matrix[:, item])
    expected = [weights[history.items].sum(axis=0) for history in histories]
    np.testing.assert_allclose(Ease(training, penalty).scores(histories), expected, rtol=1e-4, atol=1e-5)


def test_als_scores_by_the_user_that_solves_the_papers_equation(training: Training, histories: list[History]) -> None:
    alpha, penalty = 3.0, 0.5
    als = Als(training, alpha, penalty)
    factors = als._model.item_factors.astype(np.float64)
    for history, scores in zip(histories, als.scores(histories), strict=True):
        own = factors[history.items]
        # implicit's confidence is alpha where Hu et al. have 1 + alpha: what was not met weighs 1
        gram = factors.T @ factors + (alpha - 1) * own.T @ own + penalty * np.eye(factors.shape[1])
        user = np.linalg.solve(gram, alpha * own.sum(axis=0))
        np.testing.assert_allclose(scores, factors @ user, rtol=1e-3, atol=1e-4)


def test_tf_idf_is_the_sum_of_cosines_with_the_texts(training: Training, histories: list[History]) -> None:
    vectors = TfidfVectorizer(sublinear_tf=True, stop_words="english").fit_transform(TEXTS).toarray()
    expected = [vectors[history.items].sum(axis=0) @ vectors.T for history in histories]
    np.testing.assert_allclose(TfIdf(training).scores(histories), expected, rtol=1e-5)


def test_bm25_is_okapis_formula_word_by_word(training: Training, histories: list[History]) -> None:
    documents = [Counter(text.split()) for text in TEXTS]
    mean_length = sum(sum(document.values()) for document in documents) / N_ITEMS
    for history, scores in zip(histories, Bm25(training).scores(histories), strict=True):
        query = sum((documents[item] for item in history.items.tolist()), Counter())
        for document, score in zip(documents, scores.tolist(), strict=True):
            expected = 0.0
            for word, times in query.items():
                holding = sum(word in other for other in documents)
                idf = math.log(1 + (N_ITEMS - holding + 0.5) / (holding + 0.5))
                slack = 1.2 * (0.25 + 0.75 * sum(document.values()) / mean_length)
                expected += times * idf * document[word] * 2.2 / (document[word] + slack)
            assert score == pytest.approx(expected, rel=1e-4)


def test_texts_without_words_are_refused_by_name(index: ItemIndex) -> None:
    empty = Training(random_log(5, 3, 0), ["", "", ""], index, 0, PLAIN)
    with pytest.raises(DataError, match="the texts of 3 items give no words to search by"):
        TfIdf(empty)


def test_item2vec_is_the_mean_cosine(training: Training, histories: list[History]) -> None:
    item2vec = Item2Vec(training)
    vectors = item2vec._vectors
    expected = [(vectors[history.items] @ vectors.T).mean(axis=0) for history in histories]
    np.testing.assert_allclose(item2vec.scores(histories), expected, atol=1e-5)
    assert not vectors[N_ITEMS - 1].any()


def test_pooled_vectors_are_means_of_tokens_and_pool_by_mean_or_maximum(index: ItemIndex, training: Training) -> None:
    vectors = text_vectors(index)
    items = index.spaces["text"].items
    for row in range(len(index)):
        mean = items.item(row).mean(axis=0)
        length = float(np.linalg.norm(mean))
        np.testing.assert_allclose(vectors[row], mean / length if length else mean, atol=1e-5)
    history = History(np.array([5, 9, 20], dtype=np.int32), np.arange(3), ("view",) * 3)
    own = Training(training.events, ["x"] * len(index), index, 0, PLAIN)
    np.testing.assert_allclose(
        MeanPooled(own).scores([history])[0], vectors @ vectors[[5, 9, 20]].mean(axis=0), atol=1e-5
    )
    np.testing.assert_allclose(
        MaxPooled(own).scores([history])[0], vectors @ vectors[[5, 9, 20]].max(axis=0), atol=1e-5
    )


def test_settings_are_chosen_by_what_ranks_held_out_items_best(training: Training) -> None:
    """Popularity against its opposite: whichever is the better on the log's own last items is chosen."""

    class Signed(Popularity):
        def __init__(self, own: Training, sign: float) -> None:
            super().__init__(own)
            self._users = self._users * np.float32(sign)
            self.fitted_on = len(own.events)
            self.settings = {"sign": sign}

    skewed = Training(random_log(300, 4, 1, longest=4), ["x"] * N_ITEMS, training.index, 0, PLAIN)
    chosen = best_of([partial(Signed, sign=-1.0), partial(Signed, sign=1.0)], skewed)
    assert chosen.settings == {"sign": 1.0, "newest": None}  # ten of the fourteen items are met by nobody
    assert isinstance(chosen.own, Signed)
    assert chosen.own.fitted_on == len(skewed.events)


class Sums:
    """Says what it hears: the sum of a history's items, how many timestamps there are, and the time of asking."""

    settings: Mapping[str, Any] = {"of": "all"}

    def scores(self, histories: Sequence[History]) -> Scores:
        heard = [[own.items.sum(), len(own.timestamps), own.asked_at] for own in histories]
        return np.array(heard, dtype=np.float32)


@pytest.mark.parametrize(("count", "heard"), [(2, [5, 2, 9]), (3, [6, 3, 9]), (None, [6, 3, 9])])
def test_what_is_not_asked_with_is_the_oldest(count: int | None, heard: list[int]) -> None:
    history = History(np.array([1, 2, 3], dtype=np.int32), np.arange(3), ("",) * 3, 9)
    short = History(np.array([4], dtype=np.int32), np.arange(1), ("",), 9)
    newest = Newest(Sums(), count)
    assert newest.scores([history, short]).tolist() == [heard, [4, 1, 9]]
    assert newest.settings == {"of": "all", "newest": count}


def test_what_cannot_be_fitted_is_not_chosen(training: Training) -> None:
    def failing(own: Training) -> Popularity:
        raise ArithmeticError("not positive definite")

    assert isinstance(best_of([failing, Popularity], training).own, Popularity)
    with pytest.raises(ArithmeticError, match="not positive definite"):
        best_of([failing], training)


class Ahead:
    """Everybody's next item is so many ``steps`` ahead of the oldest that it hears of."""

    settings: Mapping[str, Any] = {}

    def __init__(self, training: Training, steps: int) -> None:
        self._steps = steps

    def scores(self, histories: Sequence[History]) -> Scores:
        scores = np.zeros((len(histories), N_ITEMS), dtype=np.float32)
        scores[range(len(histories)), [(own.items[0] + self._steps) % N_ITEMS for own in histories]] = 1
        return scores


@pytest.mark.parametrize(("met", "steps", "newest"), [(12, 5, 5), (13, 10, 10), (12, 1, 1), (3, 2, None)])
def test_as_many_items_are_asked_with_as_rank_held_out_items_best(
    met: int, steps: int, newest: int | None, index: ItemIndex
) -> None:
    """Everybody goes round in a circle; where it makes no difference, all items are asked with."""
    log = log_of([[((user + place) % N_ITEMS, place) for place in range(met)] for user in range(20)])
    chosen = best_of([partial(Ahead, steps=steps)], Training(log, ["x"] * N_ITEMS, index, 0, PLAIN))
    assert chosen.count == newest


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_settings_are_chosen_by_the_protocol_that_will_judge(training: Training, protocol: str) -> None:
    fitted: list[int] = []

    class Seen(Popularity):
        def __init__(self, own: Training) -> None:
            super().__init__(own)
            fitted.append(len(own.events))

    best_of([Seen], replace(training, protocol=protocol))
    kept = hold_out_last(training.events, 0, training.seed, protocol).train
    assert fitted == [len(kept), len(training.events)]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_contender_is_fitted_for_the_protocol_that_judges(tiny: Path, artifact: Path, protocol: str) -> None:
    catalog = read_catalog(tiny / "items.jsonl")
    cases = make_cases(read_events(tiny / "events.csv", catalog), 1_000, 3, protocol)
    told: list[str] = []

    def fit(own: Training) -> Popularity:
        told.append(own.protocol)
        return Popularity(own)

    held_out = HeldOutArtifact(artifact, load_manifest(artifact, ()), protocol)
    outcome = Baseline(fit, catalog, 0).rank(cases, held_out, lambda count: None)
    assert told == [protocol]
    assert len(outcome.ranked.better) == len(cases)


def test_the_protocols_hold_out_different_events_of_that_log(training: Training) -> None:
    plain, strict = (len(hold_out_last(training.events, 0, 0, protocol).train) for protocol in PROTOCOLS)
    assert plain > strict


@pytest.mark.parametrize("name", BASELINES)
def test_every_baseline_scores_every_item_of_every_user(
    name: str, training: Training, histories: list[History]
) -> None:
    texts = [f"{TEXTS[row % N_ITEMS]}" for row in range(len(training.index))]
    own = Training(training.events, texts, training.index, 0, PLAIN)
    recommender = BASELINES[name](own)
    scores = recommender.scores(histories)
    assert scores.shape == (len(histories), own.n_items)
    assert scores.dtype == np.float32
    assert np.isfinite(scores).all()
    assert isinstance(dict(recommender.settings), dict)
