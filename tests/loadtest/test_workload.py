"""The requests of a run: the same for the same seed, within the options' bounds, and of users who come back."""

from __future__ import annotations

import gzip
import json
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import replace
from itertools import islice, pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tesserank.errors import ArtifactError, ConfigError, DataError
from tesserank_client import Event, Request
from tesserank_loadtest.arrivals import Arrivals
from tesserank_loadtest.behaviour import Act, synthetic_acts
from tesserank_loadtest.event_log import read_acts
from tesserank_loadtest.items import read_item_ids
from tesserank_loadtest.plan import Plan, WorkloadOptions, load_plan
from tesserank_loadtest.scenario import SCENARIOS, Queries, Scenario, Sessions, load_scenario, parse_scenario
from tesserank_loadtest.workload import Workload, load_workload

ITEMS = tuple(f"item-{number}" for number in range(200))
SCENARIO = Scenario(
    candidates=20,
    top_k=5,
    max_history=8,
    sessions=Sessions(users=30, past_events=200, kinds={"view": 3, "cart": 1}),
    queries=Queries(share=0.5, distinct=50),
)
OPTIONS = WorkloadOptions(items=Path("unused"), scenario=SCENARIO, seed=7)


def first_requests(workload: Workload, count: int = 50) -> list[Request]:
    return [workload.recommend(turn) for turn in islice(workload.turns(), count)]


def changed(**scenario: object) -> WorkloadOptions:
    return replace(OPTIONS, scenario=replace(SCENARIO, **scenario))  # type: ignore[arg-type]


@pytest.mark.parametrize("zero_hit", [False, True])
def test_equal_options_send_equal_requests_and_other_seeds_others(zero_hit: bool) -> None:
    options = replace(OPTIONS, zero_hit=zero_hit)
    assert first_requests(Workload(options, ITEMS)) == first_requests(Workload(options, ITEMS))
    assert first_requests(Workload(options, ITEMS)) != first_requests(Workload(replace(options, seed=8), ITEMS))


@given(
    seed=st.integers(0, 2**63 - 1),
    items=st.integers(1, 60),
    max_history=st.integers(1, 12),
    zero_hit=st.booleans(),
    data=st.data(),
)
def test_requests_keep_the_bounds_of_the_options(
    seed: int, items: int, max_history: int, zero_hit: bool, data: st.DataObject
) -> None:
    candidates = data.draw(st.none() | st.integers(1, items))
    top_k = data.draw(st.none() | st.integers(1, candidates or items))
    options = replace(
        changed(candidates=candidates, top_k=top_k, max_history=max_history), seed=seed, zero_hit=zero_hit
    )
    catalogue = ITEMS[:items]
    for request in first_requests(Workload(options, catalogue), 5):
        events = [event for event in request.history if isinstance(event, Event)]
        times = [event.timestamp or 0 for event in events]
        assert len(events) == len(request.history) <= max_history
        assert events or request.texts
        assert {event.item_id for event in events} <= set(catalogue)
        assert times == sorted(times)
        assert request.top_k == top_k
        if candidates is None:
            assert request.candidates is None
        else:
            assert request.candidates is not None
            assert len(request.candidates) == len(set(request.candidates)) == candidates
            assert set(request.candidates) <= set(catalogue)


def test_made_up_items_follow_zipfs_law_and_sessions_their_rate() -> None:
    sessions = Sessions(users=1000, per_hour=3600, events=5, gap_s=1)
    acts = list(islice(synthetic_acts(sessions, ITEMS, 3), 50_000))
    (_, first), (_, second) = Counter(act.item for act in acts).most_common(2)
    harmonic = sum(1 / rank for rank in range(1, len(ITEMS) + 1))
    # the standard deviation of the first item's share, 0.17, is below 0.002
    assert first / len(acts) == pytest.approx(1 / harmonic, abs=0.01)
    assert second / len(acts) == pytest.approx(1 / 2 / harmonic, abs=0.01)
    times = [act.timestamp or 0.0 for act in acts]
    assert times == sorted(times)
    # one session a second of five events: 10,000 seconds, give or take their Poisson noise
    assert len(acts) / (times[-1] - times[0]) == pytest.approx(5, rel=0.05)


def test_a_log_is_asked_event_by_event_as_histories_grow() -> None:
    log = [Act(user, ITEMS[at], at, None) for at, user in enumerate("abababab")]
    workload = Workload(changed(past_share=0.0, queries=Queries(), max_history=3), ITEMS, log=log)
    asked = [(turn.timestamp, [event.item_id for event in turn.history]) for turn in workload.stretch(6)]
    # the first event of each is not asked before: they have done nothing yet
    assert asked[:3] == [(2, ["item-0"]), (3, ["item-1"]), (4, ["item-0", "item-2"])]
    assert asked[-1] == (7, ["item-1", "item-3", "item-5"])
    assert [turn.number for turn in workload.stretch(6)] == list(range(6))
    with pytest.raises(ConfigError, match="7 requests to replay, but the log has 6 after its past"):
        workload.stretch(7)


def test_a_log_that_has_ended_begins_again_after_its_past() -> None:
    log = [Act("a", ITEMS[at], at, None) for at in range(10)]
    workload = Workload(changed(past_share=0.5, queries=Queries()), ITEMS, log=log)
    turns = list(islice(workload.turns(), 10))
    assert [turn.history for turn in turns[:5]] == [turn.history for turn in turns[5:]]
    assert [turn.number for turn in turns] == list(range(10))
    assert len(turns[0].history) == 5


