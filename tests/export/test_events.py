"""The event log: order, time in all its spellings, unknown items, and what is wrong with files."""

from __future__ import annotations

import gzip
import json
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tesserank.errors import DataError
from tesserank_export.catalog import Catalog
from tesserank_export.events import EventFields, read_events

CATALOG = Catalog.of(["a", "b", "c", "7"], ["", "", "", ""])
REAL_DATA = Path(__file__).parents[3] / "shared" / "data"


def write_parquet(rows: list[dict[str, object]], path: Path) -> None:
    # Imported here: a pyarrow that does not fit the installed numpy fails these tests, not the other formats' too.
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.Table.from_pylist(rows), path)


def log(tmp_path: Path, content: str, name: str = "events.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(gzip.compress(content.encode()) if name.endswith(".gz") else content.encode())
    return path


def message_of(path: Path, **options: object) -> str:
    with pytest.raises(DataError) as error:
        read_events(path, CATALOG, **options)  # type: ignore[arg-type]
    return str(error.value)


def test_events_come_sorted_by_user_and_time_with_ties_in_file_order(tmp_path: Path) -> None:
    events = read_events(
        log(
            tmp_path,
            "user_id,item_id,timestamp,kind\nzoe,a,30,click\nadam,b,5,buy\nzoe,c,10,buy\nzoe,b,30,click\nzoe,7,10,click\n",
        ),
        CATALOG,
    )
    assert events.users == ("zoe", "adam")
    assert [history.tolist() for history in events.histories()] == [[2, 3, 0, 1], [1]]
    assert events.timestamp.tolist() == [10, 10, 30, 30, 5]
    assert [events.kinds[kind] for kind in events.kind] == ["buy", "click", "click", "click", "buy"]
    assert events.offsets.tolist() == [0, 4, 5]
    assert [array.dtype for array in (events.user, events.item, events.kind)] == [np.dtype(np.int32)] * 3
    assert events.timestamp.dtype == np.int64


@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from("abc"), st.integers(0, 3)), min_size=1, max_size=40))
def test_histories_equal_a_naive_stable_sort(rows: list[tuple[int, str, int]]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "events.jsonl"
        records = [{"user_id": user, "item_id": item, "timestamp": time} for user, item, time in rows]
        path.write_text("\n".join(map(json.dumps, records)))
        events = read_events(path, CATALOG)
    users = list(dict.fromkeys(str(user) for user, _, _ in rows))
    expected = [
        ["abc".index(item) for _, item, _ in sorted((r for r in rows if str(r[0]) == user), key=lambda row: row[2])]
        for user in users
    ]
    assert events.users == tuple(users)
    assert [history.tolist() for history in events.histories()] == expected


def test_csv_jsonl_and_parquet_agree(tmp_path: Path) -> None:
    rows = [{"user_id": 1, "item_id": 7, "timestamp": 20}, {"user_id": 1, "item_id": 7, "timestamp": 10}]
    as_csv = read_events(log(tmp_path, "user_id,item_id,timestamp\n1,7,20\n1,7,10\n", "e.csv.gz"), CATALOG)
    as_jsonl = read_events(log(tmp_path, "\n".join(map(json.dumps, rows)), "e.jsonl.gz"), CATALOG)
    write_parquet(rows, tmp_path / "e.parquet")
    as_parquet = read_events(tmp_path / "e.parquet", CATALOG)
    for events in (as_csv, as_jsonl, as_parquet):
        assert (events.users, events.item.tolist(), events.timestamp.tolist()) == (("1",), [3, 3], [10, 20])


def test_without_times_and_kinds_the_file_order_counts(tmp_path: Path) -> None:
    events = read_events(log(tmp_path, "who,what\nu,c\nu,a\nu,b\n"), CATALOG, EventFields(user="who", item="what"))
    assert events.item.tolist() == [2, 0, 1]
    assert events.timestamp.tolist() == [0, 0, 0]
    assert events.kinds == ("",)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("1318896000", 1318896000),
        ("1318896000.9", 1318896000),
        ("-5", -5),
        ("2011-10-18T00:00:00Z", 1318896000),
        ("2011-10-18T02:00:00+02:00", 1318896000),
        ("2011-10-18 00:00:00", 1318896000),
        ("2011-10-18", 1318896000),
    ],
)
def test_times_are_unix_seconds_or_iso_8601(tmp_path: Path, written: str, seconds: int) -> None:
    events = read_events(log(tmp_path, f"user_id,item_id,timestamp\nu,a,{written}\n"), CATALOG)
    assert events.timestamp.tolist() == [seconds]


