"""Tables of one's own, and what holds of every format: filters, bytes, round trips, memory, the command, the export."""

from __future__ import annotations

import gzip
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tesserank import cli
from tesserank.artifact.layout import Layout
from tesserank.errors import ConfigError, DataError
from tesserank.index import load_index
from tesserank_export.catalog import read_catalog
from tesserank_export.events import read_events
from tesserank_export.prepare.records import About, Event, Item
from tesserank_export.prepare.table import EventColumns, ItemColumns, Table
from tesserank_export.prepare.writer import EVENTS as EVENTS_FILE
from tesserank_export.prepare.writer import ITEMS as ITEMS_FILE
from tesserank_export.prepare.writer import Filters, prepare
from tests.export.prepared import prepared, read
from tests.export.tiny import ITEMS, make_options, run_export, write_events, write_items


class Listed:
    """A source of given rows."""

    about = About("", "", "")

    def __init__(self, items: list[Item], events: list[Event], file: Path = Path(__file__)) -> None:
        self.files = [file]
        self.skipped: Counter[str] = Counter()
        self._items, self._events = items, events

    def items(self) -> Iterator[Item]:
        return iter(self._items)

    def events(self) -> Iterator[Event]:
        return iter(self._events)


def item(item_id: str, text: str = "text") -> Item:
    return Item(item_id, text, "", "", {})


texts = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=12)
ids = texts.filter(lambda text: bool(text.strip()))
events = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 4), st.integers(-5, 5), texts, st.none() | st.floats(-9, 9)),
    max_size=30,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(ids, min_size=4, max_size=4, unique=True),
    st.lists(st.tuples(ids, texts), min_size=1, max_size=5, unique_by=lambda pair: pair[0]),
    events,
)
def test_what_is_written_reads_back(
    tmp_path_factory: pytest.TempPathFactory, users: list[str], given_items: list[tuple[str, str]], rows: list[Any]
) -> None:
    out = tmp_path_factory.mktemp("any") / "out"
    known = [Event(users[u], given_items[i % len(given_items)][0], t, kind, rating) for u, i, t, kind, rating in rows]
    source = Listed([Item(name, text, text, text, {"more": [text]}) for name, text in given_items], known)
    if not known:
        with pytest.raises(DataError, match="no event is left"):
            prepare(source, out, "any")
        return
    prepare(source, out, "any", Filters(all_items=True))
    catalog = read_catalog(out / "items.jsonl.gz")
    assert list(zip(catalog.item_ids, catalog.texts, strict=True)) == [(n, t.strip()) for n, t in given_items]
    log = read_events(out / "events.csv.gz", catalog, unknown="reject")
    for number, user in enumerate(log.users):
        own = slice(log.offsets[number], log.offsets[number + 1])
        found = [
            (catalog.item_ids[i], t, log.kinds[k])
            for i, t, k in zip(log.item[own], log.timestamp[own], log.kind[own], strict=True)
        ]
        expected = sorted((e for e in known if e.user_id == user), key=lambda event: event.timestamp)
        assert found == [(e.item_id, e.timestamp, e.kind) for e in expected]
    ratings = [float(row[4]) if row[4] else None for row in read(out)[1]]
    assert Counter(ratings) == Counter(e.rating for e in known)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=40), st.integers(2, 3))
def test_the_core_is_the_largest_in_which_everyone_has_k(
    tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[int, int]], k: int
) -> None:
    core = set(pairs)
    while True:  # remove one offender at a time, which is another order than ours
        counts = [Counter(pair[side] for pair in core) for side in (0, 1)]
        rare = next((p for p in sorted(core) if min(counts[0][p[0]], counts[1][p[1]]) < k), None)
        if rare is None:
            break
        core.remove(rare)
    source = Listed([item(f"i{n}") for n in range(6)], [Event(f"u{u}", f"i{i}", 0, "", None) for u, i in pairs])
    out = tmp_path_factory.mktemp("core") / "out"
    if not core:
        with pytest.raises(DataError, match=f"events outside the {k}-core"):
            prepare(source, out, "core", Filters(core=k))
        return
    prepare(source, out, "core", Filters(core=k))
    items, rows, _ = read(out)
    assert Counter(row[:2] for row in rows) == Counter((f"u{u}", f"i{i}") for u, i in pairs if (u, i) in core)
    assert {row["item_id"] for row in items} == {f"i{i}" for _, i in core}


def test_equal_input_gives_equal_bytes_and_replaces_an_earlier_output(tmp_path: Path) -> None:
    source = Listed([item("a"), item("b")], [Event("u", "a", 1, "click", None), Event("u", "b", 0, "click", 2.0)])
    outputs = []
    for out in (tmp_path / "one", tmp_path / "two", tmp_path / "one"):
        prepare(source, out, "same")
        outputs.append([(path.name, path.read_bytes()) for path in sorted(out.iterdir())])
    assert outputs[0] == outputs[1] == outputs[2]
    assert [name for name, _ in outputs[0]] == ["events.csv.gz", "items.jsonl.gz", "meta.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]


def test_a_directory_with_other_files_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ConfigError, match=r"holds other files \(thesis.tex\) and would be replaced"):
        prepare(Listed([item("a")], []), tmp_path, "x")
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


class Endless(Listed):
    """As many events as asked for, none of which is kept by the source itself."""

    def __init__(self, count: int) -> None:
        super().__init__([item(f"i{n}") for n in range(50)], [])
        self._count = count

    def events(self) -> Iterator[Event]:
        for n in range(self._count):
            yield Event(f"u{n % 40}", f"i{n % 50}", n, "click", None)


def test_memory_does_not_grow_with_the_events(tmp_path: Path) -> None:
    peaks = []
    for count in (4_000, 40_000):
        tracemalloc.start()
        prepare(Endless(count), tmp_path / "out", "endless", Filters(core=4))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0], peaks


