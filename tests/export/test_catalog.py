"""The catalogue as users keep it: three formats, two of them also compressed, and all that can be wrong with a file."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tesserank.errors import DataError
from tesserank_export.catalog import Catalog, read_catalog

ITEMS = [("a1", "Red lipstick"), ("b2", 'Nail file, "glass"\nset of 2'), ("c3", ""), ("d4", "Crème brûlée 香り")]
REAL_DATA = Path(__file__).parents[3] / "shared" / "data"
plain_text = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=30)


def write_parquet(rows: list[dict[str, object]], path: Path) -> None:
    # Imported here: a pyarrow that does not fit the installed numpy fails these tests, not the other formats' too.
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.Table.from_pylist(rows), path)


def write_catalog(path: Path, rows: list[dict[str, object]]) -> Path:
    if path.name.endswith(".parquet"):
        write_parquet(rows, path)
        return path
    if ".csv" in path.name:
        stream = io.StringIO()
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
        data = stream.getvalue().encode()
    else:
        data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(data) if path.name.endswith(".gz") else data)
    return path


def message_of(path: Path, **options: str) -> str:
    with pytest.raises(DataError) as error:
        read_catalog(path, **options)
    return str(error.value)


def jsonl(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "items.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["i.jsonl", "i.jsonl.gz", "i.csv", "i.csv.gz", "i.parquet", "I.JSONL"])
def test_every_format_gives_the_same_catalogue(tmp_path: Path, name: str) -> None:
    rows: list[dict[str, object]] = [{"item_id": item_id, "text": text} for item_id, text in ITEMS]
    catalog = read_catalog(write_catalog(tmp_path / name, rows))
    assert list(zip(catalog.item_ids, catalog.texts, strict=True)) == ITEMS
    assert catalog.empty_texts == 1
    assert catalog.row_of["c3"] == 2
    assert catalog.sha256 == Catalog.of(*zip(*ITEMS, strict=True)).sha256


@pytest.mark.parametrize("name", ["i.jsonl", "i.parquet"])
def test_integer_ids_become_strings(tmp_path: Path, name: str) -> None:
    path = write_catalog(tmp_path / name, [{"item_id": 7, "text": "x"}, {"item_id": 10**15, "text": None}])
    assert read_catalog(path).item_ids == ("7", "1000000000000000")


def test_several_text_fields_are_joined_and_empty_ones_left_out(tmp_path: Path) -> None:
    path = jsonl(
        tmp_path,
        '{"sku": "a", "title": "Jumanji", "tags": ["board game", "jungle"], "year": 1995}',
        '{"sku": "b", "title": "  ", "tags": [], "year": 2001}',
        '{"sku": "c", "title": "Heat"}',
    )
    catalog = read_catalog(path, id_field="sku", text_field="title, tags,year")
    assert catalog.texts == ("Jumanji. board game, jungle. 1995", "2001", "Heat")


def test_a_byte_order_mark_and_windows_line_ends_are_no_part_of_the_data(tmp_path: Path) -> None:
    path = tmp_path / "items.csv"
    path.write_bytes("\ufeffitem_id,text\r\na,x\r\n\r\nb,y\r\n".encode())
    catalog = read_catalog(path)
    assert (catalog.item_ids, catalog.texts) == (("a", "b"), ("x", "y"))


@given(st.lists(plain_text, min_size=2, max_size=2), st.lists(plain_text, min_size=2, max_size=2))
def test_the_hash_tells_any_two_contents_apart(first: list[str], second: list[str]) -> None:
    ids = ("a", "b")
    assert (Catalog.of(ids, first).sha256 == Catalog.of(ids, second).sha256) == (first == second)


def test_the_hash_knows_where_an_id_ends_and_its_text_begins() -> None:
    assert Catalog.of(["ab"], ["c"]).sha256 != Catalog.of(["a"], ["bc"]).sha256


def test_a_duplicate_id_is_named_with_both_lines(tmp_path: Path) -> None:
    path = jsonl(tmp_path, '{"item_id": "a", "text": ""}', "", '{"item_id": "b", "text": ""}', '{"item_id": "a"}')
    assert message_of(path) == f"{path}: item id 'a' on line 1 and line 4"


def test_an_integer_and_its_spelling_are_the_same_id(tmp_path: Path) -> None:
    assert "'7' on line 1 and line 2" in message_of(
        jsonl(tmp_path, '{"item_id": 7, "text": ""}', '{"item_id": "7", "text": ""}')
    )


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('{"item_id": "", "text": "x"}', "line 2: the item id is empty"),
        ('{"item_id": "  ", "text": "x"}', "line 2: the item id is empty"),
        ('{"item_id": null, "text": "x"}', "line 2: the item id is missing"),
        ('{"item_id": 1.5, "text": "x"}', "line 2: the item id is 1.5 of type float: ids are strings or integers"),
        ('{"item_id": true, "text": "x"}', "line 2: the item id is True of type bool"),
        ('{"sku": "b", "text": "x"}', "line 2: no field 'item_id' for the item id; fields present: sku, text"),
        ('{"item_id": "b", "name": "x"}', "line 2: no field 'text' for the text; fields present: item_id, name"),
        ('{"item_id": "b", "text": {"en": "x"}}', "line 2: field 'text' is a dict"),
        ('{"item_id": "b", "text": "\\ud800"}', "line 2: field 'text' '\\ud800' holds a lone surrogate"),
        ('{"item_id": "\\udfff", "text": "x"}', "line 2: the item id '\\udfff' holds a lone surrogate"),
        ('{"item_id": "b", "text": }', "line 2: invalid JSON: Expecting value"),
        ("[" * 100_000, "line 2: invalid JSON"),
        ('["b", "x"]', "line 2: a JSON object is needed, found list"),
    ],
)
def test_a_bad_line_is_named_with_what_is_wrong_in_it(tmp_path: Path, line: str, expected: str) -> None:
    path = jsonl(tmp_path, '{"item_id": "a", "text": "x"}', line)
    assert message_of(path).startswith(f"{path} ")
    assert expected in message_of(path)


def test_an_overlong_id_is_rejected_by_its_bytes(tmp_path: Path) -> None:
    accepted, too_long = "é" * 128, "é" * 128 + "e"
    assert read_catalog(jsonl(tmp_path, json.dumps({"item_id": accepted, "text": ""}))).item_ids == (accepted,)
    assert "has 257 bytes, the limit is 256" in message_of(
        jsonl(tmp_path, json.dumps({"item_id": too_long, "text": ""}))
    )


def test_a_text_field_that_occurs_nowhere_is_an_error_even_beside_one_that_does(tmp_path: Path) -> None:
    message = message_of(jsonl(tmp_path, '{"item_id": "a", "title": "x"}'), text_field="title,body")
    assert "no field 'body' for the text; fields present: item_id, title; set --text-field" in message


@pytest.mark.parametrize("text_field", ["", "title,", ","])
def test_an_empty_field_name_is_rejected(tmp_path: Path, text_field: str) -> None:
    assert "several separated by commas" in message_of(jsonl(tmp_path, "{}"), text_field=text_field)


@pytest.mark.parametrize("name", ["items.jsonl", "items.csv", "items.csv.gz"])
def test_invalid_utf8_is_named_with_its_line(tmp_path: Path, name: str) -> None:
    rows: list[dict[str, object]] = [{"item_id": item_id, "text": "text"} for item_id in "abc"]
    path = write_catalog(tmp_path / name, rows)
    data = gzip.decompress(path.read_bytes()) if name.endswith(".gz") else path.read_bytes()
    lines = data.split(b"\n")
    lines[2] = lines[2].replace(b"text", b"caf\xe9")
    path.write_bytes(gzip.compress(b"\n".join(lines)) if name.endswith(".gz") else b"\n".join(lines))
    assert re.search(r"line 3: invalid UTF-8: byte 0xe9 at byte \d+ of the line", message_of(path))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("item_id,text\na\n", "line 2: 1 values but 2 columns in the header"),
        ("item_id,text\na,x,y\n", "line 2: 3 values but 2 columns in the header"),
        ('item_id,text\na,x\nb,"unclosed\n', "line 3: invalid CSV"),
        ("item_id,text,text\na,x,y\n", "line 1: a column name occurs twice"),
        ("sku,text\na,x\n", "line 2: no field 'item_id' for the item id; fields present: sku, text; set --id-field"),
        ('item_id,text\n"a\nb",x\n,y\n', "line 4: the item id is empty"),
        ("item_id,text\n", "the catalogue is empty"),
        ("", "the catalogue is empty"),
    ],
)
def test_bad_csv_is_named_with_its_line(tmp_path: Path, content: str, expected: str) -> None:
    path = tmp_path / "items.csv"
    path.write_text(content)
    assert expected in message_of(path)


def test_an_unknown_format_names_those_that_are_read(tmp_path: Path) -> None:
    assert message_of(tmp_path / "items.xlsx").endswith(".jsonl, .jsonl.gz, .csv, .csv.gz, .tsv, .tsv.gz, .parquet")


def test_a_file_that_is_absent_a_folder_or_damaged_says_so(tmp_path: Path) -> None:
    assert "no such file" in message_of(tmp_path / "absent.jsonl")
    (tmp_path / "folder.csv").mkdir()
    assert "is not a file" in message_of(tmp_path / "folder.csv")
    whole = write_catalog(tmp_path / "items.jsonl.gz", [{"item_id": "a", "text": "x"}]).read_bytes()
    (tmp_path / "items.jsonl.gz").write_bytes(whole[:-6])
    assert "damaged or truncated gzip" in message_of(tmp_path / "items.jsonl.gz")
    (tmp_path / "items.csv.gz").write_bytes(b"item_id,text\na,x\n")
    assert "damaged or truncated gzip" in message_of(tmp_path / "items.csv.gz")


def test_a_damaged_parquet_file_says_so(tmp_path: Path) -> None:
    (tmp_path / "items.parquet").write_bytes(b"PAR1 and nothing else")
    assert "not a readable Parquet file" in message_of(tmp_path / "items.parquet")


def test_a_parquet_file_without_the_field_names_those_it_has(tmp_path: Path) -> None:
    path = write_catalog(tmp_path / "items.parquet", [{"item_id": "a", "title": "x"}])
    assert "row 1: no field 'text' for the text; fields present: item_id, title" in message_of(path)


def test_columns_in_memory_must_match() -> None:
    with pytest.raises(DataError, match="2 item ids but 1 texts"):
        Catalog.of(["a", "b"], ["x"])
    with pytest.raises(DataError, match="2 item ids of which only 1 are distinct"):
        Catalog.of(["a", "a"], ["x", "y"])
    with pytest.raises(DataError, match="2 item ids but 3 categories"):
        Catalog.of(["a", "b"], ["x", "y"], ["p", "q", "r"])


CATEGORISED = (
    '{"item_id": "a", "text": "x", "category": "toys", "shelf": 7}',
    '{"item_id": "b", "text": "y", "shelf": " "}',
    '{"item_id": "c", "text": "z", "category": null, "shelf": 8, "tags": ["p", "q"]}',
)


@pytest.mark.parametrize(
    ("field", "expected"),
    [(None, ("toys", "", "")), ("category", ("toys", "", "")), ("shelf", ("7", "", "8")), ("", None)],
    ids=["default", "named", "another", "none"],
)
def test_the_category_is_that_of_the_named_field(
    tmp_path: Path, field: str | None, expected: tuple[str, ...] | None
) -> None:
    catalog = read_catalog(jsonl(tmp_path, *CATEGORISED), category_field=field)
    assert catalog.categories == expected
    assert catalog.sha256 == Catalog.of(["a", "b", "c"], ["x", "y", "z"]).sha256, "texts do not depend on it"


def test_a_catalogue_without_the_default_field_has_no_categories(tmp_path: Path) -> None:
    assert read_catalog(jsonl(tmp_path, '{"item_id": "a", "text": "x"}')).categories is None


def test_a_category_field_that_occurs_nowhere_is_an_error_if_it_was_asked_for(tmp_path: Path) -> None:
    message = message_of(jsonl(tmp_path, *CATEGORISED[:1]), category_field="genre")
    assert "no field 'genre' for the category; fields present: item_id, text, category, shelf" in message
    assert message.endswith("set --category-field")


def test_a_list_of_categories_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    message = message_of(jsonl(tmp_path, *CATEGORISED), category_field="tags")
    assert "line 3: field 'tags' is a list, but a category is text or a number" in message
    assert message.endswith("name another field with --category-field, or none with --category-field ''")


@pytest.mark.parametrize(
    ("name", "items", "empty", "uncategorised"), [("amazon_beauty", 12_101, 7, 0), ("mlsmall", 9_724, 0, 34)]
)
def test_real_catalogues_read_whole(name: str, items: int, empty: int, uncategorised: int) -> None:
    path = REAL_DATA / name / "items.jsonl.gz"
    if not path.exists():
        pytest.skip(f"{path} is absent")
    catalog = read_catalog(path)
    assert (len(catalog), catalog.empty_texts) == (items, empty)
    assert catalog.categories is not None
    assert catalog.categories.count("") == uncategorised
