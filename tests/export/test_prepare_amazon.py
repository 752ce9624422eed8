"""Amazon's three collections, in the spelling of each: loose lines of 2014, lists of 2018, milliseconds of 2023."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from tesserank.errors import DataError
from tesserank_export.prepare.amazon import Amazon
from tests.export.prepared import prepared

# Python literals, not JSON: single quotes, None, escapes, paths of categories.
META_2014 = (
    r"""
{'asin': 'B0001', 'title': 'OPI Nail Lacquer, &quot;Red&quot; &amp; Gold', 'price': 3.17, 'salesRank': {'Beauty': 11},
""".strip().replace("\n", " ")
    + r""" 'brand': "L'Or\xe9al", 'categories': [['Beauty', 'Makeup', 'Nails'], ['Gifts']]}
{'asin': 'B0002', 'related': {'also_bought': ['B0001']}, 'imUrl': None, 'categories': [['Beauty']]}
{'asin': 'B0001', 'title': 'a second row of the same product', 'categories': [['Beauty']]}
{'asin': 'B0003', 'title': 'Nobody reviewed this', 'categories': [['Beauty']], 'description': 'Soft.<br />Warm.'}
"""
)


def review_2014(user: str, item: str, day: int, stars: float = 5.0) -> dict[str, Any]:
    return {
        "reviewerID": user, "asin": item, "reviewerName": "A. N.", "helpful": [0, 1], "reviewText": "Good\nenough",
        "overall": stars, "summary": "ok", "unixReviewTime": 1_300_000_000 + 86_400 * day, "reviewTime": "03 13, 2011",
    }  # fmt: skip


def write(path: Path, rows: list[dict[str, Any]] | str) -> Path:
    text = rows if isinstance(rows, str) else "".join(json.dumps(row) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def test_2014_has_python_literals_missing_titles_and_products_twice(tmp_path: Path) -> None:
    reviews = [review_2014("B", "B0001", 1), review_2014("A", "B0002", 2, 3.0), review_2014("A", "B0001", 2)]
    reviews += [review_2014("A", "B0001", 2), review_2014("A", "GONE", 0)]
    source = Amazon(
        write(tmp_path / "reviews_Beauty_5.json.gz", reviews), write(tmp_path / "meta_Beauty.json.gz", META_2014)
    )
    items, events, meta = prepared(source, tmp_path / "out", once=True)
    title = 'OPI Nail Lacquer, "Red" & Gold'
    assert items == [
        {
            "item_id": "B0001", "text": title, "title": title, "category": "Beauty", "brand": "L'Oréal",
            "categories": ["Beauty", "Makeup", "Nails"], "description": "",
        },
        {
            "item_id": "B0002", "text": "", "title": "", "category": "Beauty", "brand": "", "categories": ["Beauty"],
            "description": "",
        },
    ]  # fmt: skip
    assert events == [
        ("A", "B0002", "1300172800", "review", "3.0"),
        ("A", "B0001", "1300172800", "review", "5.0"),
        ("B", "B0001", "1300086400", "review", "5.0"),
    ]
    assert meta["left_out"] == {
        "items with the id of an earlier one": 1,
        "items without an event": 1,
        "events with an item that the catalogue lacks": 1,
        "events that repeat another": 1,
    }
    assert (meta["users"], meta["items"], meta["events"], meta["empty_titles"]) == (2, 2, 3, 1)


def test_all_items_keeps_what_nobody_met(tmp_path: Path) -> None:
    source = Amazon(
        write(tmp_path / "r.json", [review_2014("A", "B0001", 1)]), write(tmp_path / "meta.json", META_2014)
    )
    items, _, meta = prepared(source, tmp_path / "out", all_items=True)
    assert [item["item_id"] for item in items] == ["B0001", "B0002", "B0003"]
    assert items[2]["description"] == "Soft. Warm."
    assert "items without an event" not in meta["left_out"]


def test_2018_has_lists_pictures_of_departments_and_page_code_for_titles(tmp_path: Path) -> None:
    products: list[dict[str, Any]] = [
        {
            "asin": "0545", "title": "Slime   Lab", "brand": "Scholastic", "category": ["Toys", "Craft", "Kits"],
            "main_cat": "Toys & Games", "description": ["First.", "", "Second."], "price": "$9.99", "also_buy": [],
        },
        {"asin": "0546", "title": "var aPageStart = (new Date()).getTime();", "category": [], "main_cat": "Books"},
        {"asin": "0547", "title": "Shirt", "category": ["Clothing"], "description": "",
         "main_cat": '<img src="https://images.example/fashion.png" class="nav" alt="AMAZON FASHION"/>'},
    ]  # fmt: skip
    reviews = [
        {"overall": 4.0, "verified": True, "reviewerID": "A", "asin": asin, "unixReviewTime": 1_500_000_000,
         "vote": "2", "style": {"Format:": " Paperback"}}
        for asin in ("0545", "0546", "0547")
    ]  # fmt: skip
    source = Amazon(write(tmp_path / "Toys_5.json", reviews), write(tmp_path / "meta_Toys.json", products))
    items, events, meta = prepared(source, tmp_path / "out")
    assert [item["title"] for item in items] == ["Slime Lab", "", "Shirt"]
    assert [item["category"] for item in items] == ["Toys & Games", "Books", "AMAZON FASHION"]
    assert items[0]["categories"] == ["Toys", "Craft", "Kits"]
    assert items[0]["description"] == "First. Second."
    assert len(events) == 3
    assert meta["left_out"] == {"titles that are page code": 1}


REVIEWS_2023 = [
    {"rating": 5.0, "title": "of the review", "text": "x", "images": [], "asin": "CHILD", "parent_asin": "PARENT",
     "user_id": "AG", "timestamp": 1_588_687_728_923, "helpful_vote": 0, "verified_purchase": True},
]  # fmt: skip
PRODUCTS_2023 = [
    {"main_category": "All Beauty", "title": "Howard Hair Spray", "average_rating": 4.8, "features": [], "price": None,
     "description": ["Holds."], "store": "Howard", "categories": [], "details": {"Scent": "none"},
     "parent_asin": "PARENT", "bought_together": None},
]  # fmt: skip


@pytest.mark.parametrize("end", [".jsonl", ".jsonl.gz", ".parquet"])
def test_2023_has_milliseconds_and_parents_of_variants(tmp_path: Path, end: str) -> None:
    paths = [tmp_path / f"All_Beauty{end}", tmp_path / f"meta_All_Beauty{end}"]
    if end == ".parquet":
        import pyarrow
        from pyarrow import parquet

        # As on the hub, where the details are JSON in a string.
        products = [product | {"details": json.dumps(product["details"])} for product in PRODUCTS_2023]
        for path, rows in zip(paths, (REVIEWS_2023, products), strict=True):
            parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    else:
        for path, rows in zip(paths, (REVIEWS_2023, PRODUCTS_2023), strict=True):
            write(path, rows)
    items, events, _ = prepared(Amazon(*paths), tmp_path / "out")
    assert items == [
        {
            "item_id": "PARENT", "text": "Howard Hair Spray", "title": "Howard Hair Spray", "category": "All Beauty",
            "brand": "Howard", "categories": [], "description": "Holds.",
        }
    ]  # fmt: skip
    assert events == [("AG", "PARENT", "1588687728", "review", "5.0")]


def test_2023_ratings_alone_come_as_csv(tmp_path: Path) -> None:
    ratings = tmp_path / "All_Beauty.csv"
    ratings.write_text("user_id,parent_asin,rating,timestamp\nAG,PARENT,4.0,1588687728923\n", encoding="utf-8")
    _, events, _ = prepared(Amazon(ratings, write(tmp_path / "meta.jsonl", PRODUCTS_2023)), tmp_path / "out")
    assert events == [("AG", "PARENT", "1588687728", "review", "4.0")]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{'asin': 'B1', 'title': oops}", r"meta\.json line 2: neither JSON \(.*\) nor a Python literal"),
        ("{'asin': 'B1', 'title': __import__('os').getcwd()}", "line 2: neither JSON"),
        ("['B1']", "line 2: an object is needed, found list"),
        ("{'title': 'no id'}", "line 2: the product's asin is missing"),
    ],
)
def test_a_bad_line_of_the_metadata_is_named(tmp_path: Path, line: str, message: str) -> None:
    products = write(tmp_path / "meta.json", "{'asin': 'B0', 'title': 't'}\n" + line + "\n")
    source = Amazon(write(tmp_path / "r.json", [review_2014("A", "B0", 1)]), products)
    with pytest.raises(DataError, match=message):
        prepared(source, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["meta.json", "r.json"], "nothing half-written"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"unixReviewTime": None}, "r.json line 1: unixReviewTime is None: a number is needed"),
        ({"reviewerID": ""}, "r.json line 1: the reviewer's id is empty"),
        ({"overall": "five"}, "r.json line 1: the rating is 'five': a number is needed"),
    ],
)
def test_a_bad_review_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    reviews = write(tmp_path / "r.json", [review_2014("A", "B0001", 1) | change])
    with pytest.raises(DataError, match=message):
        prepared(Amazon(reviews, write(tmp_path / "meta.json", META_2014)), tmp_path / "out")