def test_users_come_back_with_histories_that_have_grown() -> None:
    options = changed(max_history=100, sessions=replace(SCENARIO.sessions, past_events=0))
    seen: dict[object, int] = defaultdict(int)
    turns = list(islice(Workload(options, ITEMS).turns(), 500))
    for turn in turns:
        if turn.history:
            seen[turn.history[0]] += 1  # a user's first event tells the user
    assert max(seen.values()) > 10


def test_queries_come_in_their_share_and_the_frequent_ones_often() -> None:
    queries = [f"query {number}" for number in range(50)]
    asked = [turn.query for turn in islice(Workload(OPTIONS, ITEMS, queries).turns(), 2000)]
    counts = Counter(query for query in asked if query)
    assert counts.total() / len(asked) == pytest.approx(0.5, abs=0.05)
    assert set(counts) <= set(queries)
    assert counts.most_common(1)[0][0] == "query 0"


def test_a_zero_hit_run_sends_nothing_twice() -> None:
    turns = list(islice(Workload(replace(OPTIONS, zero_hit=True), ITEMS).turns(), 300))
    assert len({turn.query for turn in turns}) == len({turn.history for turn in turns}) == 300
    assert [turn.number for turn in turns] == list(range(300))
    for turn in turns:  # a session each: none shares a segment with another
        moments = [event.timestamp or 0 for event in turn.history]
        assert all(later - earlier >= 86_400 for earlier, later in pairwise(moments))


def test_cross_encoder_requests_are_reproducible_and_have_the_number_of_candidates() -> None:
    def first(workload: Workload) -> list[object]:
        return [workload.cross_encode(turn) for turn in islice(workload.turns(), 5)]

    assert first(Workload(OPTIONS, ITEMS)) == first(Workload(OPTIONS, ITEMS))
    workload = Workload(OPTIONS, ITEMS)
    for turn in islice(workload.turns(), 5):
        request = workload.cross_encode(turn)
        assert request.history_text
        assert len(request.candidate_texts) == SCENARIO.candidates
        assert all(request.candidate_texts)


def test_the_cross_encoder_does_not_rank_a_whole_catalogue() -> None:
    workload = Workload(changed(candidates=None, top_k=None), ITEMS)
    with pytest.raises(ConfigError, match="--candidates"):
        workload.cross_encode(next(workload.turns()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"candidates": 201}, "201 candidates of a catalogue of 200 items"),
        ({"top_k": 21}, "the best 21 of 20 candidates"),
        ({"candidates": None, "top_k": 201}, "the best 201 of 200 candidates"),
    ],
    ids=["candidates", "top-k", "top-k-of-the-catalogue"],
)
def test_asking_for_more_than_there_is_names_both_numbers(change: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Workload(changed(**change), ITEMS)


def test_a_plan_survives_its_file(tmp_path: Path) -> None:
    options = replace(OPTIONS, events=Path("/logs/events.csv"))
    for plan in (
        Plan({"grpc": "127.0.0.1:8001"}, options, users=3),
        Plan({"http": "127.0.0.1:8000"}, options, arrivals=Arrivals("step", 10.0, 20.0), processes=2, warmup_s=1.0),
    ):
        plan.save(tmp_path / "plan.json")
        assert load_plan(tmp_path / "plan.json") == plan


@pytest.mark.parametrize("path", sorted(SCENARIOS.glob("*.toml")), ids=lambda path: path.stem)
def test_the_scenarios_are_read_by_name(path: Path) -> None:
    scenario = load_scenario(path.stem)
    assert scenario == load_scenario(str(path))
    assert scenario.description
    assert scenario != Scenario()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"candidate": 5}, r"no key 'candidate' in a scenario, only description, candidates"),
        ({"candidates": "all"}, r"candidates = 'all' is not a number or catalogue"),
        ({"candidates": 0}, r"candidates = 0 is not above 0"),
        ({"sessions": {"user": 5}}, r"\[sessions\]: no key 'user'"),
        ({"sessions": 5}, r"\[sessions\] is 5, not a table"),
        ({"sessions": {"gap_s": "long"}}, r"gap_s = 'long' is not like 60.0"),
        ({"sessions": {"kinds": {"view": 0}}}, r"kinds.view = 0 is not a share above 0"),
        ({"sessions": {"events": 0.5}}, r"events = 0.5 is not at least 1"),
        ({"queries": {"words": [3, 2]}}, r"words = \[3, 2\]"),
        ({"queries": {"share": 1.5}}, r"share = 1.5 is not from 0 to 1"),
    ],
)
def test_an_unusable_scenario_is_named_with_its_key(table: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_scenario(table, "shop.toml")


def test_a_scenario_that_is_not_there_names_those_that_are() -> None:
    with pytest.raises(ConfigError, match="ecommerce, social, video"):
        load_scenario("absent")


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
def test_events_are_read_by_time(tmp_path: Path, name: str) -> None:
    rows = [event(1, "b", 20), event(2, "a", 3), event(1, "gone", 15), event(1, "a", 10.9), event(3, "gone")]
    WRITERS[name](tmp_path / name, rows)
    acts = read_acts(tmp_path / name, {"a", "b"})
    assert acts == (Act("2", "a", 3, "click"), Act("1", "a", 10, "click"), Act("1", "b", 20, "click"))


def test_events_without_time_keep_the_order_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text("user_id,item_id\n1,b\n1,a\n")
    acts = read_acts(tmp_path / "events.csv", {"a", "b"})
    assert acts == (Act("1", "b", None, None), Act("1", "a", None, None))


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
        read_acts(tmp_path / name, {"a"})
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
        load_workload(WorkloadOptions(items=items_file, queries=tmp_path / "queries.txt"))
