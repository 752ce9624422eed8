"""The requests of a run: the same for the same seed, within the options' bounds, and of the items there are."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tesserank.errors import ArtifactError, ConfigError, DataError
from tesserank_client import Event
from tesserank_loadtest.event_log import read_histories
from tesserank_loadtest.items import read_item_ids
from tesserank_loadtest.plan import Plan, WorkloadOptions, load_plan
from tesserank_loadtest.workload import Workload, load_workload

ITEMS = tuple(f"item-{number}" for number in range(200))
OPTIONS = WorkloadOptions(items=Path("unused"), candidates=20, top_k=5, max_history=8, seed=7)


def first_requests(workload: Workload, user: int = 0, count: int = 20, kind: str = "GrpcUser") -> list[object]:
    return list(islice(workload.recommend_requests(kind, user), count))


def test_equal_options_send_equal_requests() -> None:
    assert first_requests(Workload(OPTIONS, ITEMS)) == first_requests(Workload(OPTIONS, ITEMS))


@pytest.mark.parametrize("queries", [(), ("red shoes", "tea")], ids=["without-queries", "with-queries"])
def test_a_users_requests_do_not_depend_on_what_other_users_sent(queries: tuple[str, ...]) -> None:
    workload = Workload(OPTIONS, ITEMS, queries)
    alone = first_requests(workload, user=1)
    streams = [workload.recommend_requests("GrpcUser", user) for user in range(2)]
    together = [(next(streams[0]), next(streams[1]))[1] for _ in range(20)]
    assert together == alone


@pytest.mark.parametrize("other", [{"user": 1}, {"kind": "HttpUser"}], ids=["other-user", "other-kind"])
def test_users_send_requests_of_their_own(other: dict[str, object]) -> None:
    workload = Workload(OPTIONS, ITEMS)
    assert first_requests(workload) != first_requests(workload, **other)  # type: ignore[arg-type]


def test_another_seed_sends_other_requests() -> None:
    other = Workload(replace(OPTIONS, seed=8), ITEMS)
    assert first_requests(Workload(OPTIONS, ITEMS)) != first_requests(other)


@given(
    seed=st.integers(0, 2**63 - 1),
    items=st.integers(1, 60),
    max_history=st.integers(1, 12),
    data=st.data(),
)
def test_requests_keep_the_bounds_of_the_options(seed: int, items: int, max_history: int, data: st.DataObject) -> None:
    candidates = data.draw(st.none() | st.integers(1, items))
    top_k = data.draw(st.none() | st.integers(1, candidates or items))
    options = WorkloadOptions(Path("unused"), None, None, candidates, top_k, max_history, seed)
    catalogue = ITEMS[:items]
    for request in islice(Workload(options, catalogue).recommend_requests("GrpcUser", 0), 5):
        events = [event for event in request.history if isinstance(event, Event)]
        times = [event.timestamp or 0 for event in events]
        assert 1 <= len(events) == len(request.history) <= max_history
        assert {event.item_id for event in events} <= set(catalogue)
        assert times == sorted(times)
        assert request.top_k == top_k
        assert request.texts == ()
        if candidates is None:
            assert request.candidates is None
        else:
            assert request.candidates is not None
            assert len(request.candidates) == len(set(request.candidates)) == candidates
            assert set(request.candidates) <= set(catalogue)


def test_drawn_histories_follow_zipfs_law() -> None:
    options = replace(OPTIONS, max_history=100, candidates=None)
    requests = islice(Workload(options, ITEMS).recommend_requests("GrpcUser", 0), 400)
    counts = Counter(event.item_id for request in requests for event in request.history)  # type: ignore[union-attr]
    (_, first), (_, second) = counts.most_common(2)
    total = counts.total()
    harmonic = sum(1 / rank for rank in range(1, len(ITEMS) + 1))
    # some 20,000 draws: the standard deviation of the first item's share, 0.17, is below 0.003
    assert first / total == pytest.approx(1 / harmonic, abs=0.015)
    assert second / total == pytest.approx(1 / 2 / harmonic, abs=0.015)


def test_every_request_carries_one_of_the_queries() -> None:
    requests = islice(Workload(OPTIONS, ITEMS, ["red shoes", "tea"]).recommend_requests("GrpcUser", 0), 50)
    assert {request.texts for request in requests} == {"red shoes", "tea"}


def test_real_histories_are_asked_at_some_moment_of_theirs() -> None:
    history = tuple(Event(item, second) for second, item in enumerate(ITEMS[:30]))
    workload = Workload(OPTIONS, ITEMS, histories=[history])
    windows = {request.history for request in islice(workload.recommend_requests("GrpcUser", 0), 500)}
    assert windows == {history[max(0, end - OPTIONS.max_history) : end] for end in range(1, 31)}


def test_cross_encoder_requests_are_reproducible_and_have_the_number_of_candidates() -> None:
    first = list(islice(Workload(OPTIONS, ITEMS).cross_encoder_requests("GrpcUser", 0), 5))
    assert first == list(islice(Workload(OPTIONS, ITEMS).cross_encoder_requests("GrpcUser", 0), 5))
    assert all(request.history_text and len(request.candidate_texts) == OPTIONS.candidates for request in first)
    assert all(text for request in first for text in request.candidate_texts)


def test_the_cross_encoder_does_not_rank_a_whole_catalogue() -> None:
    workload = Workload(replace(OPTIONS, candidates=None, top_k=None), ITEMS)
    with pytest.raises(ConfigError, match="--candidates"):
        next(workload.cross_encoder_requests("GrpcUser", 0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"candidates": 201}, "--candidates 201 of a catalogue of 200 items"),
        ({"top_k": 21}, "--top-k 21 of 20 candidates"),
        ({"candidates": None, "top_k": 201}, "--top-k 201 of 200 candidates"),
    ],
    ids=["candidates", "top-k", "top-k-of-the-catalogue"],
)
def test_asking_for_more_than_there_is_names_both_numbers(change: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Workload(replace(OPTIONS, **change), ITEMS)  # type: ignore[arg-type]


def test_a_plan_survives_its_file(tmp_path: Path) -> None:
    options = replace(OPTIONS, events=Path("/logs/events.csv"))
    plan = Plan({"grpc": "127.0.0.1:8001"}, 3, options, 5.0, cross_encoder=True, cross_encoder_timeout_s=60.0)
    plan.save(tmp_path / "plan.json")
    assert load_plan(tmp_path / "plan.json") == plan


WRITERS: dict[str, Callable[[Path, list[dict[str, object]]], None]] = {
    "events.csv": lambda path, rows: path.write_text(as_csv(rows)) and None,
    "events.csv.gz": lambda path, rows: path.write_bytes(gzip.compress(as_csv(rows).encode())) and None,
    "events.jsonl": lambda path, rows: path.write_text(as_jsonl(rows)) and None,
    "events.jsonl.gz": lambda path, rows: path.write_bytes(gzip.compress(as_jsonl(rows).encode())) and None,
}


def as_csv(rows: list[dict[str, object]]) -> str:
    lines = [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]
    return "\n".join(lines) + "\n"


def as_jsonl(rows: list[dict[str, object]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def event(user: object, item: str, timestamp: object = 5, kind: str = "click") -> dict[str, object]:
    return {"user_id": user, "item_id": item, "timestamp": timestamp, "kind": kind}


@pytest.mark.parametrize("name", WRITERS)
def test_histories_are_read_by_user_and_time(tmp_path: Path, name: str) -> None:
    rows = [event(1, "b", 20), event(2, "a", 3), event(1, "gone", 15), event(1, "a", 10.9), event(3, "gone")]
    WRITERS[name](tmp_path / name, rows)
    histories = read_histories(tmp_path / name, {"a", "b"})
    assert histories == ((Event("a", 10, "click"), Event("b", 20, "click")), (Event("a", 3, "click"),))


def test_histories_without_time_keep_the_order_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text("user_id,item_id\n1,b\n1,a\n")
    assert read_histories(tmp_path / "events.csv", {"a", "b"}) == ((Event("b"), Event("a")),)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent.csv", None, "cannot read events"),
        ("events.parquet", "", r"neither \.csv nor \.jsonl"),
        ("events.csv", "user_id,thing\n1,a\n", "row 1: no 'item_id' among its fields user_id, thing"),
        ("events.csv", "user_id,item_id,timestamp\n1,a,5\n1,a,\n", "row 2: some events have a 'timestamp'"),
        ("events.csv", "user_id,item_id,timestamp\n1,a,soon\n", "row 1: timestamp 'soon' is not"),
        ("events.csv", "user_id,item_id,timestamp\n1,a,nan\n", "row 1: timestamp 'nan' is not"),
        ("events.csv", "user_id,item_id\n1,gone\n", "none of the 1 events"),
        ("events.csv", "", "none of the 0 events"),
        ("events.csv.gz", "not compressed", "cannot read events"),
        ("events.jsonl", "{", "cannot read events"),
        ("events.jsonl", "[1]\n", "is not an object"),
    ],
)
def test_an_unusable_event_log_is_named_with_its_row(
    tmp_path: Path, name: str, content: str | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=message) as raised:
        read_histories(tmp_path / name, {"a"})
    assert name in str(raised.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "cannot read item ids"), ("\n \n", "no item id"), ("a\nb\na\n", "3 item ids, but only 2 different")],
    ids=["absent", "empty", "repeated"],
)
def test_an_unusable_list_of_items_is_refused(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "items.txt").write_text(content)
    with pytest.raises(DataError, match=message):
        read_item_ids(tmp_path / "items.txt")


def test_a_repository_without_an_index_names_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "segment_embedder").mkdir()
    with pytest.raises(ArtifactError, match="make export"):
        read_item_ids(tmp_path)


def test_a_file_without_queries_is_refused(tmp_path: Path, items_file: Path) -> None:
    (tmp_path / "queries.txt").write_text("\n")
    with pytest.raises(DataError, match="holds no query"):
        load_workload(WorkloadOptions(items=items_file, queries=tmp_path / "queries.txt", candidates=5))
