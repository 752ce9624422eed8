"""A cross-encoder's order of late interaction's best items, by scores that can be told from the texts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from tesserank.artifact.layout import Layout
from tesserank.encoding.template import Template
from tesserank.encoding.tokenizer import TextTokenizer
from tesserank.limits import Limits
from tesserank.serving.cross import PairScorer, compose_pair
from tesserank_evaluation.ranking import Ranked
from tesserank_evaluation.recommender import Scores
from tesserank_evaluation.reranking.contender import CANDIDATES, Reranking
from tesserank_evaluation.reranking.pairs import history_text
from tesserank_evaluation.split import History

N_ITEMS = 150
TEXTS = [f"soap {1000 + row}" if row % 10 else "" for row in range(N_ITEMS)]


class Ascending:
    """Late interaction's stand-in: rows in catalogue order, the first the best."""

    settings: ClassVar[dict[str, str]] = {}

    def scores(self, histories: Sequence[History]) -> Scores:
        return np.tile(-np.arange(N_ITEMS, dtype=np.float32), (len(histories), 1))


def of_items(*rows: int) -> History:
    return History(np.array(rows, dtype=np.int32), np.zeros(len(rows), dtype=np.int64), ("view",) * len(rows))


@pytest.fixture(scope="module")
def tokenizer(artifact: Path) -> TextTokenizer:
    return TextTokenizer(Layout(artifact).tokenizer)


@pytest.fixture
def reranking(tokenizer: TextTokenizer) -> Reranking:
    """Scores a pair by its last token's id: by the last digit of the item's row."""
    template = Template((), (), (), pad=0, max_tokens=64)

    def last_token(ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        return ids[np.arange(len(ids)), mask.sum(axis=1) - 1].astype(np.float32)

    return Reranking(Ascending(), PairScorer(tokenizer, template, last_token, 32, Limits()), TEXTS)


def ranked(reranking: Reranking, history: History, target: int) -> tuple[int, int, list[int]]:
    reranking.add(history, target)
    [better], [tied], [best] = reranking.parts[-1]
    return int(better), int(tied), best.tolist()


def test_candidates_come_in_the_cross_encoders_order(reranking: Reranking) -> None:
    history = of_items(9, 3)
    better, tied, best = ranked(reranking, history, 18)
    candidates = [row for row in range(102) if row not in (9, 3)]
    assert len(candidates) == CANDIDATES
    nines, eights = ([row for row in candidates if row % 10 == digit] for digit in (9, 8))
    assert (better, tied) == (len(nines), len(eights))
    assert best[:19] == [*nines, *eights]
    assert 9 not in best


def test_items_without_a_text_come_last_of_the_candidates(reranking: Reranking) -> None:
    better, tied, _ = ranked(reranking, of_items(1), 50)
    assert (better, tied) == (CANDIDATES - 11, 11)  # 0, 10, … 100 have none


def test_a_target_behind_the_candidates_stays_where_it_was(reranking: Reranking) -> None:
    better, tied, best = ranked(reranking, of_items(0), 140)
    assert (better, tied) == (139, 1)
    assert 140 not in best


def test_what_is_said_of_it_are_means_over_the_same_users(reranking: Reranking) -> None:
    for history, target in ((of_items(0), 140), (of_items(0), 9), (of_items(0), 1)):
        reranking.add(history, target)
    said = reranking.described(Ranked.of(reranking.parts, 0.0))
    assert said["targets_among_candidates"] == pytest.approx(2 / 3, abs=1e-4)
    before = [0.0, 1 / np.log2(10), 1.0]
    after = [0.0, np.mean(1 / np.log2(np.arange(2, 12))), 0.0]  # ten of the candidates end in 9, and tie
    assert said["retrieved"]["ndcg@10"]["mean"] == pytest.approx(np.mean(before), abs=1e-5)
    assert said["less_retrieved"]["ndcg@10"]["mean"] == pytest.approx(np.mean(after) - np.mean(before), abs=1e-5)
    for stage in ("rerank_ms_a_user", "retrieve_ms_a_user"):
        assert 0 < said[stage]["p50"] <= said[stage]["p95"]


def test_the_newest_of_a_history_are_read_last_and_the_oldest_tokens_go_first(tokenizer: TextTokenizer) -> None:
    assert history_text(np.array([*range(5), 10, 7, 12]), TEXTS) == ". ".join(TEXTS[row] for row in (1, 2, 3, 4, 7, 12))
    assert history_text(np.arange(1, 30), TEXTS).startswith("soap 1021. ")  # row 20 has no text
    template = Template((101,), (102,), (103,), pad=0, max_tokens=8)
    assert compose_pair(template, [1, 2, 3, 4, 5], [6, 7]).tolist() == [101, 3, 4, 5, 102, 6, 7, 103]
    assert compose_pair(template, [1, 2], [3, 4, 5, 6, 7, 8, 9]).tolist() == [101, 102, 3, 4, 5, 6, 7, 103]
