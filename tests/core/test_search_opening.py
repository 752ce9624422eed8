"""When a server searches pruned, and when it refuses to."""

from __future__ import annotations

from pathlib import Path

import pytest

from tesserank.errors import ArtifactError
from tesserank.maxsim import jit
from tesserank.search import open_proposer
from tesserank.search.recall import Recall
from tesserank.search.record import RECORD, SearchRecord
from tesserank.segments.config import SegmentsConfig
from tesserank.segments.reader import parse_segments
from tests.core.catalogue import ITEMS, history, make_catalogue

INDEX, STAND_INS = make_catalogue()
RECORDED = SearchRecord(
    index_id=INDEX.index_id,
    seed=0,
    candidates=100,
    stand_ins={name: str(own) for name, own in STAND_INS.items()},
    bytes=1234,
    recall={"histories": Recall(64, 0.99, 0.98), "texts": Recall(64, 0.97, 0.93)},
)


def config(search: str = 'method = "pruned"\nmin_recall = 0.9') -> SegmentsConfig:
    return parse_segments(f"[search]\n{search}\n")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """An index's directory, of what search needs in it."""
    for name, own in STAND_INS.items():
        own.save(tmp_path / name)
    RECORDED.save(tmp_path)
    return tmp_path


@pytest.mark.skipif(not jit.available(), reason="numba or AVX2 is missing: nothing is pruned then")
def test_the_proposer_of_an_index_proposes(directory: Path) -> None:
    found = open_proposer(directory, INDEX, config('method = "pruned"\nmin_recall = 0.93\ncandidates = 20'), threads=2)
    assert found is not None
    rows = found.propose(history(INDEX, SegmentsConfig(), [3, 70]), 1, None)
    assert rows is not None
    assert len(rows) == 20


def test_without_compiled_kernels_everything_is_scored(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jit, "available", lambda: False)
    assert open_proposer(directory, INDEX, config(), threads=1) is None


@pytest.mark.parametrize(
    "search", ['method = "exhaustive"', f"exhaustive_up_to = {ITEMS}", 'method = "exhaustive"\nexhaustive_up_to = 0']
)
def test_an_exhaustive_search_needs_nothing(search: str, tmp_path: Path) -> None:
    assert open_proposer(tmp_path, INDEX, config(search), threads=1) is None


@pytest.mark.parametrize("search", ['method = "pruned"', f"exhaustive_up_to = {ITEMS - 1}"])
def test_an_index_exported_for_exhaustive_search_is_not_pruned(search: str, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"catalogue-1 of 1,500 items was exported for exhaustive .*make export"):
        open_proposer(tmp_path, INDEX, config(search), threads=1)


def test_a_recall_below_the_floor_stops_the_server_with_both_values_and_what_to_do(directory: Path) -> None:
    with pytest.raises(ArtifactError) as caught:
        open_proposer(directory, INDEX, config('method = "pruned"\nmin_recall = 0.95'), threads=1)
    said = str(caught.value)
    assert "0.970 of the exact top 10 and 0.930 of the top 100 of texts, search.min_recall is 0.95" in said
    for remedy in ("raise search.candidates (now 100)", "lower search.min_recall", 'search.method = "exhaustive"'):
        assert remedy in said


def test_a_record_of_another_index_is_refused(directory: Path) -> None:
    (directory / RECORD).write_text((directory / RECORD).read_text().replace("catalogue-1", "catalogue-2"))
    with pytest.raises(ArtifactError, match="is about index catalogue-2, not catalogue-1"):
        open_proposer(directory, INDEX, config(), threads=1)


@pytest.mark.parametrize("text", ["{}", "[]", '{"recall": {"texts": {"at_10": 1}}}'])
def test_a_corrupt_record_is_refused(text: str, directory: Path) -> None:
    (directory / RECORD).write_text(text)
    with pytest.raises(ArtifactError, match=r"search\.json is corrupt .*make export"):
        open_proposer(directory, INDEX, config(), threads=1)


def test_a_record_is_read_as_it_was_written(directory: Path) -> None:
    assert SearchRecord.load(directory) == RECORDED
    assert RECORDED.lowest_recall == 0.93
    assert RECORDED.shortfall(0.93) is None