def table(tmp_path: Path, items: str, log: str, end: str = "csv", **options: Any) -> Table:
    paths = [tmp_path / f"catalogue.{end}", tmp_path / f"log.{end}"]
    for path, text in zip(paths, (items, log), strict=True):
        path.write_text(text, encoding="utf-8")
    settings = {"item_columns": ItemColumns(), "event_columns": EventColumns(), "delimiter": None} | options
    return Table(*paths, **settings)


def test_columns_are_mapped_and_delimiters_chosen(tmp_path: Path) -> None:
    source = table(
        tmp_path,
        'sku;name;about;dept\n7;"Tea; green";Leaf  tea;Food\n8;Cup;;\n',
        "who;sku;ms;what;stars\nann;7;1588687728923;buy;\nann;8;1588687728000;view;4\n",
        item_columns=ItemColumns("sku", ("name", "about"), "name", "dept"),
        event_columns=EventColumns("who", "sku", "ms", "what", "stars", milliseconds=True),
        delimiter=";",
    )
    items, rows, _ = prepared(source, tmp_path / "out")
    assert items == [
        {"item_id": "7", "text": "Tea; green. Leaf tea", "title": "Tea; green", "category": "Food"},
        {"item_id": "8", "text": "Cup", "title": "Cup", "category": ""},
    ]
    assert rows == [("ann", "7", "1588687728", "buy", ""), ("ann", "8", "1588687728", "view", "4.0")]


def test_tab_separated_tables_need_no_option(tmp_path: Path) -> None:
    source = table(
        tmp_path, "item_id\ttext\na\tone, two\n", "user_id\titem_id\ttimestamp\nu\ta\t2020-01-01\n", end="tsv"
    )
    items, rows, _ = prepared(source, tmp_path / "out")
    assert items[0]["text"] == "one, two"
    assert rows == [("u", "a", "1577836800", "", "")]


@pytest.mark.parametrize(
    ("items", "log", "options", "message"),
    [
        ("id,text\na,b\n", "", {}, r"catalogue.csv line 2: no field 'item_id'.*; set --id-field"),
        ("item_id,name\na,b\n", "", {}, "no field 'text' for the text; .*; set --text-field"),
        ("item_id,text\na,b\n", "", {"item_columns": ItemColumns(title="nom")}, "no field 'nom' .*; set --title-field"),
        ("item_id,text\na,b\n", "user,item_id\nu,a\n", {}, "log.csv line 2: no field 'user_id'.*; set --user-field"),
        ("item_id,text\na,b\n", "user_id,item_id\nu,a\n", {}, "no field 'timestamp'.*; set --timestamp-field"),
        (
            "item_id,text\na,b\n",
            "user_id,item_id,timestamp\nu,a,1588687728923\n",
            {},
            "timestamp '1588687728923' is not in seconds",
        ),
        ("item_id,text\na,b\n", "user_id,item_id,timestamp\nu,a\x07,1\n", {}, "the item id 'a.x07' holds a control"),
        ("item_id,text\na,b\n", "user_id,item_id,timestamp\nu,a,1,2\n", {}, "line 2: 4 values but 3 columns"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(
    tmp_path: Path, items: str, log: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        prepared(table(tmp_path, items, log, **options), tmp_path / "out")


def test_what_the_command_prepares_is_exported(bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    catalogue = write_items(tmp_path / "shop.csv", [*ITEMS[:30], ("nobody", "never bought")])
    log = write_events(tmp_path / "log.csv")
    out = tmp_path / "prepared"
    arguments = ["prepare", "csv", str(catalogue), str(log), "--out", str(out), "--k-core", "2", "--name", "shop"]
    assert cli.main(arguments) == 0
    printed = capsys.readouterr().err
    items, rows, meta = read(out)
    assert meta["name"] == "shop"
    for reason, count in meta["left_out"].items():
        assert f"{reason}" in printed
        assert f"{count:,}" in printed
    artifact, _ = run_export(
        make_options(tmp_path / "root", bert, catalog=out / "items.jsonl.gz", events=out / "events.csv.gz")
    )
    index = load_index(Layout(artifact).index)
    assert list(index.item_ids) == [row["item_id"] for row in items]
    met = index.rows([row[1].encode() for row in rows])
    vectors = index.spaces["collaborative"].items.decode(np.unique(met)).vectors
    assert vectors.any(axis=1).all(), "every item of the log has a collaborative vector"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--k-core", "-1"], "--k-core must be at least 0, not -1"),
        (["--text-field", "a,,b"], "--text-field 'a,,b'"),
    ],
)
def test_a_bad_option_is_one_line_and_status_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    status = cli.main(["prepare", "csv", "a.csv", "b.csv", "--out", str(tmp_path / "out"), *arguments])
    assert status == 2
    assert message in capsys.readouterr().err


def test_the_output_is_what_csv_and_json_readers_expect(tmp_path: Path) -> None:
    source = Listed([Item("a,1", 'say "é"', "t", "c", {})], [Event('u"2', "a,1", 3, "k", 1.5)])
    items, rows, _ = prepared(source, tmp_path / "out")
    assert items == [{"item_id": "a,1", "text": 'say "é"', "title": "t", "category": "c"}]
    assert rows == [('u"2', "a,1", "3", "k", "1.5")]
    lines = [gzip.decompress((tmp_path / "out" / name).read_bytes()).decode() for name in (ITEMS_FILE, EVENTS_FILE)]
    assert lines[0] == '{"item_id": "a,1", "text": "say \\"é\\"", "title": "t", "category": "c"}\n'
    assert lines[1] == 'user_id,item_id,timestamp,kind,rating\n"u""2","a,1",3,k,1.5\n'
