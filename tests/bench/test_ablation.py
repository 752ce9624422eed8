"""The ablation: rows change what they say, features are their formulas, runs go on, the table is right."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tesserank.cli import main
from tesserank.segments.config import SegmentsConfig
from tesserank.segments.cut import HistoryCutter
from tesserank.segments.reader import parse_segments
from tesserank_bench.ablation.exports import grouped, text_of
from tesserank_bench.ablation.features import FEATURES
from tesserank_bench.ablation.measure import Kept
from tesserank_bench.ablation.rows import FULL, ONE_LONG, PROPOSED, Row, Table, all_rows, merged
from tesserank_bench.ablation.verdicts import verdicts
from tesserank_bench.earlier_log import EarlierLog
from tesserank_evaluation.ranking import Ranked
from tesserank_evaluation.recommender import Training
from tesserank_evaluation.split import History
from tesserank_export.catalog import read_catalog
from tesserank_export.heldout import PLAIN
from tests.core.world import make_index
from tests.evaluation.logs import log_of, random_log
from tests.export.tiny import write_inputs, write_items

FITTED: Table = {
    "history": {
        "max_events": 12,
        "spaces": {"text": 0.2, "ease": {"weight": 1.0, "method": "sum", "recency": 0.98, "max_events": 50}},
    }
}
tables = pytest.mark.parametrize("full", [{}, FITTED], ids=["defaults", "a fitted file"])


def rows_of(full: Table) -> dict[str, Row]:
    return {row.name: row for row in all_rows(parse_segments(text_of(full)), 128)}


def config_of(row: Row, full: Table) -> SegmentsConfig:
    return parse_segments(text_of(row.segments(full)))


@tables
def test_every_row_is_a_sound_segments_file_and_but_one_a_change(full: Table) -> None:
    rows = all_rows(parse_segments(text_of(full)), 128)
    assert len({row.name for row in rows}) == len(rows) > 40
    whole = parse_segments(text_of(full))
    same = {row.name for row in rows if config_of(row, full) == whole and not row.options and not row.features}
    configured = {"soft maximum, τ = 2", "recency 0.8", "the newest 10 events"}
    assert same - configured == {FULL}


@tables
def test_a_change_is_of_every_space_whatever_it_had_of_its_own(full: Table) -> None:
    rows = rows_of(full)

    def of_history(name: str, key: str) -> set[Any]:
        channels = config_of(rows[name], full).channels()
        return {getattr(channel, key) for channel in channels if channel.source == "history"}

    assert of_history("sum over segments", "method") == {"sum"}
    assert of_history("maximum (τ = 0.05)", "temperature") == {0.05}
    assert of_history("recency 0.6", "recency") == {0.6}
    assert of_history("the newest 20 events", "max_events") == {20}
    weights = [channel.weight for channel in parse_segments(text_of(full)).channels()]
    assert [channel.weight for channel in config_of(rows["recency 0.6"], full).channels()] == weights


def test_the_technique_as_proposed_is_a_plain_sum() -> None:
    config = config_of(rows_of({})[PROPOSED], {})
    history = [channel for channel in config.channels() if channel.source == "history"]
    assert {(channel.weight, channel.method, channel.recency) for channel in history} == {(1.0, "sum", 1.0)}
    assert config.items.token_weights == "uniform"
    assert config.learned["collaborative"].dim == 50


@given(gaps=st.lists(st.integers(0, 10**10), min_size=1, max_size=12), tokens=st.integers(0, 32))
def test_one_long_segment_is_one_whatever_lies_between_events(gaps: list[int], tokens: int) -> None:
    row = rows_of(FITTED)[ONE_LONG]
    config = config_of(row, FITTED)
    assert row.newest == 12
    count = len(gaps)
    cutter = HistoryCutter(config.history, [f"i{i}" for i in range(count)], np.full(count, tokens))
    assert cutter.newest(np.arange(count), np.cumsum(gaps)) == [(0, count)]
    assert not config.aggregation.group_by_item


def test_tables_are_merged_key_by_key_but_spaces_as_a_whole() -> None:
    full = {"name": "x", "history": {"recency": 0.5, "spaces": {"text": 1.0}}}
    assert merged(full, {"history": {"cut": "session", "spaces": {"ease": 2.0}}, "items": {"vectors": "int16"}}) == {
        "name": "x",
        "history": {"recency": 0.5, "cut": "session", "spaces": {"ease": 2.0}},
        "items": {"vectors": "int16"},
    }
    assert full == {"name": "x", "history": {"recency": 0.5, "spaces": {"text": 1.0}}}


@tables
def test_rows_share_an_export_if_it_has_what_each_of_them_needs(full: Table) -> None:
    rows = all_rows(parse_segments(text_of(full)), 128)
    groups = grouped(rows, full)
    assert sorted(row.name for group in groups for row in group.rows) == sorted(row.name for row in rows)
    assert groups[0].rows[0].name == FULL
    for group in groups:
        exported = parse_segments(group.segments)
        for row in group.rows:
            wanted = config_of(row, full)
            assert set(wanted.spaces()) <= set(exported.spaces())
            assert (exported.items, exported.learned) == (wanted.items, wanted.learned)
            assert row.options == group.options
    assert len({group.key for group in groups}) == len(groups) == 15


def histories_of(*items: Sequence[int]) -> list[History]:
    return [
        History(np.array(own, dtype=np.int32), np.arange(len(own), dtype=np.int64), ("",) * len(own)) for own in items
    ]


def training(users: int = 30, items: int = 9) -> Training:
    return Training(random_log(users, items, seed=3), ["text"] * items, make_index(), 0, PLAIN)


def test_features_rank_by_what_users_alike_met() -> None:
    own = training()
    counts = own.events.interaction_matrix(own.n_items).toarray()
    met = counts > 0
    idf = np.log((1 + len(counts)) / (1 + met.sum(axis=0))) + 1
    history = np.zeros(own.n_items)
    history[[2, 5, 7]] = 1
    tf_idf, asked = counts * idf, history * idf
    lengths = np.linalg.norm(tf_idf, axis=1, keepdims=True)
    unit = np.divide(tf_idf, lengths, out=np.zeros_like(tf_idf), where=lengths > 0)
    expected = {
        "counts": (counts @ history) @ met,
        "TF-IDF": (tf_idf @ asked) @ met,
        "cosine": (unit @ (asked / np.linalg.norm(asked))) @ met,
    }
    for name, scores in expected.items():
        found = FEATURES[name](own).scores(histories_of([2, 5, 7], [1]))
        assert found.dtype == np.float32
        np.testing.assert_allclose(found[0], scores, rtol=1e-5, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("timed", [True, False])
def test_a_log_is_read_as_it_was_written_and_the_same_bytes_again(timed: bool, tmp_path: Path) -> None:
    catalog = read_catalog(write_items(tmp_path / "items.jsonl"))
    events = log_of([[(3, 5), (1, 7)], [(0, 1), (0, 2), (2, 2)]])
    if not timed:
        events = log_of([[(item, 0) for item in own] for own in ([3, 1], [0, 0, 2])])
    one, other = (EarlierLog.write(events, catalog, tmp_path / name / "events.csv.gz") for name in ("a", "b"))
    assert one.path.read_bytes() == other.path.read_bytes()
    found = one.events
    assert not found.unknown_items
    for column in ("user", "item", "timestamp"):
        np.testing.assert_array_equal(getattr(found, column), getattr(events, column))
    assert [found.kinds[kind] for kind in found.kind] == [events.kinds[kind] for kind in events.kind]


def ranked(*better: int) -> Ranked:
    return Ranked(np.array(better), np.ones(len(better), dtype=np.int64), np.zeros((len(better), 50), np.int32), 0.0)


def test_rows_are_kept_on_disk_until_they_change(tmp_path: Path) -> None:
    row = Row("sum", "aggregation", {"aggregation": {"method": "sum"}})
    kept = Kept(tmp_path / "of")
    assert not kept.has(row)
    kept.add(row, {"row": {"group": "aggregation", "change": {"aggregation": {"method": "sum"}}}}, ranked(3, 4))
    again = Kept(tmp_path / "of")
    assert again.has(row)
    assert again.ranks["", "sum"].tolist() == [[3, 4], [1, 1]]
    assert not again.has(Row("sum", "aggregation", {"aggregation": {"method": "softmax"}}))


def both(*better: int) -> NDArray[np.int64]:
    return np.stack([np.array(better), np.ones(len(better), dtype=np.int64)])


def test_segmenting_costs_nothing_within_a_standard_error() -> None:
    many, long = both(0, 0, 0, 9), both(0, 1, 2, 3)
    better, missing = verdicts({("", FULL): many, ("", ONE_LONG): long})
    assert better["verdict"] == "met"
    assert missing == {**missing, "difference": None, "verdict": "not measured"}
    worse, _ = verdicts({("", FULL): both(1, 1, 1, 2), ("", ONE_LONG): both(0, 0, 0, 1)})
    assert worse["verdict"] == "not met"
    assert worse["difference"]["mean"] < 0
    slightly, _ = verdicts({("", FULL): both(0, 1, 0, 1, 0), ("", ONE_LONG): both(1, 0, 0, 0, 0)})
    assert -slightly["difference"]["se"] < slightly["difference"]["mean"] < 0
    assert slightly["verdict"] == "met"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_inputs(tmp_path_factory.mktemp("log"))


def typed(tiny: Path, *more: str) -> list[str]:
    files = [
        "--catalog",
        str(tiny / "items.jsonl"),
        "--events",
        str(tiny / "events.csv"),
        "--model",
        str(tiny / "bert"),
    ]
    return ["bench", "ablation", *files, "--dim", "16", "--collaborative-dim", "8", "--threads", "1", *more]


def test_a_small_table_from_end_to_end_and_on_from_where_it_was(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    where = ("--work", str(tmp_path / "work"), "--artifacts", str(tmp_path / "artifacts"), "--out", "table.json")
    assert main(typed(tiny, *where, "--rows", "cut", "--rows", "sparse*")) == 0
    capfd.readouterr()
    more = ("--rows", "spaces", "--rows", "one vector for 2*")
    assert main(typed(tiny, *where, "--rows", "cut", *more)) == 0
    measured = re.findall(r"^  (.*): NDCG@10", capfd.readouterr().err, flags=re.M)
    assert "ease alone" in measured
    assert "one vector for 2 tokens (pooled)" in measured
    assert not {FULL, ONE_LONG} & {*measured}, "kept from the first run"
    result = json.loads((tmp_path / "table.json").read_text(encoding="utf-8"))
    rows = {row["name"]: row for row in result["rows"]}
    assert next(iter(rows)) == FULL
    assert {"sparse features: cosine", "text alone", "popularity alone"} <= set(rows)
    assert result["of"]["ranked_users"] > 20
    for name, row in rows.items():
        assert 0 <= row["metrics"]["ndcg@10"]["mean"] <= 1
        expected = row["metrics"]["ndcg@10"]["mean"] - rows[FULL]["metrics"]["ndcg@10"]["mean"]
        if name != FULL:
            assert row["difference"]["ndcg@10"]["mean"] == pytest.approx(expected, abs=2e-5)
    # Neighbouring items are used together, which texts of random words do not say.
    ndcg = {name: row["metrics"]["ndcg@10"]["mean"] for name, row in rows.items()}
    assert ndcg["transitions alone"] > max(ndcg["text alone"], ndcg["popularity alone"])
    assert all(verdict["verdict"] in ("met", "not met") for verdict in result["verdicts"])
    text = (tmp_path / "table.md").read_text(encoding="utf-8")
    assert re.search(r"^\| one long segment \| 0\.\d{4} \| [+-]0\.\d{4} ± 0\.\d{4} \|", text, flags=re.M)
    assert "| **spaces** |" in text


BAD = {
    "rows": (("--rows", "cuts"), "--rows 'cuts': no row or group of that name"),
    "users": (("--users", "0"), "--users must be at least 1, not 0"),
    "segments": (("--segments", "/nowhere.toml"), "/nowhere.toml cannot be read"),
}


@pytest.mark.parametrize(("flags", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_one_line(
    flags: tuple[str, ...], message: str, tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(typed(tiny, *flags)) == 2
    assert message in capsys.readouterr().err


def test_rows_are_listed_by_group(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(typed(tiny, "--list", "--rows", "vectors")) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{FULL}: {FULL}"
    assert "vectors: encoder int8" in lines
    assert {line.split(":")[0] for line in lines[1:]} == {"vectors"}