def test_parquet_times_are_read(tmp_path: Path) -> None:
    moment = datetime(2011, 10, 18, tzinfo=timezone.utc)
    for value in (moment, moment.replace(tzinfo=None), moment.date()):
        rows = [{"user_id": "u", "item_id": "a", "timestamp": value}]
        write_parquet(rows, tmp_path / "e.parquet")
        assert read_events(tmp_path / "e.parquet", CATALOG).timestamp.tolist() == [1318896000]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("yesterday", "line 3: timestamp 'yesterday' is neither Unix seconds nor ISO 8601"),
        ("nan", "line 3: timestamp 'nan' is neither"),
        ("inf", "line 3: timestamp 'inf' is neither"),
        ("1318896000000", "line 3: timestamp '1318896000000' is not in seconds: milliseconds must be divided by 1,000"),
        ("", "line 3: no 'timestamp' here but a one on the lines before"),
    ],
)
def test_an_unusable_time_is_named_with_its_line(tmp_path: Path, written: str, expected: str) -> None:
    message = message_of(log(tmp_path, f"user_id,item_id,timestamp\nu,a,5\nu,a,{written}\n"))
    assert expected in message


def test_a_time_that_appears_late_is_named(tmp_path: Path) -> None:
    message = message_of(log(tmp_path, "user_id,item_id,timestamp\nu,a,\nu,a,9\n"))
    assert "line 3: a 'timestamp' here but no one on the lines before" in message


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('{"item_id": "a"}', "line 2: no field 'user_id' for the user; fields present: item_id"),
        ('{"user_id": "u"}', "line 2: no field 'item_id' for the item; fields present: user_id"),
        ('{"user_id": "", "item_id": "a"}', "line 2: the user id is empty"),
        ('{"user_id": null, "item_id": "a"}', "line 2: the user id is missing"),
        ('{"user_id": "u", "item_id": ["a"]}', "line 2: the item id is ['a'] of type list"),
        ('{"user_id": "u", "item_id": "a", "kind": 1.5}', "line 2: the kind is 1.5 of type float"),
        ('{"user_id": "u", "item_id": "a", "kind": []}', "line 2: the kind is [] of type list"),
        ("nonsense", "line 2: invalid JSON"),
    ],
)
def test_a_bad_event_is_named_with_its_line(tmp_path: Path, line: str, expected: str) -> None:
    path = log(tmp_path, '{"user_id": "u", "item_id": "a"}\n' + line, "events.jsonl")
    assert expected in message_of(path)


def test_events_of_unknown_items_are_left_out_and_counted(tmp_path: Path) -> None:
    path = log(tmp_path, "user_id,item_id\nghost,x1\nu,a\nu,x2\nu,x1\nghost,x3\n")
    events = read_events(path, CATALOG)
    assert events.unknown_items == 4
    assert events.users == ("u",)
    assert events.item.tolist() == [0]


def test_unknown_items_can_be_rejected_with_the_option_that_skips_them(tmp_path: Path) -> None:
    path = log(tmp_path, "user_id,item_id\nu,a\nu,x2\nu,x1\nu,x2\n")
    assert message_of(path, unknown="reject") == (
        f"{path}: 3 of 4 events name items that are not in the catalogue, as x2, x1;"
        " leave them out with --unknown-items skip"
    )


def test_a_log_of_another_catalogue_is_rejected_also_when_skipping(tmp_path: Path) -> None:
    assert "2 of 2 events name items that are not in the catalogue" in message_of(
        log(tmp_path, "user_id,item_id\nu,x\nu,y\n")
    )


def test_an_empty_log_is_rejected(tmp_path: Path) -> None:
    assert "no events in the file" in message_of(log(tmp_path, "user_id,item_id\n"))


def test_the_interaction_matrix_counts_meetings(tmp_path: Path) -> None:
    events = read_events(log(tmp_path, "user_id,item_id\nu,a\nv,c\nu,a\nu,b\n"), CATALOG)
    assert events.interaction_matrix(4).toarray().tolist() == [[2, 1, 0, 0], [0, 0, 1, 0]]


def test_a_subset_keeps_the_positions_of_users(tmp_path: Path) -> None:
    events = read_events(log(tmp_path, "user_id,item_id\nu,a\nv,c\nw,b\n"), CATALOG)
    rest = events.subset(events.user != 1)
    assert rest.users == ("u", "v", "w")
    assert [history.tolist() for history in rest.histories()] == [[0], [], [1]]


@pytest.mark.parametrize(("name", "users", "count"), [("amazon_beauty", 22_363, 198_502), ("mlsmall", 610, 100_836)])
def test_real_logs_read_whole(name: str, users: int, count: int) -> None:
    from tesserank_export.catalog import read_catalog

    folder = REAL_DATA / name
    if not folder.exists():
        pytest.skip(f"{folder} is absent")
    events = read_events(folder / "events.csv.gz", read_catalog(folder / "items.jsonl.gz"))
    assert (len(events.users), len(events), events.unknown_items) == (users, count, 0)
    same_user = events.user[1:] == events.user[:-1]
    assert (np.diff(events.timestamp)[same_user] >= 0).all()
