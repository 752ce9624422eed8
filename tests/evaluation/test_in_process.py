"""tesserank in this process: its scores are the served scorer's, and its memory is bounded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tesserank.artifact.layout import Layout
from tesserank.encoding.cache import SegmentCache
from tesserank.encoding.engine import OnnxEngine
from tesserank.index import ItemIndex
from tesserank.maxsim import cpu
from tesserank.maxsim.vectors import FloatVectors
from tesserank.serving.embedder import SegmentEmbedder
from tesserank.serving.request import RankingOptions, UserContext
from tesserank.serving.scorer import SegmentScorer
from tesserank_evaluation.late_interaction import context_of, opened
from tesserank_evaluation.ranking import best_lists
from tesserank_evaluation.remembered import RememberedUnits
from tesserank_evaluation.split import History, item_arrays, make_cases
from tesserank_export.catalog import read_catalog
from tesserank_export.events import read_events
from tests.export.tiny import EMPTY_ROW


@pytest.fixture(scope="module")
def histories(tiny: Path) -> tuple[History, ...]:
    events = read_events(tiny / "events.csv", read_catalog(tiny / "items.jsonl"))
    return make_cases(events, 1_000, 0, "plain").histories


@pytest.mark.parametrize("memory_bytes", [0, 1_000, 1 << 20])
@pytest.mark.parametrize("threads", [1, 2])
def test_lists_are_those_of_the_segment_scorer(
    memory_bytes: int, threads: int, artifact: Path, histories: tuple[History, ...]
) -> None:
    engine = OnnxEngine.for_precision(Layout(artifact).encoder("fp32"), "fp32", 1)
    embedder = SegmentEmbedder.open(artifact, SegmentCache(1 << 20), engine)
    scorer = SegmentScorer.threaded(embedder.index, embedder.config, threads)
    ids = [item.encode() for item in embedder.index.item_ids]
    with opened(artifact, threads, memory_bytes) as recommender:
        scores = recommender.scores(histories)
        assert recommender.unanswered == 0
    lists = best_lists(scores, item_arrays(histories))
    for history, own, found in zip(histories, scores, lists, strict=True):
        known = [ids[row] for row in history.items.tolist()]
        context = UserContext(known, history.timestamps, history.kinds)
        options = RankingOptions(history=known, top_k=10)
        [ranking] = scorer.rank(embedder.embed([context]).segments, [options])
        assert ranking.rows.tolist() == found[:10].tolist()
        np.testing.assert_array_equal(own[ranking.rows], ranking.scores)


def test_a_request_says_when_it_is_asked(histories: tuple[History, ...]) -> None:
    ids = [str(row).encode() for row in range(100)]
    for history in histories:
        assert context_of(history, ids, newest=3).timestamp == history.asked_at
    assert len({history.asked_at for history in histories}) > 1


def test_a_user_without_a_segment_has_all_items_tied_and_is_counted(text_only: Path) -> None:
    known, wordless = (np.array([row], dtype=np.int32) for row in (0, EMPTY_ROW))
    with opened(text_only, 1, 0) as recommender:
        scores = recommender.scores([History(row, np.zeros(1, dtype=np.int64), ("",)) for row in (known, wordless)])
        assert recommender.unanswered == 1
    assert np.ptp(scores[0]) > 0
    assert np.ptp(scores[1]) == 0


def test_units_are_computed_once_and_memory_is_bounded(index: ItemIndex) -> None:
    items = index.spaces["text"].items
    row_bytes = 4 * len(items)
    units = RememberedUnits(3 * row_bytes)

    def ask(*rows: int) -> None:
        decoded = items.decode(np.array(rows))
        weights = np.ones(len(decoded.vectors), dtype=np.float32)
        found = units(decoded.vectors, weights, decoded.offsets[:-1], items)
        expected = cpu.unit_scores(decoded.vectors, weights, decoded.offsets[:-1], items)
        np.testing.assert_array_equal(found, expected)

    ask(0, 1)
    ask(1, 0, 1)
    assert (units.computed, units.remembered) == (2, 3)
    ask(2, 4, 5)  # 0 and 1 have to go
    ask(2, 4, 5)
    assert (units.computed, units.remembered) == (5, 6)
    ask(0)
    ask(4, 5)
    assert (units.computed, units.remembered) == (6, 8)
    assert units.held_bytes == 3 * row_bytes


def test_the_same_unit_with_other_items_is_another_one(index: ItemIndex) -> None:
    units = RememberedUnits(1 << 20)
    one, other = (FloatVectors(vectors, np.arange(4)) for vectors in np.eye(6, dtype=np.float32).reshape(2, 3, 6))
    token = np.eye(6, dtype=np.float32)[:1]
    start, weight = np.zeros(1, dtype=np.int64), np.ones(1, dtype=np.float32)
    assert units(token, weight, start, one)[:, 0].tolist() == [1, 0, 0]
    assert units(token, weight, start, other)[:, 0].tolist() == [0, 0, 0]
    with pytest.raises(ValueError, match="ask for the whole catalogue"):
        units(token, weight, start, one, np.array([1, 2]))
